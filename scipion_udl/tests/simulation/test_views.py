"""Particles of many views: directions as said, shares as said, poses that bring views of a direction into register."""

import json
import shlex

import numpy as np
import pytest

from scipion_udl import cli
from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import Poses, invert
from scipion_udl.io.images import read_image
from scipion_udl.io.maps import read_map, write_map
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import StackReader
from scipion_udl.io.truth import read_truth, read_views
from scipion_udl.simulation.ctf import CtfSettings
from scipion_udl.simulation.particles import chunks
from scipion_udl.simulation.phantoms_3d import molecule
from scipion_udl.simulation.templates import ImageTemplate
from scipion_udl.simulation.views import (
    PREFERRED_SHARES,
    SPREAD,
    ViewSimulation,
    directions_around,
    preferred_directions,
)
from scipion_udl.validation.pose_errors import located_truth

BOX = 32
SMALL = ["--views", "random", "--count", "8", "--box", str(BOX), "--shift", "3"]


def simulation(count=40, snr=0.1, **options):
    return ViewSimulation(molecule("boot", BOX), count, snr, 4.0, **{"max_shift": 3, **options})


def mixed(count=40, **options):
    return simulation(count, **{"noise_share": 0.3, "second": molecule("saddle", BOX), "second_share": 0.2, **options})


def correlation(a, b):
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


def images(path):
    return StackReader(str(path)).read()


def error_of(capsys):
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


# Directions and shares.


def test_random_directions_are_uniform_over_the_sphere():
    direction = simulation(count=6000).direction
    assert np.allclose(np.linalg.norm(direction, axis=1), 1)
    assert np.abs(direction.mean(0)).max() < 0.03
    assert np.allclose(direction.T @ direction / 6000, np.eye(3) / 3, atol=0.015)
    assert np.histogram(direction[:, 2], 6, (-1, 1))[0].min() > 900  # as many in each zone of equal height


def test_uneven_directions_crowd_about_three():
    sim = simulation(count=4000, views="uneven", seed=7)
    axes = preferred_directions(7, 1)
    assert np.allclose(axes @ axes.T, np.eye(3))
    near = sim.direction @ axes.T > np.cos(np.radians(3 * SPREAD))
    # 24 degrees about each hold nearly all of its own, and of the others the part of the sphere that they are
    elsewhere = (1 - sum(PREFERRED_SHARES)) * (1 - np.cos(np.radians(3 * SPREAD))) / 2
    assert near.mean(0) == pytest.approx(np.array(PREFERRED_SHARES) * 0.989 + elsewhere, abs=0.025)
    opposite = sim.direction @ axes.T < -np.cos(np.radians(3 * SPREAD))
    assert opposite.mean(0).max() < 0.02
    assert not np.allclose(axes, preferred_directions(7, 2))


@pytest.mark.parametrize("axis", [(0.0, 0.0, 1.0), (0.6, -0.8, 0.0), (-0.48, 0.6, -0.64)])
def test_directions_lie_round_about_their_axis_by_the_spread(axis):
    axes = np.tile(axis, (5000, 1))
    found = directions_around(axes, np.random.default_rng(0).random((5000, 2)), 8.0)
    assert np.allclose(np.linalg.norm(found, axis=1), 1)
    off = found - axes * (found * axes).sum(1, keepdims=True)
    spreads = np.linalg.svd(off, compute_uv=False) / np.sqrt(5000)
    assert spreads == pytest.approx([np.radians(8), np.radians(8), 0], rel=0.05, abs=1e-9)


def test_shares_are_as_asked_for():
    sim = mixed(count=4000)
    assert np.bincount(sim.molecule) / 4000 == pytest.approx([0.3, 0.5, 0.2], abs=0.025)
    assert set(simulation(count=50).molecule) == {1}
    assert set(simulation(count=50, noise_share=1.0).molecule) == {0}


# Particles.


def test_a_particle_is_its_molecule_seen_from_its_direction():
    sim = mixed(count=12, snr=50.0)
    for k, image in enumerate(sim.clean(np.arange(12))):
        name = {1: "boot", 2: "saddle"}.get(sim.molecule[k])
        if name is None:
            assert not image.any()
            continue
        expected = molecule(name, BOX).project(sim.direction[[k]], sim.poses[[k]])[0]
        assert correlation(image, expected) > 0.999999


def test_the_pose_brings_particles_of_one_direction_into_register():
    sim = simulation(count=2, snr=np.inf, subpixel=True)
    sim._direction[1] = sim._direction[0]
    first, second = sim.images(np.arange(2))
    aligned = [ImageTemplate(image, BOX).sample(invert(sim.poses[[k]]))[0] for k, image in enumerate((first, second))]
    assert correlation(first, second) < 0.9
    assert correlation(*aligned) > 0.995
    canonical = molecule("boot", BOX).project(sim.direction[:1], Poses.identity(1))[0]
    assert min(correlation(image, canonical) for image in aligned) > 0.99


def test_noise_is_noise_and_the_snr_is_that_of_each_particle():
    sim = mixed(count=60, snr=0.5, ctf=CtfSettings())
    every = np.arange(60)
    signal, noisy = sim.signal(every), sim.images(every)
    assert np.allclose(signal[sim.molecule > 0].var(axis=(1, 2)), 0.5, rtol=1e-3)
    alone = noisy[sim.molecule == 0]
    assert alone.var() == pytest.approx(1, rel=0.03)
    assert np.abs(alone.mean(0)).max() < 5 / np.sqrt(len(alone))
    rest = noisy - signal
    assert rest.var() == pytest.approx(1, rel=0.02)
    assert not sim.direction[sim.molecule == 0].any()


@pytest.mark.parametrize("views", ["random", "uneven"])
def test_a_particle_does_not_depend_on_what_is_made_with_it(views):
    together = mixed(views=views, ctf=CtfSettings()).images(np.arange(40))
    parts = [mixed(views=views, ctf=CtfSettings()).images(part) for part in chunks(40, 7)]
    assert np.array_equal(together, np.concatenate(parts))
    more = mixed(count=90, views=views, ctf=CtfSettings())
    assert np.array_equal(together, more.images(np.arange(40)))
    assert not np.allclose(together, mixed(views=views, seed=2, ctf=CtfSettings()).images(np.arange(40)))


def test_what_is_mixed_in_leaves_the_other_particles_as_they_are():
    alone, among = simulation(), mixed()
    first = np.flatnonzero(among.molecule == 1)
    assert np.array_equal(alone.direction[first], among.direction[first])
    assert np.array_equal(alone.images(first), among.images(first))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"views": "few"}, "no views 'few'"),
        ({"noise_share": 0.6, "second_share": 0.5, "second": molecule("saddle", BOX)}, "not above 1 together"),
        ({"second_share": 0.5}, "belong together"),
        ({"second": molecule("saddle", BOX)}, "belong together"),
        ({"second": molecule("saddle", 48), "second_share": 0.5}, "a box of 48 pixels"),
        ({"noise_share": 0.1, "snr": np.inf}, "leaves no noise"),
        ({"count": 0}, "0 particles"),
    ],
)
def test_impossible_simulations_are_refused(options, message):
    with pytest.raises(UdlError, match=message):
        simulation(**options)


# The command and its files.


def test_the_files_say_what_was_simulated(tmp_path, capsys):
    out = tmp_path / "out"
    mixture = ["--second", "anvil", "--second-share", "0.3", "--noise-share", "0.2", "--pixel-size", "4"]
    assert run("simulate", out, "--phantom", "tetramer", *SMALL, "--count", "30", *mixture, "--clean") == 0
    assert "truth.star, volume.mrc and second.mrc are in" in capsys.readouterr().out
    names = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    stars = {"particles.mrcs", "particles.star", "clean.mrcs", "clean.star", "truth.star"}
    assert names == stars | {"volume.mrc", "second.mrc", "parameters.json"}
    sim = ViewSimulation(
        molecule("tetramer", BOX), 30, 0.1, 4.0, 3.0, ctf=CtfSettings(), noise_share=0.2,
        second=molecule("anvil", BOX), second_share=0.3,
    )  # fmt: skip
    assert np.array_equal(images(out / "particles.mrcs"), sim.images(np.arange(30)))
    source = open_particles(str(out / "particles.star"))
    assert (len(source), source.box, source.pixel_size) == (30, BOX, 4.0)
    for name, own in (("volume", "tetramer"), ("second", "anvil")):
        volume, size = read_map(str(out / f"{name}.mrc"))
        assert np.array_equal(volume, molecule(own, BOX).volume())
        assert size == pytest.approx(4.0)
    views, kinds, direction = read_views(str(out / "truth.star"))
    named, poses = read_truth(str(out / "truth.star"))
    assert views == named == source.names + open_particles(str(out / "clean.star")).names
    assert np.array_equal(kinds, np.tile(sim.molecule, 2))
    assert set(kinds) == {0, 1, 2}
    assert np.allclose(direction, np.tile(sim.direction, (2, 1)), atol=2e-6)
    assert np.allclose(poses.angle, np.tile(sim.poses.angle, 2), atol=1e-6)
    assert np.allclose(poses.shift, np.tile(sim.poses.shift, (2, 1)), atol=1e-6)
    assert len(located_truth(str(out / "truth.star"))[1]) == 60
    facts = json.loads((out / "parameters.json").read_text())
    assert (facts["symmetry"], facts["second_symmetry"]) == ("D2", "C1")
    assert (facts["options"]["views"], facts["options"]["noise_share"]) == ("random", 0.2)


def test_the_formula_and_its_map_give_the_same_particles(tmp_path):
    path = tmp_path / "map.mrc"
    write_map(str(path), molecule("crane", 48).volume(), 2.0)
    options = ["--views", "uneven", "--count", "6", "--box", "48", "--shift", "3", "--pixel-size", "2", "--snr", "inf"]
    assert run("simulate", tmp_path / "map", "--volume", path, *options) == 0
    assert run("simulate", tmp_path / "formula", "--phantom", "crane", *options) == 0
    got, expected = (images(tmp_path / name / "particles.mrcs") for name in ("map", "formula"))
    assert min(correlation(*pair) for pair in zip(got, expected)) > 0.999
    assert json.loads((tmp_path / "map" / "parameters.json").read_text())["symmetry"] is None
    volume, _ = read_map(str(tmp_path / "map" / "volume.mrc"))
    assert correlation(volume, molecule("crane", 48).volume()) > 0.9999


@pytest.mark.parametrize(
    ("options", "box", "size", "width"),
    [
        ([], 32, 3.0, 1),
        (["--box", "48"], 48, 2.0, 1),  # the field of view stays
        (["--box", "48", "--pixel-size", "3"], 48, 3.0, 2 / 3),  # the map knows its scale: a wider field
        (["--pixel-size", "2"], 32, 2.0, 1.5),  # a narrower one
    ],
)
def test_a_map_keeps_its_size_in_angstrom(tmp_path, options, box, size, width):
    path = tmp_path / "map.mrc"
    axis = np.arange(32) - 16
    radius2 = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2
    write_map(str(path), np.exp(-radius2 / (2 * 2.5**2)), 3.0)  # of 7.5 A
    assert run("simulate", tmp_path / "out", "--views", "random", "--volume", path, "--count", "2", "--shift", "0",
               "--snr", "inf", "--no-ctf", *options) == 0  # fmt: skip
    source = open_particles(str(tmp_path / "out" / "particles.star"))
    assert (source.box, source.pixel_size) == (box, pytest.approx(size))
    image = source.read(np.array([0]))[0]
    assert np.unravel_index(image.argmax(), image.shape) == (box // 2, box // 2)
    row = image[box // 2] - image[0].mean()
    deviation = size * np.sqrt((row * (np.arange(box) - box // 2) ** 2).sum() / row.sum())
    assert deviation == pytest.approx(7.5, rel=0.03)


def test_a_map_far_too_large_or_small_for_the_box_is_refused(tmp_path, capsys):
    path = tmp_path / "map.mrc"
    write_map(str(path), molecule("boot", 32).volume(), 1.0)
    for size in ("20", "0.1"):
        assert run("simulate", tmp_path / "out", *SMALL, "--volume", path, "--pixel-size", size) == 1
        assert "is 32 A wide, and 32 pixels of" in error_of(capsys)


def test_a_second_map_has_the_scale_of_the_first(tmp_path):
    write_map(str(tmp_path / "one.mrc"), molecule("boot", 32).volume(), 4.0)
    write_map(str(tmp_path / "two.mrc"), molecule("boot", 64).volume(), 4.0)  # twice as large in angstrom
    mixture = ["--second", tmp_path / "two.mrc", "--second-share", "0.5"]
    assert run("simulate", tmp_path / "out", "--volume", tmp_path / "one.mrc", *SMALL, *mixture) == 0
    first, second = (read_map(str(tmp_path / "out" / f"{name}.mrc"))[0] for name in ("volume", "second"))
    inner = molecule("boot", 64).volume()[16:48, 16:48, 16:48]
    assert correlation(second[8:24, 8:24, 8:24], inner[8:24, 8:24, 8:24]) > 0.99
    assert correlation(first, second) < 0.9


def test_a_set_is_made_again_from_its_parameters(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_map("two.mrc", molecule("anvil", BOX).volume(), 2.0)
    mixture = ["--second", "two.mrc", "--second-share", "0.4", "--noise-share", "0.2", "--seed", "9"]
    assert run("simulate", "one", "--phantom", "saddle", *SMALL, *mixture) == 0
    words = shlex.split(json.loads((tmp_path / "one" / "parameters.json").read_text())["command"])[1:]
    words[1] = str(tmp_path / "again")
    monkeypatch.chdir("/")
    assert run(*words) == 0
    assert np.array_equal(images(tmp_path / "one" / "particles.mrcs"), images(tmp_path / "again" / "particles.mrcs"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([*SMALL, "--phantom", "hook"], "hook is one view: for --views choose one of boot"),
        ([*SMALL, "--phantom", "cat"], "no phantom 'cat' in 3D"),
        (["--phantom", "boot"], "seen from many directions: give --views random, too"),
        (["--volume", "map.mrc"], "--volume is for many views: give --views"),
        (["--noise-share", "0.1"], "--noise-share is for many views"),
        ([*SMALL, "--template", "view.png"], "--template gives single views"),
        ([*SMALL, "--centers", "views"], "--centers gives single views"),
        ([*SMALL, "--photos", "photos"], "--views is not for photographs"),
        ([*SMALL, "--second", "saddle"], "belong together"),
        ([*SMALL, "--second-share", "0.2"], "belong together"),
        ([*SMALL, "--second", "hook", "--second-share", "0.2"], "hook is one view"),
        ([*SMALL, "--second", "cat", "--second-share", "0.2"], "no phantom 'cat' in 3D"),
        ([*SMALL, "--second", "no.mrc", "--second-share", "0.2"], "no.mrc is not there"),
        ([*SMALL, "--volume", "no.mrc"], "no.mrc is not there"),
        ([*SMALL, "--noise-share", "0.2", "--snr", "inf"], "leaves no noise"),
    ],
)
def test_wrong_choices_end_in_one_sentence_and_leave_nothing(tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    assert run("simulate", "out", *options) == 1
    assert message in error_of(capsys)
    assert not (tmp_path / "out").exists()


def test_a_map_among_the_results_is_not_overwritten(tmp_path, capsys):
    out = tmp_path / "out"
    assert run("simulate", out, *SMALL) == 0
    capsys.readouterr()
    assert run("simulate", out, *SMALL, "--volume", out / "volume.mrc", "--overwrite") == 1
    assert "is one of the results that --overwrite would replace" in error_of(capsys)
    # of one view in its place: no map is left
    assert run("simulate", out, "--count", "3", "--box", BOX, "--shift", "2", "--overwrite") == 0
    assert not (out / "volume.mrc").exists()
    assert read_image(str(out / "template.mrc"))[0].shape == (BOX, BOX)
    with pytest.raises(UdlError, match="holds no viewing directions"):
        read_views(str(out / "truth.star"))
