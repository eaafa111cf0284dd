"""One thing that the user is told: its code, its values, and the sentence that is made of them.

The sentences stand as templates in the modules beside this one, a row a code. Programs go by codes and values, and
never look into a sentence: that may be worded otherwise tomorrow, and forms word it in their own way today. Runs on
Python 3.8, and imports nothing heavy.
"""

from __future__ import annotations

import string
from typing import Any, Callable, Mapping, Sequence

from scipion_udl.messages import alignment, check, comparison, files, quality, runs, scipion, simulation, training

TABLES = (files, training, alignment, quality, comparison, runs, check, simulation, scipion)
TEXTS: dict[str, str] = {code: text for table in TABLES for code, text in table.TEXTS.items()}

MOST_NAMED = 10  # of what a sentence lists


class Message(str):
    """A sentence that knows its code and its values; to all that prints or writes it, it is a text like any other.

    code: of the row in the tables; values: by name, as JSON holds them.
    """

    code: str
    values: dict[str, Any]

    def __new__(cls, code: str, values: Mapping[str, Any]) -> Message:
        """Make the sentence. Raises KeyError for a code that has no row, or a value that the template asks for."""
        plain = {name: _plain(value) for name, value in values.items()}
        made = super().__new__(cls, _Sentence().vformat(TEXTS[code], (), plain))
        made.code, made.values = code, plain
        return made

    def __reduce__(self) -> tuple[type[Message], tuple[str, dict[str, Any]]]:
        return Message, (self.code, self.values)  # as it goes to another process

    def said(self, call: Callable[[str], str]) -> str:
        """The sentence with options called otherwise than on the command line.

        Parameters
        ----------
        call : callable
            Given an option, as "--max-shift" or, with a value, "--ctf none", says what it is called.

        Returns
        -------
        str
            The sentence.
        """
        return _Sentence(call).vformat(TEXTS[self.code], (), self.values)

    def entry(self) -> dict[str, Any]:
        """As JSON files have it.

        Returns
        -------
        dict
            ``code``, ``values`` and ``text``.
        """
        return {"code": self.code, "values": self.values, "text": str(self)}


def message(code: str, **values: Any) -> Message:
    """The message of a code.

    Parameters
    ----------
    code : str
        Of a row in the tables.
    **values
        Those that its template names.

    Returns
    -------
    Message
        The sentence, which knows both.
    """
    return Message(code, values)


def some_of(names: Sequence[object], most: int = MOST_NAMED) -> str:
    """The first of some names, as sentences list them.

    Parameters
    ----------
    names : sequence
        What is named.
    most : int, optional
        How many are.

    Returns
    -------
    str
        With commas between; says where there are others.
    """
    return ", ".join(map(str, names[:most])) + (" and others" if len(names) > most else "")


def entries(warnings: Sequence[Message], notes: Sequence[Message] = ()) -> list[dict[str, Any]]:
    """Messages as summary.json has them.

    Parameters
    ----------
    warnings, notes : sequence of Message
        What a run has said of either level.

    Returns
    -------
    list of dict
        ``level`` ("warning" or "note"), ``code``, ``values`` and ``text`` of each.
    """
    levels = (("warning", warnings), ("note", notes))
    return [{"level": level, **one.entry()} for level, some in levels for one in some]


def restored(entry: Mapping[str, Any]) -> str:
    """A message that was written by :meth:`Message.entry`.

    Parameters
    ----------
    entry : mapping
        ``code``, ``values`` and ``text``.

    Returns
    -------
    str
        The Message; its text alone where this version does not know its code, or knows other values of it.
    """
    try:
        return Message(entry["code"], entry["values"])
    except (KeyError, ValueError, TypeError, AttributeError):
        return str(entry.get("text", ""))


class _Sentence(string.Formatter):
    """Makes a sentence of a template.

    Beside ``{name}`` and ``{name:format}`` there are options, called as ``call`` says: ``{--max-shift}``; with a value
    ``{--ctf none}``, or with one of the message's values ``{--ctf=way}``. ``{names:options}`` is a value that is an
    option, with or without a value of its own, or a list of some; ``{before:given}`` a pair of an option and its value,
    None where it is left out and True where it has none.
    """

    def __init__(self, call: Callable[[str], str] = str) -> None:
        self._call = call

    def get_value(self, key: int | str, _: Any, kwargs: Mapping[str, Any]) -> Any:
        """The value of a field. Raises KeyError where there is none."""
        if isinstance(key, str) and key[:2] == "--":
            option, _, name = key.partition("=")
            return self._call(f"{option} {kwargs[name]}" if name else option)
        return kwargs[str(key)]

    def format_field(self, value: Any, format_spec: str) -> str:
        """A value as its format says."""
        if format_spec == "options":
            several = [value] if isinstance(value, str) else value
            return _listed([self._call(one) for one in several])
        if format_spec == "given":
            option, own = value
            if own is None or own is False:
                return f"no {self._call(option)}"
            return self._call(option if own is True else f"{option} {own}")
        return str(super().format_field(value, format_spec))


def _listed(words: list[str]) -> str:
    """Some words: a, b and c."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _plain(value: Any) -> Any:
    """A value as JSON holds it: numbers of numpy as those of Python, paths and errors as their text."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)
