"""Images of both polarities in one stack are told from the images alone, and only where it is clear."""

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl import cli
from scipion_udl.io.stacks import write_stack
from scipion_udl.particles.polarity import RadialProfile
from scipion_udl.particles.polarity_mixture import FEW, FEWEST, both_polarities
from scipion_udl.tests.particles.test_extent import BOX, PIXEL, particles


def asked(images):
    """(M,) bool, which are bright, or None: of normalised images."""
    profile = RadialProfile(BOX)
    return both_polarities(profile, profile.add(images).numpy(), profile.mean_ctfs(PIXEL, None))


@pytest.mark.parametrize("hollow", [0.0, 0.75])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_each_image_is_told_for_what_it_is(hollow, share):
    dark = np.random.default_rng(1).random(300) < share
    images = particles(hollow=hollow) * torch.from_numpy(np.where(dark, -1, 1).astype(np.float32))[:, None, None]
    found = asked(images)
    assert found is not None
    assert (found == ~dark).mean() > 0.99


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("hollow", [0.0, 0.75])
@pytest.mark.parametrize("neighbours", [0.0, 0.8])
def test_one_polarity_is_one(sign, hollow, neighbours):
    assert asked(sign * particles(hollow=hollow, neighbours=neighbours)) is None


def test_two_sizes_are_no_two_polarities():
    assert asked(torch.cat([particles(150, radius=12.0), particles(150, radius=24.0, seed=1)])) is None


def test_particles_and_empty_images_are_no_two_polarities():
    empty = torch.randn(150, BOX, BOX, generator=torch.Generator().manual_seed(0))
    assert asked(torch.cat([particles(150), empty])) is None


def test_noise_has_no_sides():
    for seed in range(20):
        assert asked(torch.randn(300, BOX, BOX, generator=torch.Generator().manual_seed(seed))) is None


def test_nothing_is_told_of_few():
    images = particles(FEWEST)
    images[: FEWEST // 2] *= -1
    assert asked(images) is not None
    assert asked(images[1:]) is None
    more = particles(300)
    more[: FEW - 1] *= -1
    assert asked(more) is None


def test_faint_particles_are_not_guessed_at():
    images = particles(snr_height=0.05)
    images[::2] *= -1
    assert asked(images) is None


def test_check_align_and_classify_say_it_and_none_speaks_of_mixed_views(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    images = particles(160, snr_height=2.0).numpy()
    images[1::2] *= -1
    write_stack("both.mrcs", images, PIXEL)
    expected = "two polarities: 50% of the images show bright ones, 50% dark ones"
    assert cli.main(["check", "both.mrcs", "--threads", "1"]) == 0
    assert expected in " ".join(capsys.readouterr().out.split())
    classes = ["--classes", "2", "--starts", "1", "--no-refine"]
    for command, more in (("align", ["--no-refine"]), ("classify", classes)):
        assert cli.main([command, "both.mrcs", "-o", command, "--gpu", "none", "--threads", "1", *more]) == 0
        said = capsys.readouterr().err
        assert said.count(expected) == 1
        assert "mixed" not in said
