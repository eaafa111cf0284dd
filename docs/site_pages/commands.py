"""The reference of the command line, a page for each command, made from settings/."""

from __future__ import annotations

import argparse
import html
import re
from pathlib import Path

from scipion_udl.cli.commands import COMMANDS, Command, build_parser
from scipion_udl.settings.option import Option, own_options
from scipion_udl.values import Number, Whole
from site_pages.pages import save

_MADE = "<!-- Made from scipion_udl/settings by docs/site_pages/commands.py: change it there. -->\n"


def write(folder: Path) -> None:
    """Write ``index.md`` and a page for each command into ``folder``, made where it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    parsers = _parsers()
    for command in COMMANDS:
        save(folder / f"{command.name}.md", _page(command, parsers[command.name]))
    rows = "\n".join(f"| [`{c.name}`]({c.name}.md) | {_sentence(c.text)} |" for c in COMMANDS)
    names = "\n".join(c.name for c in COMMANDS)
    save(
        folder / "index.md",
        f"{_MADE}# Every command, every option\n\n"
        "What each option means, in which unit and range, and what it is where you leave it out. "
        "[The command line](../../command-line.md) explains what they are for, with examples.\n\n"
        f"| command | |\n| --- | --- |\n{rows}\n\n```{{toctree}}\n:hidden:\n\n{names}\n```\n",
    )


def _parsers() -> dict[str, argparse.ArgumentParser]:
    for action in build_parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    raise RuntimeError("the parser has no commands")


def _page(command: Command, parser: argparse.ArgumentParser) -> str:
    usage = re.sub(r"^usage: ", "", parser.format_usage()).rstrip()
    parts = [_MADE, f"# scipion-udl {command.name}\n", f"{_sentence(command.text)} {command.more}\n"]
    parts.append(f"```text\n{usage}\n```\n")
    headed: dict[str, list[str]] = {}
    said: dict[str, str] = {}
    for family in command.settings.families():
        group = family.GROUP
        title = group.title[0].upper() + group.title[1:] if group else "Input, output, and what is done"
        said.setdefault(title, (group.description or "") if group else "")
        headed.setdefault(title, []).extend(_row(command.name, one) for one in own_options(family) if not one.hidden)
    for title, rows in headed.items():
        if rows:
            about = f"{_sentence(said[title])}\n\n" if said[title] else ""
            parts.append(f"## {title}\n\n{about}{_table(rows)}\n")
    return "\n".join(parts)


def _table(rows: list[str]) -> str:
    head = "<thead><tr><th>option</th><th>value</th><th>default</th><th>what it does</th></tr></thead>"
    return f'<table class="options table">{head}<tbody>\n{"".join(rows)}</tbody></table>\n'


def _row(command: str, one: Option) -> str:
    names = "<br>".join(f"<code>{html.escape(flag)}</code>" for flag in one.flags) or (
        f"<code>{html.escape(str(one.metavar or one.name))}</code>"
    )
    anchor = f"{command}-{one.name}".replace("_", "-")
    cells = (names, _value(one), _default(one), html.escape(one.help.replace("%%", "%"), quote=False))
    return f'<tr id="{anchor}">' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>\n"


def _value(one: Option) -> str:
    """What it takes: words, or a kind of number with its range and unit."""
    if one.is_flag:
        return ""
    if one.choices:
        return " or ".join(f"<code>{html.escape(str(choice))}</code>" for choice in one.choices)
    metavar = one.metavar if isinstance(one.metavar, str) else " ".join(one.metavar or ())
    text = f"<code>{html.escape(metavar)}</code>" if metavar and one.flags else ""
    limits = one.limits
    if limits is None:
        return text
    kind = "whole number" if isinstance(limits, Whole) else "number"
    return f"{text} {kind}{_range(limits)}{f', {limits.unit}' if limits.unit else ''}".strip()


def _range(limits: Number | Whole) -> str:
    if limits.has_end:
        return f" from {limits.least:g} to {limits.most:g}"
    if isinstance(limits, Number) and limits.above:
        return f" above {limits.least:g}"
    return f" of {limits.least:g} or more"


def _default(one: Option) -> str:
    if one.required:
        return "must be given"
    if one.is_flag or one.default is None:
        return ""
    if not one.flags:
        return "must be given" if one.count in (None, "+") else ""
    value = one.default
    words = value if isinstance(value, (tuple, list)) else [value]
    text = " ".join(f"{word:g}" if isinstance(word, float) else str(word) for word in words)
    return f"<code>{html.escape(text)}</code>" if text else ""


def _sentence(text: str) -> str:
    text = text[0].upper() + text[1:]
    return text if text.endswith(".") else f"{text}."
