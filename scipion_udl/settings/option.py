"""What one option is: told once, as a field of a dataclass, for the command line, the Scipion forms and the jobs.

A family is a frozen dataclass of options that belong together (:class:`Settings`); a command's settings are families
put together, with ``OFFERS``, those that its parser shows. ``cli/parser.py`` makes the parsers of it,
``protocols/asking.py`` the forms. Runs on Python 3.8, without torch, argparse or Scipion.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Callable, ClassVar, Mapping, Sequence, TypeVar

from scipion_udl.values import Number, Whole

AUTOMATIC = -1  # what a question of a form says that leaves its value to the program
_SIGNS = {"A": "Å", "A/px": "Å/px", "A^2": "Å²", "micrometers": "µm"}  # of units, in forms
_Settings = TypeVar("_Settings", bound="Settings")
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Question:
    """A question of a form.

    name: of the parameter, which saved projects hold, so it never changes. label: without the unit. kind: "whole",
    "number", "yes" (or no), "choice", "text", "file", "object", "objects" (several) or "label"; "" for that of the
    option it asks for. choices: labels of a choice, answers: what each of them is to the program, None for what is left
    out, either as a tuple or as what gives it; () for the option's choices. limits: the range that the form holds the
    answer to, None where it is checked elsewhere. inverted: whether Yes leaves the option out. of: the classes of
    Scipion that an object may have, with commas; object_condition: what else it must fulfil. condition: when it is
    shown, in Scipion's words.
    """

    name: str
    label: str = ""
    help: str = ""
    kind: str = ""
    default: Any = None
    choices: Any = ()
    answers: Any = ()
    unit: str = ""
    limits: Number | Whole | None = None
    inverted: bool = False
    of: str = ""
    object_condition: str = ""
    may_be_empty: bool = False
    condition: str = ""
    advanced: bool = False
    important: bool = False

    @property
    def full_label(self) -> str:
        """The label with the unit, as forms show it."""
        return f"{self.label} ({_SIGNS.get(self.unit, self.unit)})" if self.unit else self.label

    def but(self, **changes: Any) -> Question:
        """The same question with other words, choices or conditions.

        Parameters
        ----------
        **changes : Any
            Fields that are changed.

        Returns
        -------
        Question
            A new one.
        """
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True)
class Option:
    """An option of the command line, and the question of a form that asks for it.

    name: of the field; flags: as written on the command line, () for an argument that goes by its place; aliases: older
    flags that still work and are not shown. take: makes the value of a text, None for a text that stays as it is.
    is_flag: present or not. exclusive: options of one such name exclude each other. question: None where no form asks;
    said: what forms call it in sentences, None for the label of its question, "" where they have no name for it. help
    and choices may be functions that give them: a network that was registered is among the choices from then on.
    """

    name: str
    help: Any
    default: Any = None
    flags: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    take: Callable[[str], Any] | None = None
    choices: Any = ()
    metavar: str | tuple[str, ...] | None = None
    count: int | str | None = None
    is_flag: bool = False
    by_place: bool = False
    required: bool = False
    hidden: bool = False
    exclusive: str = ""
    question: Question | None = None
    said: str | None = None

    @property
    def unit(self) -> str:
        """The unit of its value, "" where it has none or the value is no number."""
        return getattr(self.take, "unit", "")

    @property
    def limits(self) -> Number | Whole | None:
        """The range of its value; None where it is no number."""
        return self.take if isinstance(self.take, (Number, Whole)) else None

    @property
    def flag(self) -> str:
        """As it is written on the command line: the longest of its flags."""
        return self.flags[-1]

    def words(self, value: object) -> list[str]:
        """The option as words of a command line.

        Parameters
        ----------
        value : object
            Its value.

        Returns
        -------
        list of str
            None where the value leaves it out (None or False).
        """
        if value is None or value is False:
            return []
        if value is True:
            return [self.flag]
        values = value if isinstance(value, (list, tuple)) else [value]
        return [self.flag, *(f"{one:g}" if isinstance(one, float) else str(one) for one in values)]

    def answer(self, given: Any) -> Any:
        """The value that an answer in the form stands for.

        Parameters
        ----------
        given : Any
            The answer: of a choice its number, from 0.

        Returns
        -------
        Any
            None where it leaves the option out.
        """
        question = self.question
        assert question is not None
        if question.kind == "choice":
            return question.answers[given]
        if question.kind == "yes":
            return bool(given) != question.inverted
        if question.default == AUTOMATIC and self.limits is not None and not self.limits.holds(given):
            return None
        if question.kind == "text" and not (given or "").strip():
            return None
        return given

    def sayings(self) -> list[tuple[str, str]]:
        """What messages call it and what forms do.

        Returns
        -------
        list of (str, str)
            Pairs; those with a value first. None where forms have no name for it.
        """
        question, said = self.question, self.said
        if not self.flags or said == "" or (said is None and question is None):
            return []
        pairs = []
        if question is not None:
            label = f"*{question.label}*"
            if said is None:
                said = f"{label}: No" if question.inverted else label
            shown = zip(question.answers, question.choices) if self.choices else ()
            pairs = [(f"{self.flag} {answer}", f"{label}: {choice}") for answer, choice in shown if answer]
        return [*pairs, (self.flag, str(said))]


@dataclass(frozen=True)
class Group:
    """A heading of the command line's help."""

    title: str
    description: str | None = None


def option(help: str | Callable[[], str], default: Any = None, question: Question | None = None, **more: Any) -> Any:
    """A field of a family.

    Parameters
    ----------
    help : str or callable
        What the help says, or what gives it.
    default : Any, optional
        Its value where nobody gives one.
    question : Question, optional
        That a form asks for it.
    **more : Any
        Of :class:`Option`. The flag is the field's name unless ``flags`` says otherwise.

    Returns
    -------
    Any
        A dataclass field, which may stand for a value of any type.
    """
    return field(default=default, metadata={"option": Option("", help, default, question=question, **more)})


def flag(help: str, question: Question | None = None, **more: Any) -> Any:
    """The same for an option that is present or not.

    Parameters
    ----------
    help : str or callable
        What the help says, or what gives it.
    question : Question, optional
        That a form asks for it.
    **more : Any
        Of :class:`Option`.

    Returns
    -------
    Any
        A dataclass field, False where nobody gives it.
    """
    return option(help, False, question, is_flag=True, **more)


def variant(family: type[Settings], name: str, question: Mapping[str, Any] | None = None, **changes: Any) -> Any:
    """An option of another family as a command tells it that means something slightly different by it: with another
    help, say.

    Parameters
    ----------
    family : type of Settings
        The other family.
    name : str
        Of the option's field.
    question : mapping of str to Any, optional
        What is changed in the question of the form.
    **changes : Any
        What is changed in the option.

    Returns
    -------
    Any
        A dataclass field.
    """
    base = next(field for field in dataclasses.fields(family) if field.name == name).metadata["option"]
    if question is not None:
        changes["question"] = base.question.but(**question)
    changed = dataclasses.replace(base, name="", **changes)
    return field(default=changed.default, metadata={"option": changed})


@dataclass(frozen=True)
class Settings:
    """The options of a command, as values; base of families and of what is put together of them.

    OFFERS: the families whose options the command has, in the order of its help; a family offers itself. GROUP: the
    heading that the options of a family stand under, None for no heading of their own.
    """

    OFFERS: ClassVar[tuple[type[Settings], ...]] = ()
    GROUP: ClassVar[Group | None] = None

    debug: bool = flag("show where in the program an error came from")
    error_to: str | None = option("", hidden=True, metavar="FILE.json")  # where an error is written for a program

    @classmethod
    def families(cls) -> tuple[type[Settings], ...]:
        """Those that are offered.

        Returns
        -------
        tuple of types of Settings
            :class:`Settings`, with what all commands have, at the head.
        """
        return (Settings, *(cls.OFFERS or (cls,)))

    @classmethod
    def options(cls) -> tuple[Option, ...]:
        """All options of the command.

        Returns
        -------
        tuple of Option
            In the order of its help.
        """
        return tuple(one for family in cls.families() for one in own_options(family))

    @classmethod
    def option(cls, name: str) -> Option:
        """One of the command's options.

        Parameters
        ----------
        name : str
            Of its field.

        Returns
        -------
        Option
            Complete.

        Raises
        ------
        KeyError
            Where the command does not have it.
        """
        for one in cls.options():
            if one.name == name:
                return one
        raise KeyError(f"{cls.__name__} has no option {name}")

    @classmethod
    def question(cls, name: str) -> Question:
        """The question that asks for an option.

        Parameters
        ----------
        name : str
            Of the option's field.

        Returns
        -------
        Question
            As the form asks it.

        Raises
        ------
        KeyError
            Where no form asks for it.
        """
        asked = cls.option(name).question
        if asked is None:
            raise KeyError(f"no form asks for {name} of {cls.__name__}")
        return asked

    @classmethod
    def of(cls: type[_Settings], values: Mapping[str, Any]) -> _Settings:
        """The settings of values by name, such as the parser gives.

        Parameters
        ----------
        values : mapping of str to Any
            Those of other names are left aside.

        Returns
        -------
        Settings
            Of this kind.
        """
        names = {one.name for one in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in names})

    def values(self) -> dict[str, Any]:
        """The values of the options that the command has.

        Returns
        -------
        dict of str to Any
            By name, in the order of its help.
        """
        return {one.name: getattr(self, one.name) for one in self.options()}

    def but(self: _Settings, **changes: Any) -> _Settings:
        """The same settings with other values.

        Parameters
        ----------
        **changes : Any
            Options that are changed, by name.

        Returns
        -------
        Settings
            Of the same kind.
        """
        return dataclasses.replace(self, **changes)


def given(value: _Value | None) -> _Value:
    """A value that was given, or was filled in where it was not: what a type checker cannot know.

    Parameters
    ----------
    value : Any or None
        The value.

    Returns
    -------
    Any
        The same.

    Raises
    ------
    AssertionError
        For None.
    """
    assert value is not None, "nothing was given, and nothing filled in"
    return value


def own_options(family: type[Settings]) -> list[Option]:
    """The options of one family, with names, flags and the kinds of their questions filled in.

    Parameters
    ----------
    family : type of Settings
        The family.

    Returns
    -------
    list of Option
        In their order.
    """
    return [
        _named(one.metadata["option"], one.name)
        for one in dataclasses.fields(family)
        if "option" in one.metadata and (family is Settings or one.name not in _COMMON)
    ]


_COMMON = {one.name for one in dataclasses.fields(Settings)}


def _named(told: Option, name: str) -> Option:
    flags = () if told.by_place else told.flags or (f"--{name.replace('_', '-')}",)
    told = dataclasses.replace(told, name=name, flags=flags, help=_now(told.help), choices=_now(told.choices))
    question = told.question
    return told if question is None else dataclasses.replace(told, question=_completed(question, told))


def _now(value: Any) -> Any:
    """A value, or what a function that gives it says now."""
    return value() if callable(value) else value


def _completed(question: Question, asked: Option) -> Question:
    """A question with what follows from its option: kind, unit, and the answers of a choice."""
    question = question.but(choices=_now(question.choices), answers=_now(question.answers))
    kind = question.kind
    if not kind:
        kind = "choice" if question.choices else "yes" if asked.is_flag else "text"
        if kind == "text":
            kind = "whole" if isinstance(asked.take, Whole) else "number" if isinstance(asked.take, Number) else kind
    answers: Sequence[Any] = question.answers or (asked.choices if kind == "choice" else ())
    unit = question.unit or (asked.unit if kind in ("whole", "number") else "")
    return question.but(kind=kind, unit=unit, answers=tuple(answers))
