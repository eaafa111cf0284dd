"""What is printed, and what run.log gets, by how much the user asked for."""

from __future__ import annotations

import pytest

from scipion_udl.compute.log import Log


def said(capsys, **options):
    """(lines on stdout, lines on stderr, text of run.log) of a run that says one thing of each kind."""
    written = []
    log = Log(write=written.append, **options)
    log.begin("scipion-udl align particles.star -o out")
    log.say("a stage")
    log.say("a detail", detail=True)
    log.warn("something odd")
    log.warn("something odd of class 7", detail=True)
    log.result("the result")
    printed = capsys.readouterr()
    return printed.out, printed.err, "".join(written)


PARTS = ("a stage", "a detail", "something odd\n", "class 7", "the result")


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({}, {"a stage", "something odd\n", "the result"}),
        ({"quiet": True}, {"something odd\n", "the result"}),
        ({"verbose": True}, set(PARTS)),
        ({"silent": True}, set()),
    ],
    ids=["usual", "quiet", "verbose", "not the first process"],
)
def test_the_screen_shows_what_was_asked_for(capsys, options, shown):
    out, err, _ = said(capsys, **options)
    assert {part for part in PARTS if part in out + err} == shown
    assert "odd" not in out
    assert all(line.startswith("Warning: ") for line in err.splitlines())


@pytest.mark.parametrize("options", [{}, {"quiet": True}, {"verbose": True}], ids=["usual", "quiet", "verbose"])
def test_run_log_gets_all_of_it(capsys, options):
    *_, written = said(capsys, **options)
    assert all(part in written for part in PARTS)
    assert written.splitlines()[0].endswith("scipion-udl align particles.star -o out")


def test_only_the_first_process_writes(capsys):
    *_, written = said(capsys, silent=True)
    assert written == ""
