"""What a program made of windows of noise: how many it flags, what it claims, and how much its averages look like the
template that picked them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
from scipy import fft

from benchmarks.noise_windows.picks import REACH
from scipion_udl.imaging.poses import Poses
from scipion_udl.io.stacks import StackReader
from scipion_udl.simulation.phantoms import phantom

ANGLES = 90  # orientations of the template that an average is compared with
LOW_PASS = 8  # box / LOW_PASS is the Fourier ring up to which they are compared
FOUND_IN = 0.5  # correlation from which an average is said to show the template


def of_classify(out: Path, shows: str) -> dict:
    """Figures of a run of `scipion-udl classify`."""
    with open(out / "classes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    size = np.array([int(row["particles"]) for row in rows])
    flagged = np.array([row["flagged"] in ("1", "True") for row in rows])
    claims = [float(row["resolution"]) for row in rows if row["resolution"]]
    found = likeness(StackReader(str(out / "averages_weighted.mrcs")).read(), shows)
    return {"classes": len(rows), "flagged": round(float(size[flagged].sum() / size.sum()), 4), **_claims(claims)} | {
        "template": round(float(found.max()), 3), "showing": round(float(size[found > FOUND_IN].sum() / size.sum()), 3)
    }  # fmt: skip


def of_align(out: Path, shows: str) -> dict:
    """Figures of a run of `scipion-udl align`: all is flagged where it says that there is no common signal."""
    facts = json.loads((out / "summary.json").read_text())
    found = likeness(StackReader(str(out / "average_weighted.mrcs")).read(), shows)
    claims = [facts["resolution"]] if facts["resolution"] else []
    return {"classes": 1, "flagged": int(facts["signal_found"] is False), **_claims(claims)} | {
        "template": round(float(found[0]), 3), "showing": int(found[0] > FOUND_IN), "fit": facts["fit"]
    }  # fmt: skip


def of_relion(out: Path, iterations: int, shows: str) -> dict:
    """Figures of a run of RELION: it flags nothing; "claimed" is the estimated resolution of its model file."""
    from emtable import Table

    name = f"run_it{iterations:03d}"
    found = likeness(StackReader(str(out / f"{name}_classes.mrcs")).read(), shows)
    rows = list(Table(fileName=str(out / f"{name}_model.star"), tableName="model_classes"))
    share = np.array([float(row.rlnClassDistribution) for row in rows])
    claims = [float(row.rlnEstimatedResolution) for row in rows if share[rows.index(row)] > 0]
    claims = [value for value in claims if np.isfinite(value) and value < 900]
    return {"classes": int((share > 0).sum()), "flagged": "", **_claims(claims)} | {
        "template": round(float(found.max()), 3), "showing": round(float(share[found > FOUND_IN].sum()), 3)
    }  # fmt: skip


def _claims(claims: list[float]) -> dict:
    return {"claims": len(claims), "claimed": round(min(claims), 2) if claims else ""}


def likeness(images: np.ndarray, shows: str) -> np.ndarray:
    """The correlation (K,) of images (K, D, D) with a phantom, the best over its orientations, its mirror image and
    shifts, all low-passed to the Fourier ring D / LOW_PASS and inside a disc."""
    box = images.shape[-1]
    angles = np.arange(ANGLES) * (360.0 / ANGLES)
    shown = phantom(shows, box)
    mirrored = Poses(angles, np.zeros((ANGLES, 2)), np.ones(ANGLES, bool))
    rotated = np.concatenate([shown.sample(Poses(angles, np.zeros((ANGLES, 2)))), shown.sample(mirrored)])
    axis = np.arange(box) - box // 2
    inside = np.hypot(axis[:, None], axis[None]) <= 0.45 * box
    low = np.hypot(fft.fftfreq(box, 1 / box)[:, None], np.arange(box // 2 + 1)) <= box / LOW_PASS

    def prepared(one: np.ndarray) -> np.ndarray:
        smooth = fft.irfft2(fft.rfft2(one.astype(np.float64)) * low, s=one.shape[-2:])
        smooth = (smooth - smooth[..., inside].mean(-1)[..., None, None]) * inside
        return smooth / np.maximum(np.sqrt((smooth**2).sum((-2, -1), keepdims=True)), 1e-30)

    templates = fft.rfft2(prepared(rotated)).conj()
    reach = int(np.ceil(2 * REACH * box))
    out = []
    for image in prepared(images):
        maps = np.roll(fft.irfft2(fft.rfft2(image) * templates, s=image.shape), (reach, reach), (-2, -1))
        out.append(maps[:, : 2 * reach + 1, : 2 * reach + 1].max())
    return np.array(out)
