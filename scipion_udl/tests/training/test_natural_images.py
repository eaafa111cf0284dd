"""Training of the matching network: the signs of its turns, its loss, and the pairs it is given."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scipion_udl.errors import UdlError
from scipion_udl.imaging.fourier import to_fourier, transform
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import write_stack
from scipion_udl.models.matching import MatchingNetwork, working_images
from scipion_udl.particles.prepared import PreparedParticles
from scipion_udl.tests.engine_helpers import CPU
from scipion_udl.tests.imaging.test_overlap import scene
from scipion_udl.training.natural_images import MatchingObjective, PairSamples, pair_items, pair_samples, working_box
from scipion_udl.training.presets import preset_of

BOX = 24


class Compass(torch.nn.Module):
    """Reads the true turn off images that hold one spot: its direction from the middle."""

    head = SimpleNamespace(head="degrees")

    def __init__(self, wrong: float = 1.0) -> None:
        super().__init__()
        self.wrong = wrong

    def direction(self, images: torch.Tensor) -> torch.Tensor:
        axis = torch.arange(images.shape[-1]) - images.shape[-1] // 2
        images = images[:, 0].clamp(min=0)
        x, y = (images * axis).sum((1, 2)), (images * axis[:, None]).sum((1, 2))
        return torch.rad2deg(torch.atan2(y, x))  # grows clockwise with row 0 on top

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return self.wrong * (self.direction(first) - self.direction(second)) + 77.0


def spots(count, seed=0):
    """Pairs (count, 2, BOX, BOX) of images of one spot, somewhere off the middle."""
    angle = torch.rand(count, 2, generator=torch.Generator().manual_seed(seed)) * 2 * np.pi
    axis = (torch.arange(BOX) - BOX // 2).float()
    x, y = (5 * f(angle)[..., None, None] for f in (torch.cos, torch.sin))
    return torch.exp(-((axis - x) ** 2 + (axis[:, None] - y) ** 2) / 6)


@pytest.mark.parametrize("name", [None, "paper-synthetic"])
def test_the_loss_vanishes_for_true_turns_and_any_bias(name):
    objective = MatchingObjective("udl", preset_of("matching", "udl", name))
    random = torch.Generator().manual_seed(1)
    pairs = spots(40)
    right, unturned = Compass(), Compass(0.0)
    if name is None:
        assert objective.loss(right, pairs, random, 1) < 1e-3
        assert objective.loss(unturned, pairs, random, 1) > 0.7
        assert objective.loss(Compass(-1.0), pairs, random, 1) > 0.7  # turns the wrong way round
    else:  # degrees; the compass's answers lie outside of 0 to 360 now and then, which the hinge counts
        answers = objective._answers(right, pairs, [torch.zeros(2, 40)], None)[0]
        outside = (torch.relu(-answers) + torch.relu(answers - 360)).mean()
        assert objective.loss(right, pairs, random, 1) < 3 * outside + 1
        assert objective.loss(unturned, pairs, random, 1) > 60
    assert objective.validation(right, pairs, random) < 1e-3
    assert objective.validation(unturned, pairs, random) > 0.7


def test_first_turns_are_as_small_as_the_recipe_says():
    preset = preset_of("matching", "udl")
    small = type(preset)(**{**preset.__dict__, "rotation_range": 20.0, "growth": 100.0})
    objective = MatchingObjective("udl", small)
    still = Compass(0.0)  # what does not answer to turns pays by their size
    first, later = (objective.loss(still, spots(60), torch.Generator().manual_seed(2), e) for e in (1, 9))
    assert first < 0.03
    assert later > 0.5


def test_turns_bring_the_second_onto_the_first_and_the_bias_is_taken_off():
    torch.manual_seed(0)
    network = MatchingNetwork(BOX, (4, 8), (8,), (16,), grid=4)
    objective = MatchingObjective("udl", preset_of("matching", "udl"))
    pairs = spots(20)
    for _ in range(5):
        network(pairs[:, :1], pairs[:, 1:])
    network.eval()
    with torch.no_grad():
        objective.finish(network, pairs)
        assert torch.allclose(objective.rotations(network, pairs), network(pairs[:, :1], pairs[:, 1:]) - network.bias)
    assert float(network.bias) != 0


@pytest.fixture
def particles(tmp_path):
    images = np.stack([scene(k)[:48, :48] for k in range(12)])
    images[5] = 3.0
    write_stack(str(tmp_path / "views.mrcs"), images, 1.0)
    prepared = PreparedParticles(open_particles(str(tmp_path / "views.mrcs")), CPU)
    prepared.scan()
    return prepared, images


def test_pairs_are_neighbours_without_constant_images(particles):
    prepared, images = particles
    items = pair_items(prepared, 10, seed=3)
    assert sorted(items[:, 0].tolist()) == [0, 2, 6, 8, 10]  # image 5 is constant, and its pair is out
    assert (items[:, 1] == items[:, 0] + 1).all()
    assert len(pair_items(prepared, 3, seed=3)) == 3
    samples = pair_samples(prepared, items, BOX)
    assert len(samples) == 5
    expected = working_images(torch.from_numpy(images[items.ravel()]).float(), BOX).view(5, 2, BOX, BOX)
    order = torch.tensor([3, 0, 4])
    for kind in (samples, PairSamples(prepared, items, BOX)):
        assert torch.allclose(next(iter(kind.batches([order]))), expected[order], atol=1e-4)


def test_what_holds_no_pairs_is_one_sentence(tmp_path):
    write_stack(str(tmp_path / "odd.mrcs"), np.stack([scene(k)[:32, :32] for k in range(3)]), 1.0)
    with pytest.raises(UdlError, match="odd number"):
        pair_items(PreparedParticles(open_particles(str(tmp_path / "odd.mrcs")), CPU), 10, 0)


def test_working_boxes_are_even_and_small():
    assert [working_box(box) for box in (24, 27, 64, 128)] == [24, 26, 32, 32]


def test_a_turn_is_a_pose_angle():
    image = spots(1)[:, 0]
    rotated = transform(to_fourier(image), BOX, torch.tensor([30.0]))
    change = Compass().direction(rotated[:, None]) - Compass().direction(image[:, None])
    assert float(change) % 360 == pytest.approx(30, abs=0.5)
