"""What the jobs of CCP-EM's pipeliner ask: options of the command line as ``settings/`` tells them, and back again.

Imports nothing of the pipeliner, so that it can be read and tested without.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scipion_udl.settings.commands import AlignSettings, ClassifySettings, SelectSettings
from scipion_udl.settings.option import AUTOMATIC, Option, Settings
from scipion_udl.values import BadValue, Number, Whole

MOST_CLASSES = 50  # that classify makes where nobody says how many
GROUPS = {False: "Main", True: "Expert options"}


@dataclass(frozen=True)
class Asked:
    """An option as a job asks for it.

    option: of the command line; label: without a colon; kind: "whole", "number", "yes" (or no), "choice", "text" or
    "file"; default: None for a number that is left to the program, a label for a choice; choices: labels; advanced:
    whether it is among the expert options; goes_on: whether it may be changed when a job goes on.
    """

    option: Option
    label: str
    kind: str
    default: Any
    choices: tuple[str, ...] = ()
    advanced: bool = False
    goes_on: bool = False

    @property
    def name(self) -> str:
        """In job.star: that of the option's field."""
        return self.option.name

    @property
    def help(self) -> str:
        """What the command line says of it, and its flag, for those who write scripts."""
        text = str(self.option.help)
        return f"{text[0].upper()}{text[1:]}. On the command line: {self.option.flag}."

    def problem(self, given: Any) -> str:
        """What is wrong with an answer; "" where nothing is."""
        if self.option.take is None or self.kind in ("yes", "choice", "file") or given in (None, "", AUTOMATIC):
            return ""
        try:
            self.option.take(str(given))
        except BadValue as error:
            return str(error)
        return ""

    def words(self, given: Any) -> list[str]:
        """An answer as words of the command line; none where it leaves the option to the program."""
        if given is None or given == "" or (given == self.default and self.option.default is None):
            return []
        if self.option.question is None:
            return self.option.words(given)
        answer = self.choices.index(given) if self.kind == "choice" else given
        return self.option.words(self.option.answer(answer))


@dataclass(frozen=True)
class JobQuestions:
    """What one job asks. settings: of the command that it runs; names: of the options, in their order; goes_on: those
    of them that may be changed when the job goes on."""

    settings: type[Settings]
    names: tuple[str, ...]
    goes_on: tuple[str, ...] = ("gpu",)

    def asked(self) -> list[Asked]:
        """The options, as the job asks for them."""
        return [asked(self.settings.option(name), name in self.goes_on) for name in self.names]


_PARTICLE = ("diameter", "max_shift", "polarity")
_EXPERT = ("model", "high_resolution_limit", "low_resolution_limit", "ctf", "no_refine", "seed")
_CHOICE = ("min_quality", "min_particles", "max_resolution", "balance", "keep", "chosen", "recentre", "min_distance")
ALIGN = JobQuestions(
    AlignSettings, (*_PARTICLE, "mirror", "by_class", "write_stack", "gpu", "start_poses", "reference", *_EXPERT)
)
CLASSIFY = JobQuestions(
    ClassifySettings,
    ("classes", *_PARTICLE, "gpu", "references", "fixed_references", "training_subset", "starts", *_EXPERT),
)
SELECT = JobQuestions(SelectSettings, (*_CHOICE, "diameter", "gpu"), goes_on=(*_CHOICE, "gpu"))


def asked(option: Option, goes_on: bool = False) -> Asked:
    """An option as a job asks for it: in the words of its question in the forms, or of its flag where none asks."""
    question = option.question
    if question is None:
        whole, number = isinstance(option.take, Whole), isinstance(option.take, Number)
        kind = "yes" if option.is_flag else "whole" if whole else "number" if number else "text"
        default = option.default if kind in ("yes", "text") else None
        return Asked(option, _named(option), kind, default, goes_on=goes_on)
    kind = "file" if question.kind == "object" else question.kind
    default, choices = question.default, tuple(question.choices)
    if kind == "choice":
        default = choices[default]
    elif kind in ("file", "text"):
        default = default or ""
    elif kind in ("whole", "number") and default == AUTOMATIC:
        default = None
    label = _with_unit(question.label, question.unit)
    return Asked(option, label, kind, default, choices, question.advanced or kind == "file", goes_on)


def _named(option: Option) -> str:
    """A label made of what forms call an option in sentences, or of its flag."""
    said = (option.said or "").strip("*")
    words = said or option.flag.strip("-").replace("-", " ")
    return _with_unit(f"{words[0].upper()}{words[1:]}", option.unit)


def _with_unit(label: str, unit: str) -> str:
    return f"{label} ({unit})" if unit else label
