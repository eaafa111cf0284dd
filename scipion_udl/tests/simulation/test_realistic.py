"""Realistic particles: each effect is measured on the images."""

import json
import shlex

import numpy as np
import pytest

from scipion_udl import cli
from scipion_udl.constants import JUNK_KINDS
from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import rotations
from scipion_udl.io.images import read_image
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import StackReader
from scipion_udl.io.tables import read_tables
from scipion_udl.io.truth import read_truth, read_views
from scipion_udl.simulation.ctf import CtfSettings
from scipion_udl.simulation.effects import OPTIONS, REALISTIC, Effects
from scipion_udl.simulation.particles import Simulation, chunks
from scipion_udl.simulation.phantoms import phantom
from scipion_udl.simulation.phantoms_3d import molecule
from scipion_udl.simulation.realistic import RealisticSimulation
from scipion_udl.simulation.templates import ImageTemplate
from scipion_udl.simulation.views import ViewSimulation

BOX = 32
ALL = {name: getattr(REALISTIC, name) for name in OPTIONS} | {"per_micrograph": 6}
WAVELENGTH = 0.0196875  # angstrom, of electrons at 300 kV


def one_view(count=30, snr=0.1, box=BOX, ctf=None, effects=None, **options):
    options = {"max_shift": 2, "subpixel": True, "ctf": ctf, **options}
    return RealisticSimulation(Simulation(phantom("hook", box), count, snr, 4.0, **options), Effects(**(effects or {})))


def many_views(count=30, snr=0.1, ctf=None, effects=None, **options):
    base = ViewSimulation(molecule("boot", BOX), count, snr, 6.0, max_shift=2, subpixel=True, ctf=ctf, **options)
    return RealisticSimulation(base, Effects(**(effects or {})))


def images(simulation):
    return simulation.images(np.arange(simulation.base.count))


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


def stack(path):
    return StackReader(str(path)).read()


def radius(box=BOX):
    axis = np.arange(box) - box // 2
    return np.hypot(axis[:, None], axis[None])


# The SNR and the noise.


@pytest.mark.parametrize("structural", [0.0, 0.4, 1.0])
def test_the_snr_is_that_of_both_noises_together(structural):
    sim = one_view(count=150, snr=0.2, ctf=CtfSettings(), effects={"structural": structural})
    signal = sim.signal(np.arange(150))
    assert np.allclose(signal.var(axis=(1, 2)), 0.2, rtol=1e-3)
    noise = images(sim) - signal
    assert noise.var() == pytest.approx(1, rel=0.02)
    assert np.mean(noise * signal) == pytest.approx(0, abs=0.005)


def test_the_split_says_how_much_of_the_noise_is_left_where_the_ctf_is_zero():
    share, box = 0.6, 64
    ctf = CtfSettings(defocus=(1.2, 1.2), b_factor=0)
    sim = one_view(count=150, box=box, ctf=ctf, effects={"structural": share})
    noise = images(sim) - sim.signal(np.arange(150))
    window = np.outer(np.hanning(box), np.hanning(box))  # the cut edges would blur the spectrum
    power = (np.abs(np.fft.rfft2(noise * window)) ** 2).mean(0) / (window**2).sum()
    frequency = np.hypot(np.fft.fftfreq(box)[:, None], np.fft.rfftfreq(box)[None]) / 4.0
    zero = 1 / np.sqrt(WAVELENGTH * 12000)
    # shot noise alone is left there, but for what half a pixel of the spectrum off the zero and the window let in
    assert 0.97 * (1 - share) < power[np.abs(frequency - zero) < 0.002].mean() < 1 - share + 0.1
    assert power[np.abs(frequency - zero / np.sqrt(2)) < 0.002].mean() > 1.5 * (1 - share)


def test_contrast_changes_the_particle_and_not_its_noise():
    sim = one_view(count=400, snr=0.2, effects={"thickness": (0.3, 0.2), "per_micrograph": 4})
    signal = sim.signal(np.arange(400))
    deviation = signal.std(axis=(1, 2))
    assert np.allclose(deviation, np.sqrt(0.2) * sim.micrographs.contrast, rtol=1e-3)
    assert np.log(deviation).std() == pytest.approx(np.hypot(0.3, 0.2), rel=0.12)
    assert (images(sim) - signal).var() == pytest.approx(1, rel=0.02)


# The microscope.


def test_an_astigmatic_beam_has_its_zeros_where_its_two_defoci_say():
    box, size = 64, 4.0
    effects = {"structural": 1.0, "astigmatism": 4000.0, "per_micrograph": 250}
    sim = one_view(count=250, box=box, seed=3, ctf=CtfSettings(defocus=(1.3, 1.3), b_factor=0), effects=effects)
    (u, v), angle = sim.micrographs.true[0], np.radians(sim.micrographs.angle[0])
    assert u - v > 2000
    noise = images(sim) - sim.signal(np.arange(250))
    power = np.fft.fftshift((np.abs(np.fft.fft2(noise)) ** 2).mean(0))
    y, x = np.mgrid[:box, :box] - box // 2
    for defocus, direction in ((u, angle), (v, angle + np.pi / 2)):
        along = np.abs(np.cos(direction) * x + np.sin(direction) * y)
        across = np.abs(-np.sin(direction) * x + np.cos(direction) * y)
        wedge = across < 0.2 * along
        mean = [power[wedge & (np.abs(np.hypot(x, y) - ring) < 0.5)].mean() for ring in range(10, 25)]
        expected = box * size / np.sqrt(WAVELENGTH * defocus)
        assert 10 + np.argmin(mean) == pytest.approx(expected, abs=1)


def test_phases_are_flipped_by_what_the_table_says_of_the_defocus():
    ctf = CtfSettings(defocus=(1.2, 1.2))
    right, wrong = (one_view(count=8, ctf=ctf, effects={"defocus_error": error}) for error in (0.0, 3000.0))
    right_signed = one_view(count=8, ctf=CtfSettings(defocus=(1.2, 1.2), signed=True))
    spectra = [np.fft.rfft2(sim.signal(np.arange(8))) for sim in (right, wrong, right_signed)]
    frequency = np.hypot(np.fft.fftfreq(BOX)[:, None], np.fft.rfftfreq(BOX)[None]) / 4.0
    zeros = [1 / np.sqrt(WAVELENGTH * sim.micrographs.estimated[0, 0]) for sim in (right, wrong)]
    between = (frequency > min(zeros) + 0.004) & (frequency < max(zeros) - 0.004)
    assert between.sum() > 5
    same = np.real(spectra[0] * np.conj(spectra[1]))

    def agreement(where):
        return same[:, where].sum() / np.sqrt(
            (np.abs(spectra[0][:, where]) ** 2).sum() * (np.abs(spectra[1][:, where]) ** 2).sum()
        )

    assert agreement(frequency < min(zeros) - 0.004) > 0.98
    assert agreement(between) < -0.8  # between the true zero and the supposed one the sign is wrong
    beyond = np.real(spectra[0] * np.conj(spectra[2]))[:, (frequency > zeros[0] + 0.004) & (frequency < 0.09)]
    assert beyond.sum() < 0  # what was not flipped has the CTF's signs


# What is around and upon particles.


def test_neighbours_lie_beyond_the_rim_and_leave_the_particle_alone():
    alone, crowded = (many_views(snr=np.inf, effects={"neighbours": share, "spacing": 1.1}) for share in (0.0, 1.0))
    signal = alone.signal(np.arange(30))
    assert np.allclose(images(alone), signal)
    added = images(crowded) - signal
    energy = (added**2).sum(0)
    inner = radius() < crowded._width / 2 - 3
    assert energy[inner].mean() < 0.01 * energy[radius() > 14].mean()
    rim = radius() > 13
    assert ((images(crowded) ** 2)[:, rim].sum(1) > 3 * (signal**2)[:, rim].sum(1)).mean() > 0.8
    # they are molecules of the particles' own strength
    corner = np.abs(added).max((1, 2)) / np.abs(signal).max((1, 2))
    assert 0.5 < np.median(corner) < 1.5


def test_half_the_sites_give_half_the_neighbours():
    energies = [
        ((images(sim) - sim.signal(np.arange(60))) ** 2).sum()
        for sim in (many_views(count=60, snr=np.inf, effects={"neighbours": share}) for share in (0.5, 1.0))
    ]
    assert energies[0] / energies[1] == pytest.approx(0.5, abs=0.12)


def test_a_ramp_is_added_to_the_image():
    flat, sloped = (one_view(count=300, effects={"ramp": height}) for height in (0.0, 0.8))
    planes = images(sloped) - images(flat)
    y, x = np.mgrid[:BOX, :BOX] - BOX // 2
    design = np.stack([np.ones(BOX * BOX), x.ravel(), y.ravel()], 1)
    fit, residual, *_ = np.linalg.lstsq(design, planes.reshape(300, -1).T, rcond=None)
    assert residual.max() < 1e-6
    assert np.sqrt((fit[1:] ** 2).sum(0).mean()) * BOX / 2 == pytest.approx(0.8, rel=0.1)


def test_hot_pixels_stick_out_of_single_places():
    without, with_them = (one_view(count=300, effects={"hot_pixels": mean}) for mean in (0.0, 0.7))
    changed = images(with_them) - images(without)
    assert (np.abs(changed) > 7.9).sum() / 300 == pytest.approx(0.7, abs=0.15)
    assert ((np.abs(changed) > 1e-4) == (np.abs(changed) > 7.9)).all()


def test_raw_images_of_a_micrograph_share_gain_and_offset():
    normalised, raw = (
        one_view(count=20, effects={"intensities": kind, "per_micrograph": 5}) for kind in ("normalised", "raw")
    )
    before, after = images(normalised).reshape(4, -1), images(raw).reshape(4, -1)
    fits = [np.polyfit(one, other, 1) for one, other in zip(before, after)]
    for fit, one, other in zip(fits, before, after):
        assert np.allclose(np.polyval(fit, one), other, rtol=1e-4, atol=1e-2)
    gains, offsets = np.array(fits).T
    assert gains.max() / gains.min() > 1.2
    assert offsets.min() > 30


# Picks.


def test_a_tail_of_the_picks_lies_beyond_the_usual_shift():
    sim = one_view(count=1500, box=64, effects={"tail": 0.2})
    off = -np.einsum("nji,nj->ni", rotations(sim.poses.angle), sim.poses.shift)
    far = np.linalg.norm(off, axis=1) > 2 * np.sqrt(2)
    assert np.abs(off[~far]).max() <= 2.001 * np.sqrt(2)
    beyond = np.linalg.norm(off, axis=1)[far]
    assert 0.08 < far.mean() <= 0.2  # exponential: some of the tail ends within the corners of the square
    assert beyond.max() <= 0.35 * 64 + 1e-6
    assert beyond.max() > 4
    # and the particles lie where their poses say
    few = one_view(count=60, snr=np.inf, effects={"tail": 1.0})
    expected = few.base.template.sample(few.poses)
    for image, view in zip(images(few), expected):
        assert np.corrcoef(image.ravel(), view.ravel())[0, 1] > 0.9999


def test_junk_has_its_share_its_kinds_and_no_pose():
    sim = many_views(count=800, effects={"junk": 0.3}, noise_share=0.1)
    good = sim.kind == "none"
    assert (~good).mean() == pytest.approx(0.1 + 0.9 * 0.3, abs=0.05)
    kinds, numbers = np.unique(sim.kind[~good].astype(str), return_counts=True)
    assert sorted(kinds) == sorted(JUNK_KINDS)
    of_junk = dict(zip(kinds, numbers / 800))
    for kind in ("blob", "carbon", "touching"):
        assert of_junk[kind] == pytest.approx(0.3 / 4, abs=0.03)
    assert ((sim.molecule == 0) == ~good).all()
    assert not sim.poses.angle[~good].any()
    assert not sim.poses.shift[~good].any()
    assert not sim.direction[~good].any()
    assert np.allclose(np.linalg.norm(sim.direction[good], axis=1), 1)


def test_kinds_of_junk_look_as_they_are_called():
    options = {"count": 40, "snr": 0.5, "ctf": CtfSettings()}
    of = {kind: many_views(**options, effects={"junk": 1.0, "junk_kinds": (kind,)}) for kind in JUNK_KINDS}
    variance = {kind: images(sim).var(axis=(1, 2)).mean() for kind, sim in of.items()}
    assert variance["empty"] == pytest.approx(1, rel=0.02)
    assert variance["touching"] == pytest.approx(1 + 2 * 0.5, rel=0.2)  # two molecules
    assert variance["blob"] > 1 + 1.5**2 * 0.5
    assert 1.1 < variance["carbon"] < 3.5
    for sim in of.values():
        assert not sim.signal(np.arange(40)).any()


# One view of a molecule, within some degrees.


@pytest.mark.parametrize("central", [(0.0, 0.0), (40.0, 100.0), None])
def test_a_jittered_view_spreads_as_said_and_its_poses_lead_to_the_one_view(central):
    base = ViewSimulation(
        molecule("boot", BOX), 400, np.inf, 6.0, 2, True, views="single", jitter=5.0, central=central, seed=2
    )
    axis = base.central_direction
    across = np.linalg.svd(axis[None])[2][1:]
    angles = np.degrees(base.direction @ across.T)
    assert angles.std(0) == pytest.approx([5, 5], rel=0.12)
    assert angles.mean(0) == pytest.approx([0, 0], abs=0.8)
    view = base.central_view()
    aligned = ImageTemplate(view, BOX).sample(base.poses[:40])
    match = [np.corrcoef(one.ravel(), other.ravel())[0, 1] for one, other in zip(base.images(np.arange(40)), aligned)]
    assert np.median(match) > 0.95
    # without jitter they are that view
    still = ViewSimulation(molecule("boot", BOX), 5, np.inf, 6.0, 2, True, views="single", central=central, seed=2)
    for image, expected in zip(still.images(np.arange(5)), ImageTemplate(view, BOX).sample(still.poses)):
        assert np.corrcoef(image.ravel(), expected.ravel())[0, 1] > 0.999


# The same particle, whatever it is made with.


@pytest.mark.parametrize("make", [one_view, many_views])
def test_an_image_does_not_depend_on_what_is_made_with_it(make):
    options = {"ctf": CtfSettings(), "effects": {**ALL, "junk": 0.4}}
    together = images(make(count=20, **options))
    apart = np.concatenate([make(count=20, **options).images(part) for part in chunks(20, 3)])
    assert np.array_equal(together, apart)
    assert np.array_equal(together, make(count=27, **options).images(np.arange(20)))
    other = images(make(count=20, **options, seed=2))
    assert np.abs(np.corrcoef(together.ravel(), other.ravel())[0, 1]) < 0.9


# The command.


def test_realistic_sets_everything_and_what_is_given_overrides_it(tmp_path, capsys):
    options = ["--phantom", "boot", "--box", BOX, "--count", "30", "--pixel-size", "6"]
    assert run("simulate", tmp_path / "a", *options, "--realistic", "--ramp", "0", "--per-micrograph", "7") == 0
    said = capsys.readouterr().out
    assert "uneven views" in said
    assert "from 5 micrographs" in said
    assert "ramps" not in said
    written = json.loads((tmp_path / "a" / "parameters.json").read_text())["options"]
    assert written["ramp"] == 0
    assert written["per_micrograph"] == 7
    assert written["junk"] == REALISTIC.junk
    assert written["thickness"] == list(REALISTIC.thickness)
    assert written["shift"] == 2  # 5 % of the box
    assert set(OPTIONS) <= set(written)
    words = shlex.split(json.loads((tmp_path / "a" / "parameters.json").read_text())["command"])[1:]
    words[1] = str(tmp_path / "again")
    assert run(*words) == 0
    assert np.array_equal(stack(tmp_path / "a" / "particles.mrcs"), stack(tmp_path / "again" / "particles.mrcs"))


def test_tables_have_micrographs_the_estimate_and_the_truth(tmp_path):
    options = ["--views", "random", "--box", BOX, "--count", "60", "--junk", "0.3", "--per-micrograph", "20"]
    options += ["--defocus-error", "300", "--astigmatism", "300", "--shift", "2", "--clean"]
    assert run("simulate", tmp_path / "a", *options) == 0
    source = open_particles(str(tmp_path / "a" / "particles.star"))
    truth = next(one for one in read_tables(str(tmp_path / "a" / "truth.star")) if "udlJunk" in one)
    assert len(truth) == 120  # the noise-free ones, too
    micrograph = source.table.texts("rlnMicrographName")
    assert len(set(micrograph)) == 3
    for label in ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle"):
        assert len({*zip(micrograph, source.table.texts(label))}) == 3
    error = source.table.numbers("rlnDefocusU") - truth.numbers("rlnDefocusU")[:60]
    assert np.allclose(error, source.table.numbers("rlnDefocusV") - truth.numbers("rlnDefocusV")[:60], atol=0.01)
    assert len(np.unique(np.round(error, 1))) == 3
    assert (source.table.numbers("rlnCoordinateX") >= BOX // 2).all()
    kind = np.array(truth.texts("udlJunk")[:60])
    shown = read_views(str(tmp_path / "a" / "truth.star"))[1]
    assert ((kind == "none") == (shown[:60] == 1)).all()
    assert 5 < (kind != "none").sum() < 32
    clean = stack(tmp_path / "a" / "clean.mrcs")
    assert ((clean.std(axis=(1, 2)) == 0) == (kind != "none")).all()


def test_a_single_view_of_a_molecule_writes_what_its_poses_lead_to(tmp_path):
    options = ["--views", "single", "--jitter", "0", "--box", BOX, "--snr", "inf", "--no-ctf", "--count", "4"]
    assert run("simulate", tmp_path / "a", *options, "--shift", "2", "--subpixel", "--direction", "30", "70") == 0
    template, _ = read_image(str(tmp_path / "a" / "template.mrc"))
    _, poses = read_truth(str(tmp_path / "a" / "truth.star"))
    expected = ImageTemplate(template, BOX).sample(poses)
    for image, view in zip(stack(tmp_path / "a" / "particles.mrcs"), expected):
        assert np.corrcoef(image.ravel(), view.ravel())[0, 1] > 0.999
    _, _, direction = read_views(str(tmp_path / "a" / "truth.star"))
    tilt = np.degrees(np.arccos(direction[:, 2]))
    assert np.allclose(tilt, 70, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--spacing", "1.3"], "give both"),
        (["--neighbours", "0.5", "--spacing", "0.8"], "overlap"),
        (["--junk-kinds", "blob"], "give both"),
        (["--jitter", "5"], "many views"),
        (["--views", "random", "--jitter", "5"], "--views single"),
        (["--views", "single", "--jitter", "60"], "no single view"),
        (["--structural", "0.3", "--no-ctf"], "--structural is of the CTF"),
        (["--structural", "0.3", "--snr", "inf"], "leaves no noise"),
        (["--photos", "somewhere", "--ramp", "1"], "--ramp is not for photographs"),
        (["--photos", "somewhere", "--realistic"], "--realistic is not for photographs"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(tmp_path, capsys, options, message):
    assert run("simulate", tmp_path / "out", "--count", "3", "--box", BOX, "--shift", "2", *options) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert not (tmp_path / "out").exists()


def test_realistic_particles_without_ctf_or_noise(tmp_path):
    for name, more in (("a", ["--no-ctf"]), ("b", ["--snr", "inf"])):
        assert run("simulate", tmp_path / name, "--realistic", "--count", "5", "--box", BOX, *more) == 0
        assert np.isfinite(stack(tmp_path / name / "particles.mrcs")).all()
    with pytest.raises(UdlError, match="0 to 1"):
        one_view(effects={"junk": 1.5})


def test_particles_without_effects_are_what_they_were(tmp_path):
    """Values that sets had before there were effects: of a view, and of many views with a mixture."""
    base = Simulation(phantom("clamp", BOX), 3, 0.3, 2.0, 4.0, ctf=CtfSettings(), seed=9)
    views = ViewSimulation(
        molecule("boot", BOX), 3, 0.3, 2.0, 4.0, ctf=CtfSettings(), seed=9, views="uneven", noise_share=0.2,
        second=molecule("anvil", BOX), second_share=0.3,
    )  # fmt: skip
    for sim, expected in ((base, OLD_VIEW), (views, OLD_VIEWS)):
        assert np.allclose(sim.images(np.arange(3))[:, 10, 12:16], expected, atol=2e-5)
    options = ["--phantom", "clamp", "--box", BOX, "--count", "3", "--snr", "0.3", "--shift", "4", "--seed", "9"]
    assert run("simulate", tmp_path / "a", *options) == 0
    assert np.array_equal(stack(tmp_path / "a" / "particles.mrcs"), base.images(np.arange(3)))
    assert "rlnMicrographName" not in open_particles(str(tmp_path / "a" / "particles.star")).table
    assert "udlJunk" not in read_tables(str(tmp_path / "a" / "truth.star"))[0]
    written = json.loads((tmp_path / "a" / "parameters.json").read_text())["options"]
    assert not {"realistic", *OPTIONS} & set(written)
    assert written["shift"] == 4


OLD_VIEW = [
    [2.45811, 1.4523, 1.94863, 3.58024],
    [0.43864, 1.84988, 0.83608, -0.53301],
    [-0.08898, -1.11872, -1.6286, -0.58529],
]
OLD_VIEWS = [
    [2.02264, 0.22809, 0.37271, 2.13778],
    [0.37153, 1.75264, 0.72344, -0.77005],
    [-0.43195, -1.41906, -1.72339, -0.51725],
]
