"""What `scipion-udl check` found: faults and remarks by subject, as a table and as a list."""

from __future__ import annotations

import csv
import os
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TextIO

from scipion_udl.errors import UdlError
from scipion_udl.io.output import durable
from scipion_udl.messages import Message, message

# The subjects, in the order of the table. Readers name the ones of theirs (see errors.OnIssue).
SUBJECTS = {
    "table": "Table",
    "image names": "Image names",
    "files": "Files",
    "image numbers": "Image numbers",
    "same image twice": "Same image twice",
    "box": "Image size",
    "pixel size": "Pixel size",
    "pixel values": "Pixel values",
    "constant images": "Constant images",
    "copies": "Copies",
    "diameter": "Particle diameter",
    "contrast": "Contrast",
    "scale": "Scale",
    "background": "Background",
    "number": "Particles",
    "classes": "Classes",
    "optics groups": "Optics groups",
    "defocus": "Defocus",
    "poses": "Poses",
    "other programs": "Other programs",
    "reading": "Reading",
}
SHOWN = 5  # sentences of a subject in the table; the list has all
_WIDTH, _FIRST, _SECOND = 118, 18, 14
# Files that any command reads end so: a list by such a name could be one that a table names.
_READ = (".star", ".xmd", ".cs", ".mrc", ".mrcs", ".map", ".st", ".gz", ".bz2", ".safetensors")
_NAME_IT = "give the list a name of its own, such as found.csv"
_RANK = {"ok": 0, "note": 1, "warning": 2, "ERROR": 3}


@dataclass
class _Subject:
    level: str = "ok"
    count: int = 0
    sentences: list[str] = field(default_factory=list)
    fact: str = ""


class Diagnostics:
    """Faults and remarks, counted by subject; of each level the first sentences are kept, all go into the list.

    list_path: a CSV file (subject, level, what) for every one of them; None: no list. As a context manager it gives
    the list its final name at the end. Raises UdlError where it cannot be written.
    """

    def __init__(self, list_path: str | None = None) -> None:
        self._subjects = {name: _Subject() for name in SUBJECTS}
        self._path = list_path
        self._file: TextIO | None = None
        self.errors = self.warnings = 0

    def spare(self, paths: Iterable[str]) -> None:
        """Refuse a list that would get the name of a file that is looked through.

        Parameters
        ----------
        paths : iterable of str
            These files.

        Raises
        ------
        UdlError
            Naming the file.
        """
        if self._path is None:
            return
        for path in paths:
            if os.path.realpath(path) == os.path.realpath(self._path):
                raise UdlError(message("list_over_input", list=self._path, path=path, advice=_NAME_IT))

    def __enter__(self) -> Diagnostics:
        if self._path:
            if self._path.lower().endswith(_READ):
                raise UdlError(message("list_named_as_input", list=self._path, advice=_NAME_IT))
            try:
                part = durable.new(f"{self._path}.part")
                file = open(part, "w", newline="", encoding="utf-8", errors="surrogateescape")
            except OSError as error:
                raise UdlError(message("cannot_be_written", path=self._path, reason=error.strerror)) from None
            self._file, self._writer = file, csv.writer(file)
            self._writer.writerow(["subject", "level", "what"])
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._file is None:
            return
        try:
            self._file.close()
            if kind is None:
                durable.replace(f"{self._path}.part", str(self._path))
            else:
                os.remove(f"{self._path}.part")
        except OSError as error:
            raise UdlError(message("cannot_be_written", path=self._path, reason=error.strerror)) from None

    def error(self, subject: str, sentence: Message) -> None:
        """Tell of something that keeps the set from being aligned.

        Parameters
        ----------
        subject : str
            One of SUBJECTS.
        sentence : Message
            What is wrong.
        """
        self.errors += 1
        self._add(subject, "ERROR", sentence)

    def warn(self, subject: str, sentence: Message) -> None:
        """Tell of something that the user should know before an alignment, which goes on all the same.

        Parameters
        ----------
        subject : str
            One of SUBJECTS.
        sentence : Message
            What it is.
        """
        self.warnings += 1
        self._add(subject, "warning", sentence)

    def note(self, subject: str, sentence: Message) -> None:
        """Tell of something worth knowing that is no fault.

        Parameters
        ----------
        subject : str
            One of SUBJECTS.
        sentence : Message
            What it is.
        """
        self._add(subject, "note", sentence)

    def fact(self, subject: str, text: str) -> None:
        """Have the table say something of a subject of which nothing was found.

        Parameters
        ----------
        subject : str
            One of SUBJECTS.
        text : str
            What it says.
        """
        self._subjects[subject].fact = text

    def of(self, subject: str) -> tuple[str, int]:
        """What was found of a subject.

        Parameters
        ----------
        subject : str
            One of SUBJECTS.

        Returns
        -------
        str
            Its level: "ok", "note", "warning" or "ERROR".
        int
            How many of that level.
        """
        return self._subjects[subject].level, self._subjects[subject].count

    def _add(self, subject: str, level: str, sentence: Message) -> None:
        found = self._subjects[subject]
        if _RANK[level] > _RANK[found.level]:  # the table shows the worst, the list all
            found.level, found.count, found.sentences = level, 0, []
        if level == found.level:
            found.count += 1
            if len(found.sentences) < SHOWN:
                found.sentences.append(sentence)
        if self._file is not None:
            self._writer.writerow([subject, level, sentence])

    def text(self) -> str:
        """The table: subject, result, what was found; subjects that were not looked at are left out.

        Returns
        -------
        str
            Several lines.
        """
        lines = [f"{'Check':{_FIRST}}{'Result':{_SECOND}}What was found", "-" * _WIDTH]
        for name, found in self._subjects.items():
            if found.level == "ok" and not found.fact:
                continue
            sentences = found.sentences or [found.fact]
            if found.count > len(found.sentences):
                sentences = [*sentences, f"... and {found.count - len(found.sentences)} more"]
            result = found.level + (f" ({found.count})" if found.count > 1 else "")
            first = f"{SUBJECTS[name]:{_FIRST}}{result:{_SECOND}}"
            for sentence in sentences:
                lines += textwrap.wrap(sentence, _WIDTH, initial_indent=first, subsequent_indent=" " * len(first))
                first = " " * len(first)
        return "\n".join(lines)
