"""What the user is told has a code and values, and no program looks into a sentence."""

from __future__ import annotations

import ast
import re
import string
from collections import Counter
from pathlib import Path

import pytest

from scipion_udl.messages.sentence import TABLES, TEXTS
from scipion_udl.settings.commands import COMMANDS

PACKAGE = Path(__file__).resolve().parents[2]
TELLING = {"warn", "note", "on_issue", "_warn", "error"}  # what takes a message, by its last argument or its first
LOOKING = {"startswith", "endswith", "replace", "find", "index", "partition", "rpartition", "split", "count"}
# Sentences of others, which have no codes: PyTorch's of a full memory, and Scipion's of an empty question.
OF_OTHERS = {"out of memory", "can't allocate memory", "cannot be EMPTY."}


def modules():
    """Each module of the package but tests and messages: its path within the package, and what it says."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith(("tests/", "messages/")):
            yield name, ast.parse(path.read_text("utf-8"))


def calls(*names):
    """The calls of functions and methods of these names: where, and the call."""
    for name, tree in modules():
        for node in ast.walk(tree):
            called = getattr(node, "func", None)
            if getattr(called, "id", getattr(called, "attr", "")) in names:
                yield f"{name}:{node.lineno}", node


def text_of(node):
    """The text of a string constant, "" of anything else."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def fields_of(template):
    """The values that a template names; options it calls are none, but for the value behind one (--ctf=way)."""
    named = {field for _, field, _, _ in string.Formatter().parse(template) if field}
    return {field.partition("=")[2] if field[:2] == "--" else field for field in named} - {""}


def test_no_code_stands_twice():
    found = Counter()
    for path in sorted((PACKAGE / "messages").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "TEXTS":
                found.update(text_of(key) for key in node.value.keys)
    assert set(found) == set(TEXTS)
    assert len(TEXTS) > 300
    assert [code for code, count in found.items() if count > 1] == []
    assert [code for code in TEXTS if not re.fullmatch(r"[a-z][a-z0-9_]*", code)] == []


def test_every_code_is_used_and_every_one_that_is_used_has_a_row():
    words = {text_of(node) for _, tree in modules() for node in ast.walk(tree)}
    assert sorted(set(TEXTS) - words) == []
    used = {text_of(call.args[0]) for _, call in calls("message", "made") if call.args} - {""}
    assert sorted(used - set(TEXTS)) == []


def test_every_message_is_given_the_values_that_its_sentence_names():
    wrong = []
    for where, call in calls("message", "made"):
        code = text_of(call.args[0]) if call.args else ""
        given = {one.arg for one in call.keywords}
        if code in TEXTS and given != fields_of(TEXTS[code]):
            wrong.append((where, code, given ^ fields_of(TEXTS[code])))
    assert wrong == []


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__.rpartition(".")[2])
def test_a_sentence_spells_no_option_of_a_command_as_plain_text(table):
    commands = re.compile(r"`[^`]*`|'align --append-to [^']*'|--nproc-per-node")
    spelled = {
        code: text for code, text in table.TEXTS.items() if re.search(r"(?<![{\w-])--\w", commands.sub("", text))
    }
    assert spelled == {}


def test_sentences_name_options_that_there_are_by_their_public_names():
    public = {one.flag for settings in COMMANDS.values() for one in settings.options() if one.flags}
    named = {
        code: field.partition("=")[0].partition(" ")[0]
        for code, text in TEXTS.items()
        for _, field, _, _ in string.Formatter().parse(text)
        if field and field.startswith("--")
    }
    assert {code: flag for code, flag in named.items() if flag not in public} == {}


def test_errors_are_made_of_messages():
    plain = [
        where
        for where, call in calls("UdlError", "refuse", *TELLING)
        if any(isinstance(one, (ast.JoinedStr, ast.BinOp)) or " " in text_of(one) for one in call.args[-1:])
    ]
    # A parser's error is argparse's sentence, and the log puts the name of a class before one that it is given.
    assert [where for where in plain if not where.startswith(("cli/parser.py", "pipelines/run.py"))] == []


def test_nothing_is_found_by_the_words_of_a_sentence():
    found = []
    for name, tree in modules():
        for node in ast.walk(tree):
            found += [f"{name}:{node.lineno}: {what}" for what in searched(node) if what not in OF_OTHERS]
    assert found == []


def searched(node):
    """What a piece of program looks for in a sentence: words with a blank between them, or anything in str(error)."""
    if isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.In, ast.NotIn)):
        whole = node.comparators[0]
        if isinstance(whole, ast.Call) and getattr(whole.func, "id", "") == "str":
            yield "in str()"
        yield from words_in(node.left)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        regular = getattr(node.func.value, "id", "") == "re"
        if (regular and node.func.attr in ("sub", "search", "match", "findall")) or node.func.attr in LOOKING:
            for one in node.args[:1]:
                yield from words_in(one)


def words_in(node):
    """Two words or more that a constant is of."""
    for one in ast.walk(node):
        if re.search(r"[A-Za-z]{2,}[,.:;]? [A-Za-z]{2,}", text_of(one)):
            yield text_of(one)
