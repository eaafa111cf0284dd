"""What the commands of `scipion-udl` have in common: their parser, and the groups of options that several of them take.
Only argparse is imported here."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from scipion_udl import values as take
from scipion_udl.constants import SPEAKS_AS

INPUT = (
    "particles: a stack (.mrcs, .mrc; also .gz, .bz2) or a table (.star of RELION 3.0 or later, .xmd of Xmipp, .cs "
    "of cryoSPARC)"
)
IMAGE = "FILE, or N@FILE for the N-th image of a stack"


def new_command(
    commands: argparse._SubParsersAction, name: str, text: str, more: str, run: object
) -> argparse.ArgumentParser:
    """The parser of a new command ``name``. text: what it does, in a line; more: the rest of its description; run: the
    function that does it, of the parsed arguments."""
    parser = commands.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}. {more}", formatter_class=_Help
    )
    parser.add_argument("--debug", action="store_true", help="show where in the program an error came from")
    parser.set_defaults(run=run)
    return parser


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence instead of printing the whole usage.

    passes: options that it does not know are kept in ``passed``, for another command, instead of being refused.
    """

    passes = False

    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """(what was parsed, what was not known)."""
        if args is not None and "" in args:  # --model "" would train a new one without a word
            self.error("one of the arguments is empty, as of a variable that was not set: give it, or leave it out")
        namespace, rest = super().parse_known_args(args, namespace)
        if not self.passes:
            return namespace, rest
        namespace.passed = rest
        return namespace, []

    def error(self, message: str) -> None:
        """End the program with exit code 2."""
        from scipion_udl.compute.launch import is_first

        speaker = os.environ.get(SPEAKS_AS)
        name = f"scipion-udl {speaker}" if speaker else self.prog
        self.exit(2, f"{name}: {message}; see {self.prog} --help\n" if is_first() else None)


class _Help(argparse.HelpFormatter):
    """Wide enough for the options to stand beside their text."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30)


def add_computing(parser: argparse.ArgumentParser, seed: int) -> None:
    """The options of all commands that compute."""
    group = parser.add_argument_group("computing")
    group.add_argument(
        "--gpu",
        default="auto",
        metavar="none|auto|IDS",
        help="auto: the GPU if there is one (default); none: the CPU; or GPU numbers such as 0 or 0,1, "
        "which must be there; train and align use all of them together",
    )
    group.add_argument(
        "--seed", type=take.seed, default=seed, metavar="K", help=f"for all that is left to chance ({seed})"
    )
    group.add_argument(
        "--threads", type=take.positive_int, metavar="N", help="CPU threads a process (default: all cores)"
    )
    group.add_argument(
        "--batch", type=take.positive_int, metavar="N", help="particles held at a time (default: automatic)"
    )
    group.add_argument(
        "--pixel-size",
        type=take.positive,
        metavar="A",
        help="angstrom per pixel, where neither the table nor the image header says it",
    )


def add_output(parser: argparse.ArgumentParser) -> None:
    """The folder of the results."""
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="folder for the results, made new")
    parser.add_argument("--overwrite", action="store_true", help="replace the results of an earlier run in OUT")


def add_microscope(parser: argparse.ArgumentParser) -> None:
    """What RELION wants to know of the microscope."""
    group = parser.add_argument_group("microscope (for CTF and STAR, where the input does not say it)")
    group.add_argument("--voltage", type=take.voltage, metavar="KV", help="acceleration voltage in kV (300)")
    group.add_argument("--cs", type=take.aberration, metavar="MM", help="spherical aberration in mm (2.7)")
    group.add_argument("--amplitude-contrast", type=take.fraction, metavar="Q", help="amplitude contrast, 0 to 1 (0.1)")


def add_learning(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Training, and the group on the particle, which is returned for more."""
    group = parser.add_argument_group("training")
    group.add_argument(
        "--method",
        choices=["judl", "udl"],
        help="judl: all particles together, by how well a batch fits its mean (default of the polar network); udl: by "
        "pairs alone (default of the others, which begin with it); a model to start from goes on as it was trained",
    )
    group.add_argument("--epochs", type=take.positive_int, metavar="N", help="at most so many; it stops once converged")
    group.add_argument("--lr", type=take.positive, metavar="RATE", help="learning rate (default: of the method)")
    group = _to_continue(parser, group)
    group.add_argument(
        "--finest",
        type=take.positive,
        metavar="A",
        help="working resolution: nothing finer than A angstrom is compared (default: all that the box holds)",
    )
    return group


def add_classes(parser: argparse.ArgumentParser) -> None:
    """Whether classes are taken one by one."""
    parser.add_argument(
        "--by-class",
        action="store_true",
        help="each class of the table (rlnClassNumber in STAR, ref in XMD) by itself, with one network for all",
    )


def add_network(parser: argparse.ArgumentParser) -> None:
    """Which network is trained, and how; ``align`` always trains the polar one."""
    group = parser.add_argument_group("network")
    group.add_argument(
        "--network",
        choices=["polar", "resnet", "matching"],
        default="polar",
        help="polar: reads polar spectra, in seconds (default); resnet: the published network of pairs of spectra; "
        "matching: of pairs of photographs (items 2k-1 and 2k), for align-pairs",
    )
    group.add_argument(
        "--recipe",
        choices=["paper-synthetic", "paper-real"],
        help="resnet and matching: size and training exactly as published, for a GPU (default: a narrow network)",
    )
    group.add_argument(
        "--head",
        choices=["difference", "circular", "degrees"],
        help="resnet and matching: what the last layers give; degrees: the angle of a pair itself, as published; "
        "circular: the same as a point on a circle; difference (resnet): an angle of each image",
    )
    group.add_argument(
        "--joint",
        choices=["mean", "autoencoder"],
        help="resnet, JUDL: what reconstructs an aligned particle; mean of the others (default), or the autoencoder of "
        "the paper",
    )
    group.add_argument(
        "--widths", type=take.whole_numbers, metavar="N,N,...", help="resnet: channels of the residual blocks"
    )
    group.add_argument(
        "--hidden", type=take.whole_numbers, metavar="N,N,...", help="resnet: widths of the linear layers"
    )
    group.add_argument(
        "--input-size",
        type=take.positive_int,
        metavar="S",
        help="resnet and matching: pixels of a side of what the network sees",
    )


def add_particle(group: argparse._ArgumentGroup) -> None:
    """What is known of the particles."""
    group.add_argument(
        "--max-shift",
        type=take.not_negative,
        metavar="PX",
        help="how far off the centre of its box a particle may lie (default: automatic, about a fifth of the box; at "
        "most half)",
    )
    group.add_argument(
        "--contrast",
        choices=["auto", "bright", "dark"],
        default="auto",
        help="what the particles should look like: a warning tells where they clearly look otherwise; the alignment "
        "does not depend on it (auto, the default: nothing is expected)",
    )
    group.add_argument(
        "--ctf",
        choices=["auto", "flipped", "signed", "none"],
        default="auto",
        help="what the images carry of the contrast transfer that the table's defocus gives: its absolute value, since "
        "their phases were flipped; the signed transfer, as the microscope left them; none: leave it out of account. "
        "auto (default): as the table says of each optics group (no word in a STAR or .cs: not flipped); the images "
        "are asked as a check, and decide for tables of Xmipp, which do not say",
    )


def _to_continue(parser: argparse.ArgumentParser, group: argparse._ActionsContainer) -> argparse._ArgumentGroup:
    """--continue in a group, and the group on the particle with its disc, which is returned for more."""
    group.add_argument(
        "--continue", dest="resume", action="store_true", help="go on with a run that was stopped, in the same OUT"
    )
    particle = parser.add_argument_group("particle")
    add_diameter(particle)
    return particle


def add_diameter(
    group: argparse._ActionsContainer, of: str = "diameter of the particle", automatic: str = "nearly the whole box"
) -> None:
    """How large the particle is, in angstrom or, the older form, in pixels. of: of what it is the diameter; automatic:
    what is taken where neither is given."""
    group.add_argument(
        "--diameter",
        type=take.length_or_automatic,
        metavar="A",
        help=f"{of} in angstrom (default, or -1: {automatic})",
    )
    group.add_argument(
        "--mask-radius", type=take.positive, metavar="PX", help="the same as a radius in pixels: the older form"
    )


def add_classification(parser: argparse.ArgumentParser) -> None:
    """How particles of many views are sorted."""
    parser.add_argument(
        "--classes", type=take.positive_int, metavar="K", help="number of classes (50); MODEL and RUN have their own"
    )
    parser.add_argument(
        "--model", metavar="MODEL", help="sort into the classes of an earlier run: its model.safetensors"
    )
    parser.add_argument(
        "--join",
        metavar="RUN",
        help="particles that come later join the classes of an earlier run, the folder RUN: each is sorted and aligned "
        "by itself, to its templates and averages",
    )
    parser.add_argument(
        "--teach",
        type=take.positive_int,
        metavar="N",
        help="particles that teach the classes; the others are only sorted into them (200 a class, at most 20000)",
    )
    parser.add_argument("--starts", type=take.positive_int, metavar="N", help="beginnings to try; the best is kept (2)")
    parser.add_argument(
        "--no-refine", action="store_true", help="classes and poses as the network has them, no alignment in real space"
    )
    group = _to_continue(parser, parser)
    group.add_argument("--finest", type=take.positive, metavar="A", help="nothing finer than A angstrom is compared")
    add_particle(group)
    # What align could do of its classes, and classify does not.
    parser.set_defaults(by_class=True, **dict.fromkeys(("start_poses", "mirror", "correntropy", "authors_xmd"), False))
    parser.set_defaults(write_cs=False, write_stack=False, reference=None)
