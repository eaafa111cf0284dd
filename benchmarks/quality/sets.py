"""Sets of random molecules, as real ones are, with the numbers that their classes and particles are judged by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np

from scipion_udl import constants
from scipion_udl.cli import main as program
from scipion_udl.io.tables import read_tables
from scipion_udl.pipelines import classify_set, judge_classes
from scipion_udl.pipelines.classes import ClassResult
from scipion_udl.pipelines.run import Run
from scipion_udl.simulation import phantoms_3d

GOOD = "none"  # of junk, in truth.star
KEPT_ASIDE = "anvil"  # is in no training set
SHAPES = ("walk", "rod", "disc", "shell", "ring", "lobes")


@dataclass
class JudgedSet:
    """What is known of one set. classes: (K, F) and particles (n, G) numbers; place: (n,) the class of each particle;
    kind: (n,) what it shows, truth.star's word; name: of the set."""

    name: str
    classes: np.ndarray
    particles: np.ndarray
    place: np.ndarray
    kind: np.ndarray

    @property
    def good(self) -> np.ndarray:
        """Which particles are some, (n,) bool."""
        return self.kind == GOOD

    @property
    def share(self) -> np.ndarray:
        """Of the good among the particles of each class, (K,)."""
        count = len(self.classes)
        return np.bincount(self.place, self.good, count) / np.bincount(self.place, minlength=count)

    @classmethod
    def read(cls, path: Path) -> JudgedSet:
        """One that was written."""
        with np.load(path) as file:
            fields = (file["classes"], file["particles"], file["place"], file["kind"].astype(str))
        return cls(path.stem, *fields)

    def write(self, path: Path) -> None:
        """Write it as npz."""
        np.savez_compressed(
            path, classes=self.classes, particles=self.particles, place=self.place, kind=self.kind.astype("U10")
        )


def options(random: np.random.Generator, molecules: tuple[str, ...]) -> tuple[list[str], int, str]:
    """Words of a `simulate` command for a set drawn by chance, how many classes it is sorted into, and its molecule:
    one of ``molecules``, or "" for one that is made up."""
    box = int(random.choice([48, 64, 64, 72]))
    count, classes = int(random.choice([500, 700, 900])), int(random.choice([6, 8, 12, 16]))
    snr = np.exp(random.uniform(np.log(0.03), np.log(0.3)))
    words = ["--count", str(count), "--box", str(box), "--snr", f"{snr:.4f}"]
    words += ["--pixel-size", f"{random.uniform(2, 5) * 64 / box:.3f}", "--realistic", "--gpu", "none"]
    words += ["--junk", str(random.choice([0.1, 0.2, 0.3, 0.4, 0.5]))]
    kinds = list(random.permutation(constants.JUNK_KINDS))
    words += ["--junk-kinds", *(kinds if random.random() < 0.5 else kinds[: random.integers(1, 5)])]
    words += ["--views", str(random.choice(["random", "uneven"]))]
    if random.random() < 0.4:
        words += ["--neighbours", str(random.choice([0, 0.3, 0.9]))]
    contrast = random.random()
    words += ["--signed"] if contrast < 0.3 else ["--no-ctf"] if contrast < 0.37 else []
    if random.random() < 0.3:
        words += ["--intensities", "normalised"]
    return words, classes, str(random.choice([*molecules, *[""] * len(molecules)]))


def molecule(random: np.random.Generator) -> np.ndarray:
    """Blobs (n, 5) of a molecule made up by chance: x, y, z and width in parts of the box, and weight."""
    shape, count = str(random.choice(SHAPES)), int(random.integers(6, 40))
    if shape == "walk":
        places = np.cumsum(random.normal(size=(count, 3)) * 0.13, 0)
    elif shape == "rod":
        along = random.normal(size=3)
        places = np.linspace(-0.5, 0.5, count)[:, None] * along / np.linalg.norm(along)
        places = places + random.normal(size=(count, 3)) * 0.05
    elif shape == "disc":
        turn, away = 2 * np.pi * random.random(count), 0.35 * np.sqrt(random.random(count))
        places = np.stack([away * np.cos(turn), away * np.sin(turn), random.normal(size=count) * 0.06], 1)
    elif shape == "shell":
        places = random.normal(size=(2 * count, 3))
        places *= random.uniform(0.33, 0.4, (2 * count, 1)) / np.linalg.norm(places, axis=1, keepdims=True)
    elif shape == "ring":
        fold = int(random.integers(2, 8))
        unit = random.normal(size=(max(3, count // fold), 3)) * 0.12 + np.array([0.28, 0, 0])
        turns = 2 * np.pi * np.arange(fold) / fold
        places = np.concatenate([unit @ _about_z(turn).T for turn in turns])
    else:
        centres = random.normal(size=(random.integers(2, 5), 3)) * 0.22
        places = np.concatenate([c + random.normal(size=(max(3, count // 4), 3)) * 0.08 for c in centres])
    places = places - places.mean(0)
    scale = random.uniform(0.3, 0.62) / (2 * np.abs(places).max())
    places = np.repeat(places, 3, axis=0) + random.normal(size=(3 * len(places), 3)) * 0.04
    fine = random.random(len(places)) < 0.8
    width = np.where(fine, random.uniform(0.008, 0.02, len(places)), random.uniform(0.02, 0.035, len(places)))
    return np.column_stack([places * scale, width, random.uniform(0.5, 1.5, len(places))])


def _about_z(turn: float) -> np.ndarray:
    cos, sin = np.cos(turn), np.sin(turn)
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])


def make(folder: Path, seed: int, molecules: tuple[str, ...]) -> JudgedSet:
    """Simulate a set drawn by chance, classify it, and take the numbers down. Raises RuntimeError where a run fails."""
    random = np.random.default_rng(seed)
    words, classes, name = options(random, molecules)
    made = molecule(random)
    known = phantoms_3d.PHANTOMS_3D[name or molecules[0]]
    table = {name or molecules[0]: known if name else (lambda: made, *known[1:])}
    words += ["--phantom", name or molecules[0], "--seed", str(seed), "--overwrite"]
    with mock.patch.dict(phantoms_3d.PHANTOMS_3D, table):
        _run(["simulate", str(folder / "set"), *words])
    found: list[judge_classes.Numbers] = []

    def recorded(run: Run, results: list[ClassResult]) -> judge_classes.Judged:
        found.append(judge_classes.numbers_of(run, results))
        return judge_classes.Judged(np.ones(len(results)), [[] for _ in results], np.ones(len(run.source)))

    with mock.patch.object(classify_set, "judge_classes", recorded):
        more = [
            "--classes",
            str(classes),
            "--seed",
            str(seed),
            "--gpu",
            "none",
            "--threads",
            "1",
            "--quiet",
            "--overwrite",
        ]
        _run(["classify", str(folder / "set" / "particles.star"), "-o", str(folder / "classes"), *more])
    kind = np.array(read_tables(str(folder / "set" / "truth.star"))[0].texts("udlJunk"))
    numbers = found[0]
    return JudgedSet(f"set_{seed}", numbers.classes, numbers.particles, numbers.place, kind[numbers.members])


def _run(words: list[str]) -> None:
    if program(words):
        raise RuntimeError(" ".join(words))
