"""Progress bars on stderr, where a person looks at it; silent in log files."""

from __future__ import annotations

from tqdm import tqdm


class Progress:
    """One bar at a time: stages over particles, or epochs."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None

    def show(self, stage: str, done: int, total: int) -> None:
        """``done`` of ``total`` particles of a stage."""
        self._start(stage, total, "particle")
        self._bar.update(done - self._bar.n)
        if done >= total:
            self.clear()

    def epoch(self, row: dict, epochs: int) -> None:
        """The end of an epoch, with its figures."""
        self._start("training", epochs, "epoch")
        self._bar.set_postfix_str(f"loss {row['validation']:.4f}", refresh=False)
        self._bar.update(row["epoch"] - self._bar.n)

    def clear(self) -> None:
        """Remove the bar, so that a line can be printed."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _start(self, stage: str, total: int, unit: str) -> None:
        if self._bar is None or self._bar.desc != stage or self._bar.total != total:
            self.clear()
            # disable=None: no bar where stderr is no terminal
            self._bar = tqdm(total=total, desc=stage, unit=unit, disable=None, leave=False, dynamic_ncols=True)
            self._bar.desc = stage
