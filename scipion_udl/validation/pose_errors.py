"""How good poses are against the true ones, where they are known: particle by particle, or pair by pair.

Particles of the two tables are joined by the image they name, never by row order. All pose errors are those of
:func:`scipion_udl.imaging.poses.pose_errors`: what is left once the common rigid transform is taken out, which no
alignment without a reference can know (the bias, where it is the rotation between two images that was asked for).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scipion_udl.alignment.given_poses import check_measure
from scipion_udl.imaging.poses import Poses, compose, invert, pose_errors, to_matrices
from scipion_udl.io.particles import open_particles
from scipion_udl.io.truth import read_truth

CLOSE = 5.0  # degrees: what counts as found
RIGHT = 90.0  # degrees: less than that off is the right way round


def periods(symmetry: int | None = None) -> dict[str, float]:
    """Periods that rotation errors are taken modulo: the full circle, 180 degrees, and that of a symmetric view.

    Parameters
    ----------
    symmetry : int, optional
        Folds of the view.

    Returns
    -------
    dict of str to float
        Endings of figures ("", "_180", "_symmetry") and their periods, degrees.
    """
    found = {"": 360.0, "_180": 180.0}
    return found if symmetry is None else {**found, "_symmetry": 360.0 / symmetry}


def compare(found: Poses, truth: Poses, pixel_size: float = 1.0, symmetry: int | None = None) -> dict[str, float]:
    """Figures of merit of poses against true ones, modulo one common rigid transform.

    Signed means, too, leave out who is the wrong way round.

    Parameters
    ----------
    found, truth : Poses
        N each; shifts in pixels.
    pixel_size : float, optional
        A.
    symmetry : int, optional
        Folds of the view.

    Returns
    -------
    dict of str to float
        In degrees ``rotation_mean``, ``_median`` and ``_p90`` (90th percentile) of the absolute rotation error,
        ``rotation_signed``, the mean of the errors with their sign, and ``within_5``, the share (0 to 1) below 5
        degrees, on the full circle, and the same with the endings of :func:`periods`; ``right_way_round``, the share
        less than 90 degrees off; over these particles alone ``shift_rms`` and ``shift_median``, the length of the shift
        error in pixels, and the same in A with the ending ``_angstrom``; ``particles``.

    Raises
    ------
    ValueError
        For no particles or different numbers of them.
    """
    if len(found) != len(truth) or not len(found):
        raise ValueError(f"{len(found)} poses cannot be compared with {len(truth)}")
    full = pose_errors(found, truth, 360.0)
    right = np.abs(full.rotation) < RIGHT
    return {
        "particles": len(found),
        **_rotation_figures(found, truth, symmetry, ""),
        "right_way_round": float(right.mean()),
        **_shift_figures(full.shift[right], pixel_size, ""),
    }


def _rotation_figures(found: Poses, truth: Poses, symmetry: int | None, prefix: str) -> dict[str, float]:
    figures: dict[str, float] = {}
    for ending, period in periods(symmetry).items():
        errors = pose_errors(found, truth, period).rotation
        off = np.abs(errors)
        figures |= {
            f"{prefix}rotation_mean{ending}": float(off.mean()),
            f"{prefix}rotation_median{ending}": float(np.median(off)),
            f"{prefix}rotation_p90{ending}": float(np.percentile(off, 90)),
            f"{prefix}rotation_signed{ending}": float(errors[off < RIGHT].mean()) if (off < RIGHT).any() else np.nan,
            f"{prefix}within_5{ending}": float((off < CLOSE).mean()),
        }
    return figures


def _shift_figures(shift: np.ndarray, pixel_size: float, prefix: str) -> dict[str, float]:
    length = np.hypot(*shift.T) if len(shift) else np.array([np.nan])
    rms, median = float(np.sqrt((length**2).mean())), float(np.median(length))
    return {
        f"{prefix}shift_rms": rms,
        f"{prefix}shift_median": median,
        f"{prefix}shift_rms_angstrom": rms * pixel_size,
        f"{prefix}shift_median_angstrom": median * pixel_size,
    }


def bias(found: Poses, truth: Poses) -> dict[str, float]:
    """The common transform that :func:`compare` takes out: from the frame of the true poses to that of the found ones.

    Parameters
    ----------
    found, truth : Poses
        N each; shifts in pixels.

    Returns
    -------
    dict of str to float
        ``common_turn`` in degrees, ``common_shift_x`` and ``common_shift_y`` in pixels.
    """
    common = pose_errors(found, truth).common
    x, y = common.shift[0]
    return {"common_turn": float(common.angle[0]), "common_shift_x": float(x), "common_shift_y": float(y)}


# Pairs: each particle and the next one.


@dataclass
class PairErrors:
    """Errors of M pairs. rotation: (M,) degrees in (-180, 180], the bias taken out; shift: (M, 2) pixels, how far the
    centre of the first lands from that of the second; bias: degrees, the constant that all rotations are off by."""

    rotation: np.ndarray
    shift: np.ndarray
    bias: float


def relative_poses(poses: Poses, rows: np.ndarray) -> Poses:
    """The poses that bring particles onto the one behind them.

    Parameters
    ----------
    poses : Poses
        N, of single particles.
    rows : (M,) int array
        The first particle of each pair.

    Returns
    -------
    Poses
        M: that brings particle ``rows[k]`` onto ``rows[k] + 1``.
    """
    return compose(invert(poses[rows + 1]), poses[rows])


def pair_errors(found: Poses, truth: Poses, centre: np.ndarray | None = None) -> PairErrors:
    """Errors of poses that bring the first image of a pair onto the second.

    An error of the rotation moves what lies off its centre; where the particle lies it does not count as a shift.

    Parameters
    ----------
    found, truth : Poses
        M each; shifts in pixels.
    centre : (M, 2) array, optional
        Where the particle truly lies in the first image, (x, y) in pixels from its origin; None: there.

    Returns
    -------
    PairErrors
        Of M pairs.
    """
    errors = pose_errors(found, truth)
    place = np.zeros((len(found), 2)) if centre is None else np.asarray(centre, np.float64)
    place = np.concatenate([place, np.ones((len(place), 1))], -1)
    landed = np.einsum("nij,nj->ni", to_matrices(found) - to_matrices(truth), place)[:, :2]
    return PairErrors(errors.rotation, landed, float(errors.common.angle[0]))


def compare_pairs(
    found: Poses,
    truth: Poses,
    centre: np.ndarray | None = None,
    pixel_size: float = 1.0,
    symmetry: int | None = None,
) -> dict[str, float]:
    """Figures of merit of the poses between the images of M pairs, as :func:`compare` with ``pair_`` before the names.

    Parameters
    ----------
    found, truth, centre
        As :func:`pair_errors` takes them.
    pixel_size : float, optional
        A.
    symmetry : int, optional
        Folds of the view.

    Returns
    -------
    dict of str to float
        Besides these figures ``pairs``: M; ``pair_bias``: degrees, the constant of the paper, which is taken out of all
        rotation errors. Turns that are differences of single poses have none: it cancels.

    Raises
    ------
    ValueError
        For no pairs or different numbers of them.
    """
    if len(found) != len(truth) or not len(found):
        raise ValueError(f"{len(found)} pairs cannot be compared with {len(truth)}")
    errors = pair_errors(found, truth, centre)
    right = np.abs(errors.rotation) < RIGHT
    return {
        "pairs": len(found),
        "pair_bias": errors.bias,
        **_rotation_figures(found, truth, symmetry, "pair_"),
        **_shift_figures(errors.shift[right], pixel_size, "pair_"),
    }


# Two tables, one list of particles.


def located_truth(path: str) -> tuple[list[tuple[str, int]], Poses]:
    """The images and true poses of a truth.star.

    Parameters
    ----------
    path : str
        The file.

    Returns
    -------
    images : list of (str, int)
        The real path and the item, from 0, of N images.
    poses : Poses
        N; shifts in pixels.

    Raises
    ------
    UdlError
        Where the file cannot be read, holds no true poses, or names images that are not there.
    """
    _, poses = read_truth(path)
    source = open_particles(path)
    return source.locations(), check_measure(poses, source.box, path)


def join(found: Sequence[tuple[str, int]], truth: Sequence[tuple[str, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the images that two lists both name.

    Parameters
    ----------
    found, truth : sequences of (str, int)
        Images, by path and item.

    Returns
    -------
    found_rows, truth_rows : (M,) int64 arrays
        Rows of either list, in the order of ``found``.
    """
    row_of = {image: row for row, image in enumerate(truth)}
    pairs = [(row, row_of[image]) for row, image in enumerate(found) if image in row_of]
    pairs_array = np.array(pairs, np.int64).reshape(-1, 2)
    return pairs_array[:, 0], pairs_array[:, 1]
