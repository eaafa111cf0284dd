"""References of the other polarity."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from types import SimpleNamespace

import torch

from scipion_udl.alignment import onto_reference as onto_reference_module
from scipion_udl.alignment.refinement.reference import Reference
from scipion_udl.compute.distributed import ProcessGroup
from scipion_udl.imaging.band import Band
from scipion_udl.imaging.poses import Poses, pose_errors, wrap
from scipion_udl.io.stacks import StackReader
from scipion_udl.tests.engine_helpers import (
    align_images,
    simulate,
    subset_star,
    true_poses,
)
from scipion_udl.validation.reference_match import transform


@pytest.mark.parametrize(
    ("as_it_is", "other_way", "inverted"), [(0.5, 0.55, False), (0.5, 0.65, True), (0.9, 0.5, False)]
)
def test_a_reference_is_inverted_only_where_it_fits_clearly_better_so(monkeypatch, as_it_is, other_way, inverted):
    """Where nothing tells the contrast, as of a reference that the average hardly looks like, it is taken as it is."""
    band = Band(16, 6)
    image = band.of_images(torch.randn(16, 16, generator=torch.Generator().manual_seed(1)))
    average = Reference(band, image, torch.ones(7))
    likenesses = iter([as_it_is, other_way])
    monkeypatch.setattr(onto_reference_module, "likeness", lambda *images: next(likenesses))
    monkeypatch.setattr(
        onto_reference_module,
        "register",
        lambda refiner, moving, fixed: Poses([0.0 if fixed.average is image else 90.0]),
    )
    refiner = SimpleNamespace(prepared=SimpleNamespace(group=ProcessGroup()))
    pose, turned_over, found = onto_reference_module.onto_reference(refiner, average, average)
    assert (turned_over, found) == (inverted, other_way if inverted else as_it_is)
    assert pose.angle[0] == (90.0 if inverted else 0.0)


@pytest.mark.parametrize("with_model", [True, False])
def test_a_reference_of_the_other_contrast_sets_the_frame_all_the_same(tmp_path, request, with_model):
    """Without a model, particles start from the reference, too."""
    if with_model:
        folder = request.getfixturevalue("particles")
        options = {"model": request.getfixturevalue("model"), "max_shift": 6}
        rows, box = np.arange(60), 64
    else:
        folder, options = simulate(tmp_path / "p", 40, 48, 0.5, max_shift=2, seed=13), {"max_shift": 2}
        rows, box = np.arange(40), 48
    table = subset_star(folder, tmp_path / "p.star", rows)
    frame = Poses([70.0], [[2.0, -3.0]])
    reference = transform(StackReader(str(folder / "template.mrc")).read()[0], frame)
    for sign in (1, -1):
        found = align_images(table, reference=sign * reference, **options)
        errors = pose_errors(found.poses, true_poses(folder)[rows])
        assert (np.abs(errors.rotation) < 5).mean() >= 0.95
        assert abs(float(wrap(errors.common.angle[0] - 70.0))) < 3
        assert np.abs(errors.common.shift[0] - [2.0, -3.0]).max() < 0.02 * box
        told = any("opposite contrast" in str(warning) for warning in found.warnings)
        assert told == (sign < 0)
