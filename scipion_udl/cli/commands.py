"""The commands of `scipion-udl`: what each does, its settings, and the job that does it. A command imports what it
needs when it runs; nothing heavy is imported here."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scipion_udl.cli.parser import add_command, new_parser
from scipion_udl.constants import __version__
from scipion_udl.errors import UdlError
from scipion_udl.messages import message
from scipion_udl.settings import commands as settings_of
from scipion_udl.settings.option import Settings


@dataclass(frozen=True)
class Command:
    """One of them. text: what it does, in a line; more: the rest of its description; run: does it, and returns the exit
    code where that is not 0."""

    name: str
    text: str
    more: str
    settings: type[Settings]
    run: Callable[[Any], int | None]


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands.

    Returns
    -------
    argparse.ArgumentParser
        What it has parsed has ``run``, which does the work that is asked for, and ``settings``, of which kind the
        options are.
    """
    parser = new_parser(
        "scipion-udl",
        "Align cryo-EM particles of one view in 2D, without labels: unsupervised difference learning.",
        "Each command explains itself: scipion-udl COMMAND --help",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        made = add_command(commands, command.name, command.text, command.more, command.settings)
        made.set_defaults(run=command.run, settings=command.settings)
        if command.settings is settings_of.RelionSettings:
            made.passes, made.allow_abbrev = True, False
    return parser


def _simulate(settings: settings_of.SimulateSettings) -> None:
    if settings.photos:
        from scipion_udl.jobs.simulate_photos import simulate_photos

        simulate_photos(settings)
        return
    from scipion_udl.jobs.simulate import simulate

    simulate(settings)


def _train(settings: settings_of.TrainSettings) -> None:
    from scipion_udl.jobs.train import train

    train(settings)


def _align(settings: settings_of.AlignSettings) -> None:
    if settings.append_to:
        from scipion_udl.jobs.append import join

        join(settings)
        return
    if settings.pool:
        raise UdlError(message("pool_without_join"))
    from scipion_udl.jobs.align import align

    align(settings)


def _classify(settings: settings_of.ClassifySettings) -> None:
    if settings.repeat is not None:
        from scipion_udl.jobs.repeat import classify_again

        classify_again(settings)
        return
    from scipion_udl.jobs.classify import classify

    classify(settings)


def _select(settings: settings_of.SelectSettings) -> None:
    from scipion_udl.jobs.select import select

    select(settings)


def _compare(settings: settings_of.CompareSettings) -> None:
    from scipion_udl.jobs.compare import compare

    compare(settings)


def _align_pairs(settings: settings_of.PairSettings) -> None:
    from scipion_udl.jobs.align_pairs import align_pairs

    align_pairs(settings)


def _evaluate(settings: settings_of.EvaluateSettings) -> None:
    from scipion_udl.jobs.evaluate import evaluate

    evaluate(settings)


def _check(settings: settings_of.CheckSettings) -> None:
    from scipion_udl.jobs.check import check

    check(settings)


def _relion(settings: settings_of.RelionSettings) -> int:
    from scipion_udl.jobs.relion import run_job

    return run_job(settings)


def _diameter(settings: settings_of.DiameterSettings) -> None:
    from scipion_udl.jobs.diameter import tell_diameter

    tell_diameter(settings)


def _gpus(_settings: settings_of.GpusSettings) -> None:
    import torch

    names = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    print(json.dumps({"version": __version__, "torch": torch.__version__, "gpus": names}))


COMMANDS = (
    Command(
        "simulate",
        "make synthetic particles whose true poses are known",
        "One view of a phantom or of an image of yours, in any in-plane orientation, off centre, seen through the CTF "
        "of a microscope, in noise; with --views a molecule, from many directions; with --realistic as "
        "extraction leaves particles, with neighbours, junk and ramps. Writes OUT/particles.mrcs, particles.star, "
        "truth.star, template.mrc (volume.mrc of many views) and parameters.json, which holds all "
        "options and the command that makes the same set again. Particles keep the contrast of the template: the "
        "phantoms are bright on a dark ground.",
        settings_of.SimulateSettings,
        _simulate,
    ),
    Command(
        "train",
        "train the network on particles, without labels",
        "Writes OUT/model.safetensors (weights and what they are) and training.csv. `align` does this by itself when "
        "it gets no model.",
        settings_of.TrainSettings,
        _train,
    ),
    Command(
        "align",
        "align particles of one view to each other",
        "Writes OUT/aligned.star and aligned.xmd (pose, score and a flag for particles whose two candidate "
        "orientations cannot be told apart), average.mrcs, report.html, and more. Trains on the input first, unless a "
        "model is given.",
        settings_of.AlignSettings,
        _align,
    ),
    Command(
        "classify",
        "sort particles of many views into 2D classes, and align each class",
        "A network learns a template of each class, without labels: assignment and alignment together. Writes "
        "OUT/classes.star and classes.xmd (class, pose, score), averages.mrcs (class 1, the largest, first), "
        "classes.csv, report.html, model.safetensors, and more. Every particle is in some class; classes of "
        "noise, and those that show no particle, are flagged.",
        settings_of.ClassifySettings,
        _classify,
    ),
    Command(
        "select",
        "choose good classes and particles, of any program's classes",
        "Each class gets a quality from 0 to 1 and what speaks against it, each particle the probability that it is "
        "good; what is chosen goes into OUT/selected.star, .xmd (and .cs), all else into rest.star, .xmd (and .cs): "
        "nothing is lost. Writes averages.mrcs of the chosen classes, selection.csv, report.html, and more. Classes of "
        "other programs are aligned again, each to itself, to be judged; their tables come back as they were, with the "
        "quality in a further column.",
        settings_of.SelectSettings,
        _select,
    ),
    Command(
        "compare",
        "compare classifications of the same particles, of any program",
        "Particles of the runs are known again by their images, classes are matched one to one by their particles. "
        "Tells the adjusted Rand index of every pair of runs, which share of each class comes again in the others, "
        "which classes came apart and which only one run has. Writes OUT/compare.star and .xmd (the rows of the first "
        "run as they were, with the class that most runs agree on), compare.csv (a row a class), compare.png, "
        "report.html and summary.json.",
        settings_of.CompareSettings,
        _compare,
    ),
    Command(
        "align-pairs",
        "rotate and shift the second image of each pair onto the first",
        "Items 2k-1 and 2k of INPUT are a pair; with SECOND, item k of both. The model gives the rotation: a matching "
        "network over all angles, one of spectra (polar, resnet) modulo 180. The shift, and which of two turns is "
        "right, comes from the correlation of what both images show. Writes OUT/pairs.star and summary.json.",
        settings_of.PairSettings,
        _align_pairs,
    ),
    Command(
        "check",
        "look through particles before a run",
        "Reads every image once and prints a table of all that is wrong or worth knowing: missing files, numbers past "
        "the end, NaN, constant images, mixed boxes, pixel sizes that differ, contrast, images that come twice, "
        "classes; and about how long an alignment takes. The exit code is 0 where the set can be aligned, warnings or "
        "not, and 1 where it cannot.",
        settings_of.CheckSettings,
        _check,
    ),
    Command(
        "evaluate",
        "measure how good an alignment is",
        "Against true poses (of `simulate`), against a reference image, or, with neither, by what parts of the set "
        "agree on. Prints a table; writes evaluation.csv, evaluation.png, and more.",
        settings_of.EvaluateSettings,
        _evaluate,
    ),
    Command(
        "relion",
        "align, classify or select as a job of RELION (job type External)",
        "Takes the options that RELION's External job passes on, and all options of align; with --classify K or "
        "--select those of classify or select. Writes particles.star, run_classes.mrcs, run_model.star, "
        "run_optimiser.star and RELION_OUTPUT_NODES.star into the job's folder, the results of the command into a "
        "folder of its name there, and ends with RELION_JOB_EXIT_SUCCESS, _FAILURE or _ABORTED. In RELION: External "
        "executable `scipion-udl relion`, Input particles your particles.star, and options of align as parameters, "
        "such as max-shift with 5. A job that was stopped goes on when it is run again. Run it in the project folder.",
        settings_of.RelionSettings,
        _relion,
    ),
    Command(
        "diameter",
        "print the diameter of the particles that a run would take by itself",
        "One line of JSON: diameter (A, null where the pixel size is not known), mask_radius (pixels), diameter_from "
        "(data: found in the images; box: nearly the whole box, as nothing was found). Looks at every particle, as a "
        "run does, or, quicker, at some.",
        settings_of.DiameterSettings,
        _diameter,
    ),
    Command(
        "gpus",
        "print the GPUs that this program can use",
        "One line of JSON.",
        settings_of.GpusSettings,
        _gpus,
    ),
)
