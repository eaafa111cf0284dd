"""The feature matching network: where features agree, whom a pair depends on, and that differences alone teach it."""

import numpy as np
import pytest
import torch

from scipion_udl.errors import UdlError
from scipion_udl.models.heads import AngleHead
from scipion_udl.models.matching import PUBLISHED, MatchingNetwork, correlation_map, working_images

TINY = {"channels": (8, 16), "squeeze": (16, 8), "hidden": (32,), "grid": 4}


def tiny(box=16, seed=0, **options):
    torch.manual_seed(seed)
    return MatchingNetwork(box, **{**TINY, **options})


def images(count, box=16, seed=0):
    """Smooth random images (count, 1, box, box)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.interpolate(
        torch.randn(count, 1, 6, 6, generator=generator), size=(box, box), mode="bicubic", align_corners=False
    )


def test_features_that_moved_agree_where_they_went():
    features = torch.randn(3, 24, 6, 6, generator=torch.Generator().manual_seed(1))
    moved = features.roll((1, 2), (2, 3))  # one row down, two columns to the right
    maps = correlation_map(features, moved)
    assert maps.shape == (3, 36, 6, 6)
    for row in range(1, 6):
        for column in range(2, 6):
            # what lies at (row, column) of the second lay at (row - 1, column - 2) of the first
            assert (maps[:, :, row, column].argmax(1) == (row - 1) * 6 + column - 2).all()


def test_a_place_that_fits_everywhere_counts_for_little():
    features = torch.ones(1, 4, 3, 3)
    maps = correlation_map(features, features)
    assert torch.allclose(maps, torch.full_like(maps, 1 / 3), atol=1e-6)  # unit length over 9 places
    assert (correlation_map(features, -features) == 0).all()


@pytest.mark.parametrize("box", [16, 22, 33])
@pytest.mark.parametrize("head", ["degrees", "circular"])
def test_any_box_and_either_head_give_an_angle(box, head):
    network = tiny(box, head=head).eval()
    angle = network(images(3, box), images(3, box, 1))
    assert angle.shape == (3,)
    assert torch.isfinite(angle).all()


def test_the_published_network_has_eight_places_and_256_channels():
    network = MatchingNetwork(128, **PUBLISHED)
    with torch.no_grad():
        assert network.eval().describe(images(1, 128)).shape == (1, 256, 8, 8)
    linear = [layer for layer in network.head.layers if isinstance(layer, torch.nn.Linear)]
    assert len(linear) == 3
    assert linear[-1].out_features == 1


def test_a_pair_does_not_depend_on_its_batch():
    network = tiny()
    first, second = images(20), images(20, seed=1)
    for _ in range(3):  # running statistics that are no longer those of a fresh network
        network(first, second)
    network.eval()
    with torch.no_grad():
        together = network(first, second)
        alone = torch.cat([network(first[k : k + 1], second[k : k + 1]) for k in range(20)])
    assert torch.allclose(together, alone, atol=1e-3)
    assert together.std() > 0.1


def test_brightness_contrast_and_corners_do_not_count():
    network = tiny().eval()
    first, second = images(4), images(4, seed=1)
    with torch.no_grad():
        angle = network(first, second)
        assert torch.allclose(network(3 * first + 7, second - 2), angle, atol=1e-2)
        framed = first.clone()
        framed[..., 0, 0] = framed[..., -1, -1] = 50.0
        assert torch.allclose(network(framed, second), angle, atol=1e-3)
        middle = first.clone()
        middle[..., 8, 8] += 5.0
        assert not torch.allclose(network(middle, second), angle, atol=1e-2)


def test_working_images_keep_place_and_grey_values():
    y, x = torch.meshgrid(torch.arange(64.0) - 32, torch.arange(64.0) - 32, indexing="ij")
    spot = 2.0 * torch.exp(-((x - 8) ** 2 + (y + 4) ** 2) / 50)[None]
    small = working_images(spot, 32)[0, 0]
    assert divmod(int(small.argmax()), 32) == (16 - 2, 16 + 4)
    assert float(small.max()) == pytest.approx(2.0, abs=0.01)
    assert working_images(spot, 64)[0, 0] is not None
    assert torch.equal(working_images(spot, 64)[:, 0], spot)


class Jumping(MatchingNetwork):
    """Knows the turn of images of one spot, plus 100 degrees, as a free output in degrees does: from 0 to 360, with a
    smooth jump, here for spots that lie at nearly the same angle."""

    def describe(self, batch):
        axis = torch.arange(batch.shape[-1]) - batch.shape[-1] // 2
        x, y = (batch[:, 0] * axis).sum((1, 2)), (batch[:, 0] * axis[:, None]).sum((1, 2))
        return torch.rad2deg(torch.atan2(y, x))

    def compare(self, first, second):
        rotation = (first - second) % 360
        smooth = rotation * (rotation > 10) + 180.0 * (rotation <= 10)  # on the jump: the middle of both ends
        return smooth + 100


def test_the_bias_is_that_of_all_turns_even_where_twice_the_same_image_is_on_the_jump():
    angle = torch.rand(20, generator=torch.Generator().manual_seed(3)) * 2 * np.pi
    axis = (torch.arange(16) - 8).float()
    x, y = (4 * f(angle)[:, None, None] for f in (torch.cos, torch.sin))
    pool = torch.exp(-((axis - x) ** 2 + (axis[:, None] - y) ** 2) / 4)[:, None]
    torch.manual_seed(0)
    network = Jumping(16, **TINY).eval()
    network.set_bias(pool)
    assert float(network.bias) == pytest.approx(100, abs=3)


def rotated(batch, angle):
    """Images (N, 1, S, S) rotated by pose angles (N,), degrees: read at R(-angle) p about pixel S//2."""
    size = batch.shape[-1]
    axis = torch.arange(size) - size // 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    c, s = torch.cos(torch.deg2rad(angle))[:, None, None], torch.sin(torch.deg2rad(angle))[:, None, None]
    points = torch.stack([c * x + s * y, -s * x + c * y], -1)
    return torch.nn.functional.grid_sample(
        batch, (points + size // 2 + 0.5) * (2 / size) - 1, align_corners=False, padding_mode="reflection"
    )


def test_differences_alone_teach_it_the_turn():
    network = tiny()
    generator = torch.Generator().manual_seed(5)
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    pool = images(256, seed=9)
    losses = []
    for _ in range(160):
        picture = pool[torch.randint(256, (32,), generator=generator)]
        angle = torch.rand(4, 32, generator=generator) * 360
        copies = [rotated(picture, a) for a in angle]
        change = network(copies[0], copies[1]) - network(copies[2], copies[3])
        wanted = angle[0] - angle[1] - (angle[2] - angle[3])
        loss = (1 - torch.cos(torch.deg2rad(change - wanted))).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[:10]) > 0.8  # chance
    assert np.mean(losses[-10:]) < 0.55
    network.eval()
    new = images(100, seed=77)
    network.set_bias(new)
    angle = torch.rand(100, generator=generator) * 360
    with torch.no_grad():
        # the answer is the pose angle that brings the second onto the first: -angle for what was rotated by angle
        error = network(new, rotated(new, angle)) - network.bias + angle
    error = (error + 180) % 360 - 180
    assert error.abs().mean() < 60  # chance is 90; of images it never saw, no angle ever told


def test_an_unknown_head_is_refused():
    with pytest.raises(UdlError, match="degrees, circular"):
        AngleHead(4, (3,), "triangular")


def test_the_circular_head_covers_its_period():
    torch.manual_seed(0)
    for period in (180.0, 360.0):
        angle = AngleHead(6, (16,), "circular", period)(torch.randn(500, 6))
        assert angle.abs().max() <= period / 2
        assert np.histogram(angle.detach().numpy(), 4, (-period / 2, period / 2))[0].min() > 50
