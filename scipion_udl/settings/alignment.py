"""The options of the commands that align, and of those that look at an alignment or at what is to be aligned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scipion_udl import values as take
from scipion_udl.settings.common import IMAGE, PixelSize, Threads
from scipion_udl.settings.option import Group, Question, Settings, flag, option, variant
from scipion_udl.settings.size_and_max_shift import Particle, Size
from scipion_udl.settings.training import TrainingStart


@dataclass(frozen=True)
class AlignmentStart(Settings):
    """What an alignment begins with: a model, a reference, poses, or an earlier run."""

    model: str | None = variant(
        TrainingStart,
        "model",
        {
            "label": "Trained model",
            "help": "The output of 'udl - train model', 'udl - import model' or of another run. It must be of "
            "particles of the same field of view (box times pixel size), or the run is refused.",
            "may_be_empty": False,
        },
        help="a trained model.safetensors (default: train on the input)",
        metavar="MODEL",
    )
    truth: str | None = variant(
        TrainingStart,
        "truth",
        help="true poses of simulated particles: the training curve shows the error",
    )
    reference: str | None = option(
        f"rotate and shift the average onto this image: {IMAGE}",
        None,
        Question(
            "inputReference",
            "Reference image",
            "An image of the same box and pixel size, such as a class average, whose orientation the result takes "
            "over. It is used for that alone, so it cannot bias the alignment. Without it, orientation and centre of "
            "the average are arbitrary. For one of a set of averages or classes, give its number below.",
            kind="object",
            of="Particle,SetOfAverages,SetOfClasses2D,Class2D",
            may_be_empty=True,
            advanced=True,
        ),
        metavar="IMAGE",
    )
    start_poses: bool = flag(
        "start from the 2D alignment that INPUT carries: no network is trained or asked, and what of it does not "
        "hold is found anew (default: it is ignored)",
        Question(
            "alignmentOfInput",
            "Alignment of the input",
            "For particles that carry a 2D alignment already. Ignore it: the result does not depend on it. Start "
            "from it: the coarse average that it makes is where the search begins, in place of a network. That is "
            "quicker and keeps the orientation; poses that were wrong are found anew, and the result is no better.",
            default=0,
            choices=("Ignore it", "Start from it"),
            answers=(False, True),
            advanced=True,
        ),
        said="*Alignment of the input*: Start from it",
    )
    append_to: str | None = option(
        "particles that come later: align each by itself to the averages in RUN, the folder of an earlier align, "
        "with its model unless --model gives another, and add them to its averages",
        flags=("--append-to",),
        aliases=("--join",),
        metavar="RUN",
    )
    pool: str | None = option(
        "with --append-to: the folder of what was joined to RUN before; averages are added to those there (default: to "
        "those of RUN)",
        metavar="PREVIOUS",
    )


@dataclass(frozen=True)
class Written(Settings):
    """What is looked for and written beside the usual."""

    write_cs: bool = flag(
        "write the alignment for cryoSPARC too: aligned.cs (always written where INPUT is a .cs)",
    )
    mirror: bool = flag(
        "look for mirror images, too, as molecules show that lie on the film face down; aligned.xmd holds them, "
        "aligned.star with --write-stack only (default: nothing is mirrored)",
        Question(
            "doMirror",
            "Look for mirror images?",
            "Yes: each particle is also compared as its mirror image, as it appears where molecules lie on the "
            "film face down; the output then holds mirrored alignments, which Xmipp and Scipion understand and "
            "RELION does not. It takes longer, and in noise some particles are mirrored by mistake. No: nothing is "
            "mirrored.",
            default=False,
        ),
    )
    write_stack: bool = flag(
        "write the aligned particles too: aligned.mrcs",
        Question(
            "writeStack",
            "Write aligned images?",
            "Yes: the particles are also written rotated and shifted (and mirrored), as outputAlignedStack, for "
            "programs that do not apply an alignment by themselves. That set carries no alignment, since it has been "
            "applied, and its images were interpolated once; they take as much disk as the particles. No: only the "
            "numbers are written, which is all that Scipion's programs need.",
            default=False,
        ),
    )
    no_refine: bool = flag(
        "the network's angle, shift and 180 degree choice only, no refinement",
        Question(
            "doRefine",
            "Refine against the average?",
            "No: the angle is what the network says. Quicker and coarser; there is no reason to choose it but to "
            "see what the network alone can do.",
            default=True,
            inverted=True,
            advanced=True,
        ),
        said="*Refine*: No",
    )
    correntropy: bool = flag(
        "a further score per particle, the one of the method's authors: its correntropy with the average of the "
        "others (column udlCorrentropy)",
    )
    authors_xmd: bool = flag(
        "write authors.xmd too: the table of the method's authors, with nothing but image, shift, anglePsi, flip "
        "and maxCC (the correntropy)",
    )


@dataclass(frozen=True)
class Pairs(Settings):
    """The second images of pairs, where INPUT holds the first ones alone."""

    second: str | None = option("the second images, as many as in INPUT", by_place=True, count="?", metavar="SECOND")


@dataclass(frozen=True)
class PairSearch(Settings):
    """What the images of pairs are compared by, and how far is looked."""

    model: str = variant(TrainingStart, "model", help="a trained model.safetensors", metavar="MODEL", required=True)
    truth: str | None = variant(
        TrainingStart, "truth", help="true poses (of `simulate`) of all these images: prints the errors"
    )
    max_shift: float | None = variant(
        Particle,
        "max_shift",
        help="how far the images of a pair may lie apart (default: a quarter of the box, at most half)",
    )
    search: float = option(
        "search rotations up to this far from the model's, too, every 2 degrees, by correlation (0: none)",
        0.0,
        take=take.DEGREES,
        metavar="DEG",
    )


@dataclass(frozen=True)
class Evaluated(Settings):
    """What is judged, and by what."""

    aligned: str = option("the result of align: aligned.star or aligned.xmd", "", by_place=True, metavar="ALIGNED")
    truth: str | None = variant(TrainingStart, "truth", help="true poses, joined by image name")
    reference: str | None = variant(
        AlignmentStart,
        "reference",
        {
            "of": "Particle",
            "help": "An image that the average should show, of the same box and pixel size. The average is rotated and "
            "shifted onto it before they are compared. Leave it empty if there is none.",
            "advanced": False,
        },
        help=f"the view that the average should show: {IMAGE}",
    )
    pairs: bool = flag(
        "compare each particle with the next one of the table too: with --truth, the rotation and shift between them",
        Question(
            "doPairs",
            "Compare neighbours, too?",
            "Yes: each particle is also compared with the next one of the set: the rotation and the shift between the "
            "two, where the truth is known, and how alike they are once aligned.",
            default=False,
            advanced=True,
        ),
    )
    symmetry: int | None = option(
        "with --truth: the view looks the same N times in a rotation: give rotation errors modulo 360/N degrees, too",
        None,
        Question(
            "symmetry",
            "Symmetry of the view",
            "How many times the view looks the same while it is rotated once: 1 for none, 2 for a two-fold view, 7 "
            "for the top view of GroEL. For more than 1, rotation errors are also given up to rotations that nobody "
            "can see. Only used with true poses.",
            default=1,
            limits=take.COUNT,
        ),
        take=take.COUNT,
        metavar="N",
    )


@dataclass(frozen=True)
class EvaluatedSize(Size):
    """The circle within which images are compared."""

    GROUP: ClassVar[Group | None] = None

    diameter: float | None = variant(
        Size,
        "diameter",
        {
            "help": "Diameter of the circle within which averages are compared, with each other and with the "
            "reference. -1 takes 0.9 of the box. It should hold the particle: a smaller one leaves part of it out, a "
            "larger one compares noise, too. The wizard shows the circle on the particles."
        },
        help="diameter of the circle within which images are compared, in angstrom (default, or -1: 0.9 of the box)",
    )


@dataclass(frozen=True)
class Checked(Settings):
    """How particles are looked through before a run."""

    quick: bool = flag("tables and headers only, no image is read")
    polarity: str = variant(
        Particle,
        "polarity",
        help="how the particles should look on their background (auto: a warning where they look dark, which Xmipp and "
        "RELION do not expect)",
    )
    list: str | None = option("write everything that was found, a row each", metavar="FILE.csv")


@dataclass(frozen=True)
class CheckedSize(Size):
    """The particle, for contrast and background."""

    GROUP: ClassVar[Group | None] = None

    diameter: float | None = variant(
        Size,
        "diameter",
        help="diameter of the particle, for contrast and background, in angstrom (default, or -1: nearly the whole "
        "box)",
    )


@dataclass(frozen=True)
class CheckedBy(Settings):
    """What is used to look through them."""

    threads: int | None = variant(Threads, "threads", help="CPU threads (default: all cores)")
    pixel_size: float | None = variant(PixelSize, "pixel_size")


@dataclass(frozen=True)
class LookedAt(Settings):
    """How many particles are looked at for their diameter."""

    count: int | None = option("look at N particles, evenly spread (default: all)", take=take.COUNT, metavar="N")


@dataclass(frozen=True)
class ExternalJob(Settings):
    """What RELION passes to a job of type External."""

    in_parts: str = option(
        "the particles; with --select also the model.star or optimiser.star of their classes",
        "",
        flags=("--in_parts",),
        required=True,
        metavar="PARTICLES.star",
    )
    output: str = option("the job's folder", "", flags=("--o",), required=True, metavar="JOB/")
    classify: int | None = option(
        "sort the particles into K classes, by classify, in place of aligning those of one view",
        take=take.COUNT,
        metavar="K",
        exclusive="work",
    )
    select: bool = flag("choose the good classes and particles, by select", exclusive="work")
    j: int | None = option("threads (default: all cores)", take=take.COUNT, metavar="N")
    pipeline_control: str | None = option("", flags=("--pipeline_control",), metavar="JOB/", hidden=True)
