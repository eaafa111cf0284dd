"""In place of an output folder: nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType

from scipion_udl.io.output.folder import OutputFolder


class NoFolder(OutputFolder):
    """The output folder of who writes nothing: of all but the first of several processes, which know its ``path``, and
    of a run in memory, whose path is empty."""

    def __init__(self, path: str = "") -> None:
        super().__init__(path)

    def __enter__(self) -> OutputFolder:
        return self

    def has(self, name: str) -> bool:
        return bool(self.path) and super().has(name)

    def spare(self, paths: Iterable[str | None]) -> None:
        """Nothing is overwritten.

        Parameters
        ----------
        paths : iterable of str or None
            Not looked at.
        """

    def _begin(self) -> None:
        """Nothing is written."""

    def log(self, text: str) -> None:
        """Nothing is said.

        Parameters
        ----------
        text : str
            Let go.
        """

    def show(self, name: str, write: Callable[[str], None]) -> None:
        """Nothing is written.

        Parameters
        ----------
        name : str
            Not looked at.
        write : callable
            Not called.
        """

    def begin_log(self) -> None:
        """Nothing is written."""

    def publish(self, *names: str) -> None:
        """Nothing was written.

        Parameters
        ----------
        *names : str
            Not looked at.
        """

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None
