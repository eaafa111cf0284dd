"""Particles of many views with a truth that is known, and the molecules that they show."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from scipion_udl.imaging.poses import Poses, to_relion
from scipion_udl.io import dialects
from scipion_udl.io.maps import read_map
from scipion_udl.io.tables import Table, number_texts, quote, read_tables, write_tables
from scipion_udl.io.truth import read_truth, read_views
from scipion_udl.simulation.map_molecules import MapMolecule
from scipion_udl.simulation.molecules import BlobMolecule
from scipion_udl.simulation.phantoms_3d import PHANTOMS_3D, molecule

MOLECULES = ("boot", "crane", "saddle")  # the last was set aside: nothing was tried out on it
SNRS = ("1", "0.1", "0.05")
MIXED = {"phantom": "boot", "snr": 0.1, "noise-share": 0.3, "second": "crane", "second-share": 0.2, "seed": 5}


def simulate(folder: Path, name: str, count: int) -> None:
    """Particles of the set ``name``, MOLECULE:SNR or mixed: 128 px, off centre by up to 10 px, phase-flipped."""
    which, _, snr = name.partition(":")
    options = MIXED if name == "mixed" else {"phantom": which, "snr": snr, "seed": 7}
    options = {"count": count, "box": 128, "views": "random"} | options
    command = [sys.executable, "-m", "scipion_udl.cli", "simulate", folder, *words_of(options)]
    subprocess.run([*map(str, command), "--overwrite"], check=True, stdout=subprocess.DEVNULL)


def words_of(options: dict) -> list[str]:
    """Options as words of a command line."""
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]


def particles_of(table: Path) -> Table:
    """The rows of a STAR file that list images."""
    return dialects.find_particles(str(table), read_tables(str(table)))[0]


def count_of(table: Path) -> int:
    """How many particles a STAR file lists."""
    return len(particles_of(table))


def first_of(table: Path, count: int) -> Path:
    """A table of the first ``count`` particles, beside the whole one. Raises ValueError where there are fewer."""
    tables = read_tables(str(table))
    particles, _ = dialects.find_particles(str(table), tables)
    if len(particles) < count:
        raise ValueError(f"{table} holds {len(particles)} particles, fewer than {count}: give another --out")
    path = table.with_name(f"first_{count}.star")
    few = particles.rows(np.arange(count))
    write_tables(str(path), [few if one is particles else one for one in tables])
    return path


def write_classes(path: Path, names: list[str], label: np.ndarray, poses: Poses | None = None) -> None:
    """A table of particles in classes, as RELION 3.0 writes it. label: (N,), from 0; written from 1."""
    columns = {"rlnImageName": [quote(name) for name in names], "rlnClassNumber": [str(k + 1) for k in label]}
    if poses is not None:
        psi, origin = to_relion(poses)
        values = zip(("rlnAnglePsi", "rlnOriginX", "rlnOriginY"), (psi, *origin.T))
        columns |= {name: number_texts(numbers) for name, numbers in values}
    write_tables(str(path), [Table("particles", columns)])


@dataclass
class Truth:
    """What the N particles of a simulated set show.

    folder: that of `simulate --views`; names; molecule: int (N,), 1 or 2, 0 for noise alone; direction: unit vectors
    (N, 3), zeros for noise; poses: to the canonical projection from each particle's direction, pixels.
    """

    folder: Path
    names: list[str]
    molecule: np.ndarray
    direction: np.ndarray
    poses: Poses

    @classmethod
    def read(cls, folder: Path) -> Truth:
        """Of truth.star in ``folder``. Raises UdlError where there is none, or none of many views."""
        path = str(folder / "truth.star")
        return cls(folder, *read_views(path), read_truth(path)[1])

    def rows(self, names: list[str]) -> np.ndarray:
        """The numbers, from 0, of the particles with these names. Raises KeyError for one that is not among them."""
        return np.array([self._places[name] for name in names])

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: k for k, name in enumerate(self.names)}

    @cached_property
    def molecules(self) -> dict[int, BlobMolecule | MapMolecule]:
        """The molecules by number: phantoms project by formula, maps as written beside the particles; no noise."""
        options = json.loads((self.folder / "parameters.json").read_text())["options"]
        names = {1: options.get("phantom", "volume.mrc"), 2: options.get("second")}
        return {number: self._molecule(name, number, options["box"]) for number, name in names.items() if name}

    def _molecule(self, name: str, number: int, box: int) -> BlobMolecule | MapMolecule:
        if name in PHANTOMS_3D:
            return molecule(name, box)
        return MapMolecule(read_map(str(self.folder / ("volume.mrc" if number == 1 else "second.mrc")))[0], box)
