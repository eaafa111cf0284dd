"""Particles of both polarities where nothing but the images tells them apart: one stack, one optics group, no sign.

The rotational mean of every such particle is that of all others, or its negative. Along the direction that profiles
have most in common their scores are of two kinds then, equally far from 0 on either side of it, where those of one
polarity are of one kind, whatever their views. The direction comes from one half of the images and the scores from the
other, for in the images that gave a direction even noise has sides.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from scipion_udl.particles.polarity import BRIGHT, DARK, RadialProfile

HELD = 2048  # images that are asked, at most
FEWEST, FEW = 64, 16  # images in all, and of one polarity: fewer are not told
APART = 4.0  # deviations between the two kinds; at 4 the dip between them is a seventh of their height
CLEAR = 25.0  # by which the logarithm of the likelihood of two kinds must be better than that of one
_ROUNDS = 200


def both_polarities(
    profile: RadialProfile,
    held: np.ndarray,
    ctfs: Mapping[str, np.ndarray],
    radius: float | None = None,
) -> np.ndarray | None:
    """Which images are bright, where some clearly are and the others are dark.

    Parameters
    ----------
    profile : RadialProfile
        Of images of that box.
    held : (M, rings) array
        The profiles of M images, as ``profile`` gives them.
    ctfs, radius
        As :meth:`RadialProfile.decide` takes them.

    Returns
    -------
    (M,) bool array or None
        None where images are not clearly of both kinds.
    """
    if len(held) < FEWEST:
        return None
    score = _scores(held, profile.pixels.cpu().numpy())
    upper = _two_kinds(score)
    if upper is None or min(upper.sum(), (~upper).sum()) < FEW:
        return None
    sides = [held[upper], held[~upper]]
    free = len(held) - len(sides)
    within = sum((side - side.mean(0)).T @ (side - side.mean(0)) for side in sides) / free
    model = profile.model(ctfs, radius)
    words = [profile.fit(side.mean(0), within, len(side), free, *model).word for side in sides]
    if {*words} != {BRIGHT, DARK}:
        return None
    return upper if words[0] == BRIGHT else ~upper


def _scores(held: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Along what profiles (M, rings) have most in common, (M,): each by the direction of the other half of them.
    pixels: (rings,) by which the noise of the rings goes; a constant ground is left out."""
    weight = np.sqrt(pixels.astype(np.float64))
    flat = weight / np.linalg.norm(weight)
    values = held * weight
    values -= np.outer(values @ flat, flat)
    order = np.random.default_rng(0).permutation(len(held))
    halves = order[::2], order[1::2]
    directions = [np.linalg.svd(values[half], full_matrices=False)[2][0] for half in halves]
    if directions[0] @ directions[1] < 0:
        directions[1] = -directions[1]
    score = np.empty(len(held))
    for half, direction in zip(halves, directions[::-1]):
        score[half] = values[half] @ direction
    return score


def _two_kinds(score: np.ndarray) -> np.ndarray | None:
    """Which scores (M,) are of the upper kind, (M,) bool, where they are of two kinds equally far from 0; None where
    they are of one."""
    middle, spread, share = np.abs(score).mean(), score.std() / 2 + 1e-30, (score > 0).mean()
    for _ in range(_ROUNDS):
        logs = [
            np.log(part + 1e-30) - (score - sign * middle) ** 2 / (2 * spread**2)
            for part, sign in ((share, 1), (1 - share, -1))
        ]
        total = np.logaddexp(*logs)
        upper = np.exp(logs[0] - total)
        share = upper.mean()
        middle = (score * (2 * upper - 1)).mean()
        spread = np.sqrt(np.mean(upper * (score - middle) ** 2 + (1 - upper) * (score + middle) ** 2)) + 1e-30
    gain = (total - np.log(spread)).sum() + len(score) * (0.5 + np.log(score.std() + 1e-30))
    if gain < CLEAR or 2 * middle < APART * spread:
        return None
    return upper > 0.5


class HeldProfiles:
    """Profiles (M, rings) of some of a set's images, float32. chosen: (N,) bool, those whose profiles are held."""

    def __init__(self, chosen: np.ndarray, rings: int, device: torch.device | str = "cpu") -> None:
        self.rows = np.flatnonzero(chosen)
        self.values = torch.zeros(len(self.rows), rings, dtype=torch.float32, device=device)
        self.seen = torch.zeros(len(self.rows), dtype=torch.float32, device=device)

    def add(self, rows: np.ndarray, profiles: torch.Tensor) -> None:
        """Take in the profiles of particles; those that are not chosen go by.

        Parameters
        ----------
        rows : (n,) int array
            The particles, from 0.
        profiles : (n, rings) tensor
            Theirs.
        """
        if not len(self.rows):
            return
        place = np.searchsorted(self.rows, rows).clip(max=len(self.rows) - 1)
        mine = self.rows[place] == rows
        there = torch.from_numpy(place[mine]).to(profiles.device)
        self.values[there] = profiles[torch.from_numpy(mine).to(profiles.device)].float()
        self.seen[there] = 1

    def images(self) -> tuple[np.ndarray, np.ndarray]:
        """The profiles that came.

        Returns
        -------
        rows : (M,) int array
            Of which particles, from 0.
        profiles : (M, rings) float64 array
            Theirs.
        """
        seen = self.seen.cpu().numpy() > 0
        return self.rows[seen], self.values.cpu().numpy()[seen].astype(np.float64)
