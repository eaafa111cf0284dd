"""Classes that live: a view that comes late gets its class, averages gain by what comes, no class loses its number."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from scipion_udl.imaging.polar_samples import AngularTransform, PolarSampling
from scipion_udl.io.output.seal import opened, sealed
from scipion_udl.io.stacks import StackReader
from scipion_udl.io.tables import read_tables, write_tables
from scipion_udl.models.class_bank import ClassBank
from scipion_udl.pipelines.appending import renewed_classes
from scipion_udl.pipelines.appending.renewed_classes import MERGED, Renewed, merged
from scipion_udl.tests.engine_fixtures import shared
from scipion_udl.tests.engine_helpers import run, subset_star

COUNT, BOX, FIRST, CAP = 1600, 48, 420, 35  # particles, pixels, particles of the first batch, degrees
WORDS = ("--gpu", "none", "--threads", 1)
FIRST_WORDS = ("--starts", 1, "--max-shift", 3, *WORDS)


def views(folder: Path) -> np.ndarray:
    """The direction (N, 3) that each particle is seen from."""
    table = read_tables(str(folder / "truth.star"))[0]
    return np.stack([table.numbers(f"udlView{axis}") for axis in "XYZ"], 1)


def labels(out: Path) -> np.ndarray:
    return read_tables(str(out / "classes.star"))[-1].numbers("rlnClassNumber").astype(int)


def classes_of(out: Path) -> list[dict]:
    return json.loads((out / "summary.json").read_text())["classes"]


def history(out: Path) -> list[dict]:
    with open(out / "class_history.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def session(tmp_path_factory) -> Path:
    """A first run of particles without the views about one axis (first.star, run); late.star has those, too, in a third
    of its particles, and same.star none of them."""

    def make(folder: Path) -> None:
        words = "--views random --phantom boot --snr 0.4 --pixel-size 4 --shift 3 --seed 5"
        assert run("simulate", folder, *words.split(), "--count", COUNT, "--box", BOX) == 0
        late = views(folder)[:, 2] > np.cos(np.deg2rad(CAP))
        others, these = np.flatnonzero(~late), np.flatnonzero(late)[:120]
        subset_star(folder, folder / "first.star", others[:FIRST])
        subset_star(folder, folder / "late.star", np.sort(np.r_[others[FIRST : FIRST + 240], these]))
        subset_star(folder, folder / "same.star", others[FIRST + 240 : FIRST + 360])
        assert run("classify", folder / "first.star", "-o", folder / "run", "--classes", 8, *FIRST_WORDS) == 0

    return shared(tmp_path_factory, "living_classes", make)


@pytest.fixture(scope="module")
def late(session, tmp_path_factory) -> Path:
    """What became of the classes once the late view had come."""

    def make(folder: Path) -> None:
        before = content(session / "run")
        assert run("classify", session / "late.star", "-o", folder, "--append-to", session / "run", *WORDS) == 0
        assert content(session / "run") == before, "what is appended to stays as it was"

    return shared(tmp_path_factory, "living_late", make)


def test_a_view_that_comes_late_gets_a_class_with_the_next_number(session, late):
    names = read_tables(str(session / "truth.star"))[0].texts("rlnImageName")
    height = dict(zip(names, views(session)[:, 2]))
    table = read_tables(str(late / "classes.star"))[-1]
    seen = np.array([height[name] for name in table.texts("rlnImageName")]) > np.cos(np.deg2rad(CAP))
    before, after = len(classes_of(session / "run")), classes_of(late)
    opened_ = [row for row in history(late) if row["batch"] == "2"]
    assert [int(row["class"]) for row in opened_] == list(range(before + 1, len(after) + 1))
    assert opened_, "no class was opened"
    own = labels(late) > before
    assert np.mean(seen[own]) > 0.6  # a third of all that came
    assert np.mean(own[seen]) > 0.3


def test_what_shows_no_new_view_opens_no_class_and_goes_into_classes_of_the_same_numbers(session, late, tmp_path):
    out = tmp_path / "same"
    assert run("classify", session / "same.star", "-o", out, "--append-to", late, *WORDS) == 0
    assert len(classes_of(out)) == len(classes_of(late))
    assert history(out)[: len(history(late))] == history(late)
    assert not [row for row in history(out) if row["batch"] == "3" and row["event"] != MERGED]
    for one, other in zip(classes_of(late), classes_of(out)):
        assert other["superclass"] == one["superclass"]
        assert other["particles"] == one["particles"] + np.count_nonzero(labels(out) == one["class"])


def test_halves_agree_further_with_more_particles(session, late):
    """The FRC of the halves, as it stands in the file, is theirs; with half as many particles again it rises."""
    better = []
    for before, after in zip(classes_of(session / "run"), classes_of(late)):
        one, other = (frc_of(folder, before["class"]) for folder in (session / "run", late))
        assert sum(after["half_counts"]) == sum(before["half_counts"]) + after["particles"] - before["particles"]
        if not before["flagged"]:
            better.append(other[6:14].mean() - one[6:14].mean())
    assert len(better) > 4
    assert np.mean(better) > 0.01


def frc_of_images(first: np.ndarray, second: np.ndarray, radius: float) -> np.ndarray:
    """FRC of the Fourier rings from 1 on, within a soft disc."""
    y, x = np.indices(first.shape) - first.shape[0] // 2
    distance = np.hypot(x, y)
    mask = np.clip((radius + 2 - distance) / 4, 0, 1)
    one, other = (np.fft.fftn(np.fft.ifftshift((i - np.mean(i[mask == 0])) * mask)) for i in (first, second))
    frequency = np.fft.fftfreq(len(first)) * len(first)
    ring = np.hypot(frequency, frequency[:, None]).round().astype(int).ravel()
    cross, a, b = (
        np.bincount(ring, v.ravel()) for v in ((one * other.conj()).real, np.abs(one) ** 2, np.abs(other) ** 2)
    )
    return (cross / np.sqrt(a * b))[1 : len(first) // 2]


def frc_of(folder: Path, number: int) -> np.ndarray:
    rows = np.genfromtxt(folder / "frc.csv", delimiter=",", skip_header=1)
    return rows[rows[:, 0] == number, 3]


def test_halves_are_those_of_particles_that_came_and_of_those_before(session, late):
    """Halves are of both, by their numbers and CTFs, and the FRC that is told is that of the images in the files."""
    facts = [opened(json.loads((f / "joining_classes.json").read_text()))["halves"] for f in (session / "run", late)]
    for one, other in zip(*facts):
        if one is not None and sum(other["counts"]) > sum(one["counts"]):
            each = [np.sum(half["power"], 0)[:20] / sum(half["counts"]) for half in (one, other)]
            np.testing.assert_allclose(*each, rtol=0.25)  # what a particle adds is alike before and after
    first, second = (StackReader(str(late / name)).read().astype(np.float64) for name in ("half1.mrcs", "half2.mrcs"))
    radius = json.loads((late / "summary.json").read_text())["mask_radius"]
    for k, one in enumerate(classes_of(session / "run")):
        if not one["flagged"] and one["particles"] > 30:
            found = frc_of_images(first[k], second[k], radius)
            assert np.abs(found - frc_of(late, one["class"])[: len(found)])[2:14].max() < 0.1
    for name in ("half1.mrcs", "half2.mrcs"):
        before, after = (StackReader(str(folder / name)).read() for folder in (session / "run", late))
        for one, k in zip(classes_of(session / "run"), range(len(before))):
            if not one["flagged"] and one["particles"] > 30:
                assert np.corrcoef(before[k].ravel(), after[k].ravel())[0, 1] > 0.8
                assert not np.array_equal(before[k], after[k])


def test_a_class_that_loses_its_particles_again_is_not_opened(session, monkeypatch, tmp_path):
    monkeypatch.setattr(renewed_classes, "FEWEST", 10**6)
    words = ("--append-to", session / "run", *WORDS)
    assert run("classify", session / "late.star", "-o", tmp_path / "out", *words) == 0
    assert len(classes_of(tmp_path / "out")) == len(classes_of(session / "run"))
    assert {row["batch"] for row in history(tmp_path / "out")} == {"1"}


def test_classes_that_are_kept_stay_and_open_nothing(session, tmp_path):
    words = ("--append-to", session / "run", "--keep-classes", *WORDS)
    assert run("classify", session / "late.star", "-o", tmp_path / "kept", *words) == 0
    assert len(classes_of(tmp_path / "kept")) == len(classes_of(session / "run"))
    assert not (tmp_path / "kept" / "class_history.csv").exists()
    one, other = (np.genfromtxt(f / "frc.csv", delimiter=",") for f in (session / "run", tmp_path / "kept"))
    np.testing.assert_array_equal(one[1:], other[1:])
    assert run("classify", session / "same.star", "-o", tmp_path / "on", "--append-to", tmp_path / "kept", *WORDS) == 0
    assert [row["batch"] for row in history(tmp_path / "on")][:1] == ["1"], "they can live again"


def test_a_class_that_gets_nothing_for_a_while_forgets_nothing(session, late, tmp_path):
    optics, table = read_tables(str(session / "same.star"))
    write_tables(str(tmp_path / "two.star"), [optics, table.rows([0, 1])])
    assert run("classify", tmp_path / "two.star", "-o", tmp_path / "out", "--append-to", late, *WORDS) == 0
    before, after = (opened(json.loads((f / "joining_classes.json").read_text())) for f in (late, tmp_path / "out"))
    idle = [one["class"] - 1 for one in classes_of(late) if one["class"] not in labels(tmp_path / "out")]
    assert len(idle) >= len(classes_of(late)) - 2
    for k in idle:
        assert after["score_limits"][k] == before["score_limits"][k]
        assert after["halves"][k] == before["halves"][k]


def test_classes_of_an_earlier_version_stay_and_it_is_said(session, tmp_path, capsys):
    shutil.copytree(session / "run", tmp_path / "old")
    path = tmp_path / "old" / "joining_classes.json"
    facts = opened(json.loads(path.read_text()))
    for name in ("half1.mrcs", "half2.mrcs"):
        (tmp_path / "old" / name).unlink()
        del facts["files"][name]
    del facts["halves"], facts["life"]
    path.write_text(json.dumps(sealed(facts)))
    out = tmp_path / "joined"
    assert run("classify", session / "same.star", "-o", out, "--append-to", tmp_path / "old", *WORDS) == 0
    assert len(classes_of(out)) == len(classes_of(session / "run"))
    assert "an earlier version made it" in (out / "run.log").read_text()


def test_classes_of_fixed_references_stay(session, tmp_path):
    """What was to stay while the first came is not taught by those that come later."""
    references = ("--references", session / "run" / "averages.star", "--fixed-references", "--no-refine")
    assert run("classify", session / "same.star", "-o", tmp_path / "fixed", *references, *WORDS) == 0
    first, last = tmp_path / "fixed", session / "late.star"
    for out in (tmp_path / "one", tmp_path / "two"):
        optics, table = read_tables(str(last))
        write_tables(
            str(out.with_suffix(".star")), [optics, table.rows(range(9) if out.name == "one" else range(9, 18))]
        )
        assert run("classify", out.with_suffix(".star"), "-o", out, "--append-to", first, *WORDS) == 0
        assert "its references are fixed" in (out / "run.log").read_text()
        assert (out / "model.safetensors").read_bytes() == (first / "model.safetensors").read_bytes()
        first = out


def test_only_what_is_appended_can_be_kept(session, tmp_path, capsys):
    assert run("classify", session / "same.star", "-o", tmp_path / "out", "--keep-classes", *WORDS) == 1
    assert "give --append-to" in capsys.readouterr().err


def test_of_two_classes_that_show_the_same_the_smaller_gets_nothing_more():
    sampling = PolarSampling(32, 8)
    transform = AngularTransform(sampling, 8)
    generator = torch.Generator().manual_seed(0)
    random = torch.randn(3, 8, transform.orders, generator=generator, dtype=torch.complex64)
    bank = ClassBank(4, 8, transform.orders, sampling.angles)
    bank.set(torch.cat([random, random[1:2]]))
    bank.members = torch.tensor([50.0, 80.0, 60.0, 20.0])
    found = merged(Renewed(bank, np.array([0, 2, 3, 5]), torch.ones(8), 210.0, []), sampling, 2.0)
    assert list(found.active) == [0, 2, 3]
    assert [(one.kind, one.class_number, one.other) for one in found.events] == [(MERGED, 6, 3)]
