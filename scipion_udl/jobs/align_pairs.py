"""`scipion-udl align-pairs`: the rotation and the shift that bring the second image of a pair onto the first.

The network gives the rotation: the matching network for both images at once, less its answer to twice the same image; a
network of spectra for each image, modulo 180, so that two candidates are left. The shift, and which candidate is right,
tells the correlation of what both images show (overlap.py).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch

from scipion_udl.compute.device import choose_device, describe
from scipion_udl.compute.log import command_line
from scipion_udl.compute.progress import Progress
from scipion_udl.constants import __version__
from scipion_udl.errors import UdlError
from scipion_udl.imaging.fourier import to_fourier, transform
from scipion_udl.imaging.overlap import OverlapCorrelation
from scipion_udl.imaging.poses import Poses, compose, invert, wrap
from scipion_udl.io.output.data_files import write_json
from scipion_udl.io.output.folder import OutputFolder
from scipion_udl.io.particles import ParticleSource, open_particles
from scipion_udl.io.tables import Table, number_texts, quote, write_tables
from scipion_udl.messages import Message, entries, message
from scipion_udl.models.checkpoint import ModelCard, check_answers, load_model
from scipion_udl.models.matching import MatchingNetwork
from scipion_udl.models.network import Network, TellsRotations
from scipion_udl.particles.prepared import PreparedParticles
from scipion_udl.pipelines.guide import particle_inputs
from scipion_udl.settings.commands import PairSettings
from scipion_udl.validation.pose_errors import join, located_truth, pair_errors

CHUNK = 32  # pairs at a time
SEARCH_RANGE = 0.25  # the farthest shift where nobody gave one, parts of the box
DISC = 0.47
STEP = 2.0  # degrees between the angles that --search looks at


@dataclass
class PairedImages:
    """M pairs: item ``first[k]`` of one source and ``second[k]`` of another (or the same), int (M,) from 0."""

    one: ParticleSource
    other: ParticleSource
    first: np.ndarray
    second: np.ndarray

    def __len__(self) -> int:
        return len(self.first)

    def chunks(self, size: int) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor]]:
        """Read the pairs, some at a time.

        Parameters
        ----------
        size : int
            Pairs at a time.

        Yields
        ------
        slice, (n, D, D) float32 tensor, (n, D, D) float32 tensor
            Which pairs, their first and their second images.
        """
        for start in range(0, len(self), size):
            part = slice(start, min(start + size, len(self)))
            sides = ((self.one, self.first), (self.other, self.second))
            first, second = (torch.from_numpy(source.read(rows[part])) for source, rows in sides)
            yield part, first, second


@dataclass
class PairAlignment:
    """poses: (M,), each brings the second image of a pair onto the first; score: (M,) correlation after that, -1 to 1;
    0 where an image is constant, whose pose is 0."""

    poses: Poses
    score: np.ndarray


def pair_up(one: ParticleSource, other: ParticleSource | None = None) -> PairedImages:
    """Items 2k-1 and 2k of one source as pairs, or items k of two.

    Parameters
    ----------
    one : ParticleSource
        The images, or the first ones.
    other : ParticleSource, optional
        The second ones.

    Returns
    -------
    PairedImages
        All pairs.

    Raises
    ------
    UdlError
        Where they do not pair: an odd number in one source, or two of unequal number or box.
    """
    if other is None:
        if len(one) % 2:
            raise UdlError(message("pairs_odd", path=one.path, count=len(one)))
        items = np.arange(len(one))
        return PairedImages(one, one, items[::2], items[1::2])
    if len(one) != len(other):
        raise UdlError(
            message("pairs_of_unequal_number", path=one.path, one=len(one), other_path=other.path, other=len(other))
        )
    if one.box != other.box:
        raise UdlError(
            message("pairs_of_unequal_boxes", path=one.path, box=one.box, other_path=other.path, other_box=other.box)
        )
    return PairedImages(one, other, np.arange(len(one)), np.arange(len(one)))


class PairAligner:
    """Aligns pairs by a network's angles. reach: farthest shift, pixels; search: degrees about the network's angle
    that the correlation looks through, too (0: the network's angle as it is)."""

    def __init__(
        self, network: Network, card: ModelCard, device: torch.device, search_range: float, search: float = 0.0
    ) -> None:
        self.network, self.card, self.device, self.search_range = network, card, device, search_range
        steps = int(search // STEP)
        self._around = torch.arange(-steps, steps + 1, device=device) * STEP

    @torch.no_grad()
    def run(self, pairs: PairedImages, progress: Progress, chunk: int | None = None) -> PairAlignment:
        """Align all pairs.

        Parameters
        ----------
        pairs : PairedImages
            The pairs.
        progress : Progress
            Told how far it is.
        chunk : int, optional
            Pairs at a time; the result does not depend on it.

        Returns
        -------
        PairAlignment
            Poses that bring second images onto first ones.
        """
        box = pairs.one.box
        compare = OverlapCorrelation(box, self.search_range, DISC * box, self.device)
        network = self.network if isinstance(self.network, MatchingNetwork) else None
        single = None if network is not None else self._single_rotations(pairs, chunk)
        angle, shift, score = np.zeros(len(pairs)), np.zeros((len(pairs), 2)), np.zeros(len(pairs))
        for part, first, second in pairs.chunks(chunk or CHUNK):
            first, second = first.to(self.device), second.to(self.device)
            if network is not None:
                rotations = network.angles(first, second)[:, None]
            elif single is not None:
                rotations = _two_ways(single, part, self.device)
            found = self._settle(compare, first, second, rotations)
            blank = (_flat(first) | _flat(second)).cpu().numpy()
            for values, out in zip(found, (angle, shift, score)):
                out[part] = values.double().cpu().numpy()
                out[part][blank] = 0
            progress.show("pairs", part.stop, len(pairs))
        return PairAlignment(Poses(angle, shift), score)

    def _settle(
        self, compare: OverlapCorrelation, first: torch.Tensor, second: torch.Tensor, rotations: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The candidate rotation (n,), of (n, K) and those around them, that fits best, its shift and correlation."""
        coefficients, box = to_fourier(second), second.shape[-1]
        best: list[torch.Tensor] = []
        for angle in (rotations[..., None] + self._around).flatten(1).T:
            shift, score = compare.best(first, transform(coefficients, box, angle))
            if not best:
                best = [angle, shift, score]
                continue
            better = score > best[2]
            best = [
                torch.where(better.view(-1, *[1] * (new.ndim - 1)), new, old)
                for new, old in zip((angle, shift, score), best)
            ]
        return best[0], best[1], best[2]

    def _single_rotations(self, pairs: PairedImages, chunk: int | None) -> tuple[torch.Tensor, torch.Tensor]:
        """The turns (M,), degrees modulo 180, of the first and of the second images."""
        if pairs.one is pairs.other:
            rotations = self._rotations(pairs.one, chunk)
            return rotations[pairs.first], rotations[pairs.second]
        return self._rotations(pairs.one, chunk)[pairs.first], self._rotations(pairs.other, chunk)[pairs.second]

    def _rotations(self, source: ParticleSource, chunk: int | None) -> torch.Tensor:
        particles = PreparedParticles(source, self.device, chunk)
        look, network = particle_inputs(self.card), cast(TellsRotations, self.network)
        rotations = particles.all(
            np.arange(len(source)), "spectra", lambda part, values: network.rotations(look.of(values, particles.box))
        )
        return check_answers(rotations)


def _two_ways(single: tuple[torch.Tensor, torch.Tensor], part: slice, device: torch.device) -> torch.Tensor:
    """Both turns (n, 2) that bring the second image onto the first, of the turns of either modulo 180."""
    angle = single[0][part] - single[1][part]
    return torch.stack([angle, angle + 180.0], 1).to(device)


def _flat(images: torch.Tensor) -> torch.Tensor:
    """Which images (n, D, D) are constant, (n,)."""
    return images.std((-2, -1)) <= 1e-6 * images.abs().amax((-2, -1))


# The command.


def align_pairs(settings: PairSettings) -> dict[str, float]:
    """Do `scipion-udl align-pairs`: OUT/pairs.star and summary.json, a summary on the screen; errors against --truth.

    Parameters
    ----------
    settings : PairSettings
        The options.

    Returns
    -------
    dict of str to float
        The figures that are printed.

    Raises
    ------
    UdlError
        For wrong input.
    """
    folder = OutputFolder(settings.output, settings.overwrite, command="align-pairs")
    folder.spare([settings.input, settings.second, settings.model, settings.truth])
    with folder as out:
        device = choose_device(settings.gpu, settings.threads)
        one = open_particles(settings.input, settings.pixel_size)
        other = open_particles(settings.second, settings.pixel_size) if settings.second else None
        pairs = pair_up(one, other)
        out.spare([*one.files(), *(other.files() if other else [])])
        warnings = list(dict.fromkeys(one.warnings + (other.warnings if other else [])))
        for warning in warnings:
            print(f"Warning: {warning}", file=sys.stderr)
        print(f"Device: {describe(device)}", flush=True)
        network, card = load_model(settings.model, device)
        card.check_fits(one.box, one.pixel_size, settings.model)
        if card.network == "classes":
            raise UdlError(message("model_of_classes", path=settings.model))
        if card.config.get("views", 1) > 1:
            raise UdlError(message("model_of_several_classes", path=settings.model))
        search_range = SEARCH_RANGE * one.box if settings.max_shift is None else settings.max_shift
        if settings.search > 180:
            raise UdlError(message("search_too_wide", value=settings.search))
        if search_range > one.box / 2:
            raise UdlError(message("max_shift_too_large_for_pairs", value=search_range, most=one.box / 2))
        truth = true_poses(pairs, settings.truth) if settings.truth else None
        progress = Progress()
        found = PairAligner(network, card, device, search_range, settings.search).run(pairs, progress, settings.batch)
        progress.clear()
        figures = {"pairs": len(pairs), "score": float(found.score.mean())}
        table = pairs_table(pairs, found)
        if truth is not None:
            figures |= _errors(found.poses, *truth, table)
        write_tables(out.scratch("pairs.star"), [table])
        write_json(
            out.scratch("summary.json"), _record(settings, one, describe(device), search_range, figures, warnings)
        )
    print(_summary(figures, settings))
    return figures


def true_poses(pairs: PairedImages, path: str) -> tuple[Poses, np.ndarray]:
    """The true poses that bring the second images onto the first.

    Parameters
    ----------
    pairs : PairedImages
        M pairs.
    path : str
        A truth.star.

    Returns
    -------
    Poses
        (M,).
    (M, 2) array
        Where the middle of the view lies in the second images, pixels.

    Raises
    ------
    UdlError
        Where the file lacks one of the images.
    """
    images, poses = located_truth(path)
    rows = []
    for source, items in ((pairs.one, pairs.first), (pairs.other, pairs.second)):
        places = source.locations()
        found, row = join([places[k] for k in items], images)
        if len(found) < len(items):
            missing = items[np.setdiff1d(np.arange(len(items)), found)[0]]
            raise UdlError(message("truth_lacks_image", path=path, name=source.names[missing]))
        rows.append(row)
    first, second = poses[rows[0]], poses[rows[1]]
    return compose(invert(first), second), invert(second).shift


def pairs_table(pairs: PairedImages, found: PairAlignment) -> Table:
    """The table of pairs.star: rlnImageName, the second image, and the pose that brings it onto rlnReferenceImage, the
    first.

    Parameters
    ----------
    pairs : PairedImages
        The pairs.
    found : PairAlignment
        Their poses and scores.

    Returns
    -------
    Table
        A row a pair.
    """
    table, one, other = Table("particles"), pairs.one.lasting_names(), pairs.other.lasting_names()
    table.set("rlnImageName", [quote(other[k]) for k in pairs.second])
    table.set("rlnReferenceImage", [quote(one[k]) for k in pairs.first])
    for label, values in (
        ("udlAngle", found.poses.angle),
        ("udlShiftX", found.poses.shift[:, 0]),
        ("udlShiftY", found.poses.shift[:, 1]),
        ("rlnParticleFigureOfMerit", found.score),
    ):
        table.set(label, number_texts(values))
    return table


def _errors(found: Poses, truth: Poses, middle: np.ndarray, table: Table) -> dict[str, float]:
    """Figures of the errors, modulo 360; nothing is taken out of them. Adds udlAngleError to the table."""
    error = wrap(found.angle - truth.angle)
    table.set("udlAngleError", number_texts(error))
    off = np.abs(error)
    shift = np.hypot(*pair_errors(found, truth, middle).shift.T)
    return {
        "rotation_mean": float(off.mean()),
        "rotation_median": float(np.median(off)),
        **{f"within_{limit}": float((off < limit).mean()) for limit in (5, 10, 30)},
        "shift_median": float(np.median(shift)),
    }


def _summary(figures: dict[str, float], settings: PairSettings) -> str:
    lines = [f"{figures['pairs']} pairs aligned; correlation {figures['score']:.3f} on the mean"]
    if settings.truth:
        lines.append(
            f"rotation error: {figures['rotation_mean']:.2f} degrees on the mean, {figures['rotation_median']:.2f} in "
            "the median (of the full circle; chance is 90)"
        )
        within = ", ".join(f"{figures[f'within_{limit}']:.1%} within {limit}" for limit in (5, 10, 30))
        lines.append(f"{within} degrees; shift error {figures['shift_median']:.2f} px in the median")
    return "\n".join([*lines, f"pairs.star and summary.json are in {settings.output}"])


def _record(
    settings: PairSettings,
    source: ParticleSource,
    device: str,
    search_range: float,
    figures: dict[str, float],
    warnings: list[Message],
) -> dict:
    """The content of summary.json; search_range: the farthest shift, pixels."""
    return {
        "version": __version__,
        "command": command_line(),
        "input": settings.input,
        "second": settings.second,
        "model": settings.model,
        "truth": settings.truth,
        "box": source.box,
        "pixel_size": source.pixel_size,
        "pixel_size_known": source.pixel_size_known,
        "max_shift": search_range,
        "search": settings.search,
        "device": device,
        "figures": figures,
        "warnings": warnings,
        "messages": entries(warnings),
    }
