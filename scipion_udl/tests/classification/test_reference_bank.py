"""Averages that are given: particles go where they belong, however the averages lie, and in whatever units they are."""

from __future__ import annotations

import csv
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from emtable import Table as StarFile

from scipion_udl.classification.reference_bank import _in_working_box, best_variants
from scipion_udl.imaging.poses import Poses
from scipion_udl.io.classes.references import read_references
from scipion_udl.io.stacks import write_stack
from scipion_udl.tests.class_helpers import DIRECTIONS, random_poses, seen
from scipion_udl.tests.engine_helpers import run, summary

BOX, COUNT, PIXEL_SIZE, SNR = 48, 48, 2.0, 0.4
VIEWS = len(DIRECTIONS)
MIRRORED, INVERTED, LARGE = (1, 3), (2, 3), 72


def averages(box: int) -> np.ndarray:
    """A noiseless image of each view, rotated by 40, 80 ... degrees and up to 2 pixels of 48 off centre."""
    shifts = np.array([[2, -1], [-2, 1], [1, 2], [0, -2]]) * box / BOX
    return np.stack([seen(k, Poses(np.array([40.0 * k]), shifts[None, k]), box)[0] for k in range(VIEWS)])


@pytest.fixture(scope="module")
def particles(tmp_path_factory):
    """A stack of COUNT particles of each view in noise, view by view."""
    folder = tmp_path_factory.mktemp("references")
    clean = np.concatenate([seen(k, random_poses(COUNT, 10 + k), BOX) for k in range(VIEWS)])
    noise = np.random.default_rng(3).normal(size=clean.shape)
    write_stack(str(folder / "particles.mrcs"), clean * np.sqrt(SNR) + noise, PIXEL_SIZE)
    return folder / "particles.mrcs"


@pytest.fixture(scope="module")
def references(particles):
    """The averages in a finer pixel size and a larger box, some mirrored, some inverted, each in grey values of its
    own."""
    images = averages(LARGE)
    for k in MIRRORED:
        images[k] = np.roll(images[k][:, ::-1], 1, 1)  # about pixel 36
    for k in INVERTED:
        images[k] *= -1
    scale = np.array([1.0, 50.0, 0.01, 3.0])[:, None, None]
    padded = np.pad(images * scale, ((0, 0), (7, 6), (7, 6)), mode="edge")
    write_stack(str(particles.parent / "references.mrcs"), padded + 20, PIXEL_SIZE * BOX / LARGE)
    return particles.parent / "references.mrcs"


def sorted_into(particles: Path, out: Path, *options: object) -> np.ndarray:
    """The class of each particle, by the number of its reference where that is told."""
    words = ("--no-refine", "--max-shift", 6, "--threads", 1)
    assert run("classify", particles, "-o", out, *words, *options) == 0
    with open(out / "classes.csv", encoding="utf-8", newline="") as file:
        number = {int(row["class"]): int(row.get("reference", row["class"])) for row in csv.DictReader(file)}
    rows = StarFile(fileName=str(out / "classes.star"), tableName="particles")
    return np.array([number[int(row.rlnClassNumber)] for row in rows])


OWN = np.repeat(np.arange(VIEWS), COUNT) + 1


def test_particles_go_where_the_references_have_them(particles, references, tmp_path):
    """Though these are rotated, off centre, of another box and pixel size, and some mirrored or inverted."""
    before = references.read_bytes()
    found = sorted_into(particles, tmp_path / "o", "--references", references, "--fixed-references")
    assert (found == OWN).mean() > 0.95
    notes = " ".join(summary(tmp_path / "o")["notes"])
    assert "2 of 4 references show bright what is dark" in notes and "inverted: 3, 4." in notes
    assert "2 of 4 references are mirror images" in notes and "mirrored: 2, 4." in notes
    assert references.read_bytes() == before


def test_a_reference_that_no_particle_is_like_takes_none_and_moves_no_other(particles, references, tmp_path):
    """The numbers in classes.csv are those of the references, whatever classes are left out."""
    images = averages(BOX)
    odd = np.zeros((1, BOX, BOX))
    odd[:, 20:28] = 1  # a bar through the whole box
    write_stack(str(tmp_path / "r.mrcs"), np.concatenate([odd, images]), PIXEL_SIZE)
    found = sorted_into(particles, tmp_path / "o", "--references", tmp_path / "r.mrcs", "--fixed-references")
    assert (found == OWN + 1).mean() > 0.95
    assert "1 of 5 references have no particles, and no class: 1." in summary(tmp_path / "o")["notes"]


def test_classes_that_begin_as_references_learn_from_the_particles(particles, tmp_path):
    """Of references that are blurred until views hardly differ the learned classes are as pure as ever."""
    from scipy import ndimage

    blurred = ndimage.gaussian_filter(averages(BOX), (0, 2, 2))
    write_stack(str(tmp_path / "r.mrcs"), blurred, PIXEL_SIZE)
    found = sorted_into(particles, tmp_path / "o", "--references", tmp_path / "r.mrcs")
    most = [np.bincount(found[k == OWN], minlength=VIEWS + 1).argmax() for k in range(1, VIEWS + 1)]
    assert sorted(most) == [1, 2, 3, 4]
    assert (found == np.array(most)[OWN - 1]).mean() > 0.95


def test_each_reference_is_taken_so_that_all_together_explain_most():
    """The second is worth more mirrored by itself, but what it shows then the first explains already."""
    gains = torch.tensor([[[9.0, 0.0], [0.0, 9.5]], [[9.0, 0.0], [0.0, 9.5]], [[0.0, 5.0], [0.0, 0.0]]])
    assert best_variants(gains).tolist() == [0, 0]
    assert best_variants(gains[:, :, 1:]).tolist() == [1]  # alone it is better mirrored


@pytest.mark.parametrize("seed", range(4))
def test_of_random_views_most_averages_may_be_mirrored(seed):
    """Views on a circle, whose mirror images lie opposite: all averages mirrored explain the particles nearly as well,
    and only that each fits those that it is of a little better tells the right way."""
    count, particles = 7, 700
    generator = torch.Generator().manual_seed(seed)
    view = 2 * math.pi * torch.rand(particles, generator=generator)
    place = 2 * math.pi * torch.arange(count) / count
    gains = 4 * (view[:, None, None] - torch.stack([place, place + math.pi])).cos()
    gains[torch.arange(particles), 0, gains[:, 0].argmax(1)] += 0.1
    mirrored = (torch.randperm(count, generator=generator) < 5).long()
    given = torch.stack([gains[:, kind, torch.arange(count)] for kind in (mirrored, 1 - mirrored)], 1)
    assert best_variants(given).tolist() == mirrored.tolist()


@pytest.mark.parametrize(("size", "scale"), [(64, 1.0), (63, 0.75), (50, 1.37), (128, 0.5)])
def test_a_reference_has_the_size_of_the_particles_and_its_place(size, scale):
    """What lies 8 working pixels to the right and 5 up of the centre is there, and as wide as it is."""
    y, x = (np.indices((size, size)) - size // 2) * scale
    image = np.exp(-((x - 8) ** 2 + (y + 5) ** 2) / 18) + 3
    found = _in_working_box(torch.from_numpy(image.astype(np.float32))[None], scale, 60)[0].numpy()
    y, x = np.indices((60, 60)) - 30
    weight = np.clip(found, 0.05 * found.max(), None) - 0.05 * found.max()
    weight /= weight.sum()
    assert (weight * x).sum() == pytest.approx(8, abs=0.1)
    assert (weight * y).sum() == pytest.approx(-5, abs=0.1)
    assert ((weight * (x - 8) ** 2).sum()) ** 0.5 == pytest.approx(2.45, abs=0.15)  # 3, less what is cut off


def test_tables_of_relion_and_xmipp_and_folders_are_references_too(tmp_path):
    images = averages(BOX)
    folder = tmp_path / "Class2D"
    folder.mkdir()
    write_stack(str(folder / "run_it025_classes.mrcs"), images, PIXEL_SIZE)
    model = folder / "run_it025_model.star"
    with open(model, "w") as file:
        general = StarFile(columns=["rlnPixelSize"])
        general.addRow(PIXEL_SIZE)
        general.writeStar(file, tableName="model_general", singleRow=True)
        classes = StarFile(columns=["rlnReferenceImage", "rlnClassDistribution"])
        for k in range(VIEWS):
            classes.addRow(f"{VIEWS - k:06d}@{folder}/run_it025_classes.mrcs", 0.25)
        classes.writeStar(file, tableName="model_classes")
    (folder / "run_it025_optimiser.star").write_text("")
    for name in ("run_it025_model.star", "run_it025_optimiser.star"):
        found = read_references(str(folder / name))
        assert np.allclose(found.images, images[::-1])  # the table names them in the reverse order
        assert found.pixel_size == PIXEL_SIZE
        assert str(folder / "run_it025_classes.mrcs") in found.files
    shutil.copy(folder / "run_it025_classes.mrcs", folder / "averages.mrcs")
    assert np.allclose(read_references(str(folder)).images, images)
    xmipp = folder / "classes.xmd"
    lines = "".join(f"{k + 1:06d}@{folder}/run_it025_classes.mrcs {k + 1}\n" for k in range(VIEWS))
    xmipp.write_text(f"# XMIPP_STAR_1 *\n#\ndata_classes\nloop_\n _image\n _ref\n{lines}")
    assert np.allclose(read_references(str(xmipp)).images, images)


def test_what_cannot_be_is_told(particles, references, tmp_path, capsys):
    words = ("classify", particles, "-o", tmp_path / "o")
    for options, said in (
        (("--fixed-references",), "--fixed-references keeps to the averages of --references"),
        (("--references", references, "--classes", 4), "--references says how many classes there are"),
        (("--references", tmp_path / "none.mrcs"), "none.mrcs"),
        (("--references", references, "--starts", 2), "leave --starts out"),
    ):
        assert run(*words, *options) == 1
        assert said in capsys.readouterr().err
    write_stack(str(tmp_path / "r.mrcs"), averages(40), 0.0)
    assert run(*words, "--references", tmp_path / "r.mrcs") == 1
    assert "does not tell the pixel size of its averages of 40 px" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
