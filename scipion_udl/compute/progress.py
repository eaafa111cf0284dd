"""How far a command is: bars on stderr, where a person looks at it, and progress.json in its folder, for programs."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable

from tqdm import tqdm

FILE = "progress.json"
EVERY = 1.0  # seconds between two writes of the file, at least
LONG = 60.0  # seconds that a stage goes on before the time left is told, and between two times that it is told


class Progress:
    """One bar at a time: stages over particles, or epochs.

    tell: given the text of progress.json now and then, None for nobody: what :meth:`Progress.facts` says, as JSON;
    say: told a line on the time left of a stage that takes more than a minute, and again each time that it has halved,
    or doubled; shown: whether there is a bar, where a person looks at it.
    """

    def __init__(
        self,
        tell: Callable[[str], None] | None = None,
        say: Callable[[str], None] | None = None,
        shown: bool = True,
    ) -> None:
        # None: no bar where stderr is no terminal
        self._hidden = None if shown else True
        self._bar: tqdm | None = None
        self._tell, self._started, self._told = tell, time.monotonic(), -math.inf
        self._say = say
        self._timers: dict[str, _Timer] = {}
        self._stage: dict = {}
        self._training: dict = {}
        self._lock = threading.RLock()  # several threads may have something to say

    def show(self, stage: str, done: int, total: int) -> None:
        """Show how far a stage is.

        Parameters
        ----------
        stage : str
            What it is called.
        done, total : int
            Particles that are done, and all of them.
        """
        with self._lock:
            bar = self._start(stage, total, "particle")
            bar.update(done - bar.n)
            self._note(stage, done, total, "particle")
            if done >= total:
                self.clear()

    def epoch(self, row: dict, epochs: int) -> None:
        """Show the end of an epoch, with its figures.

        Parameters
        ----------
        row : dict
            Its row of training.csv: "epoch", "validation" and, where it is known, "true_error" (degrees).
        epochs : int
            How many there may be.
        """
        bar = self._start("training", epochs, "epoch")
        bar.set_postfix_str(f"loss {row['validation']:.4f}", refresh=False)
        bar.update(row["epoch"] - bar.n)
        self._training = {"epoch": row["epoch"], "epochs": epochs, "loss": row["validation"]}
        if "true_error" in row:
            self._training["true_error"] = row["true_error"]
        self._note("training", row["epoch"], epochs, "epoch")

    def facts(self) -> dict:
        """What progress.json says.

        Returns
        -------
        dict
            stage, done, total, unit ("particle" or "epoch") of what goes on, and left, about how many seconds it takes
            still, once it has taken more than a minute; epoch, epochs, loss (held-out) and, where it is known,
            true_error (degrees) of the training so far; seconds since the start.
        """
        return {**self._stage, **self._training, "seconds": round(time.monotonic() - self._started, 1)}

    def clear(self) -> None:
        """Remove the bar, so that a line can be printed."""
        with self._lock:
            if self._bar is not None:
                self._bar.close()
                self._bar = None

    def _note(self, stage: str, done: int, total: int, unit: str) -> None:
        self._stage = {"stage": stage, "done": int(done), "total": int(total), "unit": unit}
        now = time.monotonic()
        timer = self._timers.get(stage)
        if timer is None or timer.total != total or done < timer.done:
            timer = self._timers[stage] = _Timer(total, done, now)
        left = timer.left(done, now)
        if left is not None:
            self._stage["left"] = round(left)
            if self._say is not None and timer.is_news(left, now):
                self._say(f"{stage[:1].upper()}{stage[1:]}: {done / total:.0%} done, about {in_words(left)} left")
        if done >= total:
            del self._timers[stage]
        if self._tell is not None and now - self._told >= EVERY:
            self._told = now
            self._tell(json.dumps(self.facts()))

    def _start(self, stage: str, total: int, unit: str) -> tqdm:
        if self._bar is None or self._bar.desc != stage or self._bar.total != total:
            self.clear()
            hidden = self._hidden
            self._bar = tqdm(total=total, desc=stage, unit=unit, disable=hidden, leave=False, dynamic_ncols=True)
            self._bar.desc = stage
        return self._bar


class _Timer:
    """How long a stage of ``total`` particles or epochs takes still; start: when ``done`` of them were done, by any
    clock of seconds."""

    def __init__(self, total: int, done: int, start: float) -> None:
        self.total, self.first, self.start = total, done, start
        self.done = done
        self._said: tuple[float, float] | None = None  # the time left that was told last, and when

    def left(self, done: int, now: float) -> float | None:
        """Seconds, by what it has taken so far; None within the first minute, and where it is done."""
        self.done = done
        if now - self.start < LONG or not self.first < done < self.total:
            return None
        return (now - self.start) * (self.total - done) / (done - self.first)

    def is_news(self, left: float, now: float) -> bool:
        """Whether the time left is to be told now."""
        if self._said is not None:
            before, when = self._said
            if now - when < LONG or before / 2 < left < 2 * before:
                return False
        self._said = left, now
        return True


def in_words(seconds: float) -> str:
    """About how long, for people.

    Parameters
    ----------
    seconds : float
        The time.

    Returns
    -------
    str
        As in "40 seconds", "12 minutes" or "2.5 hours".
    """
    if seconds < 90:
        return f"{max(10, 10 * round(seconds / 10))} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
