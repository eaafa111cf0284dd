"""The command line as a user meets it: help, one-sentence errors, exit codes, and simulate for real."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from scipion_udl import cli
from scipion_udl.cli import commands
from scipion_udl.constants import __version__
from scipion_udl.errors import UdlError
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import write_stack

SMALL = ["--count", "9", "--box", "32", "--shift", "3", "--pixel-size", "4"]


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


def replace_command(monkeypatch, name, run_it):
    """Have a command do something else."""
    changed = [replace(one, run=run_it) if one.name == name else one for one in commands.COMMANDS]
    monkeypatch.setattr(commands, "COMMANDS", changed)


def ends_with(code, *arguments):
    with pytest.raises(SystemExit) as error:
        run(*arguments)
    assert error.value.code == code


@pytest.mark.parametrize("command", ["simulate", "train", "align", "evaluate", "gpus"])
def test_every_command_explains_itself(command, capsys):
    ends_with(0, command, "--help")
    assert len(capsys.readouterr().out) > 200


def test_help_imports_nothing_heavy():
    program = (
        "import sys; from scipion_udl.cli.commands import build_parser; build_parser().format_help(); "
        "print([name for name in ('torch', 'numpy', 'pwem', 'scipy', 'matplotlib') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_version_is_the_packages(capsys):
    ends_with(0, "--version")
    assert __version__ in capsys.readouterr().out


def test_simulate_writes_its_four_files_and_a_summary(tmp_path, capsys):
    out = tmp_path / "out"
    assert run("simulate", out, *SMALL, "--phantom", "clamp", "--snr", "0.5", "--seed", "4") == 0
    text = capsys.readouterr().out
    assert "9 particles of the phantom clamp, 32 px at 4 A" in text
    assert len(text.splitlines()) < 25
    source = open_particles(str(out / "particles.star"))
    assert (len(source), source.box, source.pixel_size) == (9, 32, 4.0)
    assert source.read(np.arange(9)).std() == pytest.approx(np.sqrt(1.5), rel=0.05)


def test_simulate_takes_a_picture_or_an_image_of_a_stack(tmp_path):
    rng = np.random.default_rng(0)
    write_stack(str(tmp_path / "t.mrcs"), rng.normal(size=(3, 48, 48)), 2.0)
    template = f"2@{tmp_path / 't.mrcs'}"
    assert run("simulate", tmp_path / "a", "--template", template, "--count", "3", "--shift", "2") == 0
    source = open_particles(str(tmp_path / "a" / "particles.star"))
    assert (source.box, source.pixel_size) == (48, 2.0)
    # another box shows the same field of view, so its pixels are larger
    assert run("simulate", tmp_path / "b", "--template", template, "--count", "3", "--box", 32) == 0
    assert open_particles(str(tmp_path / "b" / "particles.star")).pixel_size == 3.0


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        assert run("simulate", tmp_path / name, *SMALL) == 0
    one, other = ((tmp_path / name / "particles.mrcs").read_bytes()[1024:] for name in ("a", "b"))
    assert one == other


def test_an_existing_folder_is_refused_without_overwrite(tmp_path, capsys):
    out = tmp_path / "out"
    assert run("simulate", out, *SMALL) == 0
    assert run("simulate", out, *SMALL) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("scipion-udl simulate: ")
    assert "--overwrite" in error
    assert run("simulate", out, *SMALL, "--overwrite") == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--phantom", "cat"], "no phantom 'cat'"),
        (["--template", "missing.png"], "missing.png is not there"),
        (["--shift", "40", "--box", "64"], "do not fit a box of 64"),
        (["--gpu", "0"], "on the CPU only"),
        (["--defocus", "2", "1"], "lower one first"),
    ],
)
def test_wrong_values_end_in_one_sentence_and_leave_nothing(tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    assert run("simulate", "out", "--count", "3", *options) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert len(error.splitlines()) == 1
    assert not os.path.exists("out")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["simulate"], "required: OUT"),
        (["simulate", "o", "--snr", "0"], "'0' must be above 0"),
        (["simulate", "o", "--count", "1.5"], "'1.5' is not a whole number"),
        (["simulate", "o", "--voltage", "nan"], "'nan' must be a finite number above 0"),
        (["simulate", "o", "--snr", "nan"], "'nan' must be a number above 0"),
        (["simulate", "o", "--cs", "inf"], "'inf' must be a finite number at least 0"),
        (["simulate", "o", "--amplitude-contrast", "2"], "from 0 to 1"),
        (["simulate", "o", "--defocus", "10000", "20000"], "'10000' must be from 0 to 100 micrometers"),
        (["simulate", "o", "--voltage", "300000"], "'300000' must be from 1 to 10000 kV"),
        (["align", "p.star", "-o", "x", "--voltage", "300000"], "'300000' must be from 1 to 10000 kV"),
        (["classify", "p.star", "-o", "x", "--cs", "2.7e7"], "'2.7e7' must be from 0 to 100 mm"),
        (["simulate", "o", "--template", "a", "--phantom", "b"], "not allowed with"),
        (["align", "p.star"], "required: -o/--output"),
        (["align", "p.star", "-o", "x", "--method", "magic"], "invalid choice: 'magic'"),
        (["evaluate", "a.star", "-o", "x", "--symmetry", "0"], "--symmetry: '0' must be 1 or more"),
        (["train", "a.star", "-o", "x", "--widths", f"4,{10**24}"], f"'{10**24}' must be at most 1000000000"),
        (["simulate", "x", "--count", str(10**12)], "must be at most 1000000000"),
        (["align", "p.star", "-o", "x", "--model", ""], "one of the arguments is empty"),
        (["dance"], "invalid choice: 'dance'"),
    ],
)
def test_wrong_options_end_in_one_sentence(capsys, arguments, message):
    ends_with(2, *arguments)
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_errors_have_their_exit_codes(monkeypatch, capsys):
    def raising(error):
        def run_it(args):
            raise error

        return run_it

    replace_command(monkeypatch, "gpus", raising(UdlError("no luck")))
    assert run("gpus") == 1
    assert capsys.readouterr().err == "scipion-udl gpus: no luck\n"
    with pytest.raises(UdlError):
        run("gpus", "--debug")
    replace_command(monkeypatch, "gpus", raising(KeyboardInterrupt()))
    assert run("gpus") == 130
    replace_command(monkeypatch, "gpus", raising(ZeroDivisionError("division\nby zero")))
    assert run("gpus") == 1
    error = capsys.readouterr().err
    assert "unexpected ZeroDivisionError: division by zero" in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "not enough memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "not enough memory"),
        (OSError(28, "No space left on device", "out/frc.csv"), "out/frc.csv cannot be read or written: No space left"),
        (OSError(5, "Input/output error"), "Input/output error"),
    ],
)
def test_the_limits_of_the_machine_are_named(monkeypatch, capsys, error, words):
    def fail(_):
        raise error

    replace_command(monkeypatch, "gpus", fail)
    assert run("gpus") == 1
    told = capsys.readouterr().err
    assert words in told
    assert "unexpected" not in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "option"),
    [
        (("check", "gone.star"), "input_has_faults", None),
        (("evaluate", "gone.star", "-o", "out", "--gpu", "none"), "input_not_there", None),
        (("align", "p.star", "-o", "out", "--max-shift", "-3"), "option_value", "--max-shift"),
        (("align", "p.star"), "arguments", None),
    ],
)
def test_an_error_is_written_for_the_program_that_asks_for_it(tmp_path, monkeypatch, capsys, arguments, code, option):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "error.json"
    try:
        assert run(*arguments, "--error-to", file) == 1
    except SystemExit as end:
        assert end.code == 2
    told = json.loads(file.read_text())
    assert told["code"] == code
    assert told["text"] in capsys.readouterr().err
    assert told["values"].get("option") == option


def test_an_error_replaces_no_file(tmp_path, capsys):
    file = tmp_path / "particles.star"
    file.write_text("mine")
    assert run("check", tmp_path / "gone.star", "--error-to", file) == 1
    assert file.read_text() == "mine"
    assert "cannot be aligned" in capsys.readouterr().err


@pytest.mark.parametrize("seed", ["-1", "4294967296", "1.5", "x"])
def test_seeds_that_not_all_generators_take_are_refused(capsys, seed):
    ends_with(2, "align", "p.mrcs", "-o", "out", "--seed", seed)
    assert "--seed" in capsys.readouterr().err


def test_continue_and_the_rest_reach_the_command(monkeypatch):
    seen = {}
    replace_command(monkeypatch, "align", lambda args: seen.update(vars(args)))
    assert run("align", "p.star", "-o", "x", "--continue", "--max-shift", "5", "--gpu", "1", "--no-refine") == 0
    assert seen["input"] == "p.star"
    assert seen["output"] == "x"
    assert (seen["resume"], seen["max_shift"], seen["gpu"], seen["no_refine"]) == (True, 5.0, "1", True)
    assert (seen["method"], seen["model"], seen["overwrite"], seen["write_stack"]) == (None, None, False, False)


def test_gpus_are_printed_as_one_line_of_json(capsys):
    import json

    pytest.importorskip("torch")
    assert run("gpus") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["version"] == __version__
    assert isinstance(facts["gpus"], list)


def test_the_installed_program_is_this_one():
    program = [sys.executable, "-m", "scipion_udl.cli", "simulate", "/", "--debug"]
    result = subprocess.run(program, capture_output=True, text=True)
    assert result.returncode == 1
    assert "exists already" in result.stderr
