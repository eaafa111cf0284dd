"""The commands of `scipion-udl` and their options. Only argparse is imported here; a command imports what it needs when
it runs."""

from __future__ import annotations

import argparse
import json

from scipion_udl import values as take
from scipion_udl.cli.options import (
    IMAGE,
    INPUT,
    Parser,
    add_classes,
    add_classification,
    add_computing,
    add_diameter,
    add_learning,
    add_microscope,
    add_network,
    add_output,
    add_particle,
    new_command,
)
from scipion_udl.cli.simulate_options import add_simulated
from scipion_udl.constants import __version__
from scipion_udl.errors import UdlError


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; parsed arguments have ``run``, the function that does the work."""
    parser = Parser(
        prog="scipion-udl",
        description="Align cryo-EM particles of one view in 2D, without labels: unsupervised difference learning.",
        epilog="Each command explains itself: scipion-udl COMMAND --help",
    )
    parser.add_argument("--version", action="version", version=f"scipion-udl {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_simulate(commands)
    _add_train(commands)
    _add_align(commands)
    _add_classify(commands)
    _add_align_pairs(commands)
    _add_check(commands)
    _add_evaluate(commands)
    _add_relion(commands)
    _add_diameter(commands)
    _add_gpus(commands)
    return parser


def _add_simulate(commands: argparse._SubParsersAction) -> None:
    parser = new_command(
        commands,
        "simulate",
        "make synthetic particles whose true poses are known",
        "One view of a phantom or of an image of yours, in any in-plane orientation, off centre, seen through the CTF "
        "of a microscope, in noise; with --views a molecule, from many directions; with --realistic as "
        "extraction leaves particles, with neighbours, junk and ramps. Writes OUT/particles.mrcs, particles.star, "
        "truth.star, template.mrc (volume.mrc of many views) and parameters.json, which holds all "
        "options and the command that makes the same set again. Particles keep the contrast of the template: the "
        "phantoms are bright on a dark ground.",
        _simulate,
    )
    parser.add_argument("output", metavar="OUT", help="folder for the results, made new")
    parser.add_argument("--overwrite", action="store_true", help="replace the results of an earlier run in OUT")
    add_simulated(parser)
    add_computing(parser, seed=1)


def _add_train(commands: argparse._SubParsersAction) -> None:
    parser = new_command(
        commands,
        "train",
        "train the network on particles, without labels",
        "Writes OUT/model.safetensors (weights and what they are) and training.csv. `align` does this by itself when "
        "it gets no model.",
        _train,
    )
    parser.add_argument("input", metavar="INPUT", help=INPUT)
    add_output(parser)
    parser.add_argument("--model", metavar="START", help="model.safetensors to start from")
    parser.add_argument(
        "--truth", metavar="TRUTH.star", help="true poses of simulated particles: training.csv shows the error too"
    )
    add_classes(parser)
    add_learning(parser)
    add_network(parser)
    add_computing(parser, seed=1)


def _add_align(commands: argparse._SubParsersAction) -> None:
    parser = new_command(
        commands,
        "align",
        "align particles of one view to each other",
        "Writes OUT/aligned.star and aligned.xmd (pose, score and a flag for particles whose two candidate "
        "orientations cannot be told apart), average.mrcs, report.html, and more. Trains on the input first, unless a "
        "model is given.",
        _align,
    )
    parser.add_argument("input", metavar="INPUT", help=INPUT)
    add_output(parser)
    add_classes(parser)
    new = ("recipe", "head", "joint", "widths", "hidden", "input_size")
    parser.set_defaults(network="polar", **dict.fromkeys(new))  # what it trains by itself
    _add_start(parser)
    _add_written(parser)
    add_particle(add_learning(parser))
    add_microscope(parser)
    add_computing(parser, seed=1)


def _add_classify(commands: argparse._SubParsersAction) -> None:
    parser = new_command(
        commands,
        "classify",
        "sort particles of many views into 2D classes, and align each class",
        "A network learns a template of each class, without labels: assignment and alignment together. Writes "
        "OUT/classes.star and classes.xmd (class, pose, score), averages.mrcs (class 1, the largest, first), "
        "classes.csv, report.html, model.safetensors, and more. Every particle is in some class; classes of "
        "noise, and those that show no particle, are flagged.",
        _classify,
    )
    parser.add_argument("input", metavar="INPUT", help=INPUT)
    add_output(parser)
    add_classification(parser)
    add_microscope(parser)
    add_computing(parser, seed=1)


def _classify(args: argparse.Namespace) -> None:
    from scipion_udl.jobs.classify import classify

    classify(args)


def _add_start(parser: argparse.ArgumentParser) -> None:
    """What an alignment begins with: a model, a reference, poses, or an earlier run."""
    parser.add_argument("--model", metavar="MODEL", help="a trained model.safetensors (default: train on the input)")
    parser.add_argument(
        "--truth", metavar="TRUTH.star", help="true poses of simulated particles: the training curve shows the error"
    )
    parser.add_argument("--reference", metavar="IMAGE", help=f"turn and shift the average onto this image: {IMAGE}")
    parser.add_argument(
        "--start-poses",
        action="store_true",
        help="start from the 2D alignment that INPUT carries: no network is trained or asked, and what of it does not "
        "hold is found anew (default: it is ignored)",
    )
    parser.add_argument(
        "--join",
        metavar="RUN",
        help="particles that come later: align each by itself to the averages in RUN, the folder of an earlier align, "
        "with its model unless --model gives another, and add them to its averages",
    )
    parser.add_argument(
        "--pool",
        metavar="PREVIOUS",
        help="with --join: the folder of what was joined to RUN before; averages are added to those there "
        "(default: to those of RUN)",
    )


def _add_written(parser: argparse.ArgumentParser) -> None:
    """What is looked for and written beside the usual."""
    parser.add_argument(
        "--write-cs",
        action="store_true",
        help="write the alignment for cryoSPARC too: aligned.cs (always written where INPUT is a .cs)",
    )
    parser.add_argument(
        "--mirror",
        action="store_true",
        help="look for mirror images, too, as molecules show that lie on the film face down; aligned.xmd holds them, "
        "aligned.star with --write-stack only (default: nothing is mirrored)",
    )
    parser.add_argument("--write-stack", action="store_true", help="write the aligned particles too: aligned.mrcs")
    parser.add_argument(
        "--no-refine", action="store_true", help="the network's angle, shift and 180 degree choice only, no refinement"
    )
    parser.add_argument(
        "--correntropy",
        action="store_true",
        help="a further score per particle, the one of the method's authors: its correntropy with the average of the "
        "others (column udlCorrentropy)",
    )
    parser.add_argument(
        "--authors-xmd",
        action="store_true",
        help="write authors.xmd too: the table of the method's authors, with nothing but image, shift, anglePsi, flip "
        "and maxCC (the correntropy)",
    )


def _add_evaluate(commands: argparse._SubParsersAction) -> None:
    parser = new_command(
        commands,
        "evaluate",
        "measure how good an alignment is",
        "Against true poses (of `simulate`), against a reference image, or, with neither, by what parts of the set "
        "agree on. Prints a table; writes evaluation.csv, evaluation.png, and more.",
        _evaluate,
    )
    parser.add_argument("aligned", metavar="ALIGNED", help="the result of align: aligned.star or aligned.xmd")
    parser.add_argument("--truth", metavar="TRUTH.star", help="true poses, joined by image name")
    parser.add_argument("--reference", metavar="IMAGE", help=f"the view that the average should show: {IMAGE}")
    parser.add_argument(
        "--pairs",
        action="store_true",
        help="compare each particle with the next one of the table too: with --truth, the turn and shift between them",
    )
    parser.add_argument(
        "--symmetry",
        type=take.positive_int,
        metavar="N",
        help="with --truth: the view looks the same N times in a turn: give rotation errors modulo 360/N degrees, too",
    )
    add_output(parser)
    add_diameter(parser, "diameter of the circle within which images are compared,", "0.9 of the box")
    add_computing(parser, seed=1)


def _add_align_pairs(commands: argparse._SubParsersAction) -> None:
    parser = new_command(
        commands,
        "align-pairs",
        "turn and shift the second image of each pair onto the first",
        "Items 2k-1 and 2k of INPUT are a pair; with SECOND, item k of both. The model gives the turn: a matching "
        "network over the full circle, one of spectra (polar, resnet) modulo 180. The shift, and which of two turns is "
        "right, comes from the correlation of what both images show. Writes OUT/pairs.star and summary.json.",
        _align_pairs,
    )
    parser.add_argument("input", metavar="INPUT", help=INPUT)
    parser.add_argument("second", metavar="SECOND", nargs="?", help="the second images, as many as in INPUT")
    add_output(parser)
    parser.add_argument("--model", metavar="MODEL", required=True, help="a trained model.safetensors")
    parser.add_argument(
        "--truth", metavar="TRUTH.star", help="true poses (of `simulate`) of all these images: prints the errors"
    )
    parser.add_argument(
        "--max-shift",
        type=take.not_negative,
        metavar="PX",
        help="how far the images of a pair may lie apart (default: a quarter of the box, at most half)",
    )
    parser.add_argument(
        "--search",
        type=take.not_negative,
        default=0.0,
        metavar="DEG",
        help="look through turns up to this far from the model's, too, every 2 degrees, by correlation (0: none)",
    )
    add_computing(parser, seed=1)


def _add_check(commands: argparse._SubParsersAction) -> None:
    parser = new_command(
        commands,
        "check",
        "look through particles before a run",
        "Reads every image once and prints a table of all that is wrong or worth knowing: missing files, numbers past "
        "the end, NaN, constant images, mixed boxes, pixel sizes that differ, contrast, images that come twice, "
        "classes; and about how long an alignment takes. The exit code is 0 where the set can be aligned, warnings or "
        "not, and 1 where it cannot.",
        _check,
    )
    parser.add_argument("input", metavar="INPUT", help=INPUT)
    parser.add_argument("--quick", action="store_true", help="tables and headers only, no image is read")
    parser.add_argument(
        "--contrast",
        choices=["auto", "bright", "dark"],
        default="auto",
        help="how the particles should look on their background (auto: a warning where they look dark, which Xmipp and "
        "RELION do not expect)",
    )
    parser.add_argument("--list", metavar="FILE.csv", help="write everything that was found, a row each")
    add_diameter(parser, "diameter of the particle, for contrast and background,")
    parser.add_argument("--threads", type=take.positive_int, metavar="N", help="CPU threads (default: all cores)")
    parser.add_argument(
        "--pixel-size",
        type=take.positive,
        metavar="A",
        help="angstrom per pixel, where neither the table nor the image header says it",
    )


def _add_relion(commands: argparse._SubParsersAction) -> None:
    parser = new_command(
        commands,
        "relion",
        "align as a job of RELION (job type External)",
        "Takes the options that RELION's External job passes on, and all options of align. Writes particles.star, "
        "run_classes.mrcs, run_model.star and RELION_OUTPUT_NODES.star into the job's folder, the results of align "
        "into align/ there, and ends with RELION_JOB_EXIT_SUCCESS, _FAILURE or _ABORTED. In RELION: External "
        "executable `scipion-udl relion`, Input particles your particles.star, and options of align as parameters, "
        "such as max-shift with 5. A job that was stopped goes on when it is run again. Run it in the project folder.",
        _relion,
    )
    parser.passes, parser.allow_abbrev = True, False
    parser.add_argument("--in_parts", required=True, metavar="PARTICLES.star", help="the particles")
    parser.add_argument("--o", dest="output", required=True, metavar="JOB/", help="the job's folder")
    parser.add_argument("--j", type=take.positive_int, metavar="N", help="threads (default: all cores)")
    parser.add_argument("--pipeline_control", metavar="JOB/", help=argparse.SUPPRESS)


def _add_diameter(commands: argparse._SubParsersAction) -> None:
    parser = new_command(
        commands,
        "diameter",
        "print the diameter of the particles that a run would take by itself",
        "One line of JSON: diameter (A, null where the pixel size is not known), mask_radius (pixels), diameter_from "
        "(data: found in the images; box: nearly the whole box, as nothing was found). Looks at every particle, as a "
        "run does, or, quicker, at some.",
        _diameter,
    )
    parser.add_argument("input", metavar="INPUT", help=INPUT)
    parser.add_argument(
        "--count", type=take.positive_int, metavar="N", help="look at N particles, evenly spread (default: all)"
    )
    add_computing(parser, seed=1)


def _diameter(args: argparse.Namespace) -> None:
    from scipion_udl.jobs.diameter import tell_diameter

    tell_diameter(args)


def _add_gpus(commands: argparse._SubParsersAction) -> None:
    new_command(commands, "gpus", "print the GPUs that this program can use", "One line of JSON.", _gpus)


def _simulate(args: argparse.Namespace) -> None:
    if args.photos:
        from scipion_udl.jobs.simulate_photos import simulate_photos

        simulate_photos(args)
        return
    from scipion_udl.jobs.simulate import simulate

    args.count = args.count or 1000
    simulate(args)


def _train(args: argparse.Namespace) -> None:
    from scipion_udl.jobs.train import train

    train(args)


def _align(args: argparse.Namespace) -> None:
    if args.join:
        from scipion_udl.jobs.join import join

        join(args)
        return
    if args.pool:
        raise UdlError("--pool says what joined particles are added to: give --join RUN, too, or leave it out.")
    from scipion_udl.jobs.align import align

    align(args)


def _align_pairs(args: argparse.Namespace) -> None:
    from scipion_udl.jobs.align_pairs import align_pairs

    align_pairs(args)


def _evaluate(args: argparse.Namespace) -> None:
    from scipion_udl.jobs.evaluate import evaluate

    evaluate(args)


def _check(args: argparse.Namespace) -> None:
    from scipion_udl.jobs.check import check

    check(args)


def _relion(args: argparse.Namespace) -> int:
    from scipion_udl.jobs.relion import run_job

    return run_job(args)


def _gpus(args: argparse.Namespace) -> None:
    import torch

    names = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    print(json.dumps({"version": __version__, "torch": torch.__version__, "gpus": names}))
