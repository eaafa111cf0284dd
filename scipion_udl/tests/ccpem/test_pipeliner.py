"""Our jobs in CCP-EM's pipeliner: found, run, their files handed on, their results shown.

The pipeliner is in an environment of its own (``make pipeliner``), where this package is installed without the engine;
without it these tests are skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

from scipion_udl.io.stacks import StackReader
from scipion_udl.io.tables import read_tables, write_tables
from scipion_udl.tests.engine_helpers import run

PYTHON = Path(sys.prefix) / "pipeliner" / "bin" / "python"
ROOT = Path(__file__).resolve().parents[3]
WORKER = ROOT / "scipion_udl" / "tests" / "pipeliner_worker.py"  # which needs the pipeliner
NAMES = ["udl.align2d", "udl.class2d", "udl.select.classes"]
COUNT, BOX, CLASSES, FEW = 120, 32, 4, 12

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="the pipeliner is not installed (make pipeliner)")


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The environment of the pipeliner: its programs first on the PATH, as where it is activated."""
    engine = tmp_path_factory.mktemp("engine") / "python"
    engine.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" "$@"\n')
    engine.chmod(0o755)
    path = os.pathsep.join([str(PYTHON.parent), "/usr/bin", "/bin"])
    return {"HOME": os.environ.get("HOME", "/"), "OMP_NUM_THREADS": "1", "PATH": path, "UDL_PYTHON": str(engine)}


def pipeliner(folder, environment, *words):
    """What the pipeliner's own command prints."""
    command = [str(PYTHON.with_name("pipeliner")), *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def jobs(folder, environment, *options):
    """What came of jobs with these options."""
    names = [f"job{k}.json" for k in range(len(options))]
    for name, given in zip(names, options):
        (folder / name).write_text(json.dumps(given))
    done = subprocess.run([PYTHON, WORKER, *names], cwd=folder, env=environment, capture_output=True, text=True)
    errors = [path.read_text() for path in folder.glob("*/job*/run.err")]
    assert done.returncode == 0, "\n".join([done.stdout, done.stderr, *errors])
    return json.loads((folder / "found.json").read_text())


@pytest.fixture(scope="module")
def project(tmp_path_factory, environment):
    """A project's folder with particles of many views and junk, and what came of classify, select, the pipeliner's own
    selection by numbers, and align of a few."""
    folder = tmp_path_factory.mktemp("project")
    words = ["--count", COUNT, "--box", BOX, "--snr", 0.4, "--pixel-size", 5, "--phantom", "crane", "--views", "uneven"]
    words += ["--realistic", "--junk", 0.3, "--junk-kinds", "empty", "blob", "--gpu", "none", "--seed", 4]
    assert run("simulate", folder / "Extract", *words) == 0
    tables = read_tables(str(folder / "Extract" / "particles.star"))
    names = [f"{name.partition('@')[0]}@Extract/particles.mrcs" for name in tables[1].texts("rlnImageName")]
    tables[1].set("rlnImageName", names)
    write_tables(str(folder / "Extract" / "particles.star"), tables)
    write_tables(str(folder / "Extract" / "few.star"), [tables[0], tables[1].rows(range(FEW))])
    pipeliner(folder, environment, "--new_project")
    classify = {"_rlnJobTypeLabel": "udl.class2d", "in_parts": "Extract/particles.star", "classes": CLASSES}
    select = {"_rlnJobTypeLabel": "udl.select.classes", "in_parts": "Class2D/job001/particles.star"}
    by_number = {"_rlnJobTypeLabel": "pipeliner.select.classes", "classes": "1,2", "do_recenter": "No"}
    by_number["fn_optimiser"] = "Class2D/job001/run_optimiser.star"
    gpu = {"gpu": "none", "diameter": 140.0}
    align = {"_rlnJobTypeLabel": "udl.align2d", "in_parts": "Extract/few.star", **gpu}
    return folder, jobs(folder, environment, {**classify, **gpu}, {**select, "gpu": "none"}, by_number, align)


def test_the_pipeliner_lists_our_jobs(tmp_path, environment):
    lines = pipeliner(tmp_path, environment, "--available_jobs", "udl").partition("Unavailable jobs")[0].split()
    assert [name for name in lines if name in NAMES] == NAMES
    info = pipeliner(tmp_path, environment, "--job_info", "udl.class2d")
    assert "10.1016/j.jsb.2023.107940" in info


def test_without_an_engine_our_jobs_are_there_and_not_available(tmp_path, environment):
    own = {name: value for name, value in environment.items() if name != "UDL_PYTHON"}  # a scipion-udl without torch
    lines = pipeliner(tmp_path, own, "--available_jobs", "udl").partition("Unavailable jobs")[2].split()
    assert [name for name in lines if name in NAMES] == NAMES


def test_every_job_succeeds(project):
    _, found = project
    assert [(one["folder"], one["status"]) for one in found] == [
        ("Class2D/job001/", "Succeeded"),
        ("Select/job002/", "Succeeded"),
        ("Select/job003/", "Succeeded"),
        ("Align2D/job004/", "Succeeded"),
    ]


def test_files_are_handed_on_as_those_of_relion(project):
    folder, (classify, select, _, align) = project
    types = {
        "particles.star": "ParticleGroupMetadata.star.relion.udl",
        "run_model.star": "Image2DGroupMetadata.star.relion.classaverages",
        "run_optimiser.star": "OptimiserData.star.relion.class2d",
    }
    for one in (classify, select, align):
        assert types.items() <= {name.rpartition("/")[2]: kind for name, kind in one["outputs"].items()}.items()
        assert all((folder / name).is_file() for name in one["outputs"])
    assert classify["outputs"]["Class2D/job001/classify/model.safetensors"] == "MlModel.safetensors.udl"
    assert classify["inputs"] == {"Extract/particles.star": "ParticleGroupMetadata.star.relion"}
    assert select["inputs"] == {"Class2D/job001/particles.star": types["particles.star"]}  # classify's node
    pipeline = {table.name: table for table in read_tables(str(folder / "default_pipeline.star"))}
    nodes = pipeline["pipeline_nodes"].texts("rlnPipeLineNodeName")
    assert {*classify["outputs"], *select["outputs"]} <= set(nodes)


def test_options_of_the_job_reach_the_engine(project):
    folder, (classify, select, *_) = project
    summary = json.loads((folder / "Class2D/job001/classify/summary.json").read_text())
    assert summary["diameter"] == 140.0
    assert classify["metadata"]["particles"] == COUNT
    assert classify["metadata"]["classes"] == len(summary["classes"]) <= CLASSES
    particles = read_tables(str(folder / "Select/job002/particles.star"))[1]
    assert 0 < len(particles) == select["metadata"]["chosen"] < COUNT
    assert particles.numbers("udlQuality").min() >= 0.5
    assert "scipion-udl 0." in (folder / "Select/job002/run.out").read_text()  # by which depositions know the version


def test_results_are_shown(project):
    folder, (classify, select, *_) = project
    assert classify["read"] == ["gallery", "histogram", "histogram", "table", "html"]
    assert select["read"] == ["montage", "histogram", "table", "html"]
    for one in (classify, select):
        assert [shown["dobj_type"] for shown in one["written"]] == one["read"]
        assert sum(one["written"][-3]["bins"]) == COUNT  # quality: of all particles, chosen or not
        assert one["written"][-3]["bin_edges"][-1] == 1.0
        assert len(one["written"][-2]["table_data"]) == classify["metadata"]["classes"]
        assert (folder / one["written"][-1]["html_file"]).is_file()
    counts = [int(label.split("; ")[1].split()[0]) for label in classify["written"][0]["labels"] if label]
    assert counts == sorted(classify["metadata"]["class_particles"], reverse=True)
    images = json.loads((folder / classify["written"][0]["images"]).read_text())
    assert len(images) == len(counts)
    assert (folder / select["written"][0]["img"]).stat().st_size > 0


def test_an_alignment_shows_its_average_and_its_warnings(project):
    align = project[1][-1]
    assert align["read"] == ["montage", "histogram", "html"]
    assert align["written"][0]["labels"][0] == f"Class 1; {FEW} particles"
    assert "too few to train" in align["written"][0]["flag"]
    assert sum(align["written"][1]["bins"]) == align["metadata"]["particles"] == FEW


def test_doppios_own_selection_takes_our_classes(project):
    folder, (classify, _, by_number, _) = project
    count = sum(classify["metadata"]["class_particles"][:2])
    assert len(read_tables(str(folder / by_number["folder"] / "particles.star"))[1]) == count
    averages = StackReader(str(folder / by_number["folder"] / "class_averages.mrcs")).read()
    assert (averages == StackReader(str(folder / "Class2D/job001/run_classes.mrcs")).read()[:2]).all()


@pytest.mark.skipif(not shutil.which("relion_refine"), reason="RELION is not installed")
def test_a_job_of_relion_goes_on_with_what_was_selected(project, environment):
    folder, (_, select, *_) = project
    options = {"_rlnJobTypeLabel": "relion.class2d.em", "fn_img": "Select/job002/particles.star", "nr_iter_em": 1}
    path = os.pathsep.join([environment["PATH"], os.path.dirname(shutil.which("relion_refine"))])
    (done,) = jobs(folder, {**environment, "PATH": path}, {**options, "particle_diameter": 140})
    assert done["status"] == "Succeeded"
    assert done["metadata"]["ParticleCount"] == select["metadata"]["chosen"]


def test_a_wrong_answer_is_told_before_anything_is_run(project, environment):
    folder, _ = project
    options = {"_rlnJobTypeLabel": "udl.align2d", "in_parts": "Extract/particles.star", "max_shift": -5}
    (folder / "wrong.json").write_text(json.dumps(options))
    done = subprocess.run([PYTHON, WORKER, "wrong.json"], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert "job option \"Largest shift (px):\": '-5.0' must be at least 0" in done.stderr
    shutil.rmtree(folder / "Align2D", ignore_errors=True)
