"""What `align --by-class` leaves behind: tables of all particles, one average a class, figures and report."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch

from scipion_udl.alignment.averages import apply_poses
from scipion_udl.imaging.poses import Poses
from scipion_udl.io.output.data_files import write_csv, write_json
from scipion_udl.io.stacks import StackWriter, write_stack
from scipion_udl.messages import message, some_of
from scipion_udl.particles.polarity_warning import polarity_of
from scipion_udl.pipelines.classes import STACKS, ClassResult, together
from scipion_udl.pipelines.run import Run
from scipion_udl.results import run_results
from scipion_udl.results.references import write_references

COLUMNS = ("class", "particles", "resolution", "score_mean", "ambiguous", "outliers", "signal_found", "note")
CLASS_RUN = "classes"  # what tables of a run of `classify` are called


def write_classes(
    run: Run,
    classes: list[ClassResult],
    training: dict | None,
    history: list[dict] | None,
    name: str = "aligned",
    listed: tuple[str, ...] = COLUMNS,
    columns: dict[str, Any] | None = None,
    more: dict | None = None,
) -> str:
    """Write all files of `align --by-class` but model and training.csv into the run's output folder.

    Parameters
    ----------
    run : Run
        The run.
    classes : list of ClassResult
        By ascending number.
    training : dict or None
        What the card says of the training; None where there was none.
    history : list of dict or None
        Its epochs.
    name : str, optional
        Of the tables of particles.
    listed : tuple of str, optional
        What classes.csv says of each.
    columns : dict, optional
        Further ones of the tables, see :func:`write_aligned`.
    more : dict, optional
        Goes into summary.json as it is.

    Returns
    -------
    str
        The screen's summary.
    """
    out, source = run.out, run.source
    alignment, correntropy = together(classes)
    run_results.write_poses(run, alignment, correntropy, name, **(columns or {}))
    if run.settings.write_stack:
        _write_aligned_stack(run, alignment.poses)
    for stack, image in STACKS.items():
        images = np.stack([result.images[image] for result in classes])
        write_stack(out.scratch(f"{stack}.mrcs"), images.astype(np.float32), source.pixel_size)
    facts = [(result.number, result.figures["particles"], result.figures["resolution"]) for result in classes]
    write_references(out.scratch("averages.star"), out.final("averages.mrcs"), *zip(*facts))
    field = source.box * source.pixel_size
    rows = ([result.number, *row] for result in classes for row in run_results.frc_rows(result.frc, field))
    write_csv(out.scratch("frc.csv"), ["class", "frequency", "resolution", "frc"], rows)
    write_csv(out.scratch("classes.csv"), list(listed), (_row(result, listed) for result in classes))
    _warn_of_classes(run, classes)
    figures = _summary(run, classes, training) | (more or {})
    write_json(out.scratch("summary.json"), figures)
    run_results.write_class_report(run, figures, classes, alignment, history, _table(run, name))
    return _text(run, figures, name)


def _table(run: Run, name: str) -> str:
    """What `select` is given to choose from these classes: the folder where it finds its table there."""
    if not os.path.isfile(run.out.scratch(f"{name}.star")):  # mirrored particles
        return os.path.join(run.out.path, f"{name}.xmd")
    return run.out.path if name == CLASS_RUN else os.path.join(run.out.path, f"{name}.star")


def _row(result: ClassResult, listed: tuple[str, ...]) -> list:
    """A row of classes.csv; flags as 0 and 1, what is not known is empty."""
    figures = {"class": result.number, "note": result.figures["resolution_note"], **result.figures}
    resolution, found = figures["resolution"], figures["signal_found"]
    figures["resolution"] = "" if resolution is None else f"{resolution:.4g}"
    figures["score_mean"] = f"{figures['score_mean']:.5f}"
    figures["signal_found"] = "" if found is None else int(found)
    row = [figures[name] for name in listed]
    return ["" if value is None else int(value) if isinstance(value, bool) else value for value in row]


def _warn_of_classes(run: Run, classes: list[ClassResult]) -> None:
    """One sentence on the warnings of single classes, which the log has told in full; of flagged ones all is told."""
    told = [result for result in classes if not result.figures.get("flagged")]
    warned = [result.number for result in told if result.figures["warnings"]]
    if warned:
        which, total = some_of(warned), len(classes)
        run.warn(message("classes_with_warnings", count=len(warned), total=total, which=which))


def _summary(run: Run, classes: list[ClassResult], training: dict | None) -> dict:
    used = ~run.particles.statistics.blank
    found = {result.figures["signal_found"] for result in classes}
    scores = np.concatenate([result.alignment.score[used[result.members]] for result in classes])
    shifts = [result.alignment.poses.shift[used[result.members]] for result in classes]
    return run_results.alignment_summary(
        run,
        training,
        signal_found=True if True in found else False if found == {False} else None,
        resolution=None,
        resolution_note="Each class has its own: see classes.",
        score_mean=float(scores.mean()) if len(scores) else 0.0,
        # Of the particles of this run: those of classes that they join are all so far.
        ambiguous=int(sum(result.alignment.ambiguous[used[result.members]].sum() for result in classes)),
        outliers=int(sum(result.alignment.outlier[used[result.members]].sum() for result in classes)),
        contrast=polarity_of(run.particles.statistics),
        shift_rms=run_results.shift_rms(shifts),
        classes=[{"class": r.number, "image": k, **r.figures} for k, r in enumerate(classes, 1)],
    )


def _write_aligned_stack(run: Run, poses: Poses) -> None:
    """aligned.mrcs: all particles with their poses applied, in the order of the set."""
    particles, mean = run.particles, run.particles.statistics.mean
    path = run.out.scratch("aligned.mrcs")
    with StackWriter(path, len(particles), run.source.box, run.source.pixel_size) as stack:
        for part, images in particles.reader.chunks(np.arange(len(particles)), "aligned stack"):
            fill = torch.from_numpy(mean[part].astype(np.float32)).to(images.device)
            stack.write(apply_poses(images, fill, poses[part]).cpu().numpy())


def _text(run: Run, figures: dict, name: str) -> str:
    """The screen's summary."""
    classes = figures["classes"]
    claimed = sorted(c["resolution"] for c in classes if c["resolution"])
    resolution = "none claimed"
    if claimed:
        resolution = f"{claimed[0]:.1f} to {claimed[-1]:.1f} A, median {float(np.median(claimed)):.1f} A"
        resolution += f"; none claimed in {len(classes) - len(claimed)} classes" if len(claimed) < len(classes) else ""
    lines = [
        "",
        f"Particles           {len(run.source)} ({len(run.particles.usable)} with an image) in {len(classes)} classes",
        f"Score (correlation) {figures['score_mean']:.3f} mean",
        f"Ambiguous           {figures['ambiguous']} could as well be rotated by 180 degrees",
        f"Outliers            {figures['outliers']} score as noise does in their class, or show something else",
        f"Resolution          {resolution}",
        f"Results             {run.out.path}/report.html, classes.csv, {name}.star, {name}.xmd, averages.mrcs",
    ]
    return "\n".join([*lines, *run_results.count_warnings(run.warnings)])
