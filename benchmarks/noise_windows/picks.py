"""Windows of noise that were picked because they look like a template: the best N of M, over orientations and shifts.

A window is drawn from (seed, its number) alone, in a field wide enough for the shifts; of M only the scores are kept,
and those that are picked are drawn again. The score is the correlation with the template (after the CTF where the noise
has one), in standard deviations of that noise: 4 to 6 of the picked ones, the larger M / N, the higher.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import fft

from scipion_udl.imaging.poses import Poses
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import write_stack
from scipion_udl.io.tables import Table, write_tables
from scipion_udl.simulation.background import mean_power
from scipion_udl.simulation.ctf import CtfSettings, simulated_ctf
from scipion_udl.simulation.phantoms import phantom

WHITE, CTF, STACK = "white", "ctf", "stack"
KINDS = (WHITE, CTF, STACK)
ORIENTATIONS = 48  # of the template: 7.5 degrees
REACH = 0.08  # how far off centre the template is looked for, parts of the box, along an axis
STRUCTURAL = 0.5  # share of the variance that passes the CTF, of the kind CTF
FIELD = 256.0  # angstrom a box, as the phantoms of `simulate`
MICROGRAPH = 100  # windows of one defocus
_TOGETHER = 64  # windows at a time


@dataclass(frozen=True)
class Noise:
    """A set. kind: WHITE noise; CTF: half of the variance is white noise that has passed a CTF, which the table gives
    and whose phases are not flipped; STACK: the windows of a table, ``windows``. count: picked ones, of ``among``
    windows; box: pixels; shows: the template, a phantom; centred: whether the place where a window fits is put into
    the middle of its box, as pickers do (False: windows stay where they are); seed."""

    kind: str
    count: int
    among: int
    box: int
    seed: int
    shows: str = "hook"
    centred: bool = True
    windows: str = ""

    @property
    def name(self) -> str:
        """Of its folder."""
        still = "" if self.centred else "_off"
        return f"{self.kind}_{self.shows}_{self.count}_of_{self.among}_{self.box}{still}_seed{self.seed}"


class Windows:
    """The windows of a set, all of them; ``template``: (box, box); ``size``: A/px."""

    def __init__(self, noise: Noise) -> None:
        self.noise, self.box = noise, noise.box
        self.reach = int(np.ceil(REACH * self.box))
        self.side = self.box + 2 * self.reach
        self.ctf = CtfSettings(defocus=(1.0, 2.5), amplitude_contrast=0.07, signed=True)
        self.size = FIELD / self.box
        self.source = None
        if noise.kind == STACK:
            self.source = open_particles(noise.windows)
            if self.source.box < self.side:
                raise ValueError(
                    f"{noise.windows} has windows of {self.source.box} px: {self.side} are needed to cut a box of "
                    f"{self.box} from anywhere within {self.reach} px"
                )
            self.size = self.source.pixel_size
            if len(self.source) < noise.among:
                raise ValueError(f"{noise.windows} has {len(self.source)} windows, {noise.among} were asked for")
        shown = phantom(noise.shows, self.box)
        self.template = shown.image()
        angles = np.arange(ORIENTATIONS) * (360.0 / ORIENTATIONS)
        rotated = shown.sample(Poses(angles, np.zeros((ORIENTATIONS, 2)))).astype(np.float64)
        rotated -= rotated.mean((1, 2), keepdims=True)
        wide = np.zeros((ORIENTATIONS, self.side, self.side))
        wide[:, self.reach : self.reach + self.box, self.reach : self.reach + self.box] = rotated
        self.filters = fft.rfft2(fft.ifftshift(wide, axes=(1, 2)))

    def defocus(self, number: int) -> float:
        """Micrometers, of the micrograph of a window."""
        low, high = self.ctf.defocus
        first = np.random.default_rng([self.noise.seed, number // MICROGRAPH, 1])
        return low + (high - low) * first.random()

    def simulated_ctf(self, number: int) -> np.ndarray:
        """The CTF of a window's field, (side, side // 2 + 1)."""
        return simulated_ctf(self.ctf, np.array([self.defocus(number)]), self.side, self.size)[0]

    def field(self, number: int, seen: np.ndarray | None) -> np.ndarray:
        """A window with its margin, float64 (side, side). seen: its CTF."""
        random = np.random.default_rng([self.noise.seed, number, 0])
        white = random.standard_normal((self.side, self.side))
        if seen is None:
            return white
        ice = fft.irfft2(fft.rfft2(random.standard_normal(white.shape)) * seen, s=white.shape)
        return np.sqrt(STRUCTURAL / mean_power(seen, self.side)) * ice + np.sqrt(1 - STRUCTURAL) * white

    def fields(self, numbers: np.ndarray, seen: np.ndarray | None) -> np.ndarray:
        """Windows with their margins, (n, side, side)."""
        if self.source is None:
            return np.stack([self.field(number, seen) for number in numbers])
        first = self.source.box // 2 - self.side // 2
        images = self.source.read(numbers)[:, first : first + self.side, first : first + self.side].astype(np.float64)
        return (images - images.mean((1, 2), keepdims=True)) / images.std((1, 2), keepdims=True)

    def kernels(self, seen: np.ndarray | None) -> torch.Tensor:
        """What fields are multiplied with, in Fourier space, for their fits to the template in all orientations, in
        standard deviations of the noise (of variance 1 where it has no CTF): (ORIENTATIONS, side, side // 2 + 1)."""
        filters = self.filters if seen is None else self.filters * seen
        power = np.ones(self.filters.shape[1:])
        if seen is not None:
            power = STRUCTURAL * seen**2 / mean_power(seen, self.side) + 1 - STRUCTURAL
        total = np.abs(filters[0]) ** 2 * power @ self._columns()
        return torch.from_numpy((filters.conj() / (np.sqrt(total.sum()) / self.side)).astype(np.complex64))

    def _columns(self) -> np.ndarray:
        """How often the columns of rfft2 stand in the whole plane."""
        weight = np.full(self.side // 2 + 1, 2.0)
        weight[0] = 1.0
        weight[-1] = 1.0 if self.side % 2 == 0 else 2.0
        return weight

    def scored(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """(numbers, scores in standard deviations, places (n, 2) of the best fit, x and y off the centre in pixels)."""
        for start in range(0, self.noise.among, MICROGRAPH):
            numbers = np.arange(start, min(start + MICROGRAPH, self.noise.among))
            seen = self.simulated_ctf(start) if self.noise.kind == CTF else None
            kernel = self.kernels(seen)
            for part in np.split(numbers, range(_TOGETHER, len(numbers), _TOGETHER)):
                yield (part, *self._best(torch.from_numpy(self.fields(part, seen)), kernel))

    def _best(self, fields: torch.Tensor, kernel: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """The best score and its place of each field; the correlations are summed at the shifts alone that are looked
        at."""
        side, wide = self.side, 2 * self.reach + 1
        shift = torch.arange(wide, dtype=torch.float64) - self.reach
        rows, columns = (torch.outer(shift, torch.arange(n, dtype=torch.float64)) for n in (side, side // 2 + 1))
        weight = torch.from_numpy(self._columns())
        along_y = torch.polar(torch.ones_like(rows), 2 * np.pi * rows / side).to(torch.complex64)
        along_x = (torch.polar(weight.expand_as(columns).contiguous(), 2 * np.pi * columns / side) / side**2).T
        along_x = along_x.to(torch.complex64)
        scores, places = [], []
        for one in torch.fft.rfft2(torch.fft.ifftshift(fields.float(), dim=(1, 2))):
            maps = (along_y @ (one * kernel) @ along_x).real.amax(0)
            best = int(maps.argmax())
            scores.append(float(maps.amax()))
            places.append((best % wide - self.reach, best // wide - self.reach))
        return np.array(scores), np.array(places)

    def apart(self, order: np.ndarray, place: np.ndarray) -> np.ndarray:
        """The windows in this order without those that lie, where they fit, within a quarter of the box of an earlier
        one on the same micrograph: one piece of ice is picked once. Windows without coordinates are all kept."""
        table = None if self.source is None else self.source.table
        if table is None or "rlnCoordinateX" not in table:
            return order
        micrograph = np.array(table.texts("rlnMicrographName"), object)
        at = np.stack([table.numbers(f"rlnCoordinate{axis}") for axis in "XY"], -1)[: len(place)] + place
        kept: dict[str, list[np.ndarray]] = {}
        chosen = []
        for n in order:
            others = kept.setdefault(micrograph[n], [])
            if not others or np.hypot(*(np.array(others) - at[n]).T).min() > self.box / 4:
                others.append(at[n])
                chosen.append(n)
        return np.array(chosen, int)

    def cut(self, number: int, place: np.ndarray) -> np.ndarray:
        """A picked window, float32 (box, box)."""
        seen = self.simulated_ctf(number) if self.noise.kind == CTF else None
        field = self.fields(np.array([number]), seen)[0]
        x, y = (place if self.noise.centred else np.zeros(2, int)) + self.reach
        return field[y : y + self.box, x : x + self.box].astype(np.float32)


def make(noise: Noise, out: Path) -> tuple[Path, float]:
    """Pick a set into a folder of its own in ``out``: particles.star, particles.mrcs, template.mrc and scores.txt.
    Returns the folder and the mean score; a set that is there is used again."""
    folder = out / noise.name
    if not (folder / "scores.txt").exists():
        folder.mkdir(parents=True, exist_ok=True)
        windows = Windows(noise)
        number, score, place = (np.concatenate(parts) for parts in zip(*windows.scored()))
        best = np.sort(windows.apart(np.argsort(-score, kind="stable"), place)[: noise.count])
        images = np.stack([windows.cut(int(number[n]), place[n]) for n in best])
        write_stack(str(folder / "particles.mrcs"), images, windows.size)
        write_stack(str(folder / "template.mrc"), windows.template[None].astype(np.float32), windows.size)
        _write_table(folder, windows, number[best])
        np.savetxt(folder / "scores.txt", score[best], fmt="%.3f")
    return folder, float(np.loadtxt(folder / "scores.txt").mean())


def _write_table(folder: Path, windows: Windows, numbers: np.ndarray) -> None:
    """particles.star, in RELION's form of 3.1; with the CTF where there is one."""
    optics = Table("optics", {})
    facts = {"OpticsGroup": "1", "OpticsGroupName": f"noise{windows.noise.seed}", "Voltage": "300.0"}
    facts |= {"SphericalAberration": "2.7", "AmplitudeContrast": "0.07", "ImagePixelSize": f"{windows.size:.6f}"}
    for label, value in (facts | {"ImageSize": str(windows.box), "ImageDimensionality": "2"}).items():
        optics.set(f"rln{label}", [value])
    particles = Table("particles", {})
    count, stack = len(numbers), (folder / "particles.mrcs").resolve()
    particles.set("rlnImageName", [f"{n + 1:06d}@{stack}" for n in range(count)])
    particles.set("rlnOpticsGroup", ["1"] * count)
    if windows.noise.kind == CTF:
        values = [f"{1e4 * windows.defocus(int(number)):.1f}" for number in numbers]
        columns = {"rlnDefocusU": values, "rlnDefocusV": values, "rlnDefocusAngle": ["0.0"] * count}
        for label, column in columns.items():
            particles.set(label, column)
    elif windows.source is not None:
        table = windows.source.table
        for label in ("rlnMicrographName", "rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle"):
            if label in table.columns:
                particles.set(label, [table.texts(label)[n] for n in numbers])
    write_tables(str(folder / "particles.star"), [optics, particles])
