"""What the particles of one micrograph share: its defocus, the thickness of its ice, its grey values, its name.

Micrograph m, from 0, is drawn from (seed, m) alone and holds the particles m P to (m + 1) P - 1 of a set with P
particles a micrograph.
"""

from __future__ import annotations

import numpy as np

from scipion_udl.constants import RAW
from scipion_udl.io.tables import Table
from scipion_udl.simulation.effects import Effects

# Pixels of a side, where the boxes of the particles find room in it.
SIDE = 4096
# Of raw grey values: counts for a noise deviation and of the background, and how much they differ: the standard
# deviation of their logarithm, from micrograph to micrograph.
_GAIN, _OFFSET, _GAIN_SPREAD = 12.0, 180.0, 0.4
# How far beyond its standard deviation the contrast of a micrograph or of a particle may lie.
_MOST = 2.5
# What random numbers are for (see particles.py and views.py for 0 to 4).
_SHARED, _PLACES, _THICKNESS = 10, 11, 12


class Micrographs:
    """The micrographs that N particles come from.

    number: the micrograph of each particle, int (N,), from 0; true, estimated: (M, 2) float64, DefocusU and DefocusV
    in angstrom of underfocus, as they are and as the table has them; angle: (M,), degrees from x to the direction of
    DefocusU; contrast: (N,), the factor on each particle's density, of mean square 1 over many; gain, offset: (M,),
    what grey values are multiplied with and what is added then; coordinates: (N, 2), x and y of each box's centre in
    its micrograph, pixels.
    """

    def __init__(self, effects: Effects, seed: int, count: int, box: int, defocus: tuple[float, float]) -> None:
        """count: N; box: pixels; defocus: the lowest and the highest mean of a micrograph, micrometers."""
        self.number = np.arange(count) // effects.per_micrograph
        shared = [np.random.default_rng([seed, m, _SHARED]) for m in range(self.number[-1] + 1)]
        flat = np.array([random.random(2) for random in shared])
        normal = np.array([random.standard_normal(5) for random in shared])
        mean = 1e4 * (defocus[0] + flat[:, 0] * (defocus[1] - defocus[0]))
        half = effects.astigmatism * np.abs(normal[:, 0]) / 2
        # No astigmatism and no error may turn underfocus into its opposite.
        half = np.minimum(half, 0.4 * mean)
        error = np.clip(effects.defocus_error * normal[:, 1], -0.4 * mean, 0.4 * mean)
        self.true = np.stack([mean + half, mean - half], -1)
        self.estimated = self.true + error[:, None]
        self.angle = 180.0 * flat[:, 1] * (half > 0)
        raw = effects.intensities == RAW
        self.gain = _GAIN * np.exp(_GAIN_SPREAD * normal[:, 3]) if raw else np.ones(len(mean))
        self.offset = _OFFSET * np.exp(_GAIN_SPREAD * normal[:, 4]) if raw else np.zeros(len(mean))
        self.contrast = self._contrast(effects, seed, normal[:, 2])
        self.coordinates = self._coordinates(effects.per_micrograph, seed, box)

    def _contrast(self, effects: Effects, seed: int, of_micrograph: np.ndarray) -> np.ndarray:
        """Log-normal in both steps, which makes contrasts that are never negative."""
        between, within = effects.thickness
        own = [np.random.default_rng([seed, k, _THICKNESS]).standard_normal() for k in range(len(self.number))]
        exponent = between * np.clip(of_micrograph, -_MOST, _MOST)[self.number] + within * np.clip(own, -_MOST, _MOST)
        return np.exp(exponent - between**2 - within**2)

    def _coordinates(self, per_micrograph: int, seed: int, box: int) -> np.ndarray:
        """Centres of boxes that do not overlap: anywhere within cells of a square grid, one in each."""
        cells = int(np.ceil(np.sqrt(per_micrograph)))
        width = max(box, SIDE // cells)
        out = np.empty((len(self.number), 2))
        for m in range(self.number[-1] + 1):
            random = np.random.default_rng([seed, m, _PLACES])
            cell = random.permutation(cells * cells)[:per_micrograph]
            inside = np.floor(random.random((per_micrograph, 2)) * (width - box + 1)) + box // 2
            places = width * np.stack([cell % cells, cell // cells], -1) + inside
            mine = self.number == m
            out[mine] = places[: mine.sum()]
        return out

    def names(self) -> list[str]:
        """The micrograph of each particle, as rlnMicrographName has it.

        Returns
        -------
        list of str
            N.
        """
        return [f"micrographs/mic{m + 1:05d}.mrc" for m in self.number]

    def add_to(self, particles: Table, ctf: bool) -> None:
        """Add to a table of the particles what is known of their micrographs.

        Parameters
        ----------
        particles : Table
            N rows, changed in place.
        ctf : bool
            Their estimated defocus, too.
        """
        particles.set("rlnMicrographName", self.names())
        for label, values in zip(("rlnCoordinateX", "rlnCoordinateY"), self.coordinates.T):
            particles.set(label, [f"{value:.6f}" for value in values])
        if ctf:
            self._add_defocus(particles, self.estimated)

    def add_truth_to(self, truth: Table, rows: np.ndarray, ctf: bool) -> None:
        """Add the true contrast and defocus to a truth table.

        Parameters
        ----------
        truth : Table
            n rows, changed in place.
        rows : (n,) int array
            Its particles, from 0.
        ctf : bool
            The defocus, too.
        """
        truth.set("udlContrast", [f"{value:.6f}" for value in self.contrast[rows]])
        if ctf:
            self._add_defocus(truth, self.true, rows)

    def _add_defocus(self, table: Table, defocus: np.ndarray, rows: np.ndarray | slice = slice(None)) -> None:
        number = self.number[rows]
        for label, values in zip(("rlnDefocusU", "rlnDefocusV"), defocus[number].T):
            table.set(label, [f"{value:.3f}" for value in values])
        table.set("rlnDefocusAngle", [f"{value:.6f}" for value in self.angle[number]])
