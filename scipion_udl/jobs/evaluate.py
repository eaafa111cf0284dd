"""The command `evaluate`: an alignment against the truth, pair by pair, against a reference, and against itself."""

from __future__ import annotations

import sys

import numpy as np
import torch

from scipion_udl.alignment.given_poses import check_measure
from scipion_udl.compute.device import choose_device, describe
from scipion_udl.compute.log import command_line
from scipion_udl.compute.progress import Progress
from scipion_udl.constants import __version__
from scipion_udl.errors import UdlError
from scipion_udl.imaging.half_set_frc import CLAIM
from scipion_udl.imaging.poses import Poses, invert, pose_errors
from scipion_udl.io import dialects
from scipion_udl.io.images import file_of, read_image
from scipion_udl.io.output.data_files import write_csv, write_json
from scipion_udl.io.output.folder import OutputFolder
from scipion_udl.io.particles import ParticleSource, open_particles
from scipion_udl.io.source import table_of
from scipion_udl.messages import Message, entries, message
from scipion_udl.particles.diameter import given_radius, size_words
from scipion_udl.report import evaluation_figures, figures
from scipion_udl.results import evaluation_tables
from scipion_udl.settings.commands import EvaluateSettings
from scipion_udl.settings.option import given
from scipion_udl.validation.correntropy import correntropy
from scipion_udl.validation.partial_averages import Parts, read_parts
from scipion_udl.validation.pose_errors import (
    bias,
    compare,
    compare_pairs,
    join,
    located_truth,
    pair_errors,
    periods,
    relative_poses,
)
from scipion_udl.validation.reference_match import RADIUS, crossing, match_reference, soft_circle


class _Evaluation:
    """What one evaluation works with, and what it has found: ``figures`` by name, ``rows`` of panels, ``warnings``."""

    def __init__(self, settings: EvaluateSettings, out: OutputFolder) -> None:
        self.settings, self.out = settings, out
        self.device = choose_device(settings.gpu, settings.threads)
        print(f"Device: {describe(self.device)}")
        self.source = open_particles(settings.aligned, settings.pixel_size)
        out.spare(self.source.files())
        self.poses = _aligned_poses(self.source)
        self.warnings: list[Message] = []
        for sentence in [*self.source.warnings, self.source.missing_poses()]:
            if sentence:
                self.warn(sentence)
        classes = _classes(self.source)
        if classes > 1:
            self.warn(message("evaluated_classes", path=settings.aligned, classes=classes))
        source = self.source
        facts = (source.box, source.pixel_size, source.pixel_size_known)
        given = given_radius(settings, *facts, settings.aligned)
        self.radius = RADIUS if given is None else given / source.box  # of the circle, as share of the box
        print(f"Compared within: {size_words(self.radius * source.box, *facts[1:])}")
        self.figures: dict[str, float] = {"particles": len(self.source)}
        self.rows: list[evaluation_figures.Row] = []

    @property
    def unit(self) -> str:
        """Of what is a resolution: without a pixel size, angstrom mean nothing."""
        return "A" if self.source.pixel_size_known else "px"

    def warn(self, sentence: Message) -> None:
        """A warning: on the screen now, in the summary later."""
        self.warnings.append(sentence)
        print(f"Warning: {sentence}", file=sys.stderr)


def evaluate(settings: EvaluateSettings) -> dict[str, float]:
    """Do `scipion-udl evaluate`: a table on the screen; evaluation.csv, evaluation.png, frc.csv and summary.json in the
    folder, errors.csv with a truth, pairs.csv with pairs.

    Parameters
    ----------
    settings : EvaluateSettings
        The options.

    Returns
    -------
    dict of str to float
        The figures.

    Raises
    ------
    UdlError
        For wrong input.
    """
    if settings.symmetry and not settings.truth:
        raise UdlError(message("symmetry_without_truth"))
    folder = OutputFolder(settings.output, settings.overwrite, command="evaluate")
    folder.spare([settings.aligned, settings.truth, file_of(settings.reference)])
    with folder as out:
        job = _Evaluation(settings, out)
        if settings.pairs and len(job.source) < 2:
            raise UdlError(message("one_particle_to_evaluate", path=settings.aligned))
        reference = _reference(job) if settings.reference else None
        if settings.truth:
            _against_truth(job)
        weight = torch.from_numpy(soft_circle(job.source.box, job.radius)).to(job.device)
        progress = Progress()
        parts = read_parts(
            job.source, job.poses, job.device, weight, settings.batch, settings.pairs, progress.show, job.warn
        )
        progress.clear()
        if reference is not None:
            _against_reference(job, parts, reference, weight)
        _against_itself(job, parts, weight)
        _write(job)
    return job.figures


def _classes(source: ParticleSource) -> int:
    """How many classes the table of the particles tells of; 1 where it tells of none."""
    told = np.empty(0) if source.table is None else dialects.told_classes(source.table, source.form)
    return max(1, len(told))


def _aligned_poses(source: ParticleSource) -> Poses:
    poses = source.poses()
    if poses is None:
        raise UdlError(message("evaluated_without_poses", path=source.path))
    if source.has_3d_angles:
        raise UdlError(message("evaluated_3d_poses", path=source.path))
    return check_measure(poses, source.box, source.path)


# Against the truth.


def _against_truth(job: _Evaluation) -> None:
    source, path, symmetry = job.source, given(job.settings.truth), job.settings.symmetry
    images, truth = located_truth(path)
    rows, true_rows = join(source.locations(), images)
    if not len(rows):
        raise UdlError(message("truth_of_others", path=path, other=source.path))
    following = np.flatnonzero(np.diff(rows) == 1)
    if job.settings.pairs and not len(following):
        raise UdlError(message("no_neighbours", path=path, other=source.path))
    found, truth = job.poses[rows], truth[true_rows]
    job.figures |= compare(found, truth, source.pixel_size, symmetry) | bias(found, truth)
    print(evaluation_tables.truth_table(job.figures, symmetry, source.path, path))
    if len(rows) < len(source):
        print(f"{len(source) - len(rows)} of {len(source)} particles are not in {path} and were left out.")
    shift = pose_errors(found, truth).shift
    errors = {e: pose_errors(found, truth, p).rotation for e, p in periods(symmetry).items()}
    job.rows.append(lambda part: evaluation_figures.draw_errors(part, errors, shift, "particles"))
    _write_errors(job, rows, errors, shift)
    if job.settings.pairs:
        _pairs_against_truth(job, rows, following, found, truth)


def _pairs_against_truth(job: _Evaluation, rows: np.ndarray, first: np.ndarray, found: Poses, truth: Poses) -> None:
    """found, truth: poses (M,) of the particles in ``rows`` (M,) of the table; first: those whose next one follows."""
    symmetry = job.settings.symmetry
    rotations = relative_poses(found, first), relative_poses(truth, first)
    centre = invert(truth[first]).shift
    job.figures |= compare_pairs(*rotations, centre, job.source.pixel_size, symmetry)
    print(evaluation_tables.pairs_table(job.figures, symmetry))
    shift = pair_errors(*rotations, centre).shift
    errors = {e: pose_errors(*rotations, p).rotation for e, p in periods(symmetry).items()}
    job.rows.append(lambda part: evaluation_figures.draw_errors(part, errors, shift, "pairs"))
    names = job.source.names
    write_csv(
        job.out.scratch("pairs.csv"),
        ["image", "next", *_error_labels(errors)],
        ([names[rows[k]], names[rows[k + 1]], *_error_texts(errors, shift, number)] for number, k in enumerate(first)),
    )


def _error_labels(errors: dict[str, np.ndarray]) -> list[str]:
    return [*(f"rotation_error{ending}" for ending in errors), "shift_error_x", "shift_error_y"]


def _error_texts(errors: dict[str, np.ndarray], shift: np.ndarray, k: int) -> list[str]:
    return [f"{number:.4f}" for number in (*(values[k] for values in errors.values()), *shift[k])]


def _write_errors(job: _Evaluation, rows: np.ndarray, errors: dict[str, np.ndarray], shift: np.ndarray) -> None:
    """errors.csv, particle by particle, with the score where the table has one: are low scores the wrong ones?"""
    source = job.source
    label = dialects.SCORE_LABEL[source.form]
    table = table_of(source)
    score = table.texts(label) if label in table else [""] * len(source)
    write_csv(
        job.out.scratch("errors.csv"),
        ["image", *_error_labels(errors), "score"],
        ([source.names[row], *_error_texts(errors, shift, k), score[row]] for k, row in enumerate(rows)),
    )


# Against a reference.


def _reference(job: _Evaluation) -> np.ndarray:
    image, source = given(job.settings.reference), job.source
    reference, pixel_size = read_image(image)
    if reference.shape != (source.box, source.box):
        raise UdlError(
            message(
                "evaluation_reference_size",
                image=image,
                width=reference.shape[1],
                height=reference.shape[0],
                table=source.path,
                box=source.box,
            )
        )
    if pixel_size and abs(pixel_size / source.pixel_size - 1) > 0.01 and source.pixel_size_known:
        job.warn(
            message(
                "reference_of_other_pixel_size", image=image, pixel_size=pixel_size, own_pixel_size=source.pixel_size
            )
        )
    return reference


def _against_reference(job: _Evaluation, parts: Parts, reference: np.ndarray, weight: torch.Tensor) -> None:
    average = given(parts.averages(1))[0].cpu().numpy()
    match = match_reference(average, reference, job.source.pixel_size, job.radius)
    pair = torch.from_numpy(match.average), torch.from_numpy(match.reference)
    job.figures |= {
        "correlation": match.correlation,
        "correntropy": float(correntropy(*pair, weight.cpu())),
        "resolution_frc_0.5": match.resolution,
        "turn": float(match.pose.angle[0]),
        "shift_x": float(match.pose.shift[0, 0]),
        "shift_y": float(match.pose.shift[0, 1]),
    }
    print(evaluation_tables.reference_table(job.figures, given(job.settings.reference), job.unit, match))
    images, curve = (match.average, match.reference), (match.frequency, match.frc)
    job.rows.append(
        lambda part: evaluation_figures.draw_reference(part, *images, *curve, match.resolution, _sign(job.unit))
    )


# Against itself.


def _against_itself(job: _Evaluation, parts: Parts, weight: torch.Tensor) -> None:
    source = job.source
    found = parts.correntropies(weight)
    if np.isfinite(parts.neighbours):
        found["pair_correntropy"] = parts.neighbours
    frc, reaches_end = parts.frc(weight), False
    if frc is not None:
        frequency = np.arange(len(frc)) / (source.box * source.pixel_size)
        found["half_frc_0.143"], reaches_end = crossing(frequency, frc, CLAIM)
        first, second = (half.cpu().numpy() for half in given(parts.averages(2)))
        job.rows.append(
            lambda part: evaluation_figures.draw_halves(
                part, (first, second), frequency, frc, found["half_frc_0.143"], _sign(job.unit)
            )
        )
        texts = ([f"{f:.6g}", f"{1 / f:.6g}", f"{value:.5f}"] for f, value in zip(frequency[1:], frc[1:]))
        write_csv(job.out.scratch("frc.csv"), ["frequency", "resolution", "frc"], texts)
    job.figures |= found
    print(evaluation_tables.consistency_table(job.figures, len(source), job.unit, reaches_end))


def _sign(unit: str) -> str:
    return "Å" if unit == "A" else unit


def _write(job: _Evaluation) -> None:
    """evaluation.csv, evaluation.png and summary.json."""
    settings, source, out = job.settings, job.source, job.out
    evaluation_tables.write_figures(out.scratch("evaluation.csv"), job.figures, settings.symmetry, job.unit)
    written = ["evaluation.csv", *(["evaluation.png"] if job.rows else [])]
    if job.rows:
        with figures.style():
            evaluation_figures.evaluation_figure(job.rows).savefig(out.scratch("evaluation.png"), dpi=150)
    summary = {
        "version": __version__,
        "command": command_line(),
        "input": settings.aligned,
        "truth": settings.truth,
        "reference": settings.reference,
        "symmetry": settings.symmetry,
        "box": source.box,
        "pixel_size": source.pixel_size,
        "pixel_size_known": source.pixel_size_known,
        "mask_radius": round(job.radius * source.box, 2),
        "device": describe(job.device),
        "figures": {key: value if np.isfinite(value) else None for key, value in job.figures.items()},
        "warnings": job.warnings,
        "messages": entries(job.warnings),
    }
    write_json(out.scratch("summary.json"), summary)
    print(f"\n{out.path}: {', '.join(written)}, and what they are made of")
