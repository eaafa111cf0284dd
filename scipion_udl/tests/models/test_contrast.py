"""How strongly each particle shows a reference, and what that does to its likelihood."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scipion_udl.models.contrast import CONTRAST, with_contrast


@pytest.mark.parametrize("contrast", [0.7, 1.0, 1.5])
def test_a_particle_is_compared_at_the_contrast_that_suits_it(contrast):
    # A reference of power 50 as the particle sees it, and a particle that shows it so strongly, without noise.
    inner, expected = torch.tensor([50.0 * contrast]), torch.tensor([50.0])
    values = np.linspace(0, 3, 3001)
    by_hand = 2 * values * float(inner) - values**2 * 50 - (values - 1) ** 2 / (2 * CONTRAST**2)
    np.testing.assert_allclose(float(with_contrast(inner, expected)), by_hand.max(), rtol=1e-4)


def test_an_image_without_a_particle_fits_no_strong_reference():
    """Empty ice, which agrees with nothing: a contrast of nearly 0 would suit it, and any reference with that."""
    assert float(with_contrast(torch.tensor([0.0]), torch.tensor([50.0]))) < -15


def test_a_faint_particle_fits_its_own_view_better_than_a_faint_average_of_others():
    # Both averages agree with it in 0.9 and 0.8 of their amplitude; that of the worse one is as faint as the particle.
    power, contrast = 50.0, 0.5
    own, other = (
        (torch.tensor([contrast * power * agree * scale]), torch.tensor([power * scale**2]))
        for agree, scale in ((0.9, 1.0), (0.8, 0.5))
    )
    assert with_contrast(*own) > with_contrast(*other)
    assert 2 * own[0] - own[1] < 2 * other[0] - other[1]  # at one contrast for all it would go to the other
