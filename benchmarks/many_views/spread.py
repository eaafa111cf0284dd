"""How near the views of a class lie, whether noise and another molecule are told apart, how well particles are aligned.

Figures compare what a program made of particles (:class:`Classes`) with the truth. The axis of a class is the first
eigenvector of the sum of v v^T over the viewing directions v of its members, its sign left open; classes of
:data:`LEAST` members or more count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.many_views.particles import Truth
from scipion_udl.imaging.poses import Poses, compose, invert, rotations, wrap
from scipion_udl.io import dialects
from scipion_udl.io.tables import read_tables
from scipion_udl.simulation.molecules import view_matrices

LEAST = 5  # members of a class that counts
NEAR = 20.0  # degrees off the axis of its class: of the particles whose poses are judged


@dataclass
class Classes:
    """The classes that M particles of a set were put into.

    truth: of the whole set; rows: (M,) numbers in it; label: (M,) class numbers; flagged: (M,) bool, those in classes
    that are flagged as noise; poses: (M,) in their classes, pixels, None where not known.
    """

    truth: Truth
    rows: np.ndarray
    label: np.ndarray
    flagged: np.ndarray
    poses: Poses | None = None

    @classmethod
    def read(cls, table: Path, truth: Truth) -> Classes:
        """Of a table with a class a particle, classes.star or RELION's data.star."""
        tables = read_tables(str(table))
        particles, form = dialects.find_particles(str(table), tables)
        label = dialects.class_numbers(particles, form, str(table))
        has_flags = dialects.FLAGGED_LABEL in particles
        flagged = particles.numbers(dialects.FLAGGED_LABEL) > 0 if has_flags else np.zeros(len(label), bool)
        pixel_size = dialects.table_pixel_size(particles, dialects.optics_table(tables), form) or 1.0
        poses = dialects.table_poses(particles, form, pixel_size)
        return cls(truth, truth.rows(particles.texts("rlnImageName")), label, flagged, poses)

    @property
    def molecule(self) -> np.ndarray:
        """What each particle shows, int (M,)."""
        return self.truth.molecule[self.rows]

    @property
    def direction(self) -> np.ndarray:
        """The direction each particle is seen from, (M, 3)."""
        return self.truth.direction[self.rows]

    def counted(self) -> Iterator[tuple[int, np.ndarray]]:
        """(number, its members that show a molecule, numbers from 0) of each class that counts and has any."""
        for number in np.unique(self.label):
            own = np.flatnonzero(self.label == number)
            seen = own[self.molecule[own] > 0]
            if len(own) >= LEAST and len(seen):
                yield int(number), seen


def axis_of(views: np.ndarray) -> np.ndarray:
    """The common axis (3,) of viewing directions (n, 3), which may point either way; so that most lie on its side."""
    axis = np.linalg.eigh(views.T @ views)[1][:, -1]
    return axis if (views @ axis > 0).mean() >= 0.5 else -axis


def angles_to(views: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Degrees (n,) between viewing directions (n, 3) and an axis (3,), whichever way they point."""
    return np.degrees(np.arccos(np.minimum(1, np.abs(views @ axis))))


def spread(classes: Classes) -> dict:
    """Spread of the views within classes, degrees; how many classes there are, and how many count; share of the noise,
    and of the rest, in flagged classes; purity: share of the other particles that are of the molecule that most of
    their class show; one_hand: share of the particles that look at the molecule from the same side as most of their
    class (views from opposite sides are each other's mirror image)."""
    angles, kept, pure, counted, same = [], 0, 0, 0, 0
    for _, own in classes.counted():
        views, molecule = classes.direction[own], classes.molecule[own]
        axis = axis_of(views)
        angles.append(angles_to(views, axis))
        counted += 1
        same += int((views @ axis > 0).sum())
        if not classes.flagged[own].any():
            pure += np.bincount(molecule).max()
            kept += len(own)
    noise = classes.molecule == 0
    return {
        **middle(angles),
        "classes": len(np.unique(classes.label)),
        "counted": counted,
        "noise_flagged": round(float(classes.flagged[noise].mean()), 4) if noise.any() else None,
        "flagged": round(float(classes.flagged[~noise].mean()), 4),
        "purity": round(pure / max(kept, 1), 4),
        "one_hand": round(same / max(sum(map(len, angles)), 1), 4),
    }


def middle(angles: list[np.ndarray]) -> dict:
    """Median and mean, degrees, of angles that come in groups; None where there are none."""
    together = np.concatenate(angles) if angles else np.zeros(0)
    if not len(together):
        return {"median": None, "mean": None}
    return {"median": round(float(np.median(together)), 2), "mean": round(float(together.mean()), 2)}


def neighbour_spread(neighbours: np.ndarray, direction: np.ndarray, molecule: np.ndarray) -> dict:
    """The same where each particle that shows a molecule has a group of its own: median and mean, degrees, over all
    members of all groups, of the angle to the axis of the group; purity over the groups. Noise among them is left out.

    neighbours: (N, n) numbers, from 0, of the particles most like each; direction: (N, 3), unit vectors; molecule: (N,)
    what each shows, 0 for noise alone.
    """
    angles, pure, kept = [], 0, 0
    for k in np.flatnonzero(molecule > 0):
        group = np.unique(np.append(neighbours[k], k))
        group = group[molecule[group] > 0]
        angles.append(angles_to(direction[group], axis_of(direction[group])))
        pure += np.bincount(molecule[group]).max()
        kept += len(group)
    return {**middle(angles), "purity": round(pure / max(kept, 1), 4)}


def pose_errors(classes: Classes) -> dict:
    """How far the poses of the members of a class disagree: ``shift_error``, the median distance in pixels of where
    the molecule's centre falls from where it falls for most, and ``angle_error``, the median turn in the plane, in
    degrees.

    Of the members within NEAR of the axis of their class and of its hand. What is common to a class is taken off. The
    turn is that about the axis, the tilt between the two views taken off by the shortest way: for views that differ
    there is no one right turn, so that part of it is not an error. None where poses are not known.
    """
    shifts, rotations = [], []
    for _, own in classes.counted() if classes.poses is not None else ():
        views = classes.direction[own]
        axis = axis_of(views)
        own = own[views @ axis > np.cos(np.radians(NEAR))]
        if len(own) < LEAST:
            continue
        # takes the canonical projection of each particle to where it lies in the class
        moved = compose(classes.poses[own], invert(classes.truth.poses[classes.rows[own]]))
        shifts.append(np.hypot(*(moved.shift - np.median(moved.shift, 0)).T))
        rotations.append(np.abs(_about_common(_twist(moved.angle, classes.direction[own], axis))))
    if not shifts:
        return {"shift_error": None, "angle_error": None}
    names = ("shift_error", "angle_error")
    return {name: round(float(np.median(np.concatenate(v))), 3) for name, v in zip(names, (shifts, rotations))}


def _twist(angle: np.ndarray, direction: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """The turn (n,), degrees, about ``axis`` (3,) of molecules whose canonical projections from ``direction`` (n, 3)
    were rotated by ``angle`` (n,): what is left of the rotation to the canonical one from ``axis``, its tilt taken off.
    """
    rotation = np.tile(np.eye(3), (len(angle), 1, 1))
    rotation[:, :2, :2] = rotations(angle)
    between = rotation @ view_matrices(direction) @ view_matrices(axis[None])[0].T
    return np.degrees(np.arctan2(between[:, 1, 0] - between[:, 0, 1], between[:, 0, 0] + between[:, 1, 1]))


def _about_common(angle: np.ndarray) -> np.ndarray:
    """Angles (n,), degrees, less what most have in common."""
    mean = np.degrees(np.angle(np.exp(1j * np.radians(angle)).mean()))
    off = wrap(angle - mean)
    return wrap(off - np.median(off))
