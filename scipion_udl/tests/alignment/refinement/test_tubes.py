"""Tubes: which way round segments are held, and how far their angles go from the priors."""

import numpy as np
import pytest
import torch

from scipion_udl.alignment.refinement.tubes import Tubes
from scipion_udl.imaging.filaments import Filaments


@pytest.mark.parametrize("psi", [-170.0, -20.0, 35.0, 179.0])
@pytest.mark.parametrize("way", [1, -1])
def test_a_segment_that_is_held_ends_the_way_its_tube_lies(psi, way):
    filaments = Filaments(np.array([psi]), np.array([0]))
    filaments.way[:] = way
    tubes = Tubes.of(filaments, np.array([0]), torch.device("cpu"))
    for angle in (psi, psi + 180.0):  # whichever way it comes in, orientations are from 0 to 180 degrees
        base = torch.tensor([angle % 180.0])
        other = torch.tensor([angle % 360.0 >= 180.0])
        held, flip = tubes.held(base, other)
        end = float(base) + 180.0 * bool(other ^ flip)
        assert bool(held)
        assert np.cos(np.radians(end - psi)) * way > 0.9


def test_where_it_is_open_nothing_is_held():
    tubes = Tubes.of(Filaments(np.zeros(2), np.arange(2)), np.arange(2), torch.device("cpu"))
    assert not tubes.held(torch.tensor([0.0, 90.0]), torch.tensor([False, True]))[0].any()


def test_angles_stay_near_the_priors_either_way_round():
    tubes = Tubes(torch.tensor([10.0, 10.0, 10.0, 170.0]), torch.zeros(4), 5.0)
    kept = tubes.kept(torch.tensor([12.0, 40.0, 183.0, -20.0]))
    assert torch.allclose(kept, torch.tensor([12.0, 15.0, 185.0, -15.0]), atol=1e-4)
