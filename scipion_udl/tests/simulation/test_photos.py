"""Pairs from photographs: both copies show the same patch where their poses say, and nothing but photograph."""

import numpy as np
import pytest
import torch
from PIL import Image

from scipion_udl.cli import main
from scipion_udl.errors import UdlError
from scipion_udl.imaging.fourier import to_fourier, transform
from scipion_udl.io.particles import open_particles
from scipion_udl.io.tables import read_tables
from scipion_udl.io.truth import read_truth
from scipion_udl.simulation.photos import Noise, PhotoPairs, find_photographs

BOX = 32
skimage_data = pytest.importorskip("skimage.data")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Photographs in the folders of MS-COCO, a blank wall among them."""
    folder = tmp_path_factory.mktemp("coco")
    for part, names in (("train2017", ("camera", "coins", "astronaut")), ("val2017", ("moon",))):
        (folder / part).mkdir()
        for name in names:
            Image.fromarray(getattr(skimage_data, name)()).save(folder / part / f"{name}.png")
    wall = np.random.default_rng(0).normal(128, 3, (200, 200)).clip(0, 255).astype(np.uint8)
    Image.fromarray(wall).save(folder / "train2017" / "wall.png")
    return folder


def pairs(folder, part="train2017", **options):
    return PhotoPairs(find_photographs(str(folder), part), BOX, **{"max_shift": 4, "patches": 3, **options})


def to_patches(images, poses):
    """What the poses make of their copies, (N, BOX, BOX)."""
    angle, shift = (torch.from_numpy(v).float() for v in (poses.angle, poses.shift))
    return transform(to_fourier(torch.from_numpy(images)), BOX, angle, shift).numpy()


def inner(radius):
    axis = np.arange(BOX) - BOX // 2
    return np.hypot(*np.meshgrid(axis, axis)) < radius


def test_the_true_poses_take_both_copies_to_one_patch(photographs):
    found = list(pairs(photographs))
    assert len(found) == 9
    same, crossed = [], []
    for pair in found:
        first, second = to_patches(pair.images, pair.poses)[:, inner(8)]
        same.append(np.corrcoef(first, second)[0, 1])
        # undoing the turn the wrong way round, or only one of the two, must not do
        half = to_patches(pair.images, type(pair.poses)(-pair.poses.angle, pair.poses.shift))[:, inner(8)]
        crossed.append(np.corrcoef(*half)[0, 1])
    assert np.median(same) > 0.97
    assert min(same) > 0.85
    assert np.median(crossed) < 0.7


def test_copies_show_photograph_up_to_their_corners(tmp_path):
    # a photograph whose right edge is near: what lies beyond would be mirrored or 0
    y, x = np.mgrid[:90, :90]
    Image.fromarray((100 + x + 0.5 * y).astype(np.uint8)).save(tmp_path / "slope.png")
    made = pairs(tmp_path, None, flat=1.0, patches=5, subpixel=True)
    for pair in made:
        for image in pair.images:
            # a slope, rotated and shifted, is a slope: a plane fits it to the rounding of grey levels
            axis = np.arange(BOX) - BOX // 2
            plane = np.stack([np.ones(BOX * BOX), *(g.ravel() for g in np.meshgrid(axis, axis))], 1)
            rest = image.ravel() - plane @ np.linalg.lstsq(plane, image.ravel(), rcond=None)[0]
            assert np.abs(rest).max() < 0.1
    assert made.rejected == {}


def test_turns_and_shifts_fill_their_ranges(photographs):
    made = [pair.poses for pair in pairs(photographs, patches=100)]
    angle = np.concatenate([poses.angle for poses in made])
    assert np.histogram(angle, 4, (-180, 180))[0].min() > 100
    off = np.concatenate([poses.shift for poses in made])
    assert np.hypot(*off.T).max() <= 4 * np.sqrt(2) + 1e-9
    assert np.hypot(*off.T).max() > 4


def test_flat_and_small_photographs_are_left_out(photographs):
    made = pairs(photographs)
    assert not any("wall" in pair.photograph for pair in made)
    assert made.rejected == {"flat": 1}
    everything = pairs(photographs, flat=0.0)
    assert sum("wall" in pair.photograph for pair in everything) == 3
    wide = PhotoPairs(find_photographs(str(photographs), "train2017"), 130, max_shift=40)
    assert wide.half_side == 152  # 305 pixels of a side; coins has 303 rows
    assert not any("coins" in pair.photograph for pair in wide)
    assert wide.rejected["small"] == 2


def test_noise_has_the_strength_that_is_asked_for(photographs):
    clean = np.stack([pair.images for pair in pairs(photographs)])
    assert clean.var(axis=(1, 2, 3)) == pytest.approx(np.ones(9), rel=1e-3)
    noisy = np.stack([pair.images for pair in pairs(photographs, noise=Noise("gaussian", snr=0.5))])
    rest = noisy - np.sqrt(0.5) * clean
    assert rest.var() == pytest.approx(1, rel=0.02)
    assert abs(np.mean(rest * clean)) < 0.03
    spotted = np.stack([pair.images for pair in pairs(photographs, noise=Noise("salt-pepper", share=0.2))])
    changed = spotted != clean
    assert changed.mean() == pytest.approx(0.2, abs=0.02)
    low, high = clean.min(axis=(1, 2, 3)), clean.max(axis=(1, 2, 3))
    for k in range(9):
        assert set(np.unique(spotted[k][changed[k]])) <= {low[k], high[k]}


def test_the_parts_are_told_apart(photographs, tmp_path):
    assert [path.rsplit("/", 1)[1] for path in find_photographs(str(photographs), "val2017")] == ["moon.png"]
    with pytest.raises(UdlError, match="--part"):
        find_photographs(str(photographs))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UdlError, match="no photographs"):
        find_photographs(str(tmp_path / "empty"))
    with pytest.raises(UdlError, match="no photographs"):
        find_photographs(str(photographs), "test2017")
    with pytest.raises(UdlError, match="no folder"):
        find_photographs(str(tmp_path / "nothing"))


def test_the_command_writes_pairs_and_their_truth(photographs, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["simulate", str(out), "--photos", str(photographs), "--part", "train2017", "--box", str(BOX)]
    assert main([*command, "--patches", "2", "--shift", "4"]) == 0
    assert "1 photographs left out: flat" in capsys.readouterr().out
    source = open_particles(str(out / "particles.star"))
    names, poses = read_truth(str(out / "truth.star"))
    assert len(source) == len(names) == 12
    assert names == source.names
    table = read_tables(str(out / "truth.star"))[0]
    assert table.texts("udlClass") == [str(k // 2 + 1) for k in range(12)]
    assert table.texts("udlPhotograph") == [f"{n}.png" for n in ("astronaut", "camera", "coins") for _ in range(4)]
    files = sorted(path.name for path in out.iterdir() if path.name[0] != ".")
    assert files == ["parameters.json", "particles.mrcs", "particles.star", "truth.star"]
    patches = to_patches(source.read(np.arange(12)), poses)[:, inner(8)]
    assert np.median([np.corrcoef(patches[k], patches[k + 1])[0, 1] for k in range(0, 12, 2)]) > 0.97
    assert abs(np.median([np.corrcoef(patches[k], patches[k - 1])[0, 1] for k in range(2, 12, 2)])) < 0.8
    few = tmp_path / "few"
    assert main(["simulate", str(few), *command[2:], "--count", "5", "--shift", "4"]) == 0
    assert "4 particles of the 5 asked for" in capsys.readouterr().out
    assert len(open_particles(str(few / "particles.star"))) == 4  # whole pairs


def test_a_broken_photograph_is_left_out_and_changes_no_other(photographs, tmp_path, capsys):
    with_it, without = tmp_path / "with", tmp_path / "without"
    for folder in (with_it, without):
        folder.mkdir()
        (folder / "a.png").write_bytes((photographs / "train2017" / "coins.png").read_bytes())
    whole = (photographs / "val2017" / "moon.png").read_bytes()
    (with_it / "b.png").write_bytes(whole[: len(whole) // 2])
    (with_it / "c.png").write_bytes(b"no picture")
    stacks = []
    for folder in (with_it, without):
        out = tmp_path / f"out_{folder.name}"
        assert main(["simulate", str(out), "--photos", str(folder), "--box", str(BOX), "--shift", "4"]) == 0
        stacks.append(open_particles(str(out / "particles.star")).read(np.arange(2)))
        said = capsys.readouterr().out
        assert ("2 photographs left out: they cannot be read; the first: " in said) == (folder is with_it)
        assert ("b.png" in said) == (folder is with_it)
    assert np.array_equal(*stacks)
    (with_it / "a.png").unlink()
    assert main(["simulate", str(tmp_path / "no"), "--photos", str(with_it), "--box", str(BOX)]) == 1
    assert "none of the 2 photographs can be read" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_photographs_that_give_nothing_are_one_sentence(photographs, tmp_path, capsys):
    flat = tmp_path / "flat"
    flat.mkdir()
    Image.fromarray(np.full((300, 300), 90, np.uint8)).save(flat / "grey.jpg")
    assert main(["simulate", str(tmp_path / "out"), "--photos", str(flat), "--box", "32"]) == 1
    message = capsys.readouterr().err
    assert "1 are flat" in message
    assert not (tmp_path / "out").exists()
    (flat / "torn.jpg").write_bytes(b"no picture")
    assert main(["simulate", str(tmp_path / "out"), "--photos", str(flat), "--box", "32"]) == 1
    assert "torn.jpg cannot be read as a picture" in capsys.readouterr().err


def test_noise_that_float32_cannot_hold_is_refused():
    with pytest.raises(UdlError, match="1e\\+12 at most, or inf"):
        Noise("gaussian", 1e300)
    images = np.random.default_rng(3).standard_normal((2, 16, 16)).astype(np.float32)
    for snr in (1e12, np.inf):
        assert np.isfinite(Noise("gaussian", snr).add(images, np.random.default_rng(4))).all()
