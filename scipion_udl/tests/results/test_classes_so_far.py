"""While classes are learned a picture and a stack show them; they look like the averages that come of them."""

from __future__ import annotations

import shutil

import mrcfile
import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from PIL import Image

from scipion_udl.constants import CLASSES_SO_FAR, CLASSES_SO_FAR_PICTURE, MODEL
from scipion_udl.imaging.fourier import resize, to_fourier, to_images
from scipion_udl.io.output.folder import OutputFolder
from scipion_udl.tests.engine_helpers import run

BOX, CLASSES, PIXEL_SIZE = 48, 4, 2.0


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The folder of a run, and that of copies of what it showed on the way."""
    folder = tmp_path_factory.mktemp("so_far")
    words = ("--views", "random", "--phantom", "crane", "--count", 160, "--box", BOX, "--snr", 1, "--seed", 2)
    assert run("simulate", folder / "set", *words) == 0
    copies = folder / "copies"
    copies.mkdir()
    show = OutputFolder.show

    def shows(self, name, write):
        show(self, name, write)
        if name in (CLASSES_SO_FAR, CLASSES_SO_FAR_PICTURE):
            shutil.copy(self.final(name), copies / f"{len(list(copies.iterdir())) // 2}_{name}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OutputFolder, "show", shows)
        options = ("--classes", CLASSES, "--no-refine", "--starts", 1, "--threads", 1)
        assert run("classify", folder / "set" / "particles.star", "-o", folder / "out", *options) == 0
    return folder / "out", copies


def test_they_are_shown_after_each_level_and_go_away_with_the_run(shown):
    out, copies = shown
    levels = (out / "run.log").read_text().count("Classes at ")
    assert levels >= 2
    assert len(list(copies.iterdir())) == 2 * levels
    assert not list(out.glob("classes_so_far*"))


def test_the_stack_has_an_image_a_class_at_the_pixel_size_of_its_box(shown):
    for path in shown[1].glob("*.mrcs"):
        with mrcfile.open(path) as file:
            assert file.data.shape[0] == CLASSES
            assert file.data.shape[1] * float(file.voxel_size.x) == pytest.approx(BOX * PIXEL_SIZE, rel=1e-5)


def test_the_picture_has_them_side_by_side(shown):
    for path in shown[1].glob("*.png"):
        with Image.open(path) as picture:
            grey = np.asarray(picture)
        assert grey.shape[1] > CLASSES * 128 > 3 * grey.shape[0]
        assert all(grey[:, 132 * k + 4 : 132 * k + 132].std() > 10 for k in range(CLASSES))


def test_each_looks_like_the_average_of_a_class(shown):
    out, copies = shown
    last = max(copies.glob("*.mrcs"), key=lambda path: int(path.name.split("_")[0]))
    templates = mrcfile.read(last)
    small = templates.shape[-1]
    averages = torch.from_numpy(mrcfile.read(out / "averages.mrcs").astype(np.float32))
    averages = to_images(resize(to_fourier(averages), BOX, small), small).numpy()
    one, other = ((x - x.mean((1, 2), keepdims=True)) / x.std((1, 2), keepdims=True) for x in (templates, averages))
    alike = np.einsum("kyx,lyx->kl", one, other) / small**2
    assert (alike.max(1) > 0.8).all()
    assert sorted(alike.argmax(1)) == list(range(CLASSES))


def test_a_run_that_goes_on_shows_what_was_learned_before(shown, tmp_path):
    """A model that is given, too, so that somebody who looks sees which classes particles are being sorted into."""
    out, _ = shown
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OutputFolder, "show", lambda self, name, write: seen.append(name))
        words = ("--model", out / MODEL, "--no-refine", "--threads", 1)
        assert run("classify", out.parent / "set" / "particles.star", "-o", tmp_path / "o", *words) == 0
    assert CLASSES_SO_FAR in seen
