"""Every option is told once, and what is made of it stands in one place each: parsers, forms, settings."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from scipion_udl.cli.commands import build_parser
from scipion_udl.cli.parser import add_command, new_parser
from scipion_udl.settings.commands import COMMANDS
from scipion_udl.settings.option import Option, Settings, option

PACKAGE = Path(__file__).resolve().parents[2]
# What makes parsers and forms, and nothing else does.
GENERATORS = {"add_argument": "cli/parser.py", "addParam": "protocols/asking.py", "addHidden": "protocols/asking.py"}
ABOVE = ("cli", "jobs", "protocols", "viewers", "tests")  # of the jobs, or beside the engine


def modules():
    """Each module of the package but its tests: its path within the package, and what it says."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith("tests/"):
            yield name, ast.parse(path.read_text("utf-8"))


def calls_of(tree, names):
    """The methods of these names that a module calls."""
    return [
        node.func.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in names
    ]


def test_options_are_added_to_parsers_and_parameters_to_forms_in_one_place_each():
    found = {(call, name) for name, tree in modules() for call in calls_of(tree, GENERATORS)}
    assert found == set(GENERATORS.items())


def test_nothing_below_the_jobs_knows_the_parsers_namespace():
    found = []
    for name, tree in modules():
        if name.split("/")[0] in ABOVE and not name.startswith("jobs/"):
            continue
        for node in ast.walk(tree):
            named = isinstance(node, (ast.Name, ast.arg)) and getattr(node, "id", getattr(node, "arg", "")) == "args"
            imported = isinstance(node, ast.Import) and any(one.name == "argparse" for one in node.names)
            if named or imported or (isinstance(node, ast.Attribute) and node.attr == "args"):
                found.append(f"{name}:{getattr(node, 'lineno', '')}")
    assert found == []


def test_no_protocol_writes_a_flag_of_the_engine():
    found = []
    for name, tree in modules():
        asks = name.startswith(("protocols/", "ccpem/")) and name != "ccpem/program.py"  # how the engine is started
        for node in ast.walk(tree) if asks else ():
            text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
            found += [f"{name}:{node.lineno}: {flag}" for flag in re.findall(r"(?<![\w-])--?[a-z][\w-]*(?= |$)", text)]
    assert found == []


def test_an_option_is_told_once_and_otherwise_is_a_variant():
    told = Counter()
    for name, tree in modules():
        for node in ast.walk(tree) if name.startswith("settings/") else ():
            called = node.value.func if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Call) else None
            if isinstance(called, ast.Name) and called.id in ("option", "flag"):
                told[node.target.id] += 1
    assert told["max_shift"] == told["seed"] == 1
    twice = {name for name, count in told.items() if count > 1}
    # Names that mean two things: SECOND images and a --second molecule; OUT and RELION's JOB/; particles that are made
    # and that are looked at.
    assert twice == {"second", "output", "count"}


def test_an_option_is_of_one_kind_in_all_commands():
    kinds: dict[str, set] = {}
    for command, settings in COMMANDS.items():
        for one in settings.options():
            if one.flags and command != "relion":
                kinds.setdefault(one.flag, set()).add((one.take, one.choices, one.is_flag, one.count))
    # classify asks how many classes, select which ones, as people write it
    assert {flag for flag, found in kinds.items() if len(found) > 1} == {"--classes"}


def test_a_question_has_one_label_and_one_kind_of_answer_in_all_forms():
    found: dict[str, set] = {}
    for settings in COMMANDS.values():
        for one in settings.options():
            if one.question is not None and one.name not in ("model", "no_refine"):  # of which forms ask otherwise
                question = one.question
                found.setdefault(one.flag, set()).add((question.name, question.full_label, question.kind))
    # classify asks how many classes, select which ones
    assert {flag for flag, asked in found.items() if len(asked) > 1} == {"--classes"}


@pytest.mark.parametrize("settings", COMMANDS.values(), ids=COMMANDS)
def test_every_option_can_be_used(settings):
    options = settings.options()
    assert len({one.name for one in options}) == len(options)
    made = settings.of({one.name: one.default for one in options})
    for one in options:
        check(one)
        assert hasattr(made, one.name)


def check(told: Option) -> None:
    """An option has a help, and a question whose answers it takes."""
    assert told.help or told.hidden
    question = told.question
    if question is None:
        return
    assert question.label and question.help and question.kind
    if question.kind == "choice":
        assert len(question.answers) == len(question.choices)
        named = {answer for answer in question.answers if isinstance(answer, str)}
        assert not told.choices or named <= set(told.choices)
    if question.kind in ("whole", "number") and question.limits is not None:
        assert question.limits.holds(question.default)


def test_an_older_name_of_an_option_works_and_is_not_shown():
    @dataclass(frozen=True)
    class Renamed(Settings):
        reach: str = option("how far", "", aliases=("--range",), required=True, metavar="PX")

    parser = new_parser("p", "d", "e")
    command = add_command(parser.add_subparsers(), "c", "does it", "More.", Renamed)
    assert Renamed.of(vars(parser.parse_args(["c", "--range", "5"]))).reach == "5"
    assert "--reach PX" in command.format_help()
    assert "--range" not in command.format_help()


# Options that had another name before, by command.
OLDER = [
    ("align", "--finest", "12.5", "high_resolution_limit", 12.5),
    ("train", "--finest", "12.5", "high_resolution_limit", 12.5),
    ("classify", "--finest", "12.5", "high_resolution_limit", 12.5),
    ("align", "--contrast", "dark", "polarity", "dark"),
    ("classify", "--contrast", "dark", "polarity", "dark"),
    ("check", "--contrast", "dark", "polarity", "dark"),
    ("align", "--join", "run1", "append_to", "run1"),
    ("classify", "--join", "run1", "append_to", "run1"),
    ("classify", "--teach", "200", "training_subset", 200),
    ("train", "--recipe", "paper-real", "preset", "paper-real"),
]


@pytest.mark.parametrize(("command", "flag", "given", "name", "value"), OLDER)
def test_options_that_were_called_otherwise_go_on_working(capsys, command, flag, given, name, value):
    words = [command, "particles.star", flag, given] + ([] if command == "check" else ["-o", "out"])
    settings = COMMANDS[command].of(vars(build_parser().parse_args(words)))
    assert getattr(settings, name) == value
    public = COMMANDS[command].option(name).flag
    assert public != flag
    with pytest.raises(SystemExit):
        build_parser().parse_args([command, "--help"])
    told = capsys.readouterr().out
    assert public in told
    assert flag not in told


def runs(python):
    """Whether this is a Python, and no shim that fails."""
    return python and subprocess.run([python, "-c", ""], capture_output=True).returncode == 0


def test_settings_need_neither_torch_nor_numpy_nor_a_new_python():
    program = (
        "import sys; from scipion_udl.settings.commands import COMMANDS; "
        "[settings.options() for settings in COMMANDS.values()]; "
        "print([name for name in ('torch', 'numpy', 'argparse', 'pyworkflow') if name in sys.modules])"
    )
    for python in filter(runs, (sys.executable, shutil.which("python3.8"))):  # the older is Scipion's, where it is here
        done = subprocess.run(
            [python, "-S", "-c", program],
            env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
