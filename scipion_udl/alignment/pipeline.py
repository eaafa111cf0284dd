"""The commands `train` and `align`: options in, files out. What is computed stands in the modules this one calls."""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from scipion_udl.alignment import results
from scipion_udl.alignment.aligner import Aligner, Alignment, AlignSettings
from scipion_udl.alignment.averages import Averages, average_particles
from scipion_udl.alignment.certainty import certainty_warnings, share_of_sure, with_certainty
from scipion_udl.alignment.consistency import consider_views, image_warnings
from scipion_udl.alignment.evaluation import join, located_truth
from scipion_udl.alignment.fourier import soft_disc
from scipion_udl.alignment.geometry import Poses, pose_errors
from scipion_udl.alignment.ranks import Ranks
from scipion_udl.alignment.resolution import Claim, claim_resolution, image_frc
from scipion_udl.alignment.run import Run
from scipion_udl.alignment.spectra import SpectraSettings, polar_log_spectra
from scipion_udl.alignment.template import reliable_radii
from scipion_udl.alignment.training import (
    SUBSET,
    TrainingResult,
    TrainingSettings,
    new_network,
    train_network,
    write_history,
)
from scipion_udl.errors import UdlError
from scipion_udl.io.images import read_image
from scipion_udl.io.outputs import OutputFolder
from scipion_udl.io.stacks import StackWriter
from scipion_udl.models.checkpoint import ModelCard, load_model, save_model

ENOUGH = 128  # particles that training needs
CHECKPOINT = "checkpoint.safetensors"
MODEL = "model.safetensors"


def train(args: argparse.Namespace) -> None:
    """`scipion-udl train`: OUT/model.safetensors, training.csv, training.png, summary.json.

    args: input, output, overwrite, resume, method, network, model, truth, epochs, lr, mask_radius, gpu, seed, threads,
    batch, pixel_size. Raises UdlError where the input cannot be trained on.
    """
    folder = OutputFolder(args.output, args.overwrite, args.resume)
    with Ranks.from_environment() as team, team.folder(folder) as out:
        run = Run(args, out, team)
        team.by_first(lambda: _forget_checkpoint(out, args))
        run.scan()
        usable = len(run.particles.usable)
        if usable < ENOUGH:
            raise UdlError(f"{args.input} has {usable} particles with an image; training needs at least {ENOUGH}.")
        result, card, _ = team.by_first(lambda: _train(run, args.model))
        if not team.first:
            return
        summary = results.summary(run, training=result.summary, method=card.method)
        results.write_json(out.scratch("summary.json"), summary)
        results.write_training_figure(out.scratch("training.png"), result.history)
        out.publish(MODEL, "training.csv", "summary.json")
        run.progress.clear()
        print(results.training_text(result.summary, out.final(MODEL), run.warnings, result.history))


def _forget_checkpoint(out: OutputFolder, args: argparse.Namespace) -> None:
    if args.overwrite and not args.resume and os.path.exists(out.final(CHECKPOINT)):
        os.remove(out.final(CHECKPOINT))


def _train(run: Run, start: str | None) -> tuple[TrainingResult, ModelCard, SpectraSettings]:
    """Train on a subset of the run's particles and publish model and history."""
    args, particles = run.args, run.particles
    network, card = (None, None) if start is None else load_model(start, run.device)
    if card is not None:
        card.check_fits(run.source.box, run.source.pixel_size, start)
        if card.method != args.method:
            raise UdlError(f"{start} is a {card.method} model: train it on with --method {card.method}.")
    spectra = SpectraSettings(**card.spectra) if card else SpectraSettings.for_box(particles.box)
    settings = TrainingSettings(args.method, args.epochs, args.lr, seed=args.seed)
    subset = particles.subset(SUBSET, args.seed)
    data = particles.all(
        subset, "spectra", lambda part, values: polar_log_spectra(values, particles.box, spectra)
    )
    if card is None:
        spectra = replace(spectra, r_max=spectra.r_min + reliable_radii(data, args.seed) - 1)
        data = data[:, : spectra.radii].contiguous()
    torch.manual_seed(args.seed)  # the first weights, too, come from the seed alone
    name, fresh = new_network(args.method, spectra)
    finest = run.source.box * run.source.pixel_size / spectra.r_max
    run.say(f"Training ({args.method.upper()}) on the spectra of {len(subset)} particles, up to {finest:.1f} A")
    result = train_network(
        data,
        network or fresh,
        settings,
        started=network is not None,
        checkpoint=run.out.final(CHECKPOINT),
        report=run.epoch,
        monitor=_true_error(run, subset, data),
    )
    done = result.summary
    best = f"number {done['best_epoch']} is the best" if done["best_epoch"] else "none is better than the start"
    run.say(f"Trained for {_epochs(done)}: {best}")
    if not done["converged"]:
        run.warn(
            f"Training had not converged after {_epochs(done)}: give it more with --epochs, or go on with "
            f"--continue."
        )
    card = ModelCard(
        method=args.method,
        network=name,
        config=result.network.config,
        spectra=asdict(spectra),
        box=run.source.box,
        pixel_size=run.source.pixel_size,
        contrast=results.contrast(particles.statistics.bright),
        training={**done, "input": os.path.basename(args.input)},
    )
    save_model(run.out.scratch(MODEL), result.network, card)
    write_history(run.out.scratch("training.csv"), result.history)
    return result, card, spectra


def _true_error(run: Run, subset: np.ndarray, data: torch.Tensor) -> object:
    """A monitor that logs the network's true error per epoch where a truth was given; it teaches nothing."""
    path = getattr(run.args, "truth", None)
    if not path:
        return None
    images, truth = located_truth(path)
    rows, true_rows = join([run.source.locations()[i] for i in subset], images)
    if not len(rows):
        raise UdlError(f"{path} names none of the particles of {run.args.input}.")
    index = torch.from_numpy(rows).to(data.device)

    def monitor(network: nn.Module) -> dict:
        with torch.no_grad():
            turns = torch.cat([network.turns(part) for part in data[index].split(512)])
        errors = pose_errors(Poses(-turns.double().cpu().numpy()), truth[true_rows], 180.0).rotation
        return {"true_error": float(np.abs(errors).mean())}

    return monitor


def align(args: argparse.Namespace) -> None:
    """`scipion-udl align`: aligned.star, aligned.xmd, averages, frc.csv, report.html, summary.json in OUT.

    args: as of train, without network and truth, and with model (a trained one), reference, max_shift, write_stack,
    no_refine, voltage, cs, amplitude_contrast.
    """
    folder = OutputFolder(args.output, args.overwrite, args.resume)
    with Ranks.from_environment() as team, team.folder(folder) as out:
        run = Run(args, out, team)
        team.by_first(lambda: _forget_checkpoint(out, args))
        reference = _reference(run)
        settings = AlignSettings(_max_shift(run), args.seed, not args.no_refine)
        run.scan()
        transfer = run.use_contrast()
        network, spectra, training, history = team.by_first(lambda: _network(run))
        aligner = Aligner(run.particles, network, spectra, settings, run.say, transfer)
        alignment = _one(run) if len(run.particles.usable) == 1 else aligner.run(reference)
        run.note_contrast()
        averages = _average(run, alignment)
        alike = results.correntropies(run, alignment, averages)
        if not team.first:  # all that is left is small
            return
        claim, frc = _claim(run, alignment, averages, network is not None)
        if claim.signal is not None:
            sure = share_of_sure(run.particles, alignment, averages, settings.max_shift)
            claim = with_certainty(claim, sure)
        if claim.signal is False:
            run.warn(claim.note)
        claim, warnings = consider_views(run.particles, alignment, claim)
        for warning in (*image_warnings(run.particles), *certainty_warnings(claim.sure), *warnings):
            run.warn(warning)
        results.write_alignment(run, alignment, averages, claim, frc, training, history, alike)
        if os.path.exists(out.final(CHECKPOINT)):
            os.remove(out.final(CHECKPOINT))
        run.progress.clear()
        print(results.alignment_text(run, alignment, claim, out.path))


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


def _epochs(training: dict) -> str:
    return "1 epoch" if training["epochs"] == 1 else f"{training['epochs']} epochs"


def _max_shift(run: Run) -> float:
    wanted, box = run.args.max_shift, run.source.box
    if wanted is not None and wanted > box / 2:
        raise UdlError(
            f"--max-shift {wanted:g} is more than half the box, {box / 2:g} px: give how far off the centre of its box "
            f"a particle may lie, or nothing for a tenth of the box."
        )
    return 0.1 * box if wanted is None else float(wanted)


def _network(run: Run) -> tuple[nn.Module | None, SpectraSettings, dict | None, list[dict] | None]:
    """(network or None, its input, training summary, history): loaded, continued, or trained now."""
    args, out = run.args, run.out
    if args.model:
        network, card = load_model(args.model, run.device)
        card.check_fits(run.source.box, run.source.pixel_size, args.model)
        run.say(f"Model {args.model} ({card.method.upper()}, version {card.made_by})")
        run.method = card.method
        return network, SpectraSettings(**card.spectra), None, None
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
        return None, SpectraSettings.for_box(run.particles.box), None, None
    if args.resume and Path(out.final(MODEL)).exists():
        run.say("Going on with the model that was trained before")
        network, card = load_model(out.final(MODEL), run.device)
        card.check_fits(run.source.box, run.source.pixel_size, out.final(MODEL))
        run.method = card.method
        return network, SpectraSettings(**card.spectra), card.training, results.read_history(out.final("training.csv"))
    result, card, spectra = _train(run, None)
    run.method = card.method
    out.publish("training.csv", MODEL)  # now, so that a stopped run goes on from here
    return result.network, spectra, result.summary, result.history


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
