"""What `train` and `align` leave behind: tables, averages, figures of merit, the report and the screen's summary."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
import torch

from scipion_udl.alignment.aligner import Alignment
from scipion_udl.alignment.averages import apply_poses
from scipion_udl.compute.log import command_line
from scipion_udl.constants import __version__
from scipion_udl.imaging.poses import mirrored_first, pose_errors
from scipion_udl.io.aligned import names_note, write_aligned, write_authors_xmd
from scipion_udl.io.other_programs import image_warnings
from scipion_udl.io.output.data_files import write_csv, write_json
from scipion_udl.io.stacks import write_stack
from scipion_udl.messages import Message, entries, message
from scipion_udl.particles.diameter import diameter_facts, diameter_words
from scipion_udl.pipelines.classes import ClassResult
from scipion_udl.pipelines.outcome import Outcome
from scipion_udl.pipelines.run import Run

OF_A_CLASS = 3  # best particles, and as many worst ones, that the report shows of a class
EXAMPLES = 300  # of all classes, so that the page stays small


def summary(run: Run, **more: object) -> dict:
    """The content of summary.json: what every command says, and what this one adds.

    Parameters
    ----------
    run : Run
        The run.
    **more : object
        Goes into it as it is.

    Returns
    -------
    dict
        To be written as JSON.
    """
    source, settings = run.source, run.settings
    return {
        "version": __version__,
        "command": command_line(),
        "input": settings.input,
        "particles": len(source),
        "box": source.box,
        "pixel_size": source.pixel_size,
        "pixel_size_known": source.pixel_size_known,
        **diameter_facts(run.particles),
        "device": run.device_words,
        "seed": settings.seed,
        "seconds": round(time.monotonic() - run.log.started, 1),
        **more,
        "warnings": run.warnings,
        "codes": run.codes,
        "messages": entries(run.warnings, run.notes),
        "notes": run.notes,
    }


def write_alignment(
    run: Run, outcome: Outcome, training: dict | None, history: list[dict] | None, **more: object
) -> str:
    """Write all files of `align` but model, training.csv and aligned.mrcs into the run's output folder.

    Parameters
    ----------
    run : Run
        The run.
    outcome : Outcome
        What came of it.
    training : dict or None
        What the card says of the training; None where there was none.
    history : list of dict or None
        Its epochs.
    **more : object
        Goes into summary.json as it is.

    Returns
    -------
    str
        The screen's summary.
    """
    out, source, averages = run.out, run.source, outcome.averages
    write_poses(run, outcome.alignment, outcome.correntropy)
    images = {
        "average": averages.all,
        "average_before": averages.before,
        "average_weighted": outcome.weighted,
        "half1": averages.both[0][0],
        "half2": averages.both[0][1],
    }
    for name, image in images.items():
        write_stack(out.scratch(f"{name}.mrcs"), image.astype(np.float32)[None], source.pixel_size)
    _write_frc(out.scratch("frc.csv"), outcome.frc, source.box * source.pixel_size)
    figures = _summary(run, outcome, training) | more
    write_json(out.scratch("summary.json"), figures)
    _write_report(run, figures, outcome, history)
    return alignment_text(run, outcome, out.path)


def write_poses(
    run: Run,
    alignment: Alignment,
    correntropy: np.ndarray | None,
    name: str = "aligned",
    **columns: Any,
) -> None:
    """Write the tables of `align` into the run's output folder.

    Parameters
    ----------
    run : Run
        The run.
    alignment : Alignment
        Of its particles.
    correntropy : (N,) array or None
        What :func:`correntropies` gives.
    name : str, optional
        Of the tables, without ending.
    **columns
        Further ones of :func:`write_aligned`.
    """
    out, source, settings = run.out, run.source, run.settings
    star: str | None = out.scratch(f"{name}.star")
    cs = out.scratch(f"{name}.cs") if settings.write_cs or source.cs is not None else None
    stack = os.path.abspath(out.final("aligned.mrcs")) if settings.write_stack else None
    if alignment.poses.mirror.any() and stack is None:
        lost = "aligned.star" if cs is None else "neither aligned.star nor aligned.cs"
        star = cs = None
        run.warn(message("mirrored_not_written", lost=lost, verb="not " if " " not in lost else ""))
    tables = write_aligned(
        source,
        alignment.poses,
        alignment.score,
        alignment.ambiguous,
        star,
        out.scratch(f"{name}.xmd"),
        stack,
        correntropy=correntropy if settings.correntropy else None,
        outlier=alignment.outlier,
        cs=cs,
        **columns,
    )
    if settings.authors_xmd and correntropy is not None:
        write_authors_xmd(source, alignment.poses, correntropy, out.scratch("authors.xmd"))
    for warning in tables:
        run.warn(warning)
    if star is not None and not (stack and alignment.poses.mirror.any()):  # then it names the images as they are
        for warning in image_warnings(source.stacks):
            run.warn(warning)
    note = names_note(source)
    if note:
        run.note(note)


def _write_frc(path: str, frc: np.ndarray, field: float) -> None:
    """frc.csv: frequency (1/A), resolution (A), FRC of the halves; field: box x pixel size, A."""
    write_csv(path, ["frequency", "resolution", "frc"], frc_rows(frc, field))


def frc_rows(frc: np.ndarray, field: float) -> list[list[str]]:
    """The rows of frc.csv, of each ring from 1.

    Parameters
    ----------
    frc : (rings,) array
        FRC.
    field : float
        Box x pixel size, angstrom.

    Returns
    -------
    list of list of str
        frequency (1/A), resolution (A) and FRC.
    """
    return [[f"{k / field:.6g}", f"{field / k:.6g}", f"{frc[k]:.5f}"] for k in range(1, len(frc))]


def alignment_summary(run: Run, training: dict | None, **more: object) -> dict:
    """The content of summary.json of `align`, and what is added.

    Parameters
    ----------
    run : Run
        The run.
    training : dict or None
        What the card says of the training; None where there was none.
    **more : object
        Goes into it as it is.

    Returns
    -------
    dict
        To be written as JSON.
    """
    settings = run.settings
    model = settings.model or ("trained here" if training else None)
    return summary(run, model=model, method=run.method, refined=not settings.no_refine, training=training, **more)


def _summary(run: Run, outcome: Outcome, training: dict | None) -> dict:
    alignment, used = outcome.alignment, _shown(run)
    return alignment_summary(
        run,
        training,
        **outcome.figures(),
        shift_rms=shift_rms([alignment.poses.shift[used]]),
        searched=alignment.searched,
        network_only=_network_figures(alignment),
    )


def _shown(run: Run) -> np.ndarray:
    """The particles that figures are of: those with an image, all where there is none."""
    usable = run.particles.usable
    return usable if len(usable) else np.arange(len(run.source))


def shift_rms(sets: list[np.ndarray]) -> float:
    """How far particles lie from the centre of their set, root mean square.

    Parameters
    ----------
    sets : list of (n, 2) arrays
        Shifts of each set, pixels.

    Returns
    -------
    float
        Pixels; 0 without particles.
    """
    offset = np.concatenate([np.zeros((0, 2)), *(shift - shift.mean(0) for shift in sets if len(shift))])
    if not len(offset):
        return 0.0
    return float(np.sqrt((offset**2).sum(1).mean()))


def _network_figures(alignment: Alignment) -> dict:
    """How far the network's angles were from the final ones, modulo 180 degrees; empty without a network."""
    known = np.flatnonzero(np.isfinite(alignment.network_angle))
    if len(known) < 2 or alignment.half_poses is None:
        return {}
    angle = type(alignment.poses)(alignment.network_angle[known])
    errors = np.abs(pose_errors(angle, mirrored_first(alignment.poses)[known], 180.0).rotation)
    return {"median_change": float(np.median(errors)), "within_5_degrees": float((errors < 5).mean())}


def examples(run: Run, alignment: Alignment) -> list[tuple[str, float, np.ndarray, np.ndarray]]:
    """The particles with the best and the worst scores, as the report shows them.

    Parameters
    ----------
    run : Run
        The run.
    alignment : Alignment
        Of its particles.

    Returns
    -------
    list of (str, float, array, array)
        Name, score and image (D, D) before and after of each, the best first.
    """
    from scipion_udl.report.page import example_indices  # matplotlib takes a second

    used = _shown(run)
    chosen = used[example_indices(alignment.score[used])]
    before = run.source.read(chosen)
    fill = torch.from_numpy(run.particles.statistics.mean[chosen].astype(np.float32))
    after = apply_poses(torch.from_numpy(before), fill, alignment.poses[chosen]).numpy()
    numbers = run.source.numbers
    return [(f"item {numbers[i]}", float(alignment.score[i]), b, a) for i, b, a in zip(chosen, before, after)]


def _write_report(run: Run, figures: dict, outcome: Outcome, history: list[dict] | None) -> None:
    from scipion_udl.report.data import ReportData  # matplotlib takes a second
    from scipion_udl.report.page import write_report  # matplotlib takes a second

    source, alignment = run.source, outcome.alignment
    rings = np.arange(1, len(outcome.frc))
    data = ReportData(
        summary=figures,
        average_before=outcome.averages.before,
        average_after=outcome.averages.all,
        frc=(rings / (source.box * source.pixel_size), outcome.frc[1:]),
        frc_independent=alignment.half_poses is not None,
        training=history,
        poses=alignment.poses,
        score=alignment.score,
        ambiguous=alignment.ambiguous,
        outlier=alignment.outlier,
        examples=examples(run, alignment),
    )
    write_report(run.out.scratch("report.html"), data)


def _class_examples(run: Run, one: ClassResult, count: int) -> list[tuple[str, float, np.ndarray]]:
    """The ``count`` best and worst particles of a class: name, score and a small copy of the aligned image."""
    from scipion_udl.report.page import example_indices  # matplotlib takes a second
    from scipion_udl.report.pictures import for_the_eye

    statistics = run.particles.statistics
    used = np.flatnonzero(~statistics.blank[one.members])
    chosen = used[example_indices(one.alignment.score[used], count)]
    if not len(chosen):
        return []
    items = one.members[chosen]
    fill = torch.from_numpy(statistics.mean[items].astype(np.float32))
    images = apply_poses(torch.from_numpy(run.source.read(items)), fill, one.alignment.poses[chosen]).numpy()
    names, scores = (f"item {run.source.numbers[i]}" for i in items), one.alignment.score[chosen]
    return [(name, float(score), for_the_eye(image)) for name, score, image in zip(names, scores, images)]


def write_class_report(
    run: Run,
    figures: dict,
    classes: list[ClassResult],
    alignment: Alignment,
    history: list[dict] | None,
    table: str,
) -> None:
    """Write report.html of classes.

    Parameters
    ----------
    run : Run
        The run.
    figures : dict
        summary.json.
    classes : list of ClassResult
        In the order of figures["classes"].
    alignment : Alignment
        Of all particles.
    history : list of dict or None
        Epochs of the training.
    table : str
        What `select` chooses from these classes by.
    """
    from scipion_udl.report.data import ClassEntry, ReportData  # matplotlib takes a second
    from scipion_udl.report.page import write_report  # matplotlib takes a second

    count = int(np.clip(EXAMPLES // max(len(classes), 1), 1, OF_A_CLASS))
    data = ReportData(
        summary=figures,
        average_before=None,
        average_after=None,
        frc=None,
        frc_independent=True,
        training=history,
        poses=alignment.poses,
        score=alignment.score,
        ambiguous=alignment.ambiguous,
        outlier=alignment.outlier,
        examples=examples(run, alignment),
        classes=[
            ClassEntry(f, one.images["before"], one.images["after"], one.frc[1:], _class_examples(run, one, count))
            for f, one in zip(figures["classes"], classes)
        ],
        table=table,
    )
    write_report(run.out.scratch("report.html"), data)


def count_warnings(warnings: list[Message]) -> list[str]:
    """The line that reminds of warnings, which the log has told in full.

    Parameters
    ----------
    warnings : list of Message
        Those of the run.

    Returns
    -------
    list of str
        That line; none without warnings.
    """
    return [f"Warnings            {len(warnings)}, told above and in the results"] if warnings else []


def alignment_text(run: Run, outcome: Outcome, path: str) -> str:
    """The screen's summary of `align`.

    Parameters
    ----------
    run : Run
        The run.
    outcome : Outcome
        What came of it.
    path : str
        The output folder.

    Returns
    -------
    str
        Several lines.
    """
    alignment, estimate, used = outcome.alignment, outcome.estimate, _shown(run)
    network = _network_figures(alignment)
    lines = [
        "",
        f"Particles           {len(run.source)} ({len(run.particles.usable)} with an image)",
        f"Diameter            {diameter_words(run.particles)}",
        f"Score (correlation) {alignment.score[used].mean():.3f} mean, {np.median(alignment.score[used]):.3f} median",
        f"Ambiguous           {int(alignment.ambiguous[used].sum())} could as well be rotated by 180 degrees",
        f"Outliers            {int(alignment.outlier.sum())} score as noise does, or show something else",
        f"Resolution          {f'{estimate.resolution:.1f} A' if estimate.resolution else 'none claimed'}",
        f"                    {estimate.note}",
    ]
    if network:
        lines.append(
            f"Network alone       {network['median_change']:.2f} degrees (median) from the refined angle, "
            f"{network['within_5_degrees']:.1%} within 5"
        )
    lines += [f"Results             {path}/report.html, aligned.star, aligned.xmd, average.mrcs"]
    return "\n".join([*lines, *count_warnings(run.warnings)])
