"""The command `align`: options in, files out. What is computed stands in the modules this one calls."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from scipion_udl.alignment import results
from scipion_udl.alignment.aligner import Aligner, Alignment, AlignSettings
from scipion_udl.alignment.averages import Averages, average_particles
from scipion_udl.alignment.certainty import certainty_warnings, share_of_sure, with_certainty
from scipion_udl.alignment.consistency import consider_views, image_warnings
from scipion_udl.alignment.fourier import soft_disc
from scipion_udl.alignment.geometry import Poses
from scipion_udl.alignment.ranks import Ranks
from scipion_udl.alignment.resolution import Claim, claim_resolution, image_frc
from scipion_udl.alignment.run import Run
from scipion_udl.alignment.spectra import SpectraSettings
from scipion_udl.alignment.spectrum_images import SpectrumImageSettings
from scipion_udl.alignment.train_command import CHECKPOINT, ENOUGH, MODEL, forget_checkpoint, train_model
from scipion_udl.errors import UdlError
from scipion_udl.io.images import read_image
from scipion_udl.io.outputs import OutputFolder
from scipion_udl.io.stacks import StackWriter
from scipion_udl.models.checkpoint import ModelCard, load_model

Inputs = SpectraSettings | SpectrumImageSettings


@dataclass
class Guide:
    """What tells the particles' angles: a network (None: every angle is searched) and its input; training: the summary
    of the training in this run, history: its epochs, both None where there was none."""

    network: nn.Module | None
    inputs: Inputs
    training: dict | None = None
    history: list[dict] | None = None


def align(args: argparse.Namespace) -> None:
    """`scipion-udl align`: aligned.star, aligned.xmd, averages, frc.csv, report.html, summary.json in OUT.

    args: as of train, without network and truth, and with model (a trained one), reference, max_shift, write_stack,
    no_refine, voltage, cs, amplitude_contrast.
    """
    folder = OutputFolder(args.output, args.overwrite, args.resume)
    with Ranks.from_environment() as team, team.folder(folder) as out:
        run = Run(args, out, team)
        team.by_first(lambda: forget_checkpoint(out, args))
        reference = _reference(run)
        settings = AlignSettings(_max_shift(run), args.seed, not args.no_refine)
        run.scan()
        run.use_contrast()
        guide = _guide(run)
        outcome = align_set(run, guide, settings, reference)
        run.note_contrast()
        if outcome is None:
            return
        results.write_alignment(run, outcome, guide.training, guide.history)
        _end(run)
        print(results.alignment_text(run, outcome, out.path))


def align_set(
    run: Run, guide: Guide, settings: AlignSettings, reference: np.ndarray | None = None
) -> results.Outcome | None:
    """Align the run's particles, which show one view, and say what is to be made of it; of a team, all but the first
    process get None. reference: (D, D), to bring the average onto."""
    particles = run.particles
    aligner = Aligner(particles, guide.network, guide.inputs, settings, run.say, run.transfer)
    alignment = _one(run) if len(particles.usable) == 1 else aligner.run(reference)
    averages = _average(run, alignment)
    alike = results.correntropies(run, alignment, averages)
    if not run.team.first:  # all that is left is small
        return None
    claim, frc = _claim(run, alignment, averages, guide.network is not None)
    if claim.signal is not None:
        claim = with_certainty(claim, share_of_sure(particles, alignment, averages, settings.max_shift))
    if claim.signal is False:
        run.warn(claim.note)
    claim, warnings = consider_views(particles, alignment, claim)
    for warning in (*image_warnings(particles), *certainty_warnings(claim.sure), *warnings):
        run.warn(warning)
    return results.Outcome(run, alignment, averages, claim, frc, alike)


def _end(run: Run) -> None:
    """What a run that ends well no longer needs."""
    if os.path.exists(run.out.final(CHECKPOINT)):
        os.remove(run.out.final(CHECKPOINT))
    run.progress.clear()


def _reference(run: Run) -> np.ndarray | None:
    if not run.args.reference:
        return None
    image, _ = read_image(run.args.reference)
    if image.shape[-1] != run.source.box:
        raise UdlError(
            f"The reference {run.args.reference} has {image.shape[-1]} px, the particles have "
            f"{run.source.box}: give one of the same box and pixel size."
        )
    if image.min() == image.max():
        raise UdlError(f"The reference {run.args.reference} is a constant image: give one that shows the particle.")
    return image


def _max_shift(run: Run) -> float:
    wanted, box = run.args.max_shift, run.source.box
    if wanted is not None and wanted > box / 2:
        raise UdlError(
            f"--max-shift {wanted:g} is more than half the box, {box / 2:g} px: give how far off the centre of its box "
            f"a particle may lie, or nothing for a tenth of the box."
        )
    return 0.1 * box if wanted is None else float(wanted)


def _guide(run: Run) -> Guide:
    """A network that is loaded, continued, or trained now; none for a few particles without a model."""
    args, out = run.args, run.out
    if args.model:
        network, card = _load(run, args.model)
        run.say(f"Model {args.model} ({card.method.upper()}, version {card.made_by})")
        return Guide(network, card.inputs())
    usable = len(run.particles.usable)
    if usable < ENOUGH:
        if args.no_refine:
            raise UdlError(
                f"--no-refine leaves the angles to the network, and {usable} particles are too few to train one (about "
                f"{ENOUGH} are needed): give a --model, or leave --no-refine out."
            )
        if usable > 1:
            run.warn(
                f"{usable} particles are too few to train on (about {ENOUGH} are needed): they are aligned in "
                "real space alone, and no resolution is claimed."
            )
        return Guide(None, SpectraSettings.for_box(run.particles.box))
    if args.resume and run.team.by_first(lambda: Path(out.final(MODEL)).exists()):
        run.say("Going on with the model that was trained before")
        network, card = _load(run, out.final(MODEL))
        history = run.team.by_first(lambda: results.read_history(out.final("training.csv")))
        return Guide(network, card.inputs(), card.training, history)
    result, card = train_model(run, None)
    run.method = card.method
    out.publish("training.csv", MODEL)  # now, so that a stopped run goes on from here
    return Guide(result.network, card.inputs(), result.summary, result.history)


def _load(run: Run, path: str) -> tuple[nn.Module, ModelCard]:
    network, card = load_model(path, run.device)
    card.check_fits(run.source.box, run.source.pixel_size, path)
    if card.inputs() is None:
        raise UdlError(f"{path} is a {card.network} network, which compares two images: use it with align-pairs.")
    run.method = card.method
    return network, card


def _one(run: Run) -> Alignment:
    """A single particle: nothing to align it to."""
    run.warn("One particle has nothing to be aligned to: it is left as it is.")
    n = len(run.source)
    nothing = np.zeros(n)
    return Alignment(
        poses=Poses.identity(n),
        half_poses=None,
        half=nothing.astype(np.int64),
        score=nothing,
        ambiguous=nothing.astype(bool),
        shared=0.0,
        searched=False,
        network_angle=np.full(n, np.nan),
        outlier=run.particles.statistics.blank.copy(),
    )


def _average(run: Run, alignment: Alignment) -> Averages:
    """The last pass: averages, and the aligned stack where it is asked for."""
    args, particles = run.args, run.particles
    poses = (alignment.poses, alignment.half_poses or alignment.poses)
    if not args.write_stack:
        return average_particles(particles, *poses, alignment.half)

    def with_stack() -> Averages:
        path = run.out.scratch("aligned.mrcs")
        with StackWriter(path, len(particles), run.source.box, run.source.pixel_size) as stack:
            return average_particles(particles, *poses, alignment.half, stack.write)

    return run.team.by_first(with_stack)  # a file has one writer: on a shared disk several are not safe


def _claim(run: Run, alignment: Alignment, averages: Averages, learned: bool) -> tuple[Claim, np.ndarray]:
    """What may be said of the resolution, and the FRC of the halves per Fourier ring."""
    source, particles = run.source, run.particles
    radius = particles.mask_radius * particles.scale
    mask = soft_disc(source.box, radius, max(4.0, 0.06 * source.box))
    frc = image_frc(*(torch.from_numpy(half) for half in averages.halves), mask)
    if alignment.half_poses is None:
        return Claim(None, None, "The halves were not aligned apart from each other: no resolution is claimed."), frc
    if not learned and len(particles.usable) < ENOUGH:
        return Claim(None, None, f"{len(particles.usable)} particles are too few: no resolution is claimed."), frc
    return claim_resolution(frc, source.box, source.pixel_size, alignment.shared, radius), frc
