"""An average brought onto a reference image, which may show particles of the other polarity."""

from __future__ import annotations

import numpy as np
import torch

from scipion_udl.alignment.refinement.reference import Reference
from scipion_udl.alignment.refinement.refiner import Refiner
from scipion_udl.alignment.refinement.registration import register
from scipion_udl.imaging.band import Band
from scipion_udl.imaging.orientations import rotated_band
from scipion_udl.imaging.poses import Poses
from scipion_udl.messages import Message, message

MARGIN = 0.1  # of correlation, by which a reference must fit better inverted than as it is


def onto_reference(refiner: Refiner, moving: Reference, fixed: Reference) -> tuple[Poses, bool, float]:
    """The pose that brings an average onto a reference image. The same for all processes of a group.

    Parameters
    ----------
    refiner : Refiner
        Of the particles.
    moving : Reference
        The average.
    fixed : Reference
        The reference image.

    Returns
    -------
    pose : Poses
        One, in working pixels.
    inverted : bool
        Whether the reference fits clearly better with its contrast inverted; the pose is for that then.
    likenesses : float
        Their correlation then, -1 to 1.
    """
    negative = Reference(fixed.band, -fixed.average, fixed.ring_weight)
    poses = [register(refiner, moving, one) for one in (fixed, negative)]
    likenesses = [likeness(fixed.band, moving, one, pose) for one, pose in zip((fixed, negative), poses)]
    inverted = refiner.prepared.group.agree(likenesses[1] > likenesses[0] + MARGIN)
    return poses[inverted], inverted, likenesses[inverted]


def likeness(band: Band, moving: Reference, fixed: Reference, pose: Poses) -> float:
    """The correlation of two averages, the first with a pose applied.

    Parameters
    ----------
    band : Band
        That of both.
    moving, fixed : Reference
        The averages; Fourier rings are weighted as the second says.
    pose : Poses
        One, in working pixels, for the first.

    Returns
    -------
    float
        From -1 to 1.
    """
    angle, shift = (torch.from_numpy(np.asarray(v)).to(band.device) for v in (pose.angle, pose.shift))
    moved = band.shifted(rotated_band(band, moving.average, angle), shift.float())[0]
    weight = band.spread(fixed.ring_weight)
    powers = [band.dot(image, image, weight) for image in (moved, fixed.average)]
    return float(band.dot(moved, fixed.average, weight) / (powers[0] * powers[1]).sqrt().clamp(min=1e-12))


def inverted_warning(path: str) -> Message:
    """The sentence for the user about a reference image of the other contrast.

    Parameters
    ----------
    path : str
        Of the image.

    Returns
    -------
    Message
        The sentence.
    """
    return message("reference_inverted", path=path)
