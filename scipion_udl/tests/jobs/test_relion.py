"""`scipion-udl relion` as RELION's External job runs it, in a project folder, with RELION's own programs around it."""

import shlex
import shutil
import sys
import time

import numpy as np
import pytest

from scipion_udl import cli
from scipion_udl.io.particles import open_particles
from scipion_udl.io.relion.project import model_tables, optimiser_table
from scipion_udl.io.stacks import StackReader, write_stack
from scipion_udl.io.tables import read_tables, write_tables
from scipion_udl.jobs.relion import ABORT_NOW, ABORTED, FAILURE, NODES, SUCCESS
from scipion_udl.tests.fork_helpers import end, start
from scipion_udl.tests.program_helpers import EMPTY_PIPELINE, relion

pytest.importorskip("torch")
needs_relion = pytest.mark.skipif(not shutil.which("relion_pipeliner"), reason="RELION is not installed")

BOX, COUNT = 48, 20
OPTIONS = ["--gpu", "none", "--max-shift", "5", "--j", "1"]


def make_project(folder, count):
    """A RELION project: Extract/job001 holds a stack and a particles.star that names it from the project folder."""
    job = folder / "Extract" / "job001"
    job.mkdir(parents=True)
    arguments = [folder / "sim", "--count", count, "--box", BOX, "--snr", 0.5, "--shift", 3, "--pixel-size", 3]
    assert cli.main(["simulate", *map(str, arguments)]) == 0
    shutil.move(folder / "sim" / "particles.mrcs", job / "particles.mrcs")
    optics, particles = read_tables(str(folder / "sim" / "particles.star"))
    names = [name.replace(f"{folder}/sim/", "Extract/job001/") for name in particles.columns["rlnImageName"]]
    particles.set("rlnImageName", names)
    particles.set("rlnClassNumber", "3")
    write_tables(str(job / "particles.star"), [optics, particles])
    (folder / "default_pipeline.star").write_text(EMPTY_PIPELINE)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The project after relion_pipeliner has run our job in it, as the "Run!" button does."""
    folder = make_project(tmp_path_factory.mktemp("project"), COUNT)
    options = {
        "fn_exe": f"{sys.executable} -m scipion_udl.cli relion",
        "in_part": "Extract/job001/particles.star",
        "param1_label": "max-shift",
        "param1_value": "5",
        "param2_label": "by-class",  # a parameter without a value
        "param2_value": "",
        "other_args": "--gpu none",
        "nr_threads": "1",
    }
    settings = ";".join(f"{name} == {value}" for name, value in options.items() if name != "param2_value")
    relion(folder, "relion_pipeliner", "--addJob", "External", "--addJobOptions", settings)
    more = ["--schedule", "one", "--sec_wait_after", 1]
    relion(folder, "relion_pipeliner", "--RunJobs", "External/job001/", *more)
    return folder


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A project with few particles, which are aligned without training, as the current folder."""
    monkeypatch.chdir(make_project(tmp_path, 40))
    return tmp_path


@needs_relion
def test_the_pipeline_takes_the_job_for_finished_and_knows_its_outputs(finished):
    job = finished / "External" / "job001"
    assert (job / SUCCESS).exists()
    assert not (job / FAILURE).exists()
    pipeline = {table.name: table for table in read_tables(str(finished / "default_pipeline.star"))}
    assert pipeline["pipeline_processes"].texts("rlnPipeLineProcessStatus") == ["2"]  # finished
    nodes = pipeline["pipeline_nodes"]
    types = dict(zip(nodes.texts("rlnPipeLineNodeName"), nodes.texts("rlnPipeLineNodeType")))
    assert types["External/job001/particles.star"] == "3"  # particles
    assert types["External/job001/run_model.star"] == "8"
    assert all((finished / name).exists() for name in types)
    labels = read_tables(str(job / NODES))[0].texts("rlnPipeLineNodeTypeLabel")
    assert labels == ["ParticleGroupMetadata.star.relion", "Image2DGroupMetadata.star.relion.classaverages"]
    note = (job / "note.txt").read_text()
    assert "scipion_udl.cli relion --o External/job001/ --in_parts Extract/job001/particles.star" in note
    assert f"{COUNT} particles aligned by scipion-udl" in note


@needs_relion
def test_names_and_columns_of_the_input_stay(finished):
    before = read_tables(str(finished / "Extract" / "job001" / "particles.star"))[1]
    after = read_tables(str(finished / "External" / "job001" / "particles.star"))[1]
    assert set(before.columns) < set(after.columns)
    assert all(after.columns[label] == column for label, column in before.columns.items())
    assert after.texts("rlnImageName")[0] == "000001@Extract/job001/particles.mrcs"


@needs_relion
def test_classes_are_numbered_as_in_run_model_where_relion_selects_by_it(finished):
    """RELION takes class k of run_data.star for the k-th one of run_model.star; particles.star keeps the input's 3."""
    job = finished / "External" / "job001"
    assert set(read_tables(str(job / "particles.star"))[1].texts("rlnClassNumber")) == {"3"}
    assert set(read_tables(str(job / "run_data.star"))[1].texts("rlnClassNumber")) == {"1"}
    assert len(read_tables(str(job / "run_model.star"))[1]) == StackReader(str(job / "run_classes.mrcs")).count == 1


@needs_relion
def test_relions_programs_take_what_the_job_wrote(finished):
    """Tables are selected from, images are measured, particles are transformed, and a 2D classification that keeps our
    poses (and starts from our class average) averages them to the same image."""
    job = "External/job001"
    average = StackReader(str(finished / job / "align" / "averages.mrcs")).read()[0]
    score = read_tables(str(finished / job / "particles.star"))[1].numbers("rlnParticleFigureOfMerit")
    limit = round(float(np.median(score)), 3)
    selection = ["--select", "rlnParticleFigureOfMerit", "--minval", limit, "--o", "good.star"]
    relion(finished, "relion_star_handler", "--i", f"{job}/particles.star", *selection)
    assert len(read_tables(str(finished / "good.star"))[1]) == (score >= limit).sum()
    assert f"{BOX} x {BOX} x 1 x 1" in relion(
        finished, "relion_image_handler", "--i", f"{job}/run_classes.mrcs", "--stats"
    )
    relion(finished, "relion_stack_create", "--i", f"{job}/particles.star", "--o", "turned", "--apply_transformation")
    rotated = StackReader(str(finished / "turned.mrcs")).read().mean(0)
    inner = np.hypot(*(np.indices((BOX, BOX)) - BOX // 2)) < 0.4 * BOX
    assert np.corrcoef(rotated[inner], average[inner])[0, 1] > 0.99
    (finished / "Class2D").mkdir()
    refine = ["--o", "Class2D/run", "--iter", 1, "--K", 1, "--skip_align", "--particle_diameter", 140]
    refine += ["--tau2_fudge", 50, "--ref", f"{job}/run_model.star", "--dont_check_norm", "--j", 1]
    relion(finished, "relion_refine", "--i", f"{job}/particles.star", *refine)
    averaged = StackReader(str(finished / "Class2D" / "run_it001_classes.mrcs")).read()[0]
    assert np.corrcoef(averaged[inner], average[inner])[0, 1] > 0.99


def said(path):
    """Whether the command behind the job is at work."""
    return path.exists() and "Device" in path.read_text()


def test_a_job_that_is_told_to_stop_says_so_and_goes_on_when_it_is_run_again(small):
    job = small / "External" / "job002"
    command = ["relion", "--o", "External/job002/", "--in_parts", "Extract/job001/particles.star", *OPTIONS]
    process = start(small / "run", cli.main, command)
    while not said(small / "run.out") and process.is_alive():
        time.sleep(0.1)
    (job / ABORT_NOW).touch()
    assert end(process) == 130
    assert (job / ABORTED).exists()
    assert not any((job / name).exists() for name in (SUCCESS, FAILURE, NODES, "particles.star"))
    assert cli.main(["relion", "--o", f"{job}/", *command[3:]]) == 0  # RELION names its jobs from the project folder
    assert (job / SUCCESS).exists()
    names = read_tables(str(job / NODES))[0].texts("rlnPipeLineNodeName")
    assert names == [f"External/job002/{name}" for name in ("particles.star", "run_model.star")]
    assert read_tables(str(job / "run_model.star"))[1].texts("rlnReferenceImage") == [
        "000001@External/job002/run_classes.mrcs"
    ]
    assert not any((job / name).exists() for name in (ABORTED, ABORT_NOW))
    assert len(open_particles(str(job / "particles.star"))) == 40


def test_a_job_that_fails_says_so_in_one_sentence(small, capfd):
    arguments = ["--o", "External/job003/", "--in_parts"]
    assert cli.main(["relion", *arguments, "gone.star", *OPTIONS]) == 1
    error = capfd.readouterr().err
    assert error.splitlines()[-1].startswith("scipion-udl relion: gone.star is not there")
    assert "Traceback" not in error
    job = small / "External" / "job003"
    assert (job / FAILURE).exists()
    assert not (job / SUCCESS).exists()
    assert cli.main(["relion", *arguments, "Extract/job001/particles.star", *OPTIONS, "--magic", "3"]) == 2
    assert "unrecognized arguments: --magic 3" in capfd.readouterr().err
    assert (job / FAILURE).exists()
    for words in (["-o", "elsewhere"], ["--output=elsewhere"]):
        assert cli.main(["relion", *arguments, "Extract/job001/particles.star", *OPTIONS, *words]) == 1
        assert "leave -o and --output out" in capfd.readouterr().err
        assert (job / FAILURE).exists() and not (small / "elsewhere").exists()


def test_optics_groups_of_different_pixel_size_are_refused(small, capfd):
    path = small / "Extract" / "job001" / "particles.star"
    optics, particles = read_tables(str(path))
    for label, column in optics.columns.items():
        optics.columns[label] = column * 2
    optics.set("rlnOpticsGroup", ["1", "2"])
    optics.set("rlnImagePixelSize", ["3.0", "2.5"])
    particles.set("rlnOpticsGroup", ["1"] * 20 + ["2"] * 20)
    write_tables(str(path), [optics, particles])
    arguments = ["relion", "--o", "External/job004/", "--in_parts", "Extract/job001/particles.star", *OPTIONS]
    assert cli.main(arguments) == 1
    error = capfd.readouterr().err
    assert "different pixel sizes (2.5 and 3 A); align those of each pixel size (optics group) on their own" in error


def test_several_classes_are_listed_with_their_shares():
    classes = [
        {"class": 2, "image": 1, "particles": 30, "resolution": 8.0},
        {"class": 5, "image": 2, "particles": 10, "resolution": None},
    ]
    general, table = model_tables("External/job001/run_classes.mrcs", classes, 64, 2.0)
    assert general.texts("rlnNrClasses") == ["2"]
    assert table.texts("rlnReferenceImage")[1] == "000002@External/job001/run_classes.mrcs"
    assert table.numbers("rlnClassDistribution").tolist() == [0.75, 0.25]
    assert table.numbers("rlnEstimatedResolution").tolist() == [8.0, 128.0]  # none is claimed: the whole field


def test_the_optimiser_names_model_and_particles_line_by_line_as_that_of_relion(tmp_path):
    write_tables(str(tmp_path / "run_optimiser.star"), [optimiser_table("Class2D/job 1/")])
    # other programs read these lines for themselves, pair by pair: CCP-EM's pipeliner does
    lines = [shlex.split(line) for line in (tmp_path / "run_optimiser.star").read_text().splitlines()]
    pairs = dict(line for line in lines if len(line) == 2)
    assert pairs["_rlnOutputRootName"] == "Class2D/job 1/run"
    assert pairs["_rlnExperimentalDataStarFile"] == "Class2D/job 1/run_data.star"


@pytest.mark.parametrize("words", [("--max-shift", "500"), ("--max-shift", "far")])
def test_errors_are_those_of_relion_not_of_the_command_behind_it(tmp_path, monkeypatch, capfd, words):
    monkeypatch.chdir(tmp_path)
    write_stack("p.mrcs", np.random.default_rng(1).normal(size=(8, 32, 32)).astype(np.float32), 3.0)
    try:
        code = cli.main(["relion", "--in_parts", "p.mrcs", "--o", "External/job001/", *words, "--gpu", "none"])
    except SystemExit as ended:  # as argparse ends it
        code = ended.code
    assert code != 0
    told = capfd.readouterr().err
    assert "scipion-udl relion: " in told and "scipion-udl align: " not in told
