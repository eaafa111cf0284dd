"""The parser of a command, made from its settings: the one place where options are added to a parser. Only argparse is
imported here."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from scipion_udl.cli.printing import write_error
from scipion_udl.constants import SPEAKS_AS, __version__
from scipion_udl.messages import Message
from scipion_udl.messages import message as made
from scipion_udl.settings.option import Option, Settings, own_options
from scipion_udl.values import BadValue


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence instead of printing the whole usage.

    passes: options that it does not know are kept in ``passed``, for another command, instead of being refused.
    """

    passes = False
    error_to: str | None = None  # where an error is written for a program, of the arguments that are being parsed

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse the words of a command line.

        Parameters
        ----------
        args : sequence of str, optional
            The words; None for those of this process.
        namespace : argparse.Namespace, optional
            To be filled; None for a new one.

        Returns
        -------
        argparse.Namespace
            What was parsed.
        list of str
            What was not known; none where ``passes`` keeps it in ``passed``.
        """
        Parser.error_to = _behind("--error-to", args or ())
        if args is not None and "" in args:  # --model "" would train a new one without a word
            self.error("one of the arguments is empty, as of a variable that was not set: give it, or leave it out")
        parsed, rest = super().parse_known_args(args, namespace or argparse.Namespace())
        if not self.passes:
            return parsed, rest
        parsed.passed = tuple(rest)
        return parsed, []

    def error(self, message: str) -> None:  # type: ignore[override]
        """End the program with exit code 2.

        Parameters
        ----------
        message : str
            What is wrong, in argparse's words.

        Raises
        ------
        SystemExit
            Always.
        """
        from scipion_udl.compute.launch import is_first

        if is_first():
            write_error(self.error_to, _message_of(message))
        speaker = os.environ.get(SPEAKS_AS)
        name = f"scipion-udl {speaker}" if speaker else self.prog
        self.exit(2, f"{name}: {message}; see {self.prog} --help\n" if is_first() else None)


def _behind(flag: str, args: Sequence[str]) -> str | None:
    """The argument behind a flag; None where there is none."""
    return next((value for one, value in zip(args, args[1:]) if one == flag), None)


def _message_of(text: str) -> Message:
    """What argparse says is wrong with the arguments: of an option's value, where it tells which option's."""
    error = sys.exc_info()[1]
    if isinstance(error, argparse.ArgumentError) and (error.argument_name or "").startswith("--"):
        option = str(error.argument_name).split("/")[0]
        return made("option_value", option=option, problem=error.message)
    return made("arguments", problem=text)


class _Help(argparse.HelpFormatter):
    """Wide enough for the options to stand beside their text; older flags are not shown."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        older, shown = getattr(action, "aliases", ()), action.option_strings
        action.option_strings = [flag for flag in shown if flag not in older]
        try:
            return super()._format_action_invocation(action)
        finally:
            action.option_strings = shown


def new_parser(prog: str, description: str, epilog: str) -> Parser:
    """The parser of the program, which commands are added to; it tells the version.

    Parameters
    ----------
    prog : str
        The program's name.
    description : str
        What it does.
    epilog : str
        The last line of the help.

    Returns
    -------
    Parser
        Without commands.
    """
    parser = Parser(prog=prog, description=description, epilog=epilog)
    parser.add_argument("--version", action="version", version=f"{prog} {__version__}")
    return parser


def add_command(
    commands: argparse._SubParsersAction[Parser], name: str, text: str, more: str, settings: type[Settings]
) -> Parser:
    """Add a command, with the options of its settings.

    Parameters
    ----------
    commands : argparse subparsers action
        What commands are added to.
    name : str
        The command.
    text : str
        What it does, in a line.
    more : str
        The rest of its description.
    settings : type of Settings
        Its options.

    Returns
    -------
    Parser
        That of the command.
    """
    parser = commands.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}. {more}", formatter_class=_Help
    )
    headed: dict[str, argparse._ArgumentGroup] = {}
    exclusive: dict[str, argparse._MutuallyExclusiveGroup] = {}
    for family in settings.families():
        place: argparse._ActionsContainer = parser
        if family.GROUP is not None:
            title = family.GROUP.title
            if title not in headed:
                headed[title] = parser.add_argument_group(title, family.GROUP.description)
            place = headed[title]
        for told in own_options(family):
            if told.exclusive and told.exclusive not in exclusive:
                exclusive[told.exclusive] = place.add_mutually_exclusive_group()
            _add(exclusive[told.exclusive] if told.exclusive else place, told)
    return parser


def _add(place: argparse._ActionsContainer, told: Option) -> None:
    """One option in its place of a parser."""
    words: dict[str, Any] = {"help": argparse.SUPPRESS if told.hidden else told.help}
    if told.is_flag:
        words["action"] = "store_true"
    else:
        words |= {"default": told.default if told.flags else None, "metavar": told.metavar, "nargs": told.count}
        words |= {"type": _type_of(told.take), "choices": list(told.choices) or None}
    if not told.flags:
        place.add_argument(told.name, **words)
        return
    if told.required:
        words |= {"required": True, "default": None}
    action = place.add_argument(*told.flags, *told.aliases, dest=told.name, **words)
    action.aliases = told.aliases  # type: ignore[attr-defined]


def _type_of(take: Callable[[str], Any] | None) -> Callable[[str], Any] | None:
    """A kind of value as argparse takes it, which prints the sentence of an ArgumentTypeError behind the flag."""
    if take is None or isinstance(take, type):
        return take

    def taken(text: str) -> Any:
        try:
            return take(text)
        except BadValue as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return taken
