"""Sets joined of parts of opposite polarity are told by the names of the parts, by check and by align."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")

from scipion_udl import cli
from scipion_udl.compute.device import choose_device
from scipion_udl.imaging.half_set_frc import ResolutionEstimate
from scipion_udl.imaging.poses import Poses
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import write_stack
from scipion_udl.io.tables import Table, write_tables
from scipion_udl.messages import message
from scipion_udl.particles.prepared import PreparedParticles
from scipion_udl.simulation.phantoms import phantom
from scipion_udl.tests.engine_helpers import run, summary
from scipion_udl.validation import heterogeneity

BOX = 32


def views(count, seed):
    """Bright particles (count, 32, 32) of one view in noise of four times its variance."""
    rng = np.random.default_rng(seed)
    images = phantom("hook", BOX).sample(Poses(rng.uniform(-180, 180, count), rng.uniform(-2, 2, (count, 2))))
    return images + 2 * images.std() * rng.normal(size=images.shape).astype(np.float32)


@pytest.fixture
def joined(tmp_path, monkeypatch):
    """``joined({stack: (images, optics group)})`` writes stacks and p.star, which names all their images."""
    monkeypatch.chdir(tmp_path)

    def make(stacks):
        names, groups = [], []
        for path, (images, group) in stacks.items():
            (tmp_path / path).parent.mkdir(exist_ok=True)
            write_stack(path, images, 4.0)
            names += [f"{k + 1}@{path}" for k in range(len(images))]
            groups += np.broadcast_to(np.asarray(group, str), len(images)).tolist()
        numbers = sorted(set(groups))
        optics = {"rlnOpticsGroup": numbers, "rlnImagePixelSize": ["4.0"] * len(numbers)}
        particles = {"rlnImageName": names, "rlnOpticsGroup": groups}
        write_tables("p.star", [Table("optics", optics), Table("particles", particles)])
        return "p.star"

    return make


def told(path):
    """What the first look of a run says of polarities."""
    particles = PreparedParticles(open_particles(path), choose_device("none", 1))
    return particles.scan().opposite


def test_stacks_of_opposite_polarity_are_named(joined):
    path = joined({"a.mrcs": (views(80, 1), 1), "b.mrcs": (-views(80, 2), 1), "c.mrcs": (views(80, 3), 1)})
    assert "2 stacks show bright ones, one stack shows dark ones (dark: b.mrcs)" in told(path)


def test_optics_groups_of_one_stack_are_named(joined):
    """Joined by a program that copies all images into one stack."""
    images, group = np.concatenate([views(100, 1), -views(60, 2)]), [7] * 100 + [9] * 60
    assert "(dark: 9)" in told(joined({"a.mrcs": (images, group)}))


def test_of_many_stacks_in_two_groups_the_groups_are_named(joined):
    """Micrographs of 20 particles each, which say little by themselves."""
    stacks = {f"m{k}.mrcs": (views(20, k) * (1 if k < 6 else -1), 1 if k < 6 else 2) for k in range(10)}
    assert "(dark: 2)" in told(joined(stacks))


def test_stacks_of_one_name_are_named_with_their_folders(joined):
    path = joined({"one/s.mrcs": (views(80, 1), 1), "two/s.mrcs": (-views(80, 2), 1)})
    assert "dark: two/s.mrcs" in told(path)


@pytest.mark.parametrize("sign", [1, -1])
def test_one_polarity_is_no_finding_whatever_scale_and_ground(joined, sign):
    path = joined({"a.mrcs": (sign * views(80, 1), 1), "b.mrcs": (5 * sign * views(80, 2) + 100, 2)})
    assert told(path) is None


def test_noise_is_no_finding(joined):
    rng = np.random.default_rng(0)
    stacks = {f"{k}.mrcs": (rng.normal(size=(60, BOX, BOX)), k + 1) for k in range(6)}
    assert told(joined(stacks)) is None


def test_align_says_what_check_says_and_sends_nobody_to_classify(joined, capsys):
    path = joined({"a.mrcs": (views(65, 1), 1), "b.mrcs": (-views(65, 2), 1)})
    assert cli.main(["check", path, "--threads", "1"]) == 0
    assert "The particles are of two polarities" in " ".join(capsys.readouterr().out.split())
    assert run("align", path, "-o", "out", "--max-shift", 3, "--epochs", 1) == 0
    told = capsys.readouterr()
    warnings = [line for line in told.err.splitlines() if line.startswith("Warning")]
    assert sum("of two polarities" in warning for warning in warnings) == 1
    assert "views are mixed" not in told.err and "lassify the particles" not in told.err
    facts = summary(Path("out"))
    assert facts["resolution"] is None
    assert facts["resolution_note"] == str(message("no_claim_of_polarities"))


def test_a_mixture_of_two_polarities_is_not_called_one_of_views(monkeypatch):
    """What differs as views do, and between halves that agree, is of the polarity where one was seen."""
    monkeypatch.setattr(heterogeneity, "measure_mixture", lambda *_: heterogeneity.Mixture(share=0.5, sigma=50.0))
    alignment = SimpleNamespace(ambiguous=np.zeros(40, bool), outlier=np.zeros(40, bool))
    claim = ResolutionEstimate(True, 9.0, message("class_needs_more", limit=9.0))
    for opposite, code, warned in (
        ("dark: b.mrcs", "no_claim_of_polarities", []),
        (None, "no_claim_of_mixed_views", ["mixed_views"]),
    ):
        particles = SimpleNamespace(usable=np.arange(40), statistics=SimpleNamespace(opposite=opposite))
        found, warnings = heterogeneity.consider_views(particles, alignment, claim)
        assert (found.resolution, found.note.code) == (None, code)
        assert [warning.code for warning in warnings] == warned
