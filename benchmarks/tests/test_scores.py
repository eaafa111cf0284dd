"""The figures of the benchmark: known errors come out as they went in, in whatever frame the result is."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import cases
from benchmarks.alignment import COLUMNS, Results, timed
from benchmarks.cases import all_cases, template_view
from benchmarks.confidence import MixedSet, write_set
from benchmarks.methods import METHODS
from benchmarks.scores import correlation, falls_to, joined, moved_template, pose_figures, true_frc
from scipion_udl import cli
from scipion_udl.imaging.poses import Poses, compose, pose_errors
from scipion_udl.io.particles import open_particles
from scipion_udl.simulation.phantoms import phantom

FRAME = Poses([77.0], [[3.3, -2.1]])


@pytest.fixture
def in_this_process(monkeypatch):
    """Particles are simulated without an interpreter of their own."""

    def run(command, **_):
        return SimpleNamespace(returncode=cli.main(command[3:]), stderr="")

    monkeypatch.setattr(cases, "subprocess", SimpleNamespace(run=run))


def poses(n=200, seed=0):
    rng = np.random.default_rng(seed)
    return Poses(rng.uniform(-180, 180, n), rng.uniform(-10, 10, (n, 2)))


def test_errors_come_out_as_they_went_in_whatever_the_frame():
    truth = poses()
    wrong = Poses(np.where(np.arange(200) < 10, 180.0, np.where(np.arange(200) % 2, 1.0, -1.0)), np.zeros((200, 2)))
    figures = pose_figures(compose(FRAME, compose(wrong, truth)), truth)
    assert figures["median_360"] == pytest.approx(1, abs=1e-6)
    assert figures["mean_360"] == pytest.approx((190 + 10 * 180) / 200, abs=0.2)
    assert figures["mean_180"] == pytest.approx(0.95, abs=0.11)
    assert figures["within_5_360"] == figures["right_way_round"] == 0.95
    assert figures["within_5_180"] == 1


def test_shifts_are_measured_at_the_template_and_over_the_right_way_round_alone():
    truth = poses()
    rng = np.random.default_rng(1)
    off = Poses(np.where(np.arange(200) < 40, 180.0, 0.0), rng.normal(0, 0.5, (200, 2)))
    off.shift[:40] += 20
    figures = pose_figures(compose(FRAME, compose(off, truth)), truth)
    assert figures["shift_rms"] == pytest.approx(np.sqrt(2) * 0.5, rel=0.1)


def test_half_turns_are_no_error_of_a_two_fold_view():
    truth = poses()
    half = Poses(np.where(np.arange(200) % 3 == 0, 180.0, 0.0))
    figures = pose_figures(compose(half, truth), truth, 180.0)
    assert figures["mean_sym"] < 1e-6
    assert figures["shift_rms"] < 1e-6
    assert figures["mean_360"] > 30


def test_the_template_is_moved_into_the_frame_of_the_result():
    truth = poses(50)
    errors = pose_errors(compose(FRAME, truth), truth)
    moved = moved_template(phantom("hook", 64).image(), errors)
    # in the result's frame a particle's average is what the inverse pose samples
    expected = phantom("hook", 64).sample(Poses([-77.0], np.array([[3.3, -2.1]]) @ -_rotation(77.0)))[0]
    assert np.corrcoef(moved.ravel(), expected.ravel())[0, 1] > 0.9999
    assert true_frc(expected, moved)[1:20].min() > 0.999


def _rotation(angle):
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return np.array([[c, -s], [s, c]])


def test_the_correlation_does_not_see_a_transfer_function_but_sees_noise():
    image = phantom("clamp", 64).image().astype(float)
    frequency = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.fftfreq(64)[None])
    damped = np.fft.ifft2(np.fft.fft2(image) * np.exp(-20 * frequency**2)).real
    assert correlation(damped, image) > 0.999
    noisy = image + np.random.default_rng(0).normal(0, image.std(), image.shape)
    assert correlation(noisy, image) < 0.95
    assert abs(correlation(noisy - image, image)) < 0.2


def test_where_a_curve_falls():
    assert falls_to(np.array([0, 1.0, 0.8, 0.4, 0.6, 0.1]), 0.5) == pytest.approx(2.75)
    assert falls_to(np.array([0, 0.3, 0.2]), 0.5) == 0
    assert falls_to(np.array([0, 1.0, 0.9]), 0.5) == 2


def test_cases_have_names_of_their_own_and_methods_that_exist():
    views = [template_view(f"{name}.png:2.0:{name}") for name in ("groel", "empiar-10034", "empiar-10065")]
    cases = all_cases(views) + all_cases(views, set_aside=True)
    assert len({case.name for case in cases}) == len(cases)
    assert {method for case in cases for method in case.methods} - {"own-train"} <= set(METHODS)
    assert sum("relion" in case.methods for case in cases) == 6
    aside = {case.view.name for case in cases if case.view.set_aside}
    assert aside == {"anchor", "spindle"}
    assert not aside & {case.view.name for case in all_cases(views)}
    with pytest.raises(ValueError, match="not FILE:PIXEL_SIZE"):
        template_view("view.png")


def test_a_mixed_set_holds_the_particles_it_names_and_their_truth(tmp_path, in_this_process):
    hook, clamp = (next(c.view for c in all_cases([]) if c.view.name == name) for name in ("hook", "clamp"))
    folder = write_set(MixedSet(hook, "1", 16, 3, 0.25, clamp), tmp_path)
    source = open_particles(str(folder / "particles.star"))
    views = [open_particles(str(tmp_path / "views" / f"{name}_1_16" / "particles.star")) for name in ("hook", "clamp")]
    images, own = source.read(np.arange(16)), [view.read(np.arange(16)) for view in views]
    from_clamp = np.array([np.array_equal(image, other) for image, other in zip(images, own[1])])
    assert from_clamp.sum() == 4
    assert all(np.array_equal(image, other) for image, other in zip(images[~from_clamp], own[0][~from_clamp]))
    defocus = source.table.numbers("rlnDefocusU")
    assert np.array_equal(defocus[from_clamp], views[1].table.numbers("rlnDefocusU")[from_clamp])
    for number, count in ((1, 12), (2, 4)):
        found, truth = joined(folder / f"truth_{number}.star", folder / f"truth_{number}.star")
        assert len(found) == len(truth) == count


def test_noise_takes_the_place_of_particles(tmp_path, in_this_process):
    view = all_cases([])[0].view
    folder = write_set(MixedSet(view, "1", 16, 3, 0.5), tmp_path)
    images = open_particles(str(folder / "particles.star")).read(np.arange(16))
    variance = np.sort(images.var(axis=(1, 2)))  # of noise 1, of particles 2
    assert variance[:8].max() < 1.2 < 1.8 < variance[8:].min()
    flat = images.reshape(16, -1)
    assert abs(np.corrcoef(flat) - np.eye(16)).max() < 0.9  # no image twice


def test_results_are_kept_and_replaced_by_case_and_method(tmp_path):
    results = Results(tmp_path)
    results.add({"case": "a", "method": "own", "error": "it failed"})
    results.add({"case": "b", "method": "own", "mean_sym": 0.25})
    assert not results.done("a", "own")
    results = Results(tmp_path)
    results.add({"case": "a", "method": "own", "mean_sym": 0.5})
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["mean_sym"], row["error"]) for row in rows] == [("a", "0.5", ""), ("b", "0.25", "")]
    assert list(rows[0]) == COLUMNS
    assert Results(tmp_path).done("a", "own")


def test_time_and_memory_of_a_process_and_its_children(tmp_path):
    child = "x = bytearray(200 << 20); t = __import__('time').process_time; e = t() + 0.4\nwhile t() < e: pass"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    got = timed(["python3", "-c", parent], tmp_path / "log", 1)
    assert 0.36 < got["cpu_s"] < 2.4
    assert 200 < got["memory_mb"] < 230  # of the child, and not of the test, which has torch in memory
    assert got["wall_s"] >= 0.36
    with pytest.raises(RuntimeError, match="no such thing"):
        timed(["python3", "-c", "raise SystemExit('no such thing')"], tmp_path / "log", 1)
