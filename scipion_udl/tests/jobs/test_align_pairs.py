"""Pairs of images: signs checked on images rotated by scipy, candidates settled, files and sentences of the command."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from scipion_udl.compute.progress import Progress
from scipion_udl.constants import __version__
from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import Poses, compose, invert, rotations, wrap
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import write_stack
from scipion_udl.io.tables import read_tables, write_tables
from scipion_udl.io.truth import read_truth, truth_table
from scipion_udl.jobs.align_pairs import PairAligner, pair_up, true_poses
from scipion_udl.models.matching import MatchingNetwork
from scipion_udl.tests.engine_helpers import CPU, run, subset_star
from scipion_udl.tests.imaging.test_overlap import scene

BOX = 48
TINY = {"channels": (4, 8), "squeeze": (8,), "hidden": (16,), "grid": 4}


class Oracle(MatchingNetwork):
    """A matching network that was told the turns of the pairs that come, up to an error."""

    def __init__(self, rotations: np.ndarray) -> None:
        super().__init__(16, **TINY)
        self.turns_to_come = torch.from_numpy(rotations).float()

    def angles(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        now, self.turns_to_come = self.turns_to_come[: len(first)], self.turns_to_come[len(first) :]
        return now


def view(image, angle, off):
    """A window on a scene that is rotated clockwise by ``angle`` (row 0 on top) and lies off the middle by (x, y)."""
    rotation = rotations(np.array([angle]))[0]
    back = rotation.T[::-1, ::-1]  # scipy counts (row, column): from the window to the scene
    middle = np.array(image.shape) // 2
    start = middle - back @ (np.array([BOX // 2, BOX // 2]) + np.array(off[::-1]))
    return ndimage.affine_transform(image, back, start, (BOX, BOX), order=3)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """(folder, turns and places of the 8 images): views of four scenes, each rotated and off the middle on its own."""
    random = np.random.default_rng(4)
    folder = tmp_path_factory.mktemp("pairs")
    angle, off = random.uniform(-180, 180, 8), random.integers(-4, 5, (8, 2)).astype(float)
    images = np.stack([view(scene(k // 2), angle[k], off[k]) for k in range(8)])
    write_stack(str(folder / "views.mrcs"), images, 2.0)
    names = [f"{k + 1:06d}@{folder / 'views.mrcs'}" for k in range(8)]
    # a view that was rotated by angle and moved by off is brought back by the inverse of that
    write_tables(str(folder / "truth.star"), [truth_table(names, invert(Poses(angle, off)))])
    return folder, angle, off


def aligned(folder, error=0.0, **options):
    together = pair_up(open_particles(str(folder / "views.mrcs")))
    true, _ = true_poses(together, str(folder / "truth.star"))
    aligner = PairAligner(Oracle(true.angle + error), None, CPU, search_range=12, **options)
    return true, aligner.run(together, Progress(), 3)


def test_clockwise_is_clockwise():
    spot = np.zeros((160, 160))
    spot[80, 92] = 1.0  # to the right of the middle
    row, column = np.unravel_index(view(ndimage.gaussian_filter(spot, 2), 90.0, (0, 0)).argmax(), (BOX, BOX))
    assert (row, column) == (BOX // 2 + 12, BOX // 2)  # now below it


def test_the_true_pose_of_a_pair_is_its_difference(pairs):
    folder, angle, _ = pairs
    true, _ = true_poses(pair_up(open_particles(str(folder / "views.mrcs"))), str(folder / "truth.star"))
    # the first lies rotated by angle[0], the second by angle[1]: turning the second by their difference makes up for it
    assert np.allclose(wrap(true.angle - (angle[::2] - angle[1::2])), 0, atol=1e-4)


def test_turn_and_shift_bring_the_second_image_onto_the_first(pairs):
    true, found = aligned(pairs[0])
    assert np.abs(wrap(found.poses.angle - true.angle)).max() < 1e-3
    assert np.abs(found.poses.shift - true.shift).max() < 0.25
    assert found.score.min() > 0.97


def test_a_wrong_turn_shows_in_the_score_and_a_search_mends_it(pairs):
    true, off = aligned(pairs[0], error=14.0)
    assert off.score.max() < 0.9
    _, mended = aligned(pairs[0], error=14.0, search=20.0)
    assert np.abs(wrap(mended.poses.angle - true.angle)).max() <= 1.01  # steps of 2 degrees
    assert (mended.score > off.score).all()


def test_constant_images_stay_where_they_are(tmp_path):
    write_stack(str(tmp_path / "flat.mrcs"), np.stack([np.ones((BOX, BOX)), scene(1)[:BOX, :BOX]]), 1.0)
    together = pair_up(open_particles(str(tmp_path / "flat.mrcs")))
    found = PairAligner(Oracle(np.array([33.0])), None, CPU, search_range=6).run(together, Progress())
    assert (found.poses.angle[0], *found.poses.shift[0], found.score[0]) == (0, 0, 0, 0)


def test_spectra_leave_two_ways_and_correlation_settles_them(particles, model, tmp_path, capsys, monkeypatch):
    # particles of one view at SNR 0.1, in pairs, by the model that was trained on them
    star = subset_star(particles, tmp_path / "some.star", list(range(60)))
    command = ["align-pairs", star, "-o", tmp_path / "out", "--model", model, "--gpu", "none", "--threads", "1"]
    monkeypatch.setattr(sys, "argv", ["scipion-udl", *map(str, command)])
    assert run(*command, "--truth", particles / "truth.star") == 0
    assert "30 pairs" in capsys.readouterr().out
    names, truth = read_truth(str(particles / "truth.star"))
    row = {name: k for k, name in enumerate(names)}
    table = read_tables(str(tmp_path / "out" / "pairs.star"))[0]
    second = np.array([row[name] for name in table.texts("rlnImageName")])
    first = np.array([row[name] for name in table.texts("rlnReferenceImage")])
    assert (second - first == 1).all()
    true = compose(invert(truth[first]), truth[second])
    error = np.abs(wrap(table.numbers("udlAngle") - true.angle))
    assert np.minimum(error, 180 - error).mean() < 6  # the network's; single images at SNR 0.1 settle the rest
    assert (error < 90).mean() > 0.7
    assert np.allclose(np.abs(table.numbers("udlAngleError")), error, atol=1e-3)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["command"].startswith(f"scipion-udl align-pairs {star} -o ")
    assert (summary["input"], summary["second"], summary["version"]) == (str(star), None, __version__)
    assert "CPU" in summary["device"]
    figures = summary["figures"]
    assert figures["pairs"] == 30
    assert figures["score"] == pytest.approx(table.numbers("rlnParticleFigureOfMerit").mean(), abs=1e-5)
    assert figures["rotation_mean"] == pytest.approx(error.mean(), abs=1e-3)
    assert figures["within_30"] == pytest.approx((error < 30).mean())


def test_chunks_do_not_count(pairs):
    torch.manual_seed(1)
    network = MatchingNetwork(24, **TINY)
    for _ in range(300):  # running statistics that spread the answers
        network(torch.randn(16, 1, 24, 24), torch.randn(16, 1, 24, 24))
    network.eval()
    together = pair_up(open_particles(str(pairs[0] / "views.mrcs")))
    one, all_ = (PairAligner(network, None, CPU, 12).run(together, Progress(), chunk) for chunk in (1, 4))
    assert np.abs(wrap(one.poses.angle - all_.poses.angle)).max() < 1e-3
    assert np.abs(one.poses.shift - all_.poses.shift).max() < 1e-3
    assert np.ptp(one.poses.angle) > 1


def test_two_tables_pair_item_by_item(pairs):
    source = open_particles(str(pairs[0] / "views.mrcs"))
    together = pair_up(source, open_particles(str(pairs[0] / "views.mrcs")))
    true, _ = true_poses(together, str(pairs[0] / "truth.star"))
    found = PairAligner(Oracle(true.angle), None, CPU, 12).run(together, Progress())
    assert np.allclose(found.poses.angle, 0, atol=1e-4)  # each with itself
    assert np.allclose(found.poses.shift, 0, atol=1e-2)
    assert found.score.min() > 0.999


def test_what_does_not_pair_is_one_sentence(pairs, tmp_path):
    write_stack(str(tmp_path / "odd.mrcs"), np.random.default_rng(0).random((3, BOX, BOX)), 2.0)
    write_stack(str(tmp_path / "small.mrcs"), np.random.default_rng(0).random((3, 32, 32)), 2.0)
    odd, small = (open_particles(str(tmp_path / name)) for name in ("odd.mrcs", "small.mrcs"))
    eight = open_particles(str(pairs[0] / "views.mrcs"))
    with pytest.raises(UdlError, match="odd number"):
        pair_up(odd)
    with pytest.raises(UdlError, match="as many of both"):
        pair_up(odd, eight)
    with pytest.raises(UdlError, match="one box"):
        pair_up(odd, small)
    with pytest.raises(UdlError, match="does not name"):
        true_poses(pair_up(odd, odd), str(pairs[0] / "truth.star"))


def test_from_photographs_to_aligned_pairs(tmp_path, capsys):
    """The commands one after the other: patches, a network that saw no truth, pairs that it never saw."""
    data = pytest.importorskip("skimage.data")
    for part, name in (("train2017", "camera"), ("train2017", "coffee"), ("val2017", "coins")):
        (tmp_path / "photos" / part).mkdir(parents=True, exist_ok=True)
        Image.fromarray(getattr(data, name)()).save(tmp_path / "photos" / part / f"{name}.png")
    for part, patches in (("train2017", 80), ("val2017", 20)):
        options = ["--part", part, "--patches", patches, "--box", 32, "--shift", 2]
        assert run("simulate", tmp_path / part, "--photos", tmp_path / "photos", *options) == 0
    model = tmp_path / "model" / "model.safetensors"
    training = ["--network", "matching", "--method", "udl", "--input-size", 24, "--epochs", 6, "--lr", 0.002]
    assert run("train", tmp_path / "train2017" / "particles.star", "-o", model.parent, *training) == 0
    capsys.readouterr()
    test, tables = tmp_path / "val2017", []
    command = ["align-pairs", test / "particles.star", "--model", model, "--gpu", "none", "--threads", 1]
    for batch in (5, 16):
        out = tmp_path / f"batch{batch}"
        assert run(*command, "-o", out, "--truth", test / "truth.star", "--batch", batch) == 0
        tables.append(read_tables(str(out / "pairs.star"))[0])
    assert "20 pairs" in capsys.readouterr().out
    assert np.abs(wrap(tables[0].numbers("udlAngle") - tables[1].numbers("udlAngle"))).max() < 1e-3
    error = np.abs(tables[0].numbers("udlAngleError"))
    assert error.mean() < 60  # chance is 90
    assert run(*command, "-o", tmp_path / "searched", "--truth", test / "truth.star", "--search", 60) == 0
    searched = np.abs(read_tables(str(tmp_path / "searched" / "pairs.star"))[0].numbers("udlAngleError"))
    assert np.median(searched) < 3
    assert run(*command, "-o", tmp_path / "no", "--search", 1e9) == 1
    assert "180 degrees or less" in capsys.readouterr().err
    # spectra of single particles are not what it was trained on
    assert run("align", test / "particles.star", "-o", tmp_path / "no", "--model", model) == 1
    assert "align-pairs" in capsys.readouterr().err
