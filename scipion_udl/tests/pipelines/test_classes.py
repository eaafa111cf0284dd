"""`--by-class`: every class ends up as if it had been aligned alone, with one network for all of them."""

from __future__ import annotations

import csv
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.errors import UdlError
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import StackReader, write_stack
from scipion_udl.io.tables import Table, read_tables, write_tables
from scipion_udl.models.checkpoint import load_card, load_model
from scipion_udl.models.polar_network import PolarNetwork, rotate_spectra, view_of
from scipion_udl.pipelines import align_classes as pipeline
from scipion_udl.pipelines.run import Run
from scipion_udl.tests.engine_helpers import (
    CPU,
    PIXEL_SIZE,
    correlation,
    difference,
    errors_to_truth,
    rms,
    run,
    simulate,
    smooth_template,
    subset_star,
    summary,
    turn_errors,
    turned_spectra,
    without_noise,
)
from scipion_udl.training.datasets import ViewSamples
from scipion_udl.training.objectives import PolarObjective
from scipion_udl.training.template_init import reliable_radii
from scipion_udl.training.trainer import TrainingSettings, train_network
from scipion_udl.validation.reference_match import match_reference

BOX = 48
# class number, phantom, particles; one of them shows nothing
CLASSES = [(3, "hook", 140), (7, "clamp", 130), (12, "hammer", 40), (20, "anchor", 1), (31, "pebble", 2)]
EMPTY = 31
EPOCHS = 4


@dataclass
class Classes:
    """A table of several views, in any order; where each of them was simulated; what align --by-class makes of it."""

    table: Path
    views: dict[int, Path]
    out: Path

    def rows(self, number: int) -> np.ndarray:
        """The rows of a class."""
        return np.flatnonzero(particles_of(self.table).numbers("rlnClassNumber") == number)

    @property
    def figures(self) -> dict[int, dict]:
        """What summary.json says of each class."""
        return {one["class"]: one for one in summary(self.out)["classes"]}


def particles_of(path: Path) -> Table:
    return next(table for table in read_tables(str(path)) if "rlnImageName" in table or "image" in table)


@pytest.fixture(scope="module")
def classes(tmp_path_factory) -> Classes:
    folder = tmp_path_factory.mktemp("classes")
    views, parts = {}, []
    for number, name, count in CLASSES:
        views[number] = simulate(folder / f"view{number}", count, BOX, 0.2, name, seed=number, max_shift=3.0)
        if number == EMPTY:
            write_stack(str(views[number] / "particles.mrcs"), np.full((count, BOX, BOX), 2.5, np.float32), 3.0)
        optics, table = read_tables(str(views[number] / "particles.star"))
        parts.append(table)
        table.set("rlnClassNumber", [str(number)] * count)
    order = np.random.default_rng(0).permutation(sum(map(len, parts)))
    columns = {label: [text for part in parts for text in part.columns[label]] for label in parts[0].columns}
    whole = Table("particles", columns).rows(order)
    write_tables(str(folder / "classes.star"), [optics, whole])
    out = folder / "aligned"
    assert run("align", folder / "classes.star", "-o", out, "--by-class", "--write-stack", "--epochs", EPOCHS) == 0
    return Classes(folder / "classes.star", views, out)


# how good it is


@pytest.mark.parametrize(("number", "degrees", "pixels"), [(3, 1.0, 0.3), (7, 1.0, 0.3), (12, 1.6, 0.35)])
def test_every_class_is_aligned_to_its_own_view(classes, number, degrees, pixels):
    errors = errors_to_truth(classes.out / "aligned.star", classes.views[number])
    assert len(errors.rotation) == len(classes.rows(number))
    assert np.abs(errors.rotation).mean() < degrees
    assert (np.abs(errors.rotation) < 6).mean() >= 0.95
    assert rms(errors) < pixels


def test_a_class_is_as_good_as_aligned_alone(classes, tmp_path):
    alone, size = tmp_path / "alone", summary(classes.out)["diameter"]  # that of all classes together
    assert run("align", classes.views[7] / "particles.star", "-o", alone, "--diameter", size, "--epochs", EPOCHS) == 0
    mean = [
        np.abs(errors_to_truth(out / "aligned.star", classes.views[7]).rotation).mean() for out in (classes.out, alone)
    ]
    assert mean[0] < 1.15 * mean[1]
    assert classes.figures[7]["resolution"] == pytest.approx(summary(alone)["resolution"], rel=0.12)


@pytest.mark.parametrize(("number", "name"), [(3, "hook"), (7, "clamp"), (12, "hammer")])
def test_the_averages_show_their_class_in_ascending_order(classes, number, name):
    image = classes.figures[number]["image"]
    assert image == 1 + sorted(n for n, _, _ in CLASSES).index(number)
    stacks = [StackReader(str(classes.out / f"averages{kind}.mrcs")) for kind in ("", "_before", "_weighted")]
    assert {stack.count for stack in stacks} == {len(CLASSES)}
    after, before, weighted = (stack.read()[image - 1] for stack in stacks)
    ideal = without_noise(BOX, name)
    best = [max_correlation(average, ideal) for average in (after, before, weighted)]
    assert best[0] > 0.9
    assert best[2] > 0.9
    assert best[1] < best[0] - 0.1


def max_correlation(average: np.ndarray, ideal: np.ndarray) -> float:
    """The correlation of an average with a view, rotated and moved as fits best."""
    match = match_reference(average, ideal, PIXEL_SIZE)
    return correlation(match.average, match.reference, np.hypot(*(np.indices(ideal.shape) - BOX // 2)) < 0.4 * BOX)


# what is said of it


def test_few_particles_claim_no_resolution(classes):
    claimed = {number: bool(one["resolution"]) for number, one in classes.figures.items()}
    assert claimed == {3: True, 7: True, 12: False, 20: False, 31: False}
    assert "too few" in classes.figures[12]["resolution_note"]


def test_one_particle_and_empty_images_stay_as_they_are_with_a_warning(classes):
    table = particles_of(classes.out / "aligned.star")
    for number, words in ((20, "One particle"), (EMPTY, "constant")):
        rows = classes.rows(number)
        for label in ("rlnAnglePsi", "rlnOriginXAngst", "rlnOriginYAngst", "rlnParticleFigureOfMerit"):
            assert not table.numbers(label)[rows].any()
        assert any(words in warning for warning in classes.figures[number]["warnings"])
    assert any("class 20, 31" in warning for warning in summary(classes.out)["warnings"])


def test_all_files_say_the_same_of_the_classes(classes):
    with open(classes.out / "classes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    figures = classes.figures
    assert [int(row["class"]) for row in rows] == sorted(figures)
    for row in rows:
        one = figures[int(row["class"])]
        assert int(row["particles"]) == one["particles"] == len(classes.rows(one["class"]))
        assert bool(row["resolution"]) == bool(one["resolution"])
        assert float(row["score_mean"]) == pytest.approx(one["score_mean"], abs=1e-4)
        assert (int(row["ambiguous"]), int(row["outliers"])) == (one["ambiguous"], one["outliers"])
        assert row["note"] == one["resolution_note"]
    with open(classes.out / "frc.csv", newline="") as file:
        curves = list(csv.DictReader(file))
    assert {int(row["class"]) for row in curves} == set(figures)
    first = [float(row["frc"]) for row in curves if row["class"] == "3"]
    assert len(first) == BOX // 2 - 1
    assert min(first[:4]) > 0.9
    (references,) = read_tables(str(classes.out / "averages.star"))
    named = [name.partition("@") for name in references.texts("rlnReferenceImage")]
    assert [int(number) for number, _, _ in named] == [figures[k]["image"] for k in sorted(figures)]
    assert {file for _, _, file in named} == {str((classes.out / "averages.mrcs").absolute())}
    assert references.numbers("rlnClassNumber").tolist() == sorted(figures)
    assert references.numbers("udlParticles").tolist() == [figures[k]["particles"] for k in sorted(figures)]
    page = (classes.out / "report.html").read_text()
    assert all(f"<b>Class {number}</b>" in page for number in figures)


def test_tables_keep_their_rows_and_the_class_of_each(classes):
    before = particles_of(classes.table)
    for name, image, number in (("aligned.star", "rlnImageName", "rlnClassNumber"), ("aligned.xmd", "image", "ref")):
        after = particles_of(classes.out / name)
        assert after.columns[image] == before.columns["rlnImageName"]
        assert after.columns[number] == before.columns["rlnClassNumber"]
        found = open_particles(str(classes.out / name)).classes()
        assert np.array_equal(found, before.numbers("rlnClassNumber"))


def test_the_aligned_stack_is_what_the_averages_are_the_means_of(classes):
    stack = StackReader(str(classes.out / "aligned.mrcs"))
    averages = StackReader(str(classes.out / "averages.mrcs")).read()
    assert stack.count == len(particles_of(classes.table))
    for number in (3, 12):
        mean = stack.read()[classes.rows(number)].mean(0)
        assert np.allclose(mean, averages[classes.figures[number]["image"] - 1], atol=1e-4)


# the network


def test_the_model_holds_a_view_for_each_class_that_teaches(classes):
    card = load_card(str(classes.out / "model.safetensors"))
    assert card.training["classes"] == [3, 7, 12]
    assert (card.config["views"], card.format) == (3, 2)


@pytest.fixture(scope="module")
def few(classes):
    """The words that align ten particles of each of three classes with the model, in this order of classes."""
    rows = np.concatenate([classes.rows(number)[:10] for number in (3, 7, 12)])
    star = subset_star(classes.table.parent, classes.table.parent / "few.star", rows, classes.table.name)
    near = "--max-shift", 4, "--high-resolution-limit", 12
    return "align", star, "--by-class", "--model", classes.out / "model.safetensors", *near


@pytest.fixture(scope="module")
def one_by_one(few, classes):
    out = classes.out.parent / "one_by_one"
    assert run(*few, "-o", out) == 0
    return out


def test_with_a_model_each_class_finds_its_view_and_the_order_of_the_rows_changes_nothing(
    classes, few, one_by_one, tmp_path
):
    """The table comes back upside down, and is aligned with the model of the first run."""
    rotated = subset_star(few[1].parent, tmp_path / "turned.star", np.arange(30)[::-1], few[1].name)
    assert run(*few[:1], rotated, *few[2:], "-o", tmp_path / "out") == 0
    for place, number in enumerate((3, 7, 12)):
        errors = errors_to_truth(one_by_one / "aligned.star", classes.views[number])
        assert len(errors.rotation) == 10
        assert (np.abs(errors.rotation) < 6).mean() >= 0.9
        rows = np.arange(10 * place, 10 * place + 10)
        paths = [tmp_path / f"{number}{kind}.star" for kind in ("a", "b")]
        subset_star(one_by_one, paths[0], rows, "aligned.star")
        subset_star(tmp_path / "out", paths[1], 29 - rows, "aligned.star")
        angle, shift = difference(*paths)
        assert angle < 1e-3
        assert shift < 1e-3


class InThreads:
    """Stands for the alignment of one class, and notes in which thread each is done; in others than that of the test
    ``fails`` may be raised for one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails: Exception | None = None) -> None:
        self.align, self.fails, self.seen = pipeline.align_set, fails, []
        monkeypatch.setattr(pipeline, "align_set", self)

    def __call__(self, part: Run, *arguments: object, **more: object) -> object:
        number, aside = int(part.heading.split()[1][:-1]), threading.current_thread() is not threading.main_thread()
        self.seen.append((number, aside))
        if number == 12 and aside and self.fails is not None:
            raise self.fails
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # two would wait for each other longer than they work
        try:
            return self.align(part, *arguments, **more)
        finally:
            torch.set_num_threads(threads)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    yield "--threads", "2"
    torch.set_num_threads(before)


@pytest.mark.parametrize("fails", [None, MemoryError()], ids=["", "short of memory"])
def test_classes_side_by_side_come_out_as_one_after_the_other(
    few, one_by_one, tmp_path, monkeypatch, two_threads, fails
):
    """One that has no memory beside others is done again by itself."""
    aligned = InThreads(monkeypatch, fails)
    assert run(*few, "-o", tmp_path / "two", *two_threads) == 0
    angle, shift = difference(one_by_one / "aligned.star", tmp_path / "two/aligned.star")
    assert angle < 1e-3
    assert shift < 1e-3
    assert {aside for number, aside in aligned.seen if number != 12} == {True}  # none has to wait for the largest
    assert [aside for number, aside in aligned.seen if number == 12] == ([True] if fails is None else [True, False])
    assert torch.get_num_threads() == 2


def test_an_error_in_one_of_several_classes_ends_the_run(few, tmp_path, monkeypatch, two_threads):
    InThreads(monkeypatch, UdlError("The disk is gone."))
    assert run(*few, "-o", tmp_path / "out", *two_threads) != 0
    assert not (tmp_path / "out" / "aligned.star").exists()


def test_one_view_alone_is_aligned_with_the_template_that_fits_it(classes, tmp_path, capsys):
    model = classes.out / "model.safetensors"
    words = ["--model", model, "--no-refine"]
    assert run("align", classes.views[7] / "particles.star", "-o", tmp_path / "out", *words) == 0
    assert "View 2 of the model's 3" in capsys.readouterr().out
    errors = errors_to_truth(tmp_path / "out" / "aligned.star", classes.views[7], 180.0)
    assert np.abs(errors.rotation).mean() < 2.0


def test_every_view_of_a_network_turns_with_the_particle():
    torch.manual_seed(0)
    network = PolarNetwork(12, 64, views=3)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    spectra, _ = turned_spectra(4, 1.0)
    for number in range(3):
        seen = network.view(number)
        with torch.no_grad():
            moved = seen.rotations(spectra.roll(5, -1)) - seen.rotations(spectra)
        assert torch.allclose((moved + 90) % 180 - 90, torch.full((4,), 5 * 180 / 64), atol=1e-2)
    with pytest.raises(ValueError, match="say which one"):
        network.rotations(spectra)


@pytest.fixture(scope="module")
def views() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(spectra, turns) of three views, in noise."""
    found = []
    for seed, count in ((0, 150), (10, 90), (20, 60)):
        generator = torch.Generator().manual_seed(seed + 1)
        rotations = torch.rand(count, generator=generator) * 180
        spectra = rotate_spectra(smooth_template(seed=seed).expand(count, -1, -1), rotations)
        found.append((spectra + 2 * torch.randn(spectra.shape, generator=generator), rotations))
    return found


def test_one_training_teaches_all_views(views):
    samples = ViewSamples([spectra for spectra, _ in views], 0.2, 512)
    held = samples.view[: samples.held_out]
    assert [int((held == number).sum()) for number in range(3)] == [30, 18, 12]
    network = PolarNetwork(12, 64, views=3)
    result = train_network(samples, network, TrainingSettings(epochs=2))
    for number, (spectra, rotations) in enumerate(views):
        assert torch.equal(torch.cat([s for s, _ in views])[samples.order], samples.known)
        with torch.no_grad():
            found = view_of(result.network, number).rotations(spectra)
        assert turn_errors(found, rotations).mean() < 3
        assert result.network.best_view(spectra[:20]) == number


def test_every_batch_is_of_one_view(views):
    seen = []

    samples = ViewSamples([torch.full((n, 2, 8), float(k)) for k, n in enumerate((150, 90, 60))], 0.2, 512)

    class Objective(PolarObjective):
        """Notes the views of a batch."""

        def loss(self, network, batch, generator, epoch):
            seen.append((network.number, batch.unique().tolist(), len(batch)))
            return network.rotations(batch).square().mean() * 0

        def validation(self, network, held_out, generator):
            return held_out.new_tensor(1.0)

    settings = TrainingSettings(epochs=1)
    train_network(samples, PolarNetwork(2, 8, views=3), settings, True, objective=Objective("judl", settings.preset))
    assert all(values == [number] for number, values, _ in seen)
    assert sum(count for *_, count in seen) == 300 - samples.held_out


def test_the_band_is_found_by_many_small_views_together():
    """Of 24 particles the halves of one view do not know how far the signal reaches; of twelve such views they do."""
    reach, views = 10, []
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        template = smooth_template(24, 64, seed)
        template[reach:] = 0
        spectra = torch.stack([template.roll(int(k), -1) for k in torch.randint(64, (24,), generator=generator)])
        views.append(spectra + 1.5 * torch.randn(spectra.shape, generator=generator))
    assert abs(reliable_radii(views, seed=0) - reach) <= 1


# what is refused


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--by-class"], "no class number per particle (column _rlnClassNumber)"),
        (["--by-class", "--reference", "template.mrc"], "--by-class makes an average a class"),
    ],
)
def test_what_does_not_go_together_is_told_in_a_sentence(classes, tmp_path, monkeypatch, capsys, words, sentence):
    monkeypatch.chdir(classes.views[3])
    table = "particles.star" if len(words) == 1 else classes.table
    assert run("align", table, "-o", tmp_path / "out", *words) == 1
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_stack_has_no_classes(classes, tmp_path, capsys):
    assert run("train", classes.views[3] / "particles.mrcs", "-o", tmp_path / "out", "--by-class") == 1
    assert "which has no classes" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "sentence"), [("1.5", "no whole number"), ("1e30", "too large to be told from")])
def test_a_class_is_a_whole_number(classes, tmp_path, capsys, text, sentence):
    optics, table = read_tables(str(classes.table))
    table.set("rlnClassNumber", [text] * len(table))
    write_tables(str(tmp_path / "broken.star"), [optics, table])
    assert run("train", tmp_path / "broken.star", "-o", tmp_path / "out", "--by-class") == 1
    said = capsys.readouterr().err
    assert f"row 1 has the class {text}" in said and sentence in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--by-class", "--network", "resnet"], "--by-class trains the polar network"),
        (["--model", "MODEL"], "is a network of 3 classes"),
    ],
)
def test_training_refuses_what_it_cannot_do(classes, tmp_path, capsys, words, sentence):
    words = [str(classes.out / "model.safetensors") if word == "MODEL" else word for word in words]
    assert run("train", classes.table, "-o", tmp_path / "out", *words) == 1
    assert sentence in capsys.readouterr().err


def test_a_network_of_classes_knows_no_pairs(classes, tmp_path, capsys):
    words = ["--model", classes.out / "model.safetensors", "--gpu", "none"]
    assert run("align-pairs", classes.views[3] / "particles.star", "-o", tmp_path / "out", *words) == 1
    assert "several classes" in capsys.readouterr().err


def test_training_goes_on_from_its_own_classes_and_repeats_itself(classes, tmp_path):
    model = classes.out / "model.safetensors"
    words = ["--by-class", "--model", model, "--epochs", 1]
    for name in ("a", "b"):
        assert run("train", classes.table, "-o", tmp_path / name, *words) == 0
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("a", "b"))
    assert first == second
    network, card = load_model(str(tmp_path / "a" / "model.safetensors"), CPU)
    assert network.views == 3
    assert card.training["classes"] == [3, 7, 12]
    shutil.rmtree(tmp_path / "b")
