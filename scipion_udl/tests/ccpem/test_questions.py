"""What the jobs of CCP-EM's pipeliner ask reaches the command line as it was meant."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from scipion_udl.ccpem.questions import ALIGN, CLASSIFY, SELECT
from scipion_udl.cli.commands import build_parser

ROOT = Path(__file__).resolve().parents[3]
JOBS = {"align": ALIGN, "classify": CLASSIFY, "select": SELECT}
EACH = [(command, asked) for command, job in JOBS.items() for asked in job.asked()]
each = pytest.mark.parametrize(("command", "asked"), EACH, ids=[f"{command}-{one.name}" for command, one in EACH])


def parsed(command, words):
    """The options of a command as its parser reads them."""
    return vars(build_parser().parse_args([command, "particles.star", "-o", "out", *words]))


def asked_of(command, name):
    return next(one for one in JOBS[command].asked() if one.name == name)


@pytest.mark.parametrize("command", JOBS)
def test_answers_that_nobody_changed_change_nothing(command):
    words = [word for one in JOBS[command].asked() for word in one.words(one.default)]
    assert parsed(command, words) == parsed(command, [])


@each
def test_every_answer_that_a_question_offers_is_taken(command, asked):
    given = {"yes": [True, False], "choice": asked.choices, "file": ["model.safetensors"]}
    texts = {"gpu": ["none"], "balance": ["auto", "120"]}
    given |= {"whole": [3], "number": [0.5], "text": texts.get(asked.name, ["2,3,5-12"])}
    answers = given[asked.kind]
    assert len({repr(parsed(command, asked.words(one))[asked.name]) for one in answers}) == len(answers)
    assert [asked.problem(one) for one in answers] == [""] * len(answers)


@each
def test_labels_and_helps_are_whole_and_plain(command, asked):
    assert not asked.label[0].islower() and asked.label.isascii() and "==" not in asked.label  # run.job's separator
    assert asked.option.flag in asked.help and asked.help.endswith(".")


@pytest.mark.parametrize("command", JOBS)
def test_a_job_can_tell_its_questions_apart(command):
    asked = JOBS[command].asked()
    assert len({one.label for one in asked}) == len({one.name for one in asked}) == len(asked)


def test_numbers_say_their_unit_and_what_is_wrong_with_them():
    diameter = asked_of("classify", "diameter")
    assert diameter.label == "Particle diameter (A)"
    assert diameter.words(150.0) == ["--diameter", "150"]
    assert diameter.words(None) == []
    assert "above 0" in diameter.problem(-3.0)
    assert diameter.problem(None) == ""
    assert asked_of("select", "chosen").problem("two") != ""


def test_classes_that_are_named_keep_all_their_particles():
    asked = {one.name: one for one in SELECT.asked()}
    words = asked["chosen"].words("1,2") + asked["min_quality"].words(asked["min_quality"].default)
    assert words == ["--classes", "1,2"]  # a least quality would leave particles of them out
    assert asked["min_quality"].words(0.8) == ["--min-quality", "0.8"]


@pytest.mark.skipif(not (ROOT / "setup.py").exists(), reason="an installed package has no setup.py")
def test_the_entry_points_name_the_jobs_that_are_there():
    told = re.findall(r'"(udl\.[\w.]+) = scipion_udl\.ccpem\.jobs:(\w+)"', (ROOT / "setup.py").read_text())
    tree = ast.parse((ROOT / "scipion_udl" / "ccpem" / "jobs.py").read_text(encoding="utf-8"))
    found = {}
    for node in tree.body:
        for part in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(part, ast.Assign) and part.targets[0].id == "PROCESS_NAME":
                found[part.value.value] = node.name
    assert dict(told) == found
    assert len(found) == 3
