"""What tells a class of particles from one of junk: numbers that mean the same in every set.

They are of the averages of the two halves of a class, of the scores of its particles, and of what the first look
through the set found in these. Most are compared with the class in the middle of the set, where each class counts by
its size, so that ice, defocus and dose have no say.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

TINY = 1e-9
LEAST_SIGNAL = 1e-4  # spectral signal-to-noise ratio of a particle that is none
BANDS = ((0.5, 2.0), (2.0, 5.0), (5.0, 12.0))  # coarse, middling and fine: periods in the diameter of the particle
SMOOTH = 0.03  # of the box: deviation of the Gaussian that averages are smoothed with before their shape is measured
BESIDE = 1.35  # radii: where the ring about the particle ends
CIRCLES, PLACES, ORDERS = 12, 48, 9  # by which averages are compared whatever way they are turned

NAMES = (
    "signal_coarse",
    "signal_middling",
    "signal_fine",
    "signal_level_middling",
    "signal_level_fine",
    "halves_agree",
    "off_centre",
    "width",
    "elongation",
    "ramp",
    "power_beside",
    "matter_beside",
    "profile_strength",
    "profile_likeness",
    "likeness_best",
    "likeness_mean",
    "matter",
    "matter_level",
    "loudness",
    "loudness_spread",
    "loud_share",
    "outlier_share",
    "score",
    "score_spread",
    "share",
    "particles",
    "shifts",
)


@dataclass
class ClassEvidence:
    """One class. members: (n,) its particles, from 0; first, second: averages (D, D) of its halves, aligned apart, in
    deviations of the noise of one particle, bright or dark as they came; score, outlier: (n,) of its particles; shift:
    (n, 2) of their poses, pixels; score_limit: below which particles are outliers, -inf for none."""

    members: np.ndarray
    first: np.ndarray
    second: np.ndarray
    score: np.ndarray
    outlier: np.ndarray
    shift: np.ndarray
    score_limit: float


@dataclass
class SetEvidence:
    """What the first look through a set of N particles found. radius: of the particle's disc, pixels of the box; blank,
    loud: (N,) bool; matter, loudness: (N,), as of :class:`scipion_udl.particles.scan.Scan`."""

    radius: float
    blank: np.ndarray
    loud: np.ndarray
    matter: np.ndarray
    loudness: np.ndarray


def class_features(classes: list[ClassEvidence], whole: SetEvidence) -> np.ndarray:
    """The numbers of each class.

    Parameters
    ----------
    classes : list of ClassEvidence
        K of them, of one set.
    whole : SetEvidence
        That set.

    Returns
    -------
    (K, len(NAMES)) float64 array
        In the order of NAMES; all finite.
    """
    sizes = np.array([len(one.members) for one in classes], np.float64)
    shapes = [_Shape(one, whole.radius) for one in classes]
    found = _signal(classes, shapes, sizes) | _profiles(shapes, sizes) | _of_particles(classes, whole, sizes)
    sign = float(np.sign(found.pop("polarity")[0])) or 1.0
    found |= _likeness(shapes, sizes, sign)
    for name in ("halves_agree", "off_centre", "width", "elongation", "ramp", "power_beside"):
        found[name] = np.array([getattr(shape, name) for shape in shapes])
    found["matter_beside"] = sign * np.array([shape.mean_beside for shape in shapes])
    return np.nan_to_num(np.stack([found[name] for name in NAMES], 1), nan=0.0, posinf=0.0, neginf=0.0)


def middle(values: np.ndarray, weights: np.ndarray) -> float:
    """The weighted median: of two values that have half of the weight each, the mean.

    Parameters
    ----------
    values, weights : (K,) arrays
        Weights from 0, one of them above.

    Returns
    -------
    float
        The same for the opposite values, with the opposite sign.
    """
    order = np.argsort(values, kind="stable")
    values, total = values[order], np.cumsum(weights[order])
    lower, upper = (np.searchsorted(total, total[-1] / 2, side) for side in ("left", "right"))
    return float(values[lower] + values[upper]) / 2


class _Shape:
    """What the averages of one class show."""

    def __init__(self, one: ClassEvidence, radius: float) -> None:
        box = one.first.shape[-1]
        axis = np.arange(box) - box // 2
        self.x, self.y = np.meshgrid(axis, axis)
        self.distance = np.hypot(self.x, self.y)
        self.radius, self.inside = radius, self.distance < radius
        self.beside = (self.distance > radius) & (self.distance < min(BESIDE * radius, box / 2 - 1))
        away = self.distance > radius
        halves = [half - (half[away].mean() if away.any() else 0.0) for half in (one.first, one.second)]
        self.average = (halves[0] + halves[1]) / 2
        self.smooth = gaussian_filter(self.average, max(0.5, SMOOTH * box))
        mask = 1 / (1 + np.exp(np.clip(self.distance - radius, -50, 50)))
        self.shared, self.noise = _ring_powers(halves[0] * mask, halves[1] * mask)
        first, second = (gaussian_filter(half, 1.0)[self.inside] for half in halves)
        first, second = first - first.mean(), second - second.mean()
        self.halves_agree = float((first * second).sum() / (np.linalg.norm(first) * np.linalg.norm(second) + TINY))
        self._measure()

    def _measure(self) -> None:
        inside, smooth = self.smooth[self.inside], self.smooth
        x, y = self.x[self.inside], self.y[self.inside]
        sign = np.sign((self.average * self.inside).sum()) or 1.0
        matter = np.clip(sign * inside, 0, None)
        matter = matter / (matter.sum() + TINY)
        centre = (matter * x).sum(), (matter * y).sum()
        self.off_centre = float(np.hypot(*centre)) / self.radius
        u, v = x - centre[0], y - centre[1]
        xx, yy, xy = ((matter * one).sum() for one in (u * u, v * v, u * v))
        self.width = float(np.sqrt(xx + yy)) / self.radius
        self.elongation = float(np.sqrt((xx - yy) ** 2 + 4 * xy**2) / (xx + yy + TINY))
        plane = np.stack([x, y, np.ones(len(x))], 1)
        left = inside - plane @ np.linalg.lstsq(plane, inside, rcond=None)[0]
        self.ramp = 1 - float(np.square(left).sum() / (np.square(inside - inside.mean()).sum() + TINY))
        power = float(np.square(inside).mean())
        beside = smooth[self.beside] if self.beside.any() else np.zeros(1)
        self.power_beside = float(np.log((np.square(beside).mean() + TINY) / (power + TINY)))
        self.mean_beside = float(beside.mean()) / np.sqrt(power + TINY)

    def profile(self) -> np.ndarray:
        """The rotational mean up to where the ring about the particle ends."""
        ring = np.rint(self.distance).astype(np.int64).ravel()
        last = int(min(BESIDE * self.radius, self.average.shape[-1] // 2 - 1)) + 1
        sums = np.bincount(ring, self.average.ravel())[:last]
        return sums / np.bincount(ring)[:last]

    def whatever_way_turned(self, sign: float) -> np.ndarray:
        """What is the same of an average however it is turned: circles' means,
        times a sign, and amplitudes of their waves."""
        radii = np.linspace(self.radius / CIRCLES, self.radius, CIRCLES)[:, None]
        angle, origin = np.arange(PLACES) * 2 * np.pi / PLACES, self.average.shape[-1] // 2
        places = [origin + radii * np.sin(angle), origin + radii * np.cos(angle)]
        circles = map_coordinates(self.average, places, order=1, mode="nearest") * np.sqrt(radii)
        waves = np.abs(np.fft.rfft(circles, axis=1))[:, 1:ORDERS]
        return np.concatenate([sign * circles.mean(1) * np.sqrt(PLACES), waves.ravel()])


def _ring_powers(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums over Fourier rings of what two images (D, D) have in common, and of the noise of each."""
    a, b = (np.fft.fftshift(np.fft.fft2(image)) for image in (first, second))
    box = len(first)
    axis = np.arange(box) - box // 2
    ring = np.rint(np.hypot(axis, axis[:, None])).astype(np.int64).ravel()
    count = box // 2 + 1
    shared, total = (
        np.bincount(ring, values.ravel())[:count]
        for values in ((a * b.conj()).real, (np.abs(a) ** 2 + np.abs(b) ** 2) / 2)
    )
    return shared, np.maximum(total - shared, TINY)


def _signal(classes: list[ClassEvidence], shapes: list[_Shape], sizes: np.ndarray) -> dict[str, np.ndarray]:
    """How much signal each particle brings to its average, against noise, in three bands; and against the others."""
    out, ratios = {}, np.zeros((len(classes), len(BANDS)))
    for k, (shape, size) in enumerate(zip(shapes, sizes)):
        ring = np.arange(len(shape.shared))
        periods = ring * 2 * shape.radius / shape.average.shape[-1]
        for band, (coarse, fine) in enumerate(BANDS):
            there = (periods >= coarse) & (periods < fine) & (ring > 0)
            there |= (ring == np.argmin(np.abs(periods - coarse))) & ~there.any()
            noise = shape.noise[there].sum() * size / 2  # of one particle: a half holds so many
            ratios[k, band] = np.log(max(shape.shared[there].sum(), 0.0) / noise + LEAST_SIGNAL)
    for band, name in enumerate(("coarse", "middling", "fine")):
        out[f"signal_{name}"] = ratios[:, band] - middle(ratios[:, band], sizes)
        out[f"signal_level_{name}"] = ratios[:, band]
    return out


def _profiles(shapes: list[_Shape], sizes: np.ndarray) -> dict[str, np.ndarray]:
    """How like the rotational mean of each class is to that of the set, and how strong."""
    profiles = np.stack([shape.profile() for shape in shapes])
    typical = np.array([middle(column, sizes) for column in profiles.T])
    radius = np.arange(len(typical))
    weight = radius * (radius < shapes[0].radius)
    common, own = (profiles * typical * weight).sum(1), (profiles**2 * weight).sum(1)
    whole = float((typical**2 * weight).sum()) + TINY
    return {
        "profile_strength": np.clip(common / whole, -3, 6),
        "profile_likeness": common / np.sqrt(own * whole + TINY),
        "polarity": np.full(len(shapes), (typical * weight).sum()),
    }


def _likeness(shapes: list[_Shape], sizes: np.ndarray, sign: float) -> dict[str, np.ndarray]:
    """How like each average is to those of the other classes, whatever way they are turned: the best, and all. sign: of
    bright particles 1."""
    seen = np.stack([shape.whatever_way_turned(sign) for shape in shapes])
    seen = seen - seen.mean(1, keepdims=True)
    seen = seen / (np.linalg.norm(seen, axis=1, keepdims=True) + TINY)
    likeness, count = seen @ seen.T, len(shapes)
    if count < 2:
        return {"likeness_best": np.zeros(count), "likeness_mean": np.zeros(count)}
    others = ~np.eye(count, dtype=bool)
    weights = others * sizes
    best = np.where(others, likeness, -1.0).max(1)
    return {"likeness_best": best, "likeness_mean": (likeness * weights).sum(1) / np.maximum(weights.sum(1), 1)}


def _of_particles(classes: list[ClassEvidence], whole: SetEvidence, sizes: np.ndarray) -> dict[str, np.ndarray]:
    """What the particles of each class are like."""
    rows: list[list[float]] = []
    for one in classes:
        usable = ~whole.blank[one.members]
        own, score = one.members[usable], np.log(np.clip(one.score[usable], 1e-3, None))
        if not len(own):
            rows.append([0.0, 0.0, np.nan, float(np.log(TINY)), 0.0, 1.0, 1.0, 0.0])
            continue
        loudness = np.log(whole.loudness[own] + TINY)
        shifts = np.sqrt(np.square(one.shift[usable]).sum(1).mean()) / whole.radius
        spread, loud, outlier = loudness.std(), whole.loud[own].mean(), one.outlier[usable].mean()
        middles = np.median(score), score.std(), whole.matter[own].mean(), np.median(loudness)
        rows.append([float(value) for value in (*middles, spread, loud, outlier, shifts)])
    score, spread, matter, loudness, loud_spread, loud, outlier, shifts = np.array(rows).T
    known = np.isfinite(matter)
    usual = middle(matter[known], sizes[known]) if known.any() else 1.0
    return {
        "matter": np.where(known, matter - usual, 0.0),
        "matter_level": np.where(known, matter, 1.0),
        "loudness": loudness - middle(loudness, sizes),
        "loudness_spread": loud_spread,
        "loud_share": loud,
        "outlier_share": outlier,
        "score": score - middle(score, sizes),
        "score_spread": spread,
        "share": np.log(sizes / sizes.sum() * len(sizes)),
        "particles": np.log(np.maximum(sizes, 1)),
        "shifts": shifts,
    }
