"""What `classify` writes: every particle in a class, averages that its poses make, tables that agree; it repeats."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import mrcfile
import numpy as np
import pytest

pytest.importorskip("torch")

from emtable import Table
from scipy import ndimage
from scipy.cluster import hierarchy

from scipion_udl import api
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import StackReader, write_stack
from scipion_udl.io.tables import read_tables, write_tables
from scipion_udl.io.truth import read_views
from scipion_udl.tests.engine_fixtures import shared
from scipion_udl.tests.engine_helpers import run, subset_star
from scipion_udl.tests.program_helpers import xmipp_aligned

COUNT, BOX, CLASSES = 240, 48, 6
BLANK = (4, 100, 239)  # items, from 0
NETWORK = ("--no-refine", "--starts", 1)
TOLERANCE = 1e-3  # degrees and pixels


def classify(folder: Path, source: object, *options: object) -> Path:
    """The folder that a run of `classify` wrote."""
    words = [] if "--threads" in options else ["--threads", 1]
    assert run("classify", source, "-o", folder, "--gpu", "none", *words, *options) == 0
    return folder


def stack(path: Path) -> np.ndarray:
    return StackReader(str(path)).read().astype(np.float64)


def rows_of(out: Path) -> list:
    """The rows of classes.star, by another reader than the program's own."""
    return list(Table(fileName=str(out / "classes.star"), tableName="particles"))


def labels(out: Path) -> np.ndarray:
    return np.array([int(row.rlnClassNumber) for row in rows_of(out)])


def figures(out: Path) -> list[dict]:
    """The classes of summary.json."""
    return json.loads((out / "summary.json").read_text())["classes"]


def by_name(out: Path) -> dict[str, np.ndarray]:
    """(class, angle, x, y, score) of each particle, degrees and pixels."""
    source = open_particles(str(out / "classes.star"))
    poses, table = source.poses(), source.table
    values = [table.numbers("rlnClassNumber"), poses.angle, *poses.shift.T, table.numbers("rlnParticleFigureOfMerit")]
    return dict(zip(source.names, np.stack(values, 1)))


def assert_same(one: Path, other: Path) -> None:
    """The same poses, and the same classes but for their numbers, of all particles."""
    first, second = by_name(one), by_name(other)
    assert first.keys() == second.keys()
    names = list(first)
    assert len(names) in (COUNT, FEW)
    a, b = (np.array([values[name] for name in names]) for values in (first, second))
    pairs = {(int(x), int(y)) for x, y in zip(a[:, 0], b[:, 0])}
    assert len(pairs) == len({x for x, _ in pairs}) == len({y for _, y in pairs}), "classes were mixed"
    assert np.abs((a[:, 1] - b[:, 1] + 180) % 360 - 180).max() < TOLERANCE
    assert np.abs(a[:, 2:4] - b[:, 2:4]).max() < TOLERANCE


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Particles of a molecule seen from anywhere, 15 % noise, three blank images."""

    def make(folder: Path) -> None:
        words = "--views random --phantom boot --snr 0.5 --pixel-size 4 --shift 3 --seed 3 --noise-share 0.15"
        assert run("simulate", folder, *words.split(), "--count", COUNT, "--box", BOX) == 0
        images = stack(folder / "particles.mrcs").astype(np.float32)
        images[list(BLANK)] = np.array([0.0, 7.0, -2.0])[:, None, None]
        write_stack(str(folder / "particles.mrcs"), images, 4.0)

    return shared(tmp_path_factory, "class_views", make)


@pytest.fixture(scope="module")
def out(data, tmp_path_factory):
    """Aligned in real space."""
    options = ("--classes", CLASSES, "--starts", 1, "--write-cs")
    return shared(tmp_path_factory, "class_run", lambda f: classify(f, data / "particles.star", *options))


FEW = 120


@pytest.fixture(scope="module")
def few(data, tmp_path_factory):
    """A table of the first of them, and the words that sort them by the network."""
    return subset_star(data, tmp_path_factory.mktemp("few") / "few.star", range(FEW)), ("--classes", 3, *NETWORK)


@pytest.fixture(scope="module")
def few_sorted(few):
    star, options = few
    return classify(star.parent / "run", star, *options)


@pytest.fixture(scope="module")
def network(data, tmp_path_factory):
    """As the network has them."""
    options = ("--classes", CLASSES, *NETWORK)
    return shared(tmp_path_factory, "class_network", lambda f: classify(f, data / "particles.star", *options))


# the files


def test_every_particle_is_in_a_class_and_all_else_is_as_it_was(data, out):
    given = list(Table(fileName=str(data / "particles.star"), tableName="particles"))
    found = rows_of(out)
    assert [row.rlnImageName for row in found] == [row.rlnImageName for row in given]
    before, after = (read_tables(str(path))[1] for path in (data / "particles.star", out / "classes.star"))
    kept = [label for label in before.columns if not label.startswith(("rlnAngle", "rlnOrigin"))]
    assert len(kept) > 4
    for label in kept:
        assert before.columns[label] == after.columns[label], label
    sizes = np.bincount(labels(out))
    assert sizes[0] == 0
    assert len(sizes) - 1 <= CLASSES
    assert sizes[1:].min() > 0
    assert sizes.sum() == COUNT


def test_cryosparc_finds_averages_and_their_particles_by_the_number_of_the_class(out):
    """As programs read one of its 2D jobs, with numpy alone."""
    particles, averages = (np.load(out / name) for name in ("classes.cs", "class_averages.cs"))
    assert set(particles["alignments2D/class"]) == set(averages["blob/idx"])
    told = figures(out)
    counts = np.bincount(particles["alignments2D/class"], minlength=len(averages))
    for row, one in zip(averages, told):
        assert counts[row["blob/idx"]] == one["particles"]
        assert row["blob/res_A"] == pytest.approx(one["resolution"] or one["crossing"] or BOX * 4.0)
        with mrcfile.open(row["blob/path"].decode()) as file:
            assert file.data.shape[1:] == tuple(row["blob/shape"])
            assert float(file.voxel_size.x) == pytest.approx(row["blob/psize_A"])
    assert len(set(averages["uid"]) | set(particles["uid"])) == len(averages) + COUNT


def test_what_goes_to_cryosparc_comes_back_as_it_was(out, tmp_path, capfd):
    """Also with the averages' table beside it, which knows none of the particles."""
    assert run("select", out / "classes.cs", "-o", tmp_path / "kept", "--classes", 1, "--gpu", "none") == 0
    kept, whole = np.load(tmp_path / "kept" / "selected.cs"), np.load(out / "classes.cs")
    assert (kept == whole[whole["alignments2D/class"] == 0]).all()
    assert "class_averages.cs" not in capfd.readouterr().err


def test_class_1_is_the_largest_and_image_1(out):
    sizes = np.bincount(labels(out))[1:]
    assert (np.diff(sizes) <= 0).all()
    for name in ("averages", "averages_before", "averages_weighted"):
        with mrcfile.open(out / f"{name}.mrcs") as file:
            assert file.data.shape == (len(sizes), BOX, BOX)
            assert float(file.voxel_size.x) == pytest.approx(4.0)
    assert [(one["class"], one["image"]) for one in figures(out)] == [(k, k) for k in range(1, len(sizes) + 1)]


def test_the_csv_says_what_the_tables_say(out):
    found, label = rows_of(out), labels(out)
    blank = {found[item].rlnImageName for item in BLANK}
    with open(out / "classes.csv", newline="") as file:
        listed = list(csv.DictReader(file))
    assert [int(row["class"]) for row in listed] == list(range(1, label.max() + 1))
    for row, facts in zip(listed, figures(out)):
        own = [found[k] for k in np.flatnonzero(label == int(row["class"]))]
        assert int(row["particles"]) == facts["particles"] == len(own)
        assert float(row["share"]) == pytest.approx(len(own) / COUNT, abs=1e-5)
        assert int(row["outliers"]) == sum(int(one.udlOutlier) for one in own)
        there = [one for one in own if one.rlnImageName not in blank]
        assert int(row["ambiguous"]) == sum(int(one.udlAmbiguous) for one in there)
        assert {int(one.udlFlagged) for one in own} == {int(row["flagged"])}
        scores = np.array([float(one.rlnParticleFigureOfMerit) for one in own])
        assert float(row["score_mean"]) == pytest.approx(scores[scores != 0].mean(), abs=2e-3)
    assert sorted(int(row["view"]) for row in listed) == list(range(1, len(listed) + 1))
    assert [int(row["superclass"]) for row in listed] == [facts["superclass"] for facts in figures(out)]
    frc = np.genfromtxt(out / "frc.csv", delimiter=",", skip_header=1)
    assert set(frc[:, 0]) == set(range(1, len(listed) + 1))


def test_superclasses_are_what_the_tree_is_cut_into_the_one_of_the_most_particles_first(out):
    label, groups = labels(out), np.array([facts["superclass"] for facts in figures(out)])
    tree = json.loads((out / "summary.json").read_text())["superclasses"]
    cut = hierarchy.fcluster(np.array(tree["merges"], float), tree["limit"], "distance")
    np.testing.assert_array_equal(cut[:, None] == cut, groups[:, None] == groups)
    sizes = np.bincount(groups[label - 1])[1:]
    assert len(sizes) == groups.max() and (sizes > 0).all() and (np.diff(sizes) <= 0).all()


def test_noise_is_in_flagged_classes_and_views_are_not(data, out):
    names, kinds, _ = read_views(str(data / "truth.star"))
    kind = dict(zip(names, kinds))
    flagged = {row.rlnImageName: int(row.udlFlagged) for k, row in enumerate(rows_of(out)) if k not in BLANK}
    noise = [flagged[name] for name in flagged if kind[name] == 0]
    there = [flagged[name] for name in flagged if kind[name] > 0]
    assert np.mean(noise) > 0.9
    assert np.mean(there) < 0.05
    facts = json.loads((out / "summary.json").read_text())
    assert facts["flagged_particles"] == sum(int(row.udlFlagged) for row in rows_of(out))
    told = {one["code"]: one["level"] for one in facts["messages"]}
    assert told["classes_flagged"] == "note"  # that there is junk in a set of picks is nothing to be warned of


def test_blank_images_are_kept_with_pose_0_and_score_0_among_what_is_flagged(out, network):
    for folder in (out, network):
        values = list(by_name(folder).values())
        for item in BLANK:
            assert not values[item][1:].any()
            assert rows_of(folder)[item].udlOutlier == 1
            assert rows_of(folder)[item].udlFlagged == 1


# averages and poses


def transformed(image: np.ndarray, angle: float, x: float, y: float) -> np.ndarray:
    """The image moved by (x, y) pixels, to the right and down, and then rotated about pixel BOX // 2, clockwise."""
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    back = np.array([[c, -s], [s, c]])  # rows and columns of what falls where
    centre = np.full(2, BOX // 2)
    return ndimage.affine_transform(image, back, centre - back @ centre - [y, x], order=3, cval=float(np.median(image)))


def averages_by_hand(data: Path, out: Path, sign: float = 1.0) -> dict[int, np.ndarray]:
    """Mean of each class's particles, by what RELION's columns mean: psi, and origin in angstrom before turning."""
    images, label = stack(data / "particles.mrcs"), labels(out)
    moved = [
        transformed(image, sign * row.rlnAnglePsi, row.rlnOriginXAngst / 4.0, row.rlnOriginYAngst / 4.0)
        for image, row in zip(images, rows_of(out))
    ]
    return {k: np.mean([moved[n] for n in np.flatnonzero(label == k)], 0) for k in range(1, label.max() + 1)}


def correntropy(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation within a disc, without the finest detail, which interpolations treat differently."""
    y, x = np.indices((BOX, BOX)) - BOX // 2
    disc = np.hypot(x, y) < 0.4 * BOX
    return np.corrcoef(*(ndimage.gaussian_filter(image, 1)[disc] for image in (one, other)))[0, 1]


@pytest.mark.parametrize("kind", ["out", "network"])
def test_the_poses_of_the_star_make_the_averages(data, request, kind):
    folder = request.getfixturevalue(kind)
    averages = stack(folder / "averages.mrcs")
    right, wrong = averages_by_hand(data, folder), averages_by_hand(data, folder, -1.0)
    for facts in figures(folder):
        k = facts["class"]
        assert correntropy(averages[k - 1], right[k]) > 0.998
        if not facts["flagged"]:
            assert correntropy(averages[k - 1], wrong[k]) < 0.95


def test_the_averages_before_are_those_of_the_particles_as_they_came(data, out):
    images, label = stack(data / "particles.mrcs"), labels(out)
    before = stack(out / "averages_before.mrcs")
    there = np.setdiff1d(np.arange(COUNT), BLANK)
    for k in range(1, label.max() + 1):
        own = there[label[there] == k]
        assert np.corrcoef(before[k - 1].ravel(), images[own].mean(0).ravel())[0, 1] > 0.999


def test_xmipp_reads_classes_and_poses(out, network):
    emlib = pytest.importorskip("pwem.emlib")
    for folder in (out, network):
        table = emlib.MetaData(str(folder / "classes.xmd"))
        label = np.array([table.getValue(emlib.MDL_REF, row) for row in table])
        assert np.array_equal(label, labels(folder))
        scores = [table.getValue(emlib.MDL_MAXCC, row) for row in table]
        assert scores == pytest.approx([row.rlnParticleFigureOfMerit for row in rows_of(folder)], abs=1e-5)
        aligned, averages = np.array(xmipp_aligned(folder / "classes.xmd")), stack(folder / "averages.mrcs")
        for k in range(1, label.max() + 1):
            assert correntropy(aligned[label == k].mean(0), averages[k - 1]) > 0.995
        flags = list(Table(fileName=str(folder / "classes.xmd"), tableName="noname"))
        assert [int(row.udlFlagged) for row in flags] == [int(row.udlFlagged) for row in rows_of(folder)]


# what does not matter


def test_the_same_seed_gives_the_same_files_however_many_are_held_at_a_time(few, few_sorted, tmp_path):
    star, options = few
    again = classify(tmp_path / "again", star, *options, "--batch", 7)
    for name in ("model.safetensors", "training.csv"):
        assert (again / name).read_bytes() == (few_sorted / name).read_bytes(), name
    assert_same(few_sorted, again)
    again = classify(tmp_path / "third", star, *options)
    for name in ("classes.star", "classes.xmd", "classes.csv", "frc.csv"):
        assert (again / name).read_bytes() == (few_sorted / name).read_bytes(), name
    assert np.array_equal(stack(again / "averages.mrcs"), stack(few_sorted / "averages.mrcs"))


def assert_found(expected: Path, star: Path, **options: object) -> None:
    """That the function finds the same in a table, sorted by the network, as the run of the folder did."""
    found = api.classify(star, gpu="none", no_refine=True, **{"threads": 1, **options})
    found.to_star(star.parent / "classes.star")
    assert_same(expected, star.parent)


def mixed(data: Path, folder: Path) -> Path:
    """A table of the few particles in another order."""
    return subset_star(data, folder / "mixed.star", np.random.default_rng(1).permutation(FEW))


def test_the_order_of_the_table_changes_nothing(data, few_sorted, tmp_path):
    assert_found(few_sorted, mixed(data, tmp_path), classes=3, starts=1)


def test_a_model_puts_the_same_particles_into_the_same_classes(data, few, few_sorted, tmp_path):
    model = few_sorted / "model.safetensors"
    whole = classify(tmp_path / "whole", few[0], "--model", model, "--no-refine")
    assert_same(few_sorted, whole)
    assert not (whole / "training.csv").exists()
    assert_found(few_sorted, mixed(data, tmp_path), model=model, batch=5, threads=2)


def again(data: Path, folder: Path) -> Path:
    """A table of the same particles under another name, in other units: image for image the same, byte for byte not.

    Images that are the same byte for byte are known again when they are joined, and refused.
    """
    images = StackReader(str(data / "particles.mrcs")).read()
    pixel_size = open_particles(str(data / "particles.star")).pixel_size
    write_stack(str(folder / "again.mrcs"), 1.5 * images + 0.25, pixel_size)
    optics, particles = read_tables(str(data / "particles.star"))
    names = [f"{name.split('@')[0]}@{folder / 'again.mrcs'}" for name in particles.texts("rlnImageName")]
    particles.set("rlnImageName", names)
    write_tables(str(folder / "again.star"), [optics, particles])
    return folder / "again.star"


def test_the_same_particles_join_the_classes_that_the_network_had_put_them_in(data, network, tmp_path):
    joined = labels(classify(tmp_path / "joined", again(data, tmp_path), "--append-to", network, "--keep-classes"))
    there = np.setdiff1d(np.arange(COUNT), BLANK)
    assert np.array_equal(joined[there], labels(network)[there])


def test_the_same_particles_join_the_same_classes_in_the_same_poses(data, out, tmp_path):
    joined = classify(tmp_path / "joined", again(data, tmp_path), "--append-to", out)
    first, second = by_name(out), {name.replace("again.", "particles."): v for name, v in by_name(joined).items()}
    assert {Path(name).name for name in first} == {Path(name).name for name in second}
    a, b = (np.array(list(values.values())) for values in (first, second))
    flagged = np.array([int(row.udlFlagged) for row in rows_of(out)]) > 0
    assert np.mean(a[~flagged, 0] == b[~flagged, 0]) > 0.85  # some had changed classes after the network
    same = (a[:, 0] == b[:, 0]) & ~flagged
    rotation = np.abs((a[same, 1] - b[same, 1] + 180) % 360 - 180)
    assert np.median(rotation) < 1
    assert np.mean(rotation < 5) > 0.95
    assert np.median(np.abs(a[same, 2:4] - b[same, 2:4])) < 0.2
    # The averages are of as many particles again, in the same poses: they stay.
    before, after = stack(out / "averages.mrcs"), stack(joined / "averages.mrcs")
    for facts, one, other in zip(figures(out), before, after):
        if not facts["flagged"]:
            assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.97
    for old, new in zip(figures(out), figures(joined)):
        own = int((b[:, 0] == new["class"]).sum())
        assert (new["particles_before"], new["particles"]) == (old["particles"], old["particles"] + own)
        assert new["flagged"] == old["flagged"]
    assert np.array_equal(stack(joined / "references.mrcs"), stack(out / "averages.mrcs"))


def test_the_report_is_of_a_classification(out):
    """It says which classes are flagged, and names the files that are there."""
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "2D classification of" in page
    assert page.count("Flagged: its particles fit no better") == sum(one["flagged"] for one in figures(out)) > 0
    for name in ("classes.star", "classes.xmd", "averages.mrcs", "classes.csv", "model.safetensors"):
        assert f"<code>{name}</code>" in page
        assert (out / name).exists()
    for name in ("aligned.star", "--epochs"):
        assert name not in page
    facts = json.loads((out / "summary.json").read_text())
    assert (facts["model"], facts["method"], facts["training"]["classes"]) == ("trained here", "judl", CLASSES)
