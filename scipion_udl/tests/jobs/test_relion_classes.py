"""Classes as External jobs of a RELION project: classify, select, and RELION goes on with what was chosen."""

from __future__ import annotations

import shutil
import sys

import pytest

pytest.importorskip("torch")

from scipion_udl.io.stacks import StackReader
from scipion_udl.io.tables import read_tables, write_tables
from scipion_udl.jobs.relion import NODES, SUCCESS
from scipion_udl.tests.engine_helpers import run
from scipion_udl.tests.program_helpers import EMPTY_PIPELINE, relion

pytestmark = pytest.mark.skipif(not shutil.which("relion_pipeliner"), reason="RELION is not installed")

COUNT, BOX, CLASSES = 90, 32, 3


def external(folder, job, particles, label, value):
    """Run our job as the "Run!" button does."""
    options = {
        "fn_exe": f"{sys.executable} -m scipion_udl.cli relion",
        "in_part": particles,
        "param1_label": label,
        "param1_value": value,
        "other_args": "--gpu none",
        "nr_threads": "1",
    }
    words = ";".join(f"{name} == {text}" for name, text in options.items() if text)
    relion(folder, "relion_pipeliner", "--addJob", "External", "--addJobOptions", words)
    relion(folder, "relion_pipeliner", "--RunJobs", f"External/{job}/", "--schedule", label, "--sec_wait_after", 1)
    assert (folder / "External" / job / SUCCESS).exists(), (folder / "External" / job / "run.err").read_text()


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with particles of many views and junk, classified (job001), and selected from (job002)."""
    folder = tmp_path_factory.mktemp("project")
    job = folder / "Extract" / "job001"
    job.mkdir(parents=True)
    words = ["--count", COUNT, "--box", BOX, "--snr", 0.4, "--pixel-size", 5, "--phantom", "crane", "--views", "uneven"]
    words += ["--realistic", "--junk", 0.3, "--junk-kinds", "empty", "blob", "--gpu", "none", "--seed", 4]
    assert run("simulate", folder / "sim", *words) == 0
    shutil.move(folder / "sim" / "particles.mrcs", job / "particles.mrcs")
    optics, particles = read_tables(str(folder / "sim" / "particles.star"))
    names = [f"{name.partition('@')[0]}@Extract/job001/particles.mrcs" for name in particles.texts("rlnImageName")]
    particles.set("rlnImageName", names)
    write_tables(str(job / "particles.star"), [optics, particles])
    (folder / "default_pipeline.star").write_text(EMPTY_PIPELINE)
    external(folder, "job001", "Extract/job001/particles.star", "classify", str(CLASSES))
    external(folder, "job002", "External/job001/particles.star", "select", "")
    return folder


def test_the_pipeline_knows_particles_classes_and_optimiser_of_both_jobs(project):
    pipeline = {table.name: table for table in read_tables(str(project / "default_pipeline.star"))}
    assert pipeline["pipeline_processes"].texts("rlnPipeLineProcessStatus") == ["2", "2"]  # finished
    nodes = pipeline["pipeline_nodes"]
    types = dict(zip(nodes.texts("rlnPipeLineNodeName"), nodes.texts("rlnPipeLineNodeType")))
    for job in ("job001", "job002"):
        found = {
            name: types[f"External/{job}/{name}"] for name in ("particles.star", "run_model.star", "run_optimiser.star")
        }
        assert found == {"particles.star": "3", "run_model.star": "8", "run_optimiser.star": "13"}
        labels = read_tables(str(project / "External" / job / NODES))[0].texts("rlnPipeLineNodeTypeLabel")
        assert labels[2] == "OptimiserData.star.relion.class2d"
        optimiser = read_tables(str(project / "External" / job / "run_optimiser.star"))[0]
        for label in ("rlnModelStarFile", "rlnExperimentalDataStarFile"):
            assert (project / optimiser.texts(label)[0]).is_file()  # from the project folder


def test_what_is_selected_comes_of_the_classes_as_they_were_judged(project):
    first, second = (read_tables(str(project / "External" / job / "particles.star"))[1] for job in ("job001", "job002"))
    assert 0 < len(second) < len(first) == COUNT
    assert second.numbers("udlQuality").min() >= 0.5
    assert "Classes were judged before" in (project / "External/job002/select/run.log").read_text()
    model = read_tables(str(project / "External/job002/run_model.star"))[1]
    stack = StackReader(str(project / "External/job002/run_classes.mrcs"))
    data = read_tables(str(project / "External/job002/run_data.star"))[1]
    assert set(data.numbers("rlnClassNumber")) == set(range(1, len(model) + 1))
    assert stack.count == len(model)
    shares = [(data.numbers("rlnClassNumber") == k).mean() for k in range(1, len(model) + 1)]
    assert model.numbers("rlnClassDistribution").tolist() == pytest.approx(shares, abs=1e-4)
    assert (model.numbers("rlnEstimatedResolution") < BOX * 5).all()  # measured where none is claimed


@pytest.mark.parametrize("name", ["run_optimiser.star", "run_model.star"])
def test_classes_are_selected_from_by_the_file_that_relion_knows_them_by(project, monkeypatch, tmp_path, name):
    monkeypatch.chdir(project)
    words = ["relion", "--select", "--in_parts", f"External/job001/{name}", "--o", tmp_path / "job", "--gpu", "none"]
    assert run(*words) == 0
    assert run(*words) == 0, "where results are from before, too"
    one, other = (
        read_tables(str(folder / "particles.star"))[1] for folder in (project / "External/job002", tmp_path / "job")
    )
    assert one.texts("rlnImageName") == other.texts("rlnImageName")


def test_a_model_without_its_particles_is_refused(project, tmp_path, capsys):
    shutil.copy(project / "External/job001/run_model.star", tmp_path / "run_model.star")
    words = ["relion", "--select", "--in_parts", tmp_path / "run_model.star", "--o", tmp_path / "job"]
    assert run(*words) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line]
    assert len(said) == 1
    assert str(tmp_path / "run_data.star") in said[0]


def test_relion_classifies_what_was_selected_from_our_classes(project):
    job = "External/job002"
    count = len(read_tables(str(project / job / "run_model.star"))[1])
    (project / "Class2D").mkdir()
    write_tables(str(project / "references.star"), [read_tables(str(project / job / "run_model.star"))[1]])
    command = ["--i", f"{job}/particles.star", "--ref", "references.star", "--K", count, "--iter", 1, "--ctf"]
    relion(
        project, "relion_refine", *command, "--o", "Class2D/run", "--particle_diameter", 140, "--skip_align", "--j", 1
    )
    found = read_tables(str(project / "Class2D" / "run_it001_data.star"))[1]
    assert len(found) == len(read_tables(str(project / job / "particles.star"))[1])


def test_the_note_tells_what_was_done(project):
    note = (project / "External/job002/note.txt").read_text()
    assert f"{COUNT} particles looked at by scipion-udl" in note
    assert "External/job002/select/selection.csv" in note
