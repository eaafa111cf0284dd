"""Families of options that several commands take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scipion_udl import values as take
from scipion_udl.settings.option import AUTOMATIC, Group, Question, Settings, flag, option

IMAGE = "FILE, or N@FILE for the N-th image of a stack"
TRAINING = Group("training")


@dataclass(frozen=True)
class Input(Settings):
    """The particles."""

    input: str = option(
        "particles: a stack (.mrcs, .mrc; also .gz, .bz2) or a table (.star of RELION 3.0 or later, .xmd of Xmipp, .cs "
        "of cryoSPARC)",
        "",
        by_place=True,
        metavar="INPUT",
    )


@dataclass(frozen=True)
class Output(Settings):
    """The folder of the results."""

    output: str = option("folder for the results, made new", "", flags=("-o", "--output"), required=True, metavar="OUT")
    overwrite: bool = flag("replace the results of an earlier run in OUT")


@dataclass(frozen=True)
class Threads(Settings):
    """How much of the processor is used."""

    GROUP: ClassVar[Group | None] = Group("computing")

    threads: int | None = option("CPU threads a process (default: all cores)", take=take.COUNT, metavar="N")


@dataclass(frozen=True)
class Said(Settings):
    """How much of what a run says is printed."""

    quiet: bool = flag(
        "print no more than the device, warnings, errors and the result; OUT/run.log has the rest", exclusive="said"
    )
    verbose: bool = flag("print all that OUT/run.log has, every round of every class", exclusive="said")


@dataclass(frozen=True)
class PixelSize(Settings):
    """How large a pixel is."""

    GROUP: ClassVar[Group | None] = Group("computing")

    pixel_size: float | None = option(
        "angstrom per pixel, where neither the table nor the image header says it",
        take=take.PIXEL_SIZE,
        metavar="A",
        said="*Pixel size*",
    )


@dataclass(frozen=True)
class Device(Settings):
    """What computes, and what chance begins with."""

    GROUP: ClassVar[Group | None] = Group("computing")

    gpu: str = option(
        "auto: the GPU if there is one (default); none: the CPU; or GPU numbers such as 0 or 0,1, which must be there; "
        "train and align use all of them together",
        "auto",
        metavar="none|auto|IDS",
        said="*GPU ID*",
    )
    seed: int = option(
        "for all that is left to chance (1)",
        1,
        Question(
            "seed",
            "Random seed",
            "The same seed on the same machine with the same number of threads gives the same result. Another one "
            "tells how much the result depends on chance.",
            default=1,
            limits=take.SEED,
            advanced=True,
        ),
        take=take.SEED,
        metavar="K",
    )


@dataclass(frozen=True)
class Batch(Settings):
    """How much is held at a time."""

    GROUP: ClassVar[Group | None] = Group("computing")

    batch: int | None = option("particles held at a time (default: automatic)", take=take.COUNT, metavar="N")


COMPUTING = (Device, Threads, Batch, PixelSize)  # of all commands that compute


@dataclass(frozen=True)
class Microscope(Settings):
    """What RELION wants to know of the microscope."""

    GROUP: ClassVar[Group | None] = Group("microscope (for CTF and STAR, where the input does not say it)")

    voltage: float | None = option(
        "acceleration voltage in kV (300)",
        None,
        Question("voltage", "Voltage", "Of the microscope.", default=300.0),
        take=take.KILOVOLTS,
        metavar="KV",
        said="",  # of the forms, only that of the simulation asks
    )
    cs: float | None = option(
        "spherical aberration in mm (2.7)",
        None,
        Question("sphericalAberration", "Spherical aberration", "Cs of the objective lens.", default=2.7),
        take=take.ABERRATION,
        metavar="MM",
        said="",  # of the forms, only that of the simulation asks
    )
    amplitude_contrast: float | None = option(
        "amplitude contrast, 0 to 1 (0.1)",
        None,
        Question(
            "amplitudeContrast",
            "Amplitude contrast",
            "The share of amplitude contrast, 0.07 to 0.1 in ice.",
            default=0.1,
        ),
        take=take.SHARE,
        metavar="Q",
        said="",  # of the forms, only that of the simulation asks
    )


@dataclass(frozen=True)
class Learning(Settings):
    """How a network is trained."""

    GROUP: ClassVar[Group | None] = TRAINING

    method: str | None = option(
        "judl: all particles together, by how well a batch fits its mean (default of the polar network); udl: by "
        "pairs alone (default of the others, which begin with it); a model to start from goes on as it was trained",
        None,
        Question(
            "method",
            "Training method",
            "JUDL draws all particles to one common orientation and is the better choice. UDL, its predecessor, "
            "learns from differences between pairs only, and takes far longer.",
            default=0,
            choices=("JUDL (joint)", "UDL (pair-wise difference)"),
        ),
        choices=("judl", "udl"),
    )
    epochs: int | None = option(
        "at most so many; it stops once converged",
        None,
        Question(
            "epochs",
            "Most epochs",
            "How often training goes through the particles at most; it stops by itself when nothing improves any "
            "more. -1 leaves it to the program. Give more if the summary says that training has not converged.",
            default=AUTOMATIC,
            advanced=True,
        ),
        take=take.COUNT,
        metavar="N",
    )
    lr: float | None = option(
        "learning rate (default: of the method)",
        None,
        Question(
            "learningRate",
            "Learning rate",
            "Size of the steps in training. -1 leaves it to the program. Larger steps learn faster, but may never "
            "settle; smaller ones need more epochs. There is hardly a reason to change it.",
            default=float(AUTOMATIC),
            advanced=True,
        ),
        take=take.POSITIVE,
        metavar="RATE",
    )


@dataclass(frozen=True)
class Resume(Settings):
    """Whether a run goes on."""

    GROUP: ClassVar[Group | None] = TRAINING

    resume: bool = flag(
        "go on with a run that was stopped, in the same OUT", flags=("--continue",), said="the run mode *Continue*"
    )


@dataclass(frozen=True)
class ByClass(Settings):
    """Whether classes are taken one by one."""

    by_class: bool = flag(
        "each class of the table (rlnClassNumber in STAR, ref in XMD) by itself, with one network for all",
        said="2D classes as input",
    )
