"""Sets of simulated particles with one effect of real ones each, with all of them, and with none; and their truth.

The particles of a set are the same, and so is their shot noise, whatever effect they have: what differs in a figure is
what the effect does.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.many_views.particles import words_of
from scipion_udl import cli
from scipion_udl.imaging.poses import Poses
from scipion_udl.io.images import read_image
from scipion_udl.io.maps import read_map
from scipion_udl.io.tables import Table, read_tables, write_tables
from scipion_udl.simulation.effects import REALISTIC
from scipion_udl.simulation.map_molecules import MapMolecule
from scipion_udl.simulation.neighbours import diameter
from scipion_udl.simulation.views import uniform_directions
from scipion_udl.validation.pose_errors import located_truth

CLASSIFY, ALIGN = "classify", "align"
CLEAN, ALL, TWO_VIEWS = "clean", "all", "two-views"
_USUAL = REALISTIC
# Options of `simulate` by effect, of the strength that --realistic has, or as the name says.
EFFECTS: dict[str, dict[str, object]] = {
    CLEAN: {},
    "micrographs": {"per-micrograph": _USUAL.per_micrograph},
    "neighbours": {"neighbours": _USUAL.neighbours},
    "structural": {"structural": _USUAL.structural},
    "defocus-error": {"defocus-error": _USUAL.defocus_error},
    "astigmatism": {"astigmatism": _USUAL.astigmatism},
    "thickness": {"thickness": _USUAL.thickness},
    "ramp": {"ramp": _USUAL.ramp},
    "ramp-1": {"ramp": 1.0},
    "tail": {"tail": _USUAL.tail},
    "junk": {"junk": _USUAL.junk},
    "hot-pixels": {"hot-pixels": _USUAL.hot_pixels},
    "hot-pixels-3": {"hot-pixels": 3.0},
    "raw": {"intensities": "raw"},
    "signed": {"signed": True},
    ALL: {"realistic": True},
}
OF_CLASSIFY = {"uneven": {"views": "uneven"}}
OF_ALIGN = {"jitter": {"jitter": 5.0}, TWO_VIEWS: {}}
# The two views of TWO_VIEWS, 40 degrees apart: rot, tilt.
_TWO = ((30.0, 60.0), (30.0, 100.0))
_JITTER_OF_ALL = 5.0
_EXAMPLES = 24


def effects_of(task: str, molecule: bool = True) -> dict[str, dict[str, object]]:
    """The effects that a task, "classify" or "align", is measured with; "all" comes last. molecule: whether it is one
    that is seen, and no template, which has no other views."""
    own = (OF_CLASSIFY if task == CLASSIFY else OF_ALIGN) if molecule else {}
    return {name: options for name, options in EFFECTS.items() if name != ALL} | own | {ALL: EFFECTS[ALL]}


@dataclass(frozen=True)
class Kind:
    """What all sets of a task have in common. source: words of simulate, as ("--phantom", "boot"); size: A/px."""

    task: str
    source: tuple[str, ...]
    count: int
    snr: float
    box: int
    size: float | None
    seed: int

    def folder(self, out: Path, effect: str) -> Path:
        """Where the set with an effect lies."""
        what = Path(self.source[1]).stem
        scale = f"_{self.size:g}A" if self.size else ""
        return out / f"{self.task}_{what}_{self.box}px{scale}_{self.count}_snr{self.snr:g}_seed{self.seed}" / effect

    def words(self, effect: str) -> list[str]:
        """The options of simulate for the set with an effect."""
        options: dict[str, object] = {"count": self.count, "snr": self.snr, "box": self.box, "seed": self.seed}
        options |= {"pixel-size": self.size} if self.size else {}
        options |= {"shift": max(1, round(0.05 * self.box)), "subpixel": True}
        if self.source[0] != "--template":
            options["views"] = "random" if self.task == CLASSIFY else "single"
            if self.task == CLASSIFY and effect == ALL:
                options["views"] = "uneven"
            if self.task == ALIGN and effect == ALL:
                options["jitter"] = _JITTER_OF_ALL
        return [*self.source, *_words(options | effects_of(self.task)[effect])]


def _words(options: dict[str, object]) -> list[str]:
    """Options as words: flags alone, pairs one after the other."""
    flags = [f"--{name}" for name, value in options.items() if value is True]
    pairs = {name: value for name, value in options.items() if isinstance(value, tuple)}
    single = {name: value for name, value in options.items() if value is not True and name not in pairs}
    return [*flags, *words_of(single), *(w for name, pair in pairs.items() for w in (f"--{name}", *map(str, pair)))]


def make(kind: Kind, out: Path, effect: str) -> Path:
    """The folder of the set with an effect; one that is there is kept."""
    folder = kind.folder(out, effect)
    if (folder / "truth.star").exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    if effect == TWO_VIEWS:
        return _two_views(kind, folder)
    _simulate(folder, kind.words(effect))
    return folder


def _simulate(folder: Path, words: list[str]) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        code = cli.main(["simulate", str(folder), *words, "--overwrite"])
    if code:
        raise RuntimeError(f"simulate {' '.join(words)} failed, see above")


def _two_views(kind: Kind, folder: Path) -> Path:
    """Half of the particles of one view and half of another, joined in one table, and one truth."""
    parts = []
    for number, (rot, tilt) in enumerate(_TWO):
        half = Kind(kind.task, kind.source, kind.count // 2, kind.snr, kind.box, kind.size, kind.seed + 1000 * number)
        parts.append(folder / str(number + 1))
        _simulate(parts[-1], [*half.words(CLEAN), "--direction", str(rot), str(tilt)])
    for name in ("particles.star", "truth.star"):
        tables = [read_tables(str(part / name)) for part in parts]
        rows = [table[-1].columns for table in tables]
        joined = Table("particles", {label: rows[0][label] + rows[1][label] for label in rows[0]})
        write_tables(str(folder / name), [*tables[0][:-1], joined])
    shutil.copy(parts[0] / "template.mrc", folder)
    return folder


@dataclass
class PickTruth:
    """What picks of a set show. images: (path, item) of each; poses: (N,); kind: (N,) words, "none" of a particle."""

    images: list[tuple[str, int]]
    poses: Poses
    kind: np.ndarray

    @classmethod
    def read(cls, folder: Path) -> PickTruth:
        """Of truth.star in ``folder``."""
        path = str(folder / "truth.star")
        images, poses = located_truth(path)
        table = next(one for one in read_tables(path) if "udlAngle" in one)
        kind = table.texts("udlJunk") if "udlJunk" in table else ["none"] * len(images)
        return cls(images, poses, np.array(kind, dtype=object))

    @property
    def good(self) -> np.ndarray:
        """Which picks show a particle, (N,) bool."""
        return self.kind == "none"


def diameter_of(folder: Path) -> float:
    """The diameter in angstrom of what a set shows, by its template.mrc or its volume.mrc."""
    parameters = json.loads((_with_parameters(folder) / "parameters.json").read_text())["options"]
    if (folder / "volume.mrc").exists():
        views = uniform_directions(np.random.default_rng(1).random((_EXAMPLES, 2)))
        molecule = MapMolecule(read_map(str(folder / "volume.mrc"))[0], parameters["box"])
        images = molecule.project(views, Poses.identity(_EXAMPLES))
    else:
        images = read_image(str(folder / "template.mrc"))[0][None]
    return diameter(images) * parameters["pixel_size"]


def _with_parameters(folder: Path) -> Path:
    return folder if (folder / "parameters.json").exists() else folder / "1"


def for_the_oracle(kind: Kind, out: Path, effect: str) -> Path:
    """The particles of a set as an oracle sees them: the same, in the same noise, at the same contrast, their true
    defocus in the table, without junk, neighbours, ramps, hot pixels and gain. What it finds is what is in there."""
    folder = kind.folder(out, effect).with_name(f"{effect}_oracle")
    if (folder / "truth.star").exists():
        return folder
    words = kind.words(effect)
    if effect not in (CLEAN, "jitter", "signed"):
        words += ["--neighbours", "0", "--ramp", "0", "--hot-pixels", "0", "--intensities", "normalised"]
    _simulate(folder, words)
    truth_path, path = str(folder / "truth.star"), str(folder / "particles.star")
    truth, tables = read_tables(truth_path)[-1], read_tables(path)
    good = PickTruth.read(folder).good
    for label in ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle"):
        if label in truth:
            tables[-1].set(label, truth.texts(label))
    write_tables(path, [*tables[:-1], tables[-1].rows(np.flatnonzero(good))])
    write_tables(truth_path, [truth.rows(np.flatnonzero(good))])
    return folder
