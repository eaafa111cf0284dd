"""The figures of a result, the same for every method: pose errors, the average against the template, FRC.

A result is a folder with poses.star (in the form of truth.star) and average.mrcs, the plain mean of the aligned
particles, whoever made it.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from scipion_udl.imaging.fourier import soft_disc
from scipion_udl.imaging.half_set_frc import image_frc
from scipion_udl.imaging.poses import PoseErrors, Poses, invert, pose_errors
from scipion_udl.io.images import read_image
from scipion_udl.io.particles import open_particles
from scipion_udl.io.truth import read_truth
from scipion_udl.particles.prepared import DISC
from scipion_udl.simulation.templates import ImageTemplate
from scipion_udl.validation.pose_errors import join, located_truth

CLOSE = 5.0  # degrees
MASK_RADIUS = DISC  # of the box: the mask within which `align` claims its resolution
TRUE_LEVEL = 0.5  # against an image without noise, what 0.143 is between two halves


def rotation_figures(found: Poses, truth: Poses, period: float, ending: str) -> dict[str, float]:
    """Mean, median and 90th percentile of the absolute rotation error (degrees) modulo ``period``, and the share
    (0 to 1) below 5 degrees, modulo the common transform; names end with ``ending``. found, truth: (N,)."""
    off = np.abs(pose_errors(found, truth, period).rotation)
    return {
        f"mean_{ending}": float(off.mean()),
        f"median_{ending}": float(np.median(off)),
        f"p90_{ending}": float(np.percentile(off, 90)),
        f"within_5_{ending}": float((off < CLOSE).mean()),
    }


def pose_figures(found: Poses, truth: Poses, period: float = 360.0) -> dict[str, float]:
    """All figures of N poses: rotation modulo 360, modulo 180 and modulo the view's own ``period`` (degrees), the
    share the right way round, and over these alone shift_rms, the RMS length of the shift error at the template's
    origin, px."""
    figures = {}
    for ending, modulo in (("360", 360.0), ("180", 180.0), ("sym", period)):
        figures |= rotation_figures(found, truth, modulo, ending)
    errors = pose_errors(found, truth, period)
    right = np.abs(errors.rotation) < 90
    length2 = (errors.shift[right] ** 2).sum(1)
    figures["right_way_round"] = float(right.mean())
    figures["shift_rms"] = float(np.sqrt(length2.mean())) if right.any() else float("nan")
    return figures


def joined(poses: Path, truth: Path) -> tuple[Poses, Poses]:
    """Found (poses.star or aligned.star) and true poses of the images that ``truth`` names, joined by name.

    Raises ValueError where the result misses images.
    """
    source = open_particles(str(poses))
    found = source.poses()
    if found is None:  # the form of truth.star
        found = read_truth(str(poses))[1]
    true_images, true = located_truth(str(truth))
    rows, true_rows = join(source.locations(), true_images)
    if len(rows) < len(true):
        raise ValueError(f"{poses} has poses for {len(rows)} of the {len(true)} particles of {truth}")
    return found[rows], true[true_rows]


def moved_template(template: np.ndarray, errors: PoseErrors) -> np.ndarray:
    """The template (D, D) in the frame of a result, by the common transform that ``pose_errors`` found."""
    # sample() gives the image that a pose takes to the template: the inverse of what moves the template.
    return ImageTemplate(template, template.shape[-1]).sample(invert(errors.common))[0]


def disc(box: int) -> torch.Tensor:
    """The soft mask (box, box) in which averages are compared, that of the run's own claim."""
    return soft_disc(box, MASK_RADIUS * box, max(4.0, 0.06 * box))


def true_frc(average: np.ndarray, template: np.ndarray) -> np.ndarray:
    """FRC per ring (D // 2,) of an average with the noise-free template (both (D, D)) in the same frame."""
    return image_frc(torch.from_numpy(average), torch.from_numpy(template), disc(len(average)))


def falls_to(frc: np.ndarray, level: float) -> float:
    """The ring at which an FRC (per ring, ring 0 unused) first falls to ``level``, between rings by a straight line.

    0 where it is below from the first ring on; the last ring where it never falls.
    """
    below = np.flatnonzero(frc[1:] < level) + 1
    if not len(below):
        return float(len(frc) - 1)
    ring = int(below[0])
    if ring == 1:
        return 0.0
    high, low = frc[ring - 1], frc[ring]
    return float(ring - 1 + (high - level) / (high - low))


def correlation(average: np.ndarray, template: np.ndarray) -> float:
    """Correlation within the mask of an average with a template (both (D, D)) whose Fourier rings were scaled to the
    average's power: the CTF and envelope that the particles carry do not count, wrong phases and noise do."""
    box = len(average)
    mask = disc(box).double().numpy()

    def plain(image: np.ndarray) -> np.ndarray:
        image = np.asarray(image, np.float64)
        return (image - (image * mask).sum() / mask.sum()) * mask

    one, other = (np.fft.fft2(plain(image)) for image in (average, template))
    y, x = np.meshgrid(*[np.fft.fftfreq(box, 1 / box)] * 2, indexing="ij")
    ring = np.rint(np.hypot(x, y)).astype(np.int64)
    power = [np.bincount(ring.ravel(), (np.abs(f) ** 2).ravel()) for f in (one, other)]
    scale = np.sqrt(np.divide(power[0], power[1], out=np.zeros_like(power[0]), where=power[1] > 0))
    product = float((one * np.conj(other * scale[ring])).real.sum())
    return product / float((np.abs(one) ** 2).sum())


def average_figures(average: Path, template: Path, errors: PoseErrors) -> dict[str, float]:
    """Correlation with the template, and the true resolution as frequency in 1/px and in A."""
    image, pixel_size = read_image(str(average))
    target = moved_template(read_image(str(template))[0], errors)
    frequency = falls_to(true_frc(image, target), TRUE_LEVEL) / len(image)
    resolution = pixel_size / frequency if frequency and pixel_size else float("nan")
    return {"correlation": correlation(image, target), "true_frequency": frequency, "true_resolution": resolution}


def claims(result: Path) -> dict[str, object]:
    """What an own run says of itself (its summary.json); empty for other methods."""
    path = next((p for p in (result / "align" / "summary.json", result / "summary.json") if p.exists()), None)
    if path is None:
        return {}
    summary = json.loads(path.read_text())
    resolution = summary.get("resolution")
    return {
        "claimed_resolution": resolution,
        "claimed_frequency": summary["pixel_size"] / resolution if resolution else None,
        "signal_found": summary.get("signal_found"),
        "angles_sure": summary.get("angles_sure"),
        "ambiguous": summary.get("ambiguous"),
        "score": summary.get("score_mean"),
        "searched": summary.get("searched"),
        "network_median_change": (summary.get("network_only") or {}).get("median_change"),
        "warnings": " / ".join(summary.get("warnings", [])),
    }


def score(data: Path, result: Path, period: float = 360.0) -> dict[str, object]:
    """Every figure of a result. data: the case's folder; result: that of the method; period: the view's symmetry.

    Without truth.star only what the run claims; without template.mrc no figures of the average.
    """
    figures: dict[str, object] = {}
    if (data / "truth.star").exists():
        found, truth = joined(result / "poses.star", data / "truth.star")
        figures |= {"particles": len(found), **pose_figures(found, truth, period)}
        if (data / "template.mrc").exists():
            errors = pose_errors(found, truth, period)
            figures |= average_figures(result / "average.mrcs", data / "template.mrc", errors)
    else:
        figures["particles"] = len(located_truth(str(result / "poses.star"))[1])
    return figures | claims(result)
