"""Options as keywords of a function, by the names and with the ranges and defaults of the command line."""

from __future__ import annotations

import difflib
from typing import Any, Collection, Mapping, TypeVar

from scipion_udl.settings.option import Option, Settings
from scipion_udl.values import BadValue

_Settings = TypeVar("_Settings", bound=Settings)
# What is of files and of the screen, which a function does not write.
_OF_COMMANDS = ("debug", "output", "overwrite", "resume", "quiet", "verbose")


def keywords_of(kind: type[Settings], without: Collection[str] = ()) -> list[Option]:
    """The options of a command that a function may have as keywords: all but those of files and of the screen.

    Parameters
    ----------
    kind : type of Settings
        Those of the command.
    without : collection of str, optional
        Options that the function does without.

    Returns
    -------
    list of Option
        In the order of the command's help.
    """
    return [one for one in kind.options() if one.name not in (*_OF_COMMANDS, *without)]


def settings_of(
    function: str, kind: type[_Settings], keywords: Mapping[str, Any], without: Collection[str] = (), **own: Any
) -> _Settings:
    """The settings of a command from the keywords of a function.

    Parameters
    ----------
    function : str
        Its name, for what is said of a fault.
    kind : type of Settings
        Those of the command.
    keywords : mapping of str to Any
        As the function got them.
    without : collection of str, optional
        Options that the function does without.
    **own : Any
        What the function has settled itself.

    Returns
    -------
    Settings
        Of that kind.

    Raises
    ------
    TypeError
        For a keyword that there is not, naming the nearest one.
    ValueError
        For a value that the option does not take.
    """
    offered = keywords_of(kind, without)
    known = {keyword_of(one): one for one in offered}
    older = {name: one for one in offered for name in (one.name, *map(_as_keyword, one.aliases)) if name not in known}
    for name in keywords:
        if name not in known and name not in older:
            near = difflib.get_close_matches(name, [*known, *own], 1, 0.5)
            hint = f": did you mean {near[0]}?" if near else f"; it has {', '.join(sorted(known))}"
            raise TypeError(f"{function}() has no option {name}{hint}")
    every = older | known
    values = {every[name].name: _checked(function, every[name], value) for name, value in keywords.items()}
    return kind.of({**values, **own})


def keyword_of(option: Option) -> str:
    """What a function calls an option.

    Parameters
    ----------
    option : Option
        One of the command line.

    Returns
    -------
    str
        "high_resolution_limit" for --high-resolution-limit; older names are taken, too.
    """
    return _as_keyword(option.flag) if option.flags else option.name


def _as_keyword(flag: str) -> str:
    return flag.lstrip("-").replace("-", "_")


def _checked(function: str, option: Option, value: Any) -> Any:
    """A value as the command line would take it. Raises ValueError where it would not."""
    if value is None:
        return option.default
    try:
        if option.is_flag:
            if not isinstance(value, bool):
                raise BadValue(f"{value!r} is neither True nor False")
            return value
        if option.choices:
            if value not in option.choices:
                raise BadValue(f"{value!r} is none of {', '.join(map(repr, option.choices))}")
            return value
        if option.count is not None and not isinstance(value, str):
            return [_taken(option, one) for one in value]
        return _taken(option, value)
    except (BadValue, TypeError) as error:
        raise ValueError(f"{function}(): {keyword_of(option)}: {error}") from None


def _taken(option: Option, value: Any) -> Any:
    if option.take is None or isinstance(value, (tuple, list)):
        return value
    return option.take(value if isinstance(value, str) else repr(value) if isinstance(value, float) else str(value))
