"""Forms of Scipion, made from questions, and what their answers are to the engine: the one place where parameters are
added to a form. Questions that ask for an option of the engine stand with it in ``settings/``."""

from __future__ import annotations

from typing import Any

from pyworkflow.protocol import LEVEL_ADVANCED, Form, Protocol, params

from scipion_udl.messages import Message
from scipion_udl.settings.commands import COMMANDS
from scipion_udl.settings.option import Question, Settings
from scipion_udl.values import Number, Whole

_CLASSES = {
    "whole": params.IntParam,
    "number": params.FloatParam,
    "yes": params.BooleanParam,
    "choice": params.EnumParam,
    "text": params.StringParam,
    "file": params.FileParam,
    "object": params.PointerParam,
    "objects": params.MultiPointerParam,
    "label": params.LabelParam,
}


def ask(form: Form, question: Question, **changes: Any) -> None:
    """Add a question to a form, or to a group of it; changes: what is otherwise than in the question."""
    question = question.but(**changes)
    form.addParam(question.name, _CLASSES[question.kind], **_words_for(question))


def ask_hidden(form: Form, question: Question) -> None:
    """Add a question that Scipion shows in a place of its own, such as that of the GPU."""
    form.addHidden(question.name, _CLASSES[question.kind], **_words_for(question))


def _words_for(question: Question) -> dict[str, Any]:
    """A question as Scipion takes it."""
    words: dict[str, Any] = {"label": question.full_label, "help": question.help, "default": question.default}
    if question.choices:
        words["choices"] = list(question.choices)
    if question.of:
        words["pointerClass"] = question.of
    if question.object_condition:
        words["pointerCondition"] = question.object_condition
    if question.may_be_empty:
        words["allowsNull"] = True
    if question.condition:
        words["condition"] = question.condition
    if question.advanced:
        words["expertLevel"] = LEVEL_ADVANCED
    if question.important:
        words["important"] = True
    if question.limits is not None:
        words["validators"] = [_validator(question.limits)]
    return words


def _validator(limits: Number | Whole) -> params.Validator:
    """What checks a number's range in a form."""
    if limits.has_end:
        most = f"{limits.most:g}" if isinstance(limits, Number) else limits.most
        return params.Range(limits.least, limits.most, f"must be from {limits.least:g} to {most}")
    if isinstance(limits, Number) and limits.above:
        return params.GT(limits.least, f"must be above {limits.least:g}")
    return params.GE(limits.least, f"must be {limits.least:g} or more")


def words_of(protocol: Protocol, settings: type[Settings], *names: str) -> list[str]:
    """Options of the engine as the form answers them, as words of a command line; those left out have none."""
    words = []
    for name in names:
        asked = settings.option(name)
        words += asked.words(asked.answer(getattr(protocol, settings.question(name).name).get()))
    return words


def _sayings(*first: type[Settings]) -> dict[str, str]:
    """What forms call an option, by what the command line calls it; of choices with the value, too. first: the command
    whose words go before those of others."""
    pairs: dict[str, str] = {}
    for settings in (*first, *COMMANDS.values()):
        for option in settings.options():
            for told, said in option.sayings():
                pairs.setdefault(told, said)
    return pairs


_SAYINGS = _sayings()


def in_words_of_the_form(told: str, settings: type[Settings] | None = None) -> str:
    """A message of the engine with the labels of the form in place of the command line's options; a text that is no
    message stays as it is. settings: of the command that says it, where another one means something else by the same
    option."""
    if not isinstance(told, Message):
        return told
    known = _SAYINGS if settings is None else _sayings(settings)

    def called(option: str) -> str:
        flag, _, value = option.partition(" ")
        return known.get(option) or f"{known.get(flag, flag)} {value}".rstrip()

    return told.said(called)
