"""Runs that have finished are kept, rows of a table too, and what a program took is what all its processes took."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import views
from benchmarks.many_views import programs, stages
from benchmarks.many_views.particles import words_of, write_classes
from benchmarks.many_views.programs import to_centre
from benchmarks.many_views.table import text
from benchmarks.methods import amplitudes
from benchmarks.methods.amplitudes import sort_spectra
from scipion_udl import cli
from scipion_udl.imaging.poses import Poses
from scipion_udl.io import dialects
from scipion_udl.io.tables import Table, read_tables, write_tables
from scipion_udl.simulation.phantoms_3d import molecule

ROOT = Path(__file__).resolve().parents[2]
FLAGS = [f"--{name}" for name in programs.RELION_FLAGS]


def particles_in(path: Path, defocus: float = 8000.0, count: int = 6) -> Path:
    """A table of particles."""
    columns = {"rlnImageName": [f"{k + 1}@a.mrcs" for k in range(count)]}
    columns["rlnDefocusU"] = [f"{defocus + k:.3f}" for k in range(count)]
    write_tables(str(path), [Table("particles", columns)])
    return path


@pytest.fixture
def relion_run(tmp_path) -> Path:
    """A folder in which RELION has sorted the six particles of the table into two classes."""
    table = particles_in(tmp_path / "first_6.star")
    out = programs.relion_folder(table, 2)
    out.mkdir()
    particles_in(out / "run_it015_data.star")
    (out / "run_it015_classes.mrcs").touch()
    line = " ".join(["--i", "elsewhere.star", "--o", "x/run", "--K", "2", *words_of(programs.RELION), *FLAGS])
    (out / "run_it015_optimiser.star").write_text(f"# RELION optimiser; version 3.1.3\n# {line}\n\ndata_optimiser\n")
    (out / "took.json").write_text(json.dumps({"wall_s": 12.0, "cpu_s": 11.0, "memory_mb": 99.0}))
    return table


def runs_instead(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What would be run, in place of running it."""
    run = []
    monkeypatch.setattr(programs, "timed", lambda command, log, threads: run.append(command) or {"cpu_s": 5.0})
    return run


def test_a_finished_run_of_relion_is_kept_with_what_it_took(relion_run, monkeypatch):
    run = runs_instead(monkeypatch)
    result = programs.relion(relion_run, 2)
    assert not run and result.took["cpu_s"] == 11.0 and "kept" in result.note
    (programs.relion_folder(relion_run, 2) / "took.json").unlink()
    result = programs.relion(relion_run, 2)
    assert not run and result.took == {} and "not known" in result.note


@pytest.mark.parametrize("change", ["option", "particles", "unfinished", "asked"])
def test_relion_runs_where_something_else_was_run_or_it_is_asked_for(relion_run, monkeypatch, change):
    run = runs_instead(monkeypatch)
    out = programs.relion_folder(relion_run, 2)
    if change == "option":
        monkeypatch.setitem(programs.RELION, "psi_step", 6)
    elif change == "particles":
        particles_in(relion_run, 9000.0)
    elif change == "unfinished":
        (out / "run_it015_data.star").unlink()
    result = programs.relion(relion_run, 2, anew=change == "asked")
    assert len(run) == 1 and run[0][0] == "relion_refine" and run[0][run[0].index("--K") + 1] == "2"
    assert result.took == {"cpu_s": 5.0} and not result.note
    assert json.loads((out / "took.json").read_text()) == {"cpu_s": 5.0}
    assert not (out / "run_it015_classes.mrcs").exists()  # nothing of the earlier run is taken for this one's


def test_rows_stay_and_are_replaced_by_set_program_and_size(tmp_path):
    path = tmp_path / "views.csv"
    key = {"set": "crane:1", "program": "RELION", "particles": 2000, "classes_asked": 25}
    rows = views.Rows(path)
    rows.add({**key, "median": 28.0})
    assert path.read_text().count("\n") == 2  # at once, not at the end
    later = views.Rows(path)
    later.add({**key, "program": "classify", "median": 16.0})
    later.add({**key, "median": 27.0})
    lines = [line.split(",") for line in path.read_text().splitlines()]
    at = [lines[0].index(name) for name in ("program", "median")]
    assert [[line[k] for k in at] for line in lines[1:]] == [["RELION", "27.0"], ["classify", "16.0"]]
    later.add({**key, "program": "classify", "median": 16.04, "counted": 24, "resolution_claimed": 12.0, "claims": 3})
    cells = [cell.strip() for cell in text(path).splitlines()[-1].split("|")]
    assert cells[1:6] == ["crane", "1", "2000", "classify", "16.0°"] and "24 of 25" in cells and "12.0 Å (3)" in cells


def test_two_runs_do_not_work_in_one_folder(tmp_path, capsys, monkeypatch):
    import fcntl

    monkeypatch.setattr(views, "of_set", lambda *_: pytest.fail("it ran"))
    with open(tmp_path / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(SystemExit):
            views.main(["--out", str(tmp_path), "--only", "crane:1"])
    assert "another run works in" in capsys.readouterr().err


def test_a_set_that_fails_leaves_the_rows_of_the_others(tmp_path, monkeypatch, capsys):
    def of_set(out: Path, name: str, args: object, rows: views.Rows) -> None:
        if name == "boot:1":
            raise RuntimeError("no memory")
        rows.add({"set": name, "program": "classify", "particles": 10, "classes_asked": 2})

    monkeypatch.setattr(views, "of_set", of_set)
    assert views.main(["--out", str(tmp_path), "--only", "crane:1", "boot:1", "boot:0.1"]) == 1
    assert [line.split(",")[0] for line in (tmp_path / "views.csv").open()] == ["set", "crane:1", "boot:0.1"]
    assert "boot:1: no memory" in capsys.readouterr().err


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not tell")
def test_memory_is_that_of_all_processes_together(tmp_path):
    hold = "import time; held = bytearray(80_000_000); time.sleep(1.5)"
    both = f"[subprocess.Popen([sys.executable, '-c', {hold!r}]) for _ in '12']"
    start = f"import subprocess, sys; [process.wait() for process in {both}]"
    measure = [sys.executable, str(ROOT / "benchmarks" / "measure.py"), str(tmp_path / "took.json")]
    subprocess.run([*measure, sys.executable, "-c", start], check=True)
    together = json.loads((tmp_path / "took.json").read_text())["memory_mb"]
    subprocess.run([*measure, sys.executable, "-c", hold], check=True)
    alone = json.loads((tmp_path / "took.json").read_text())["memory_mb"]
    assert 80 < alone < 120 and 155 < together < 240


def test_amplitude_spectra_of_turned_views_come_apart():
    rng = np.random.default_rng(2)
    shapes = rng.standard_normal((4, 10, 64))
    label, rotation = rng.integers(0, 4, 200), rng.integers(0, 64, 200)
    rotated = np.array([np.roll(shapes[k], s, -1) for k, s in zip(label, rotation)])
    noisy = torch.from_numpy(rotated + rng.standard_normal(rotated.shape)).float()
    found = sort_spectra(noisy, 4)
    table = np.zeros((4, 4), int)
    np.add.at(table, (label, found), 1)
    assert table.max(1).sum() == 200 and len(set(table.argmax(1))) == 4
    assert len(set(sort_spectra(noisy[:3], 3))) == 3  # as many classes as particles: none is empty


def test_particles_are_brought_to_their_true_centres():
    shape, direction = molecule("crane", 64), np.array([[0.6, 0.0, 0.8]])
    away = shape.project(direction, Poses([50.0], [[6.3, -4.1]]))
    still = shape.project(direction, Poses([50.0]))
    assert np.abs(to_centre(away, Poses([50.0], [[6.3, -4.1]])) - still).max() < 0.01 * still.max()


def test_classes_with_poses_are_written_as_read(tmp_path):
    poses = Poses([30.0, -120.0], [[3.0, 1.0], [-2.0, 5.0]])
    write_classes(tmp_path / "c.star", ["1@a.mrcs", "2@a.mrcs"], np.array([1, 0]), poses)
    table, form = dialects.find_particles("c.star", read_tables(str(tmp_path / "c.star")))
    found = dialects.table_poses(table, form, 1.0)
    assert np.allclose(found.angle, poses.angle, atol=1e-4) and np.allclose(found.shift, poses.shift, atol=1e-4)
    assert dialects.class_numbers(table, form, "c.star").tolist() == [2, 1]


def test_the_last_stage_of_the_network_is_what_classify_finds(tmp_path, monkeypatch):
    def in_this_process(command: list[str], log: Path, threads: int) -> dict:
        monkeypatch.setattr(sys, "argv", command[2:])
        {"benchmarks.methods.amplitudes": amplitudes, "benchmarks.many_views.stages": stages}[command[2]].main()
        return {"memory_mb": 1.0}

    monkeypatch.setattr(stages, "timed", in_this_process)
    options = ["--phantom", "boot", "--views", "random", "--count", "120", "--snr", "1", "--box", "40"]
    assert cli.main(["simulate", str(tmp_path / "set"), *options]) == 0
    table = tmp_path / "set" / "particles.star"
    results = list(stages.before_real_space(table, 4, 1))
    assert [one.program for one in results[:2]] == ["amplitude spectra", "network, 6 rings"]
    spent = [one.took["cpu_s"] for one in results[1:]]
    assert spent == sorted(spent) and spent[0] > 0.1
    last = results[-1].table
    out = str(tmp_path / "classified")
    options = ["--classes", "4", "--no-refine", "--gpu", "none", "--threads", "1"]
    assert cli.main(["classify", str(table), "-o", out, *options]) == 0
    names, own = zip(*(particles_and_classes(path) for path in (last, Path(out) / "classes.star")))
    assert names[0] == names[1]
    same = [np.unique(own[1][own[0] == k], return_counts=True)[1].max() for k in np.unique(own[0])]
    assert sum(same) >= 0.95 * len(own[0]) and len(np.unique(own[0])) == len(np.unique(own[1])) > 1


def particles_and_classes(path: Path) -> tuple[list[str], np.ndarray]:
    """Names and class numbers of a table."""
    table, form = dialects.find_particles(str(path), read_tables(str(path)))
    return table.texts("rlnImageName"), dialects.class_numbers(table, form, str(path))
