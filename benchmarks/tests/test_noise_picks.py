"""The benchmark of picked noise: its windows hold what they should, fits are in deviations, figures tell likeness."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import noise_picks
from benchmarks.noise_windows.figures import likeness
from benchmarks.noise_windows.picks import CTF, KINDS, ORIENTATIONS, STACK, WHITE, Noise, Windows, make
from benchmarks.noise_windows.table import text
from scipion_udl import cli
from scipion_udl.imaging.poses import Poses
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import StackReader, write_stack
from scipion_udl.io.tables import Table, write_tables
from scipion_udl.simulation.phantoms import phantom

ANGLES = np.arange(ORIENTATIONS) * 360 / ORIENTATIONS


@pytest.mark.parametrize("kind", [WHITE, CTF])
def test_fits_are_in_standard_deviations_of_the_noise(kind):
    windows = Windows(Noise(kind, 1, 600, 32, 1))
    seen = windows.simulated_ctf(0) if kind == CTF else None
    fields = torch.from_numpy(windows.fields(np.arange(600), seen)).float()
    maps = torch.fft.irfft2(torch.fft.rfft2(fields) * windows.kernels(seen)[5], s=(windows.side, windows.side))
    assert float(maps[:, 0, 0].std()) == pytest.approx(1, rel=0.09)


def test_a_picked_window_fits_the_template_as_its_score_says(tmp_path):
    folder, mean = make(Noise(WHITE, 10, 200, 32, 1), tmp_path)
    shown = phantom("hook", 32).sample(Poses(ANGLES, np.zeros((ORIENTATIONS, 2))))
    shown = shown - shown.mean((1, 2), keepdims=True)
    images = StackReader(str(folder / "particles.mrcs")).read()
    fits = np.einsum("nyx,ayx->na", images, shown) / np.sqrt((shown**2).sum((1, 2)))
    assert fits.max(1) == pytest.approx(np.loadtxt(folder / "scores.txt"), abs=0.15)  # the filter's norm is that of one
    assert mean > 3
    assert len(open_particles(str(folder / "particles.star"))) == 10


def test_windows_that_stay_where_they_are_have_the_same_scores(tmp_path):
    scores = [np.loadtxt(make(Noise(CTF, 8, 120, 32, 2, centred=c), tmp_path)[0] / "scores.txt") for c in (True, False)]
    assert np.array_equal(*scores)


def test_one_piece_of_ice_is_picked_once(tmp_path):
    field = np.random.default_rng(1).normal(size=(60, 60)).astype(np.float32)
    corners = [(x, y) for y in range(0, 21, 4) for x in range(0, 21, 4)]
    write_stack(str(tmp_path / "ice.mrcs"), np.stack([field[y : y + 40, x : x + 40] for x, y in corners]), 4.0)
    columns = {"rlnImageName": [f"{n + 1}@{tmp_path}/ice.mrcs" for n in range(len(corners))]}
    columns |= {"rlnMicrographName": ["one.mrc"] * len(corners)}
    columns |= {f"rlnCoordinate{a}": [str(c[k] + 20) for c in corners] for k, a in enumerate("XY")}
    write_tables(str(tmp_path / "ice.star"), [Table("particles", columns)])
    noise = Noise(STACK, 36, 36, 32, 1, windows=str(tmp_path / "ice.star"))
    windows = Windows(noise)
    _, score, place = (np.concatenate(parts) for parts in zip(*windows.scored()))
    chosen = windows.apart(np.argsort(-score), place)
    at = np.array(corners)[chosen] + place[chosen]
    apart = np.hypot(*(at[:, None] - at[None]).transpose(2, 0, 1)) + 99 * np.eye(len(at))
    assert 1 < len(chosen) < 20
    assert apart.min() > 8
    assert chosen[0] == score.argmax()
    with pytest.raises(ValueError, match="windows of 40 px"):
        Windows(Noise(STACK, 4, 16, 38, 1, windows=str(tmp_path / "ice.star")))


def test_an_average_is_like_the_template_whatever_way_round_it_lies():
    rotated = phantom("hook", 48).sample(Poses([33.0, -170.0], np.array([[2.0, -1.0], [0.0, 3.0]])))
    random = np.random.default_rng(1).normal(size=(2, 48, 48))
    assert likeness(np.concatenate([rotated, rotated[:1, :, ::-1]]), "hook").min() > 0.95
    assert likeness(random, "hook").max() < 0.65


def test_the_table_tells_what_was_flagged_and_claimed():
    base = {"count": 10, "among": 200, "box": 32, "shows": "hook", "seed": 1, "score": "4.2", "classes": 5}
    rows = [
        {**base, "kind": WHITE, "centred": 1, "program": "classify", "flagged": "1.0", "claims": 0, "claimed": "",
         "template": 0.7, "cpu_s": 3.0},
        {**base, "kind": CTF, "centred": "0", "program": "RELION, K = 4", "flagged": "", "claims": "4",
         "claimed": "12.5", "template": "0.9", "cpu_s": ""},
    ]  # fmt: skip
    lines = text(rows).splitlines()
    assert "| 100% | none | 0.70 | 3 s |" in lines[2]
    assert "off centre" in lines[3] and "| never | 4 (to 12.5 Å) | 0.90 |" in lines[3]
    assert text([]) == ""


def test_picked_noise_is_flagged_whole(tmp_path, monkeypatch):
    def in_this_process(command: list[str], log: Path, threads: int) -> dict[str, float]:
        assert cli.main(command[3:]) == 0
        return {"cpu_s": 1.0}

    monkeypatch.setattr(noise_picks, "timed", in_this_process)
    words = ["--out", tmp_path, "--kind", WHITE, "--count", 130, "--among", 1300, "--box", 32, "--classes", 3]
    assert noise_picks.main([*map(str, words), "--programs", "classify"]) == 0
    with open(tmp_path / "noise_picks.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["flagged"]) == 1
    assert row["claims"] == "0"
    assert "100%" in (tmp_path / "noise_picks.md").read_text()


def test_windows_of_ones_own_are_asked_for(tmp_path, capsys):
    assert STACK in KINDS
    with pytest.raises(SystemExit):
        noise_picks.main(["--out", str(tmp_path), "--kind", "stack"])
    assert "--windows" in capsys.readouterr().err
