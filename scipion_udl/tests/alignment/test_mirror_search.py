"""A view mixed with its mirror image: which particles are mirrored, and what is written of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.alignment.averages import apply_poses
from scipion_udl.alignment.mirror_search import SURE, decide_mirror
from scipion_udl.imaging.fourier import mirrored, to_fourier, to_images
from scipion_udl.imaging.poses import Poses, compose, mirrored_first, pose_errors
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import StackReader, write_stack
from scipion_udl.io.truth import read_truth
from scipion_udl.simulation.phantoms import phantom
from scipion_udl.tests.engine_helpers import (
    PIXEL_SIZE,
    Told,
    align_images,
    correlation,
    image,
    prepared,
    run,
    simulate,
    summary,
)

COUNT = 200


def over(images: np.ndarray) -> np.ndarray:
    """Images (..., D, D) mirrored about the column D//2."""
    box = images.shape[-1]
    return images[..., (2 * (box // 2) - np.arange(box)) % box]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """(folder with a stack of which a random half is mirrored, the true poses)."""
    folder = simulate(tmp_path_factory.mktemp("mirror") / "p", COUNT, 48, 0.2, max_shift=3)
    images = StackReader(str(folder / "particles.mrcs")).read()
    flags = np.random.default_rng(0).random(COUNT) < 0.5
    images[flags] = over(images[flags])
    write_stack(str(folder / "particles.mrcs"), images, PIXEL_SIZE)
    _, truth = read_truth(str(folder / "truth.star"))
    # q = M p: R p + t = R M q + t = M R^-1 q + t
    return folder, Poses(np.where(flags, -truth.angle, truth.angle), truth.shift, flags)


@pytest.fixture(scope="module")
def found(mixed):
    """What `align --mirror` makes of it."""
    out = mixed[0].parent / "out"
    assert run("align", mixed[0] / "particles.star", "-o", out, "--mirror", "--write-stack", "--epochs", 4) == 0
    return out


def xmd_poses(out: Path) -> Poses:
    return open_particles(str(out / "aligned.xmd")).poses()


def assert_right(poses: Poses, truth: Poses) -> float:
    """All but a few in the right hand, up to a mirror common to all, and where they should be; returns the error."""
    if (poses.mirror == truth.mirror).mean() < 0.5:
        truth = compose(Poses([0.0], None, [True]), truth)
    same = poses.mirror == truth.mirror
    assert same.mean() >= 0.98
    errors = pose_errors(poses[same], truth[same])
    assert (np.abs(errors.rotation) < 5).mean() >= 0.98
    assert np.median(np.hypot(*errors.shift.T)) < 0.4
    return float(np.abs(errors.rotation).mean())


@pytest.mark.parametrize("box", [16, 17])
def test_mirroring_coefficients_mirrors_the_image(box):
    images = torch.from_numpy(np.random.default_rng(1).normal(size=(3, box, box)))
    assert np.allclose(to_images(mirrored(to_fourier(images)), box).numpy(), over(images.numpy()))


@pytest.mark.parametrize("box", [48, 49])
def test_mirrored_poses_are_applied_and_can_be_mirrored_first(box):
    """Samples of a formula in mirrored poses: applying the poses gives the template; so do unmirrored poses of
    particles that were mirrored before."""
    poses = Poses([35.0, -100.0, 70.0], [[4.0, -2.5], [2.0, 3.0], [-1.0, 0.5]], [True, False, True])
    view = phantom("hook", box)
    images, fill = torch.from_numpy(view.sample(poses)).float(), torch.zeros(3)
    first = torch.from_numpy(np.where(poses.mirror[:, None, None], over(images.numpy()), images.numpy()))
    for aligned in (apply_poses(images, fill, poses), apply_poses(first, fill, mirrored_first(poses))):
        assert min(correlation(one, view.image()) for one in aligned.numpy()) > 0.999


def test_mirrored_particles_are_found_and_lie_right(mixed, found):
    assert assert_right(xmd_poses(found), mixed[1]) < 1.0
    facts = summary(found)
    share = xmd_poses(found).mirror.sum()
    assert any(f"Mirrored: {share} of {COUNT}" in note for note in facts["notes"])
    assert not any("mixed" in warning for warning in facts["warnings"])
    assert facts["resolution"] is not None


def test_the_stack_the_star_and_the_average_show_them_in_register(mixed, found):
    stack = StackReader(str(found / "aligned.mrcs")).read()
    assert np.allclose(stack.mean(0), image(found / "average.mrcs"), atol=1e-5)
    star = open_particles(str(found / "aligned.star"))
    assert star.names[6].endswith("aligned.mrcs")
    poses = star.poses()
    assert not poses.angle.any()
    assert not poses.shift.any()
    disc = np.hypot(*(np.indices((48, 48)) - 24)) < 18
    one, other = (stack[xmd_poses(found).mirror == flag].mean(0) for flag in (True, False))
    assert correlation(one, other, disc) > 0.9


def test_without_a_stack_there_is_no_star_and_without_the_option_nothing_is_mirrored(mixed, found, tmp_path):
    words = ["align", mixed[0] / "particles.star", "--model", found / "model.safetensors"]
    assert run(*words, "-o", tmp_path / "a", "--mirror") == 0
    assert not (tmp_path / "a" / "aligned.star").exists()
    assert any("aligned.star is not written" in warning for warning in summary(tmp_path / "a")["warnings"])
    assert_right(xmd_poses(tmp_path / "a"), mixed[1])
    rough = align_images(mixed[0] / "particles.star", model=found / "model.safetensors", no_refine=True)
    assert not rough.mirror.any()


@pytest.mark.parametrize("view", ["hook", "noise"])
def test_where_both_hands_fit_equally_well_nothing_is_mirrored(tmp_path, view):
    """A mirror-symmetric view, and noise."""
    rng = np.random.default_rng(2)
    images = rng.normal(size=(130, 32, 32))
    if view == "hook":
        angles = rng.uniform(-180, 180, 130)
        both = phantom(view, 32).sample(Poses(angles)) + phantom(view, 32).sample(Poses(angles, None, [True] * 130))
        images += both / both.std(axis=(1, 2), keepdims=True) * np.sqrt(0.3)
    told = Told()
    assert decide_mirror(prepared(tmp_path, images, told=told), 1) is None
    assert float(told[0].split("agree on ")[1].split("%")[0]) < 100 * SURE
    found = align_images(tmp_path / "images.mrcs", mirror=True, no_refine=True, epochs=2)
    assert not found.mirror.any()
    assert any("found nothing to tell mirrored particles by" in str(warning) for warning in found.warnings)
