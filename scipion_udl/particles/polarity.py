"""Polarity: whether particles are bright or dark on their background, from the rotational mean profile of the set.

The mean of the particle's disc does not tell: a CTF of 7 to 10 % amplitude contrast takes nearly all of it away and
surrounds particles with a fringe of the opposite sign, and a hollow shell is as dark in its centre as its background.
So the whole profile is asked. The mean over all particles of their rotational averages about the box centre needs no
poses, and the particles' density in it is non-negative, rotationally symmetric and of bounded support, whatever their
shape, orientations and offsets from the centre. That density, seen through the mean CTF, is fitted (non-negative least
squares on thin rings, in units of the profile's measured covariance, with any constant background) to the profile and
to its negative; polarity is the sign that fits clearly better. Where phases may be flipped or not, or the defocus is
unknown, each sign has the best of several CTFs. Noise fits equally badly either way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from scipy.optimize import nnls
from scipy.special import j0

from scipion_udl.compute.distributed import ProcessGroup
from scipion_udl.imaging.ctf import evaluate_ctf
from scipion_udl.imaging.defocus import Defocus

BRIGHT, DARK, UNKNOWN = "bright", "dark", "unknown"
ENOUGH = 32  # images, for a covariance of profiles to be one: of 200 sets of 16 images of coloured noise one was told
CLEAR = 25.0  # chi-square by which one sign must fit better: 650 sets of 32 to 400 noise images reached 20.1 at most
LEAST = 0.01  # of the noise's deviation: a profile of less height may as well be uneven illumination

_RINGS = 64  # across the box at most: profiles of larger boxes are taken in wider rings
_REACH = 0.68  # of the box: the farthest ring, in the corners, where there is background if anywhere
_STEP, _WIDTH = 1.5, 1.0  # rings: distance of the density's rings, and the deviation that each is blurred with
_EXTENT = 0.4  # of the box: the largest radius of particles where nobody gave one; most boxes are 1.5 diameters wide
_WHOLE = 0.44  # of the box: a disc larger than that is the box's and says nothing of the particle
_MARGIN = 0.03  # of the box, added to a radius that was given: particles are picked off their centre
_SUPPORTS = np.linspace(0.25, 1.0, 7)  # radii of the support that are tried, parts of the largest
_MISFIT = 0.05  # of the profile's root mean square: no model describes it better (mean CTF, symmetry, neighbours)
_BOWL = 0.003  # of the noise's deviation, centre to edge: illumination and ice of that curvature pass unnoticed
_PENALTY = 2.0  # chi-square that a further ring of the density must be worth (Akaike's criterion)
_TOGETHER = 2  # transfers that are made at a time
_FREQUENCIES = 256  # samples of the reduced pixel's band, both signs: beyond 4 boxes nothing of a profile is missed
_MODES = (("signed", lambda ctf: ctf), ("flipped", np.abs))
_UNKNOWN_DEFOCUS = (0.6, 1.0, 1.6, 2.4)  # micrometers, each with all within 20 % of it
_UNKNOWN_SCALE = (0.04, 0.08, 0.16, 0.3, 0.6, 1.2, 2.4)  # the same in pixels of 1 A, where pixels may be of 1 to 4 A


@dataclass(frozen=True)
class Polarity:
    """What the images of a set say of their polarity.

    word: "bright", "dark" or "unknown"; ratio: the chi-square by which bright particles fit better than dark ones,
    negative where dark ones do (twice the logarithm of the likelihood ratio, in units of the better fit's misfit);
    height: of the better fit, its largest less its smallest value, in deviations of the noise; ctf: the name of the CTF
    it was seen through ("none", "signed", "flipped", with a defocus where that was unknown); count: images.
    """

    word: str = UNKNOWN
    ratio: float = 0.0
    height: float = 0.0
    ctf: str = "none"
    count: int = 0


class RadialProfile:
    """Sums over normalised images of their rotational averages; nothing grows with their number.

    box: pixels; device: of the images. ``width``: of a ring, pixels; ``radii``: (rings,) their mean radii, in rings;
    ``pixels``: (rings,) how many pixels they have.
    ``count``: images, float64 (1,); ``sums``: (rings,) float64 of their profiles;
    ``products``: (rings, rings) float64 of the profiles' outer products. Rings are one pixel wide, or box / 64.
    """

    def __init__(self, box: int, device: torch.device | str = "cpu") -> None:
        self.box, self.width = box, max(1.0, box / _RINGS)
        axis = torch.arange(box, dtype=torch.float64) - box // 2
        radius = (axis[:, None] ** 2 + axis[None] ** 2).sqrt().flatten()
        rings = max(int(_REACH * box / self.width), 2)
        ring = (radius / self.width + 0.5).long().clamp(max=rings)  # the last collects what lies beyond all rings
        pixels = torch.bincount(ring, minlength=rings + 1)[:rings]
        self.radii = (torch.bincount(ring, radius, rings + 1)[:rings] / pixels).numpy() / self.width
        self._ring, self.pixels = ring.to(device), pixels.to(device)
        self.count = torch.zeros(1, dtype=torch.float64, device=device)
        self.sums = torch.zeros(rings, dtype=torch.float64, device=device)
        self.products = torch.zeros(rings, rings, dtype=torch.float64, device=device)

    def add(self, images: torch.Tensor) -> torch.Tensor:
        """Take images in; the sums do not depend on how many come at a time.

        Parameters
        ----------
        images : (n, box, box) tensor
            Of background 0 with deviation 1.

        Returns
        -------
        (n, rings) float64 tensor
            Their profiles.
        """
        found = images.new_zeros(len(images), len(self.pixels) + 1).index_add_(1, self._ring, images.flatten(1))
        profiles = found[:, :-1].double() / self.pixels
        self.count += len(images)
        self.sums += profiles.sum(0)
        self.products += profiles.T @ profiles
        return profiles

    def add_up(self, group: ProcessGroup) -> None:
        """Put the sums over the processes of a run in the place of this one's; collective.

        Parameters
        ----------
        group : ProcessGroup
            The processes.
        """
        self.count, self.sums, self.products = (group.total(v) for v in (self.count, self.sums, self.products))

    def decide(self, ctfs: Mapping[str, np.ndarray], radius: float | None = None) -> Polarity:
        """The polarity of the images that were added.

        Parameters
        ----------
        ctfs : dict of str to (129,) array
            What they may have been seen through: what :meth:`mean_ctfs` gives.
        radius : float, optional
            Of the particle, pixels of the images, None where it is unknown.

        Returns
        -------
        Polarity
            "unknown" for fewer than ENOUGH images.
        """
        count = int(self.count)
        if count < ENOUGH:
            return Polarity(count=count)
        sums, products = self.sums.cpu().numpy(), self.products.cpu().numpy()
        covariance = (products - np.outer(sums, sums) / count) / (count - 1)
        return self.fit(sums / count, covariance, count, count, *self.model(ctfs, radius))

    def decide_parts(
        self,
        counts: np.ndarray,
        sums: np.ndarray,
        ctfs: Mapping[str, np.ndarray],
        radius: float | None = None,
    ) -> list[str]:
        """The polarity of each of S parts (stacks, say) that make up the images that were added.

        Parts are sorted by the sign of what they have most in common, where a part shows that clearly by itself, and
        the parts of either sign decided on together.

        Parameters
        ----------
        counts : (S,) array
            Images of each.
        sums : (S, rings) array
            Of their profiles.
        ctfs, radius
            As :meth:`decide` takes them.

        Returns
        -------
        list of str
            S times "bright", "dark" or "unknown".
        """
        words, free = [UNKNOWN] * len(counts), int(counts.sum() - (counts > 0).sum())
        if len(counts) < 2 or free < ENOUGH:
            return words
        means = sums / np.maximum(counts, 1)[:, None]
        # Within parts, which knows nothing of polarity: in a half inverted set the mean profile vanishes.
        within = (self.products.cpu().numpy() - sums.T @ means) / free
        whitened = np.linalg.solve(np.linalg.cholesky(_shrunk(within, free)), (means * np.sqrt(counts)[:, None]).T).T
        score = whitened @ np.linalg.svd(whitened, full_matrices=False)[2][0]
        model = self.model(ctfs, radius)
        for sign in (1, -1):
            rows = np.flatnonzero(sign * score > np.sqrt(CLEAR))
            count = int(counts[rows].sum())
            if count < ENOUGH:
                continue
            word = self.fit(sums[rows].sum(0) / count, within, count, free, *model).word
            for row in rows:
                words[row] = word
        return words

    def model(self, ctfs: Mapping[str, np.ndarray], radius: float | None) -> tuple[dict[str, np.ndarray], list[int]]:
        """What rings of density look like in a profile, and how many of them a particle may have.

        Parameters
        ----------
        ctfs, radius
            As :meth:`decide` takes them.

        Returns
        -------
        profiles : dict of str to (rings, K) array
            By the name of a CTF the profiles of K rings of density.
        supports : list of int
            How many of these supports hold.
        """
        whole = radius is None or radius > _WHOLE * self.box
        extent = _EXTENT * self.box if radius is None or whole else radius + _MARGIN * self.box
        places = np.arange(0.0, max(extent / self.width, 2 * _STEP), _STEP)
        supports = sorted({max(2, round(part * len(places))) for part in _SUPPORTS})
        return self.seen_rings(places, ctfs), supports

    def mean_ctfs(self, pixel_size: float | None, defocus: Defocus | None) -> dict[str, np.ndarray]:
        """The CTFs that the rings of a profile may have been seen through: :func:`mean_ctfs` of its rings.

        Parameters
        ----------
        pixel_size : float or None
            Of the images, A, None where it is unknown.
        defocus : Defocus or None
            Of some or all of the particles, None where it is unknown.

        Returns
        -------
        dict of str to (129,) array
            By their names.
        """
        return mean_ctfs(None if pixel_size is None else pixel_size * self.width, defocus)

    def seen_rings(self, places: np.ndarray, ctfs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The profiles of thin rings of unit mass about the centre, seen through CTFs.

        Parameters
        ----------
        places : (K,) array
            Their radii, in rings (:attr:`width` pixels each).
        ctfs
            As :meth:`decide` takes them.

        Returns
        -------
        dict of str to (rings, K) array
            By the name of a CTF.
        """
        step = 1.0 / _FREQUENCIES
        k = np.arange(_FREQUENCIES // 2 + 1) * step  # cycles per reduced pixel
        weight = 2 * np.pi * k * step * np.exp(-2 * (np.pi * _WIDTH * k) ** 2)
        seen, rings = j0(2 * np.pi * np.outer(self.radii, k)), j0(2 * np.pi * np.outer(k, places))
        return {name: (seen * (weight * ctf)) @ rings for name, ctf in ctfs.items()}

    def fit(
        self,
        mean: np.ndarray,
        covariance: np.ndarray,
        count: int,
        free: int,
        profiles: dict[str, np.ndarray],
        supports: list[int],
    ) -> Polarity:
        """The polarity of a mean profile.

        Parameters
        ----------
        mean : (rings,) array
            The mean profile.
        covariance : (rings, rings) array
            Of single profiles.
        count : int
            Images that the mean is of.
        free : int
            Images that the covariance was measured on.
        profiles, supports
            What :meth:`model` gives.

        Returns
        -------
        Polarity
            Of these images.
        """
        rings = len(mean)
        bowl = (self.radii * self.width / (self.box / 2)) ** 2
        errors = _shrunk(covariance, free) / count + _BOWL**2 * np.outer(bowl, bowl)
        errors += (_MISFIT**2 * np.mean((mean - mean.mean()) ** 2) + 1e-12) * np.eye(rings)
        whitening = np.linalg.inv(np.linalg.cholesky(errors))
        constant = whitening @ np.ones(rings)
        constant /= np.linalg.norm(constant)

        def whiten(values: np.ndarray) -> np.ndarray:  # with the constant background projected out
            values = whitening @ values
            return values - np.multiply.outer(constant, constant @ values)

        data = whiten(mean)
        best: dict[int, tuple[float, int, float, str]] = {}
        for name, profile in profiles.items():
            columns = whiten(profile)
            norms = np.maximum(np.linalg.norm(columns, axis=0), 1e-9)
            for support in supports:
                for sign in (1, -1):
                    density, rest = nnls(columns[:, :support] / norms[:support], sign * data)
                    used = int((density > 0).sum())
                    score = rest**2 + _PENALTY * used
                    if sign not in best or score < best[sign][0]:
                        shape = profile[:, :support] @ (density / norms[:support])
                        best[sign] = (score, used, float(np.ptp(shape)), name)
        sign = 1 if best[1][0] <= best[-1][0] else -1
        score, used, height, name = best[sign]
        # A fit that is worse than the errors allow says that they are larger.
        ratio = (best[-1][0] - best[1][0]) / max(1.0, score / max(1, rings - used - 1))
        clear = abs(ratio) > CLEAR and height > LEAST
        return Polarity((BRIGHT if sign > 0 else DARK) if clear else UNKNOWN, float(ratio), height, name, count)


def _shrunk(covariance: np.ndarray, free: int) -> np.ndarray:
    """A covariance (p, p) that was measured on ``free`` samples, as it can be inverted: off its diagonal the smaller,
    the fewer they are, and larger by what small samples leave unsaid of it."""
    part = len(covariance) / (free + len(covariance))
    diagonal = np.diag(np.diag(covariance))
    floor = 1e-9 * max(float(np.trace(covariance)) / len(covariance), 1e-30)
    return ((1 - part) * covariance + part * diagonal) * (free + 1) / max(free - 3, 1) + floor * np.eye(len(covariance))


def mean_ctfs(pixel_size: float | None, defocus: Defocus | None) -> dict[str, np.ndarray]:
    """The rotational CTFs that the mean particle may have been seen through.

    Parameters
    ----------
    pixel_size : float or None
        A, None where it is unknown.
    defocus : Defocus or None
        Of the particles, None where it is unknown.

    Returns
    -------
    dict of str to (129,) array
        By their names, from 0 to half a cycle per pixel.
    """
    if defocus is None or pixel_size is None:
        return dict(_ctfs_of_unknown(pixel_size))
    middle = (defocus.defocus_u + defocus.defocus_v) / 2
    values = _section(replace(defocus, defocus_u=middle, defocus_v=middle), pixel_size)[defocus.known]
    multiplied = defocus.premultiplied[defocus.known, None]
    if multiplied.all():
        return {"premultiplied": (values**2).mean(0)}
    return {name: np.where(multiplied, values**2, taken(values)).mean(0) for name, taken in _MODES}


@lru_cache(maxsize=8)
def _ctfs_of_unknown(pixel_size: float | None) -> Sequence[tuple[str, np.ndarray]]:
    """No CTF, and those of several defocus values at 300 kV, without spherical aberration."""
    centres = _UNKNOWN_SCALE if pixel_size is None else _UNKNOWN_DEFOCUS
    about = np.linspace(0.8, 1.2, 7)
    microns = np.multiply.outer(centres, about).ravel()
    zero = np.zeros(len(microns))
    defocus = Defocus(1e4 * microns, 1e4 * microns, zero, zero, zero, zero + 300.0, zero, zero + 0.1)
    values = _section(defocus, pixel_size or 1.0).reshape(len(centres), len(about), -1)
    found = [("none", np.ones(values.shape[-1]))]
    for centre, ctfs in zip(centres, values):
        found += [(f"{name}, {centre:g} micrometers", taken(ctfs).mean(0)) for name, taken in _MODES]
    return found


def _section(defocus: Defocus, pixel_size: float) -> np.ndarray:
    """The signed CTF (N, 129) along x, from 0 to half a cycle per pixel; positive at the lowest frequencies."""
    count = len(defocus.defocus_u)
    pieces = [defocus.rows(slice(k, k + _TOGETHER)) for k in range(0, count, _TOGETHER)]  # each is made as an image
    return torch.cat([evaluate_ctf(piece, _FREQUENCIES, pixel_size)[:, 0] for piece in pieces]).double().numpy()
