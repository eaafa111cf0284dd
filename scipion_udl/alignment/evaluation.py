"""How good an alignment is: against the true poses, where they are known, or against a reference image.

Particles of the two tables are joined by the image they name, never by row order. All pose errors are those of
:func:`scipion_udl.alignment.geometry.pose_errors`: what is left once the common rigid transform is taken out.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence

import numpy as np

from scipion_udl.errors import UdlError
from scipion_udl.io import forms
from scipion_udl.io.images import read_image
from scipion_udl.io.outputs import OutputFolder
from scipion_udl.io.particles import ParticleSource, open_particles
from scipion_udl.io.truth import read_truth

from . import figures
from .geometry import Poses, pose_errors
from .reference import ReferenceMatch, aligned_average, match_reference

CLOSE = 5.0  # degrees: what counts as found


def compare(found: Poses, truth: Poses, pixel_size: float = 1.0) -> dict[str, float]:
    """Figures of merit of ``found`` against ``truth``, both (N,), modulo one common rigid transform.

    pixel_size: A. The dict holds, in degrees, ``rotation_mean``, ``_median`` and ``_p90`` (90th percentile) of the
    absolute rotation error and ``within_5``, the share (0 to 1) below 5 degrees, on the full circle, and the same
    modulo 180 with the ending ``_180``; ``right_way_round``, the share less than 90 degrees off; over these particles
    alone ``shift_rms`` and ``shift_median``, the length of the shift error in pixels, and the same in A with the
    ending ``_angstrom``; ``particles``. Raises ValueError for no particles or different numbers of them.
    """
    if len(found) != len(truth) or not len(found):
        raise ValueError(f"{len(found)} poses cannot be compared with {len(truth)}")
    figures_of_merit: dict[str, float] = {"particles": len(found)}
    full = pose_errors(found, truth, 360.0)
    for ending, errors in (("", full), ("_180", pose_errors(found, truth, 180.0))):
        off = np.abs(errors.rotation)
        figures_of_merit |= {
            f"rotation_mean{ending}": float(off.mean()),
            f"rotation_median{ending}": float(np.median(off)),
            f"rotation_p90{ending}": float(np.percentile(off, 90)),
            f"within_5{ending}": float((off < CLOSE).mean()),
        }
    right = np.abs(full.rotation) < 90
    length = np.hypot(*full.shift[right].T) if right.any() else np.array([np.nan])
    rms, median = float(np.sqrt((length**2).mean())), float(np.median(length))
    return figures_of_merit | {
        "right_way_round": float(right.mean()),
        "shift_rms": rms,
        "shift_median": median,
        "shift_rms_angstrom": rms * pixel_size,
        "shift_median_angstrom": median * pixel_size,
    }


# Two tables, one list of particles.


def located_truth(path: str) -> tuple[list[tuple[str, int]], Poses]:
    """The images (real path, item from 0) and true poses (N,) of a truth.star.

    Raises UdlError where the file cannot be read, holds no true poses, or names images that are not there.
    """
    _, poses = read_truth(path)
    return open_particles(path).locations(), poses


def join(found: Sequence[tuple[str, int]], truth: Sequence[tuple[str, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the images that both lists name: (rows of ``found``, rows of ``truth``), int (M,), in found's order."""
    row_of = {image: row for row, image in enumerate(truth)}
    pairs = [(row, row_of[image]) for row, image in enumerate(found) if image in row_of]
    pairs_array = np.array(pairs, np.int64).reshape(-1, 2)
    return pairs_array[:, 0], pairs_array[:, 1]


def _aligned_poses(source: ParticleSource) -> Poses:
    poses = source.poses()
    if poses is None:
        raise UdlError(f"{source.path} carries no poses: give the aligned.star or aligned.xmd of an alignment")
    if source.has_3d_angles:
        raise UdlError(f"{source.path} holds directions of a 3D alignment (rot, tilt): give a 2D alignment")
    return poses


# The command.


def evaluate(args: argparse.Namespace) -> dict[str, float]:
    """The command ``scipion-udl evaluate``: a table on the screen, evaluation.csv and evaluation.png in the folder.

    args: aligned, truth or reference, output, overwrite, pixel_size as the command line gives them. Returns the
    figures. Raises UdlError for wrong input.
    """
    if bool(args.truth) == bool(args.reference):
        raise UdlError("give what to evaluate against: either --truth TRUTH.star or --reference IMAGE")
    with OutputFolder(args.output, overwrite=args.overwrite) as out:
        source = open_particles(args.aligned, args.pixel_size)
        files = {path for path, _ in source.locations()}
        out.spare([args.aligned, args.truth, (args.reference or "").rpartition("@")[2], *files])
        for warning in source.warnings:
            print(f"Warning: {warning}", file=sys.stderr)
        poses = _aligned_poses(source)
        if args.truth:
            return _against_truth(source, poses, args.truth, out)
        return _against_reference(source, poses, args.reference, out)


def _against_truth(source: ParticleSource, poses: Poses, path: str, out: OutputFolder) -> dict[str, float]:
    images, truth = located_truth(path)
    rows, true_rows = join(source.locations(), images)
    if not len(rows):
        raise UdlError(f"{path} names none of the images of {source.path}: give the truth of these very particles")
    found, truth = poses[rows], truth[true_rows]
    result = compare(found, truth, source.pixel_size)
    print(truth_table(result, source.path, path))
    if len(rows) < len(source):
        print(f"{len(source) - len(rows)} of {len(source)} particles are not in {path} and were left out.")
    _write_figures(out.scratch("evaluation.csv"), result)
    full, half = pose_errors(found, truth, 360.0), pose_errors(found, truth, 180.0)
    _write_errors(out.scratch("errors.csv"), source, rows, full.rotation, half.rotation, full.shift)
    with figures.style():
        figure = figures.truth_figure(full.rotation, half.rotation, full.shift)
        figure.savefig(out.scratch("evaluation.png"), dpi=150)
    print(f"{out.path}: evaluation.csv, errors.csv (particle by particle), evaluation.png")
    return result


def _against_reference(source: ParticleSource, poses: Poses, image: str, out: OutputFolder) -> dict[str, float]:
    reference, reference_pixel = read_image(image)
    if reference.shape != (source.box, source.box):
        raise UdlError(
            f"{image} has {reference.shape[1]} x {reference.shape[0]} pixels and the particles of {source.path} "
            f"{source.box} x {source.box}: bring the reference to the same box and pixel size"
        )
    if reference_pixel and abs(reference_pixel / source.pixel_size - 1) > 0.01 and source.pixel_size_known:
        print(
            f"Warning: {image} has {reference_pixel:g} A per pixel and the particles {source.pixel_size:g}; "
            "they are compared pixel by pixel.",
            file=sys.stderr,
        )
    match = match_reference(aligned_average(source, poses), reference, source.pixel_size)
    result = {
        "particles": len(source),
        "correlation": match.correlation,
        "resolution_frc_0.5": match.resolution,
        "turn": float(match.pose.angle[0]),
        "shift_x": float(match.pose.shift[0, 0]),
        "shift_y": float(match.pose.shift[0, 1]),
    }
    print(reference_table(result, source, image, match))
    _write_figures(out.scratch("evaluation.csv"), result)
    with figures.style():
        unit = "Å" if source.pixel_size_known else "px"
        figure = figures.reference_figure(
            match.average, match.reference, match.frequency, match.frc, match.resolution, unit
        )
        figure.savefig(out.scratch("evaluation.png"), dpi=150)
    print(f"{out.path}: evaluation.csv, evaluation.png")
    return result


# What is printed and written.


def truth_table(result: dict[str, float], aligned: str, truth: str) -> str:
    """The figures of :func:`compare` as a table for the screen."""
    r = result
    lines = [f"{r['particles']} particles of {aligned} against {truth}", ""]
    lines.append(f"{'':32}{'full circle':>13}{'modulo 180':>13}")
    for name, key in (("mean", "rotation_mean"), ("median", "rotation_median"), ("90th percentile", "rotation_p90")):
        lines.append(f"{'rotation error, ' + name:32}{r[key]:>9.2f} deg{r[key + '_180']:>9.2f} deg")
    lines += [
        f"{'within 5 degrees':32}{100 * r['within_5']:>11.1f} %{100 * r['within_5_180']:>11.1f} %",
        f"{'right way round':32}{100 * r['right_way_round']:>11.1f} %",
        f"{'shift error, RMS':32}{r['shift_rms']:>10.2f} px{r['shift_rms_angstrom']:>11.2f} A",
        f"{'shift error, median':32}{r['shift_median']:>10.2f} px{r['shift_median_angstrom']:>11.2f} A",
        "(shift errors are those of the particles that are the right way round)",
    ]
    return "\n".join(lines)


def reference_table(result: dict[str, float], source: ParticleSource, image: str, match: ReferenceMatch) -> str:
    """The figures of a comparison with a reference as lines for the screen."""
    unit = "A" if source.pixel_size_known else "px"
    resolution = result["resolution_frc_0.5"]
    falls = f"{resolution:.3g} {unit}" if np.isfinite(resolution) else "nowhere above it"
    if match.reaches_end:
        falls = f"{resolution:.3g} {unit} or finer (the curve stays above 0.5)"
    lines = [
        f"average of {len(source)} particles of {source.path} against {image}",
        "",
        f"{'correlation (masked)':32}{result['correlation']:>9.4f}",
        f"{'FRC falls to 0.5 at':32}{falls:>12}",
        f"{'average turned by':32}{result['turn']:>9.2f} deg, shifted by "
        f"{result['shift_x']:.2f}, {result['shift_y']:.2f} px onto the reference",
    ]
    if match.correlation < 0:
        lines.append("The contrast of the reference is the opposite of the particles': the correlation is negative.")
    return "\n".join(lines)


MEANING = {
    "particles": ("", "particles compared"),
    "rotation_mean": ("deg", "mean absolute rotation error, full circle"),
    "rotation_median": ("deg", "median absolute rotation error, full circle"),
    "rotation_p90": ("deg", "90th percentile of the absolute rotation error, full circle"),
    "within_5": ("", "share within 5 degrees, full circle"),
    "rotation_mean_180": ("deg", "mean absolute rotation error modulo 180 degrees"),
    "rotation_median_180": ("deg", "median absolute rotation error modulo 180 degrees"),
    "rotation_p90_180": ("deg", "90th percentile of the absolute rotation error modulo 180 degrees"),
    "within_5_180": ("", "share within 5 degrees modulo 180 degrees"),
    "right_way_round": ("", "share less than 90 degrees off"),
    "shift_rms": ("px", "RMS length of the shift error of the particles the right way round"),
    "shift_median": ("px", "median length of the shift error of the particles the right way round"),
    "shift_rms_angstrom": ("A", "shift_rms in angstrom"),
    "shift_median_angstrom": ("A", "shift_median in angstrom"),
    "correlation": ("", "correlation of average and reference within a soft circle"),
    "resolution_frc_0.5": ("A", "where the FRC of average and reference falls to 0.5"),
    "turn": ("deg", "turn that brings the average onto the reference"),
    "shift_x": ("px", "shift that brings the average onto the reference"),
    "shift_y": ("px", "shift that brings the average onto the reference"),
}


def _write_figures(path: str, result: dict[str, float]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["figure", "value", "unit", "meaning"])
        writer.writerows([key, f"{value:.6g}", *MEANING[key]] for key, value in result.items())


def _write_errors(
    path: str, source: ParticleSource, rows: np.ndarray, full: np.ndarray, half: np.ndarray, shift: np.ndarray
) -> None:
    """Errors particle by particle, with the score where the table has one: are low scores the wrong ones?"""
    label = forms.SCORE_LABEL[source.form]
    score = source.table.texts(label) if label in source.table else [""] * len(source)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "rotation_error", "rotation_error_180", "shift_error_x", "shift_error_y", "score"])
        for k, row in enumerate(rows):
            numbers = (full[k], half[k], shift[k, 0], shift[k, 1])
            writer.writerow([source.names[row], *(f"{number:.4f}" for number in numbers), score[row]])
