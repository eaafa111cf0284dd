"""Particles as extraction leaves them: in crowded ice, on uneven ground, among junk, a micrograph together.

An image is made as it comes about:

    gain (contrast T [particle + neighbours] + ice + shot noise + ramp + hot pixels) + offset

with T the true CTF of the particle's micrograph, astigmatic as it may be. Where phases are flipped, they are by the
signs of the CTF that the table gives, which has an error. Noise has variance 1 before the gain: the share
``structural`` of it is ice, white noise behind T, the rest shot noise. A particle of contrast 1 has, alone, after T and
over the whole box, a variance of SNR; the mean square of contrasts is 1. Neighbours and junk have the scale of
particles. All is made in a field of twice the box, so that nothing comes in again on the other side, and every image is
drawn from (seed, its number) and (seed, the number of its micrograph) alone.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

import numpy as np
from scipy import fft

from scipion_udl.constants import BLOB, CARBON, EMPTY, TOUCHING
from scipion_udl.imaging.poses import Poses, rotations
from scipion_udl.io.tables import Table
from scipion_udl.simulation import junk
from scipion_udl.simulation.background import hot_pixels, mean_power, ramp, structure
from scipion_udl.simulation.ctf import CtfSettings, simulated_ctf
from scipion_udl.simulation.effects import Effects
from scipion_udl.simulation.micrographs import Micrographs
from scipion_udl.simulation.neighbours import add_at, diameter, extent_of_neighbours, sites
from scipion_udl.simulation.particles import Simulation
from scipion_udl.simulation.views import NOISE, ViewSimulation

GOOD = "none"  # of a particle that is no junk, in truth.star
# What random numbers are for (see micrographs.py for 10 to 12).
_KIND, _OFF, _AROUND, _JUNK, _ICE, _RAMP, _HOT, _TYPICAL = range(20, 28)
# Views that tell the diameter and the scale of molecules where no particle of their own does.
_EXAMPLES = 24
# The tail of off-centre picks: its mean length against the largest usual shift, the least that counts as such in
# pixels, and how far off centre a pick may be in parts of the box.
_TAIL, _LEAST_TAIL, _FARTHEST = 0.5, 2.0, 0.35
# CTFs of micrographs that are kept.
_KEPT = 4


class RealisticSimulation:
    """The particles of ``base`` (what they show, which way round, how noisy) with ``effects``.

    It is used as a :class:`Simulation` is: ``poses``, ``signal``, ``add_noise`` and ``images``. kind: what each pick
    shows, (N,) words: "none" of junk, a particle, or one of :data:`effects.JUNK_KINDS` (what the base leaves empty is
    "empty"). Junk has pose 0 and no direction. Raises UdlError for values that make no images.
    """

    def __init__(self, base: Simulation, effects: Effects) -> None:
        effects.check(base.ctf is not None, not np.isinf(base.snr))
        self.base, self.effects = base, effects
        defocus = base.ctf.defocus if base.ctf else (0.0, 0.0)
        self.micrographs = Micrographs(effects, base.seed, base.count, base.box, defocus)
        self.kind = self._kinds()
        self._off, self.poses = self._placed()
        self._side = 2 * base.box
        self._ctfs: OrderedDict[int, np.ndarray] = OrderedDict()
        self._scales: dict[int, float] = {}  # of the particles' densities, known once their signal is made
        self._width, self._typical = self._measured()

    def _random(self, k: int, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.base.seed, k, purpose])

    def _kinds(self) -> np.ndarray:
        draws = np.array([self._random(k, _KIND).random(2) for k in range(self.base.count)])
        kinds = np.array(self.effects.junk_kinds)
        which = kinds[np.minimum((draws[:, 1] * len(kinds)).astype(int), len(kinds) - 1)]
        out = np.where(draws[:, 0] < self.effects.junk, which, GOOD).astype(object)
        if isinstance(self.base, ViewSimulation):
            out[(self.base.molecule == NOISE) & (out == GOOD)] = EMPTY
        return out

    def _placed(self) -> tuple[np.ndarray, Poses]:
        """Where particles lie off the centre (N, 2), x and y in pixels, and the true poses (N,)."""
        base, poses = self.base, self.base.poses
        off = -np.einsum("nji,nj->ni", rotations(poses.angle), poses.shift)
        least = max(base.max_shift, _LEAST_TAIL)
        for k in range(base.count) if self.effects.tail else ():
            draws = self._random(k, _OFF)
            far, rotation, distance = draws.random(), 2 * np.pi * draws.random(), draws.exponential(_TAIL * least)
            if far < self.effects.tail:
                distance = min(least + distance, max(_FARTHEST * base.box, base.max_shift))
                off[k] = distance * np.array([np.cos(rotation), np.sin(rotation)])
                off[k] = off[k] if base.subpixel else np.round(off[k])
        angle, good = poses.angle.copy(), self.kind == GOOD
        off[~good] = 0
        angle[~good] = 0
        return off, Poses(angle, -np.einsum("nij,nj->ni", rotations(angle), off))

    @property
    def molecule(self) -> np.ndarray:
        """What each image shows, int (N,): 1 the first molecule (or the one view), 2 the second, 0 none: junk."""
        shown = self.base.molecule if isinstance(self.base, ViewSimulation) else np.ones(self.base.count, int)
        return np.where(self.kind == GOOD, shown, NOISE)

    @property
    def direction(self) -> np.ndarray:
        """The direction that each particle of many views is seen from, unit vectors (N, 3); zeros for junk. Raises
        ValueError for particles of one view."""
        if not isinstance(self.base, ViewSimulation):
            raise ValueError("particles of one view have no direction")
        return self.base.direction * (self.kind == GOOD)[:, None]

    # -- the microscope ------------------------------------------------------------------------------------------------

    def _ctf(self, m: int) -> np.ndarray | None:
        """The CTF of micrograph m for rfft2 of the field; None for none."""
        if self.base.ctf is None:
            return None
        if m not in self._ctfs:
            mics = self.micrographs
            own = (mics.true[m], mics.estimated[m], mics.angle[m])
            self._ctfs[m] = self._made_ctf(self.base.ctf, *own)
            if len(self._ctfs) > _KEPT:
                self._ctfs.popitem(last=False)
        return self._ctfs[m]

    def _made_ctf(self, ctf: CtfSettings, true: np.ndarray, estimated: np.ndarray, angle: float) -> np.ndarray:
        signed = replace(ctf, signed=True)

        def of(pair: np.ndarray) -> np.ndarray:
            u, v = np.asarray(pair)[:, None] * 1e-4
            return simulated_ctf(signed, u, self._side, self.base.pixel_size, v, np.array([angle]))[0]

        values = of(true)
        return values if ctf.signed else values * np.where(of(estimated) < 0, -1, 1)

    def _seen(self, field: np.ndarray, ctf: np.ndarray | None) -> np.ndarray:
        """The box in the middle of a field, after the CTF."""
        if ctf is not None:
            field = fft.irfft2(fft.rfft2(field) * ctf, s=field.shape)
        first = self._side // 2 - self.base.box // 2
        return field[first : first + self.base.box, first : first + self.base.box]

    def _measured(self) -> tuple[float, float]:
        """The diameter of the molecules in pixels, and the factor that gives density the scale of particles of
        contrast 1, on average: with it their mean variance, at the middle of the defocus range, is SNR."""
        views = self.base.others(self._random(0, _TYPICAL).random((_EXAMPLES, 4)), Poses.identity(_EXAMPLES))
        ctf = None
        if self.base.ctf:
            middle = np.full(2, 1e4 * np.mean(self.base.ctf.defocus))
            ctf = self._made_ctf(self.base.ctf, middle, middle, 0.0)
        variance = []
        for view in views:
            field = np.zeros((self._side, self._side))
            add_at(field, view, np.zeros(2))
            variance.append(self._seen(field, ctf).var())
        return diameter(views), self._strength / np.sqrt(max(np.mean(variance), 1e-30))

    @property
    def _strength(self) -> float:
        """The deviation of a particle of contrast 1."""
        return 1.0 if np.isinf(self.base.snr) else float(np.sqrt(self.base.snr))

    # -- what is in an image -------------------------------------------------------------------------------------------

    def _centre(self, k: int) -> tuple[np.ndarray, float]:
        """Particle k alone, after the CTF, at its contrast, and the factor on density that this is; nothing, and the
        usual factor, of junk."""
        box, contrast = self.base.box, self.micrographs.contrast[k]
        if self.kind[k] != GOOD:
            return np.zeros((box, box)), self._typical * contrast
        whole = np.round(self._off[k])
        angle = self.poses.angle[[k]]
        pose = Poses(angle, -np.einsum("nij,nj->ni", rotations(angle), (self._off[k] - whole)[None]))
        field = np.zeros((self._side, self._side))
        add_at(field, self.base.show(np.array([k]), pose)[0], whole)
        image = self._seen(field, self._ctf(self.micrographs.number[k]))
        scale = contrast * self._strength / max(image.std(), 1e-30)
        return image * scale, scale

    def signal(self, indices: np.ndarray) -> np.ndarray:
        """The particles alone, after the CTF, at their contrasts.

        That is before all that is around and upon them, and before the gain.

        Parameters
        ----------
        indices : (n,) int array
            From 0.

        Returns
        -------
        (n, box, box) float32 array
            0 everywhere for junk.
        """
        images = []
        for k in map(int, indices):
            image, self._scales[k] = self._centre(k)
            images.append(image)
        return np.array(images, np.float32).reshape(-1, self.base.box, self.base.box)

    def add_noise(self, images: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """Add to particles all that belongs to them: neighbours or junk, noise, ramp, hot pixels, gain and offset.

        Parameters
        ----------
        images : (n, box, box) array
            Of :meth:`signal`.
        indices : (n,) int array
            The particles, from 0.

        Returns
        -------
        (n, box, box) float32 array
            A new one.
        """
        out = np.array(images, np.float64)
        for image, k in zip(out, map(int, indices)):
            m = self.micrographs.number[k]
            ctf = self._ctf(m)
            scale = self._scales.pop(k, None) or self._centre(k)[1]
            image += self._seen(self._around(k), ctf) * scale
            image += self._of_kind(k, ctf)
            image += self._noise(k, ctf) + ramp(self._random(k, _RAMP), self.effects.ramp, self.base.box)
            (rows, columns), heights = hot_pixels(self._random(k, _HOT), self.effects.hot_pixels, self.base.box)
            image[rows, columns] += heights
            image *= self.micrographs.gain[m]
            image += self.micrographs.offset[m]
        return out.astype(np.float32)

    def images(self, indices: np.ndarray) -> np.ndarray:
        """The images, with all that is in them.

        Parameters
        ----------
        indices : (n,) int array
            From 0.

        Returns
        -------
        (n, box, box) float32 array
        """
        return self.add_noise(self.signal(indices), indices)

    def _molecules(self, random: np.random.Generator, places: np.ndarray) -> np.ndarray:
        """A field with molecules at ``places`` (n, 2), x and y from its origin, seen from anywhere, any way round."""
        field = np.zeros((self._side, self._side))
        draws, angle = random.random((len(places), 4)), 360 * random.random(len(places)) - 180
        whole = np.round(places)
        poses = Poses(angle, -np.einsum("nij,nj->ni", rotations(angle), places - whole))
        for image, place in zip(self.base.others(draws, poses) if len(places) else (), whole):
            add_at(field, image, place)
        return field

    def _around(self, k: int) -> np.ndarray:
        """The field of the neighbours of particle k."""
        random, spacing = self._random(k, _AROUND), self.effects.spacing * self._width
        reach = extent_of_neighbours(self.base.box, self._width) + np.abs(self._off[k]).max()
        places = sites(random, spacing, self._width, self.effects.neighbours, reach)
        return self._molecules(random, places + self._off[k])

    def _of_kind(self, k: int, ctf: np.ndarray | None) -> np.ndarray:
        """What junk k shows beside its neighbours, after the CTF, (box, box); 0 of a particle."""
        random, kind = self._random(k, _JUNK), self.kind[k]
        box, side, contrast = self.base.box, self._side, self.micrographs.contrast[k]
        if kind == TOUCHING:
            places = junk.touching_places(random, self._width)
            return self._seen(self._molecules(random, places), ctf) * self._typical * contrast
        if kind == BLOB:
            image = self._seen(junk.blob(random, side, box), ctf)
            return image * junk.between(random, junk.STRENGTH) * self._strength * contrast / max(image.std(), 1e-30)
        if kind == CARBON:
            film = junk.carbon_film(random, side, box)
            grain, step = (junk.between(random, limits) for limits in (junk.GRAIN, junk.STEP))
            rough = film * random.standard_normal((side, side))
            power = 1.0 if ctf is None else mean_power(ctf, side)
            return self._seen(rough, ctf) * np.sqrt(grain / power) + self._seen(film, None) * step
        return np.zeros((box, box))

    def _noise(self, k: int, ctf: np.ndarray | None) -> np.ndarray:
        """The noise of image k, (box, box), of variance 1: structure of the ice and shot noise."""
        share = self.effects.structural
        shape = (self.base.box, self.base.box)
        shot = self.base.add_noise(np.zeros((1, *shape), np.float32), np.array([k]))[0]
        if not share or ctf is None:  # the structure is what the CTF makes of the ice
            return shot
        ice = self._seen(structure(self._random(k, _ICE), ctf, self._side), None)
        return np.sqrt(1 - share) * shot + np.sqrt(share) * ice

    # -- tables --------------------------------------------------------------------------------------------------------

    def add_to(self, particles: Table) -> None:
        """Add to a table of the particles what is known of their micrographs, the estimated defocus included.

        Parameters
        ----------
        particles : Table
            N rows, changed in place.
        """
        self.micrographs.add_to(particles, self.base.ctf is not None)

    def add_truth_to(self, truth: Table, rows: np.ndarray) -> None:
        """Add to a truth table what only a simulation knows: junk, defocus, contrast.

        Parameters
        ----------
        truth : Table
            n rows, changed in place.
        rows : (n,) int array
            Its particles, from 0.
        """
        truth.set("udlJunk", [self.kind[k] for k in rows])
        self.micrographs.add_truth_to(truth, rows, self.base.ctf is not None)

    def words(self) -> list[str]:
        """What of real particles is in it, in sentences for the summary.

        Returns
        -------
        list of str
            What there is nothing of has no sentence.
        """
        kinds, numbers = np.unique(self.kind[self.kind != GOOD].astype(str), return_counts=True)
        parts = ", ".join(f"{number} {kind}" for kind, number in zip(kinds, numbers))
        lines = [f"of them {numbers.sum()} are junk ({parts})"] if len(kinds) else []
        number = len(self.micrographs.true)
        return [*lines, f"from {number} micrograph" + "s" * (number > 1), *self.effects.words()]
