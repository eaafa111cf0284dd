"""Simulated particles: known poses, the SNR as defined, the CTF, and independence from how they are made."""

import mrcfile
import numpy as np
import pytest

from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import Poses, invert, rotations
from scipion_udl.io.output.folder import OutputFolder
from scipion_udl.io.particles import open_particles
from scipion_udl.io.truth import read_truth
from scipion_udl.jobs.simulate import write_simulation
from scipion_udl.simulation.ctf import CtfSettings, simulated_ctf
from scipion_udl.simulation.particles import Simulation, chunks, noise
from scipion_udl.simulation.phantoms import phantom
from scipion_udl.simulation.templates import ImageTemplate


def simulation(count=40, snr=0.1, box=32, **options):
    return Simulation(phantom("hook", box), count, snr, 3.0, **{"max_shift": 4, **options})


def test_the_snr_is_the_variance_ratio_over_the_whole_box():
    sim = simulation(ctf=CtfSettings(), box=48)
    clean = simulation(snr=np.inf, ctf=CtfSettings(), box=48).images(np.arange(40))
    noisy = sim.images(np.arange(40))
    assert np.allclose(clean.var(axis=(1, 2)), 1, rtol=1e-3)
    rest = noisy - np.sqrt(0.1) * clean
    assert rest.var() == pytest.approx(1, rel=0.02)
    assert np.mean(rest * clean) == pytest.approx(0, abs=0.02)


def test_poses_fill_the_circle_and_the_square():
    sim = simulation(count=4000, max_shift=4)
    assert np.histogram(sim.poses.angle, 8, (-180, 180))[0].min() > 430
    # where the template's origin lies in the particle
    off = -np.einsum("nji,nj->ni", rotations(sim.poses.angle), sim.poses.shift)
    assert np.allclose(off, np.round(off), atol=1e-9)
    values, counts = np.unique(np.round(off[:, 0]), return_counts=True)
    assert values.tolist() == list(range(-4, 5))
    assert counts.min() > 370
    fractional = simulation(count=400, subpixel=True).poses
    off = -np.einsum("nji,nj->ni", rotations(fractional.angle), fractional.shift)
    assert np.abs(off).max() < 4
    assert np.abs(off - np.round(off)).max() > 0.4


def test_the_particle_lies_where_its_pose_says():
    sim = simulation(count=5, snr=np.inf)
    for k, image in enumerate(sim.images(np.arange(5))):
        expected = phantom("hook", 32).sample(sim.poses[[k]])[0]
        assert np.corrcoef(image.ravel(), expected.ravel())[0, 1] > 0.999999


def test_a_particle_does_not_depend_on_what_is_made_with_it():
    together = simulation(ctf=CtfSettings()).images(np.arange(40))
    alone = np.concatenate([simulation(ctf=CtfSettings()).images(part) for part in chunks(40, 7)])
    assert np.allclose(together, alone, atol=1e-5)
    more = simulation(count=90, ctf=CtfSettings()).images(np.arange(40))
    assert np.allclose(together, more, atol=1e-5)


def test_the_seed_decides():
    assert np.array_equal(simulation(seed=5).images(np.arange(3)), simulation(seed=5).images(np.arange(3)))
    assert not np.allclose(simulation(seed=5).images(np.arange(3)), simulation(seed=6).images(np.arange(3)))


def ctf_by_hand(defocus_um, box, pixel_size, voltage=300e3, cs_mm=2.7, contrast=0.07):
    """The textbook formula, positive at low frequency."""
    wavelength = 12.2639 / np.sqrt(voltage + 0.97845e-6 * voltage**2)
    f2 = (np.fft.fftfreq(box)[:, None] ** 2 + np.fft.rfftfreq(box)[None] ** 2) / pixel_size**2
    phase = np.pi * wavelength * defocus_um * 1e4 * f2 - np.pi / 2 * cs_mm * 1e7 * wavelength**3 * f2**2
    return np.sin(phase + np.arcsin(contrast))


def test_the_ctf_is_the_textbooks():
    settings = CtfSettings(b_factor=0.0, signed=True)
    got = simulated_ctf(settings, np.array([0.5, 1.7]), 64, 2.0)
    assert np.abs(got - [ctf_by_hand(0.5, 64, 2.0), ctf_by_hand(1.7, 64, 2.0)]).max() < 5e-3
    flipped = simulated_ctf(CtfSettings(b_factor=0.0), np.array([0.5, 1.7]), 64, 2.0)
    assert np.array_equal(flipped, np.abs(got))
    damped = simulated_ctf(CtfSettings(b_factor=80.0, signed=True), np.array([0.5]), 64, 2.0)
    assert damped[0, 0, 16] == pytest.approx(got[0, 0, 16] * np.exp(-80 / 4 * (16 / 128) ** 2), rel=1e-4)


def test_each_particle_has_its_own_defocus_and_stays_bright():
    sim = simulation(count=200, snr=np.inf, ctf=CtfSettings((0.8, 1.6)))
    assert 0.8 <= sim.defocus.min() < 0.85
    assert 1.55 < sim.defocus.max() <= 1.6
    without = simulation(count=200, snr=np.inf).images(np.arange(200))
    assert np.mean(sim.images(np.arange(200)) * without) > 0.3


def test_the_files_say_what_was_simulated(tmp_path):
    sim = simulation(count=11, box=33, ctf=CtfSettings())
    with OutputFolder(str(tmp_path / "out")) as out:
        write_simulation(out, sim, chunk=4)
    folder = tmp_path / "out"
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    assert names == ["particles.mrcs", "particles.star", "template.mrc", "truth.star"]
    source = open_particles(str(folder / "particles.star"))
    assert (len(source), source.box, source.pixel_size) == (11, 33, 3.0)
    assert source.names[10] == f"000011@{folder / 'particles.mrcs'}"
    assert np.allclose(source.read(np.arange(11)), sim.images(np.arange(11)), atol=1e-5)
    assert np.allclose(source.table.numbers("rlnDefocusU"), sim.defocus * 1e4, atol=0.01)
    assert source.poses() is None
    names, truth = read_truth(str(folder / "truth.star"))
    assert names == source.names
    assert np.allclose(truth.angle, sim.poses.angle, atol=1e-6)
    assert np.allclose(truth.shift, sim.poses.shift, atol=1e-6)
    with mrcfile.open(folder / "template.mrc") as mrc:
        assert np.array_equal(mrc.data, phantom("hook", 33).image())
        assert mrc.voxel_size.x == pytest.approx(3.0)


def test_aligned_by_the_truth_the_particles_average_to_the_template(tmp_path):
    sim = simulation(count=300, snr=1.0, box=48)
    pose = sim.poses
    # a template made of a particle, sampled in the inverse pose, is the particle aligned
    average = np.zeros((48, 48))
    for k, image in enumerate(sim.images(np.arange(300))):
        average += ImageTemplate(image, 48).sample(invert(pose[[k]]))[0]
    assert np.corrcoef(average.ravel(), phantom("hook", 48).image().ravel())[0, 1] > 0.97


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "0 particles"),
        ({"snr": 0.0}, "SNR of 0"),
        ({"snr": float("nan")}, "SNR of nan"),
        ({"max_shift": 16}, "do not fit a box of 32"),
        ({"seed": -1}, "seed"),
        ({"ctf": CtfSettings((2.0, 1.0))}, "lower one first"),
    ],
)
def test_impossible_simulations_are_refused(options, message):
    with pytest.raises(UdlError, match=message):
        simulation(**options)


def test_noise_has_no_particle_in_it():
    white, coloured = noise(60, 32, seed=3), noise(60, 32, seed=3, coloured=True)
    assert white.dtype == np.float32
    for images in (white, coloured):
        assert images.var() == pytest.approx(1, rel=0.05)
        assert np.abs(images.mean(0)).max() < 5 / np.sqrt(60)
    power = (np.abs(np.fft.rfft2(coloured)) ** 2).mean(0)
    assert power[0, 1] > 5 * power[0, 16]
    assert np.array_equal(noise(10, 32, seed=3), white[:10])


def test_poses_can_be_mirrored_in_templates():
    image = phantom("hook", 32).sample(Poses([0.0], None, [True]))[0]
    assert np.allclose(image[:, 1:], phantom("hook", 32).image()[:, :0:-1], atol=1e-5)
