"""The options of `scipion-udl simulate`: what is simulated, how many of it, and through which microscope. What real
particles have beside is in ``realism.py``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scipion_udl import values as take
from scipion_udl.constants import MOST_JITTER, PHANTOM_VIEWS
from scipion_udl.settings.common import IMAGE, Microscope, Output
from scipion_udl.settings.option import AUTOMATIC, Group, Question, Settings, flag, option, variant


@dataclass(frozen=True)
class SimulationOutput(Settings):
    """The folder of the results."""

    output: str = variant(Output, "output", flags=(), by_place=True, required=False)
    overwrite: bool = variant(Output, "overwrite")


@dataclass(frozen=True)
class View(Settings):
    """What is simulated: one of several kinds of views, or photographs."""

    template: str | None = option(
        f"the view to simulate: png or MRC, {IMAGE}",
        None,
        Question(
            "viewFile",
            "Image file",
            "A square picture (png, tif, jpg) or an MRC file. 3@FILE takes the third image of a stack.",
            kind="file",
        ),
        metavar="IMAGE",
        exclusive="source",
        said="",
    )
    phantom: str | None = option(
        "a built-in view: hook, clamp, hammer, anchor (asymmetric), pebble (asymmetric, small), dimer (two-fold), "
        "barrel, spindle (nearly two-fold), tube; tail: segments of a helix, with RELION's helical columns; with "
        "--views a built-in molecule: boot, crane, saddle, anvil (asymmetric), tetramer (D2)",
        None,
        Question(
            "phantom",
            "Phantom",
            "\n".join(f"*{name}*: {what}." for name, what in PHANTOM_VIEWS.items()),
            default=0,
            choices=tuple(PHANTOM_VIEWS),
            answers=tuple(PHANTOM_VIEWS),
        ),
        metavar="NAME",
        exclusive="source",
        said="",
    )
    volume: str | None = option(
        "with --views: the molecule to simulate, an MRC file of a cube",
        None,
        Question(
            "mapFile",
            "Map file",
            "The density of a molecule: an MRC file of a cube, with the molecule in its middle and little noise.",
            kind="file",
        ),
        metavar="MAP",
        exclusive="source",
    )
    centers: str | None = option(
        "several single views: FOLDER/1/ori.png, FOLDER/2/ori.png, ...; each gives a set of its own, in OUT/1, "
        "OUT/2, ...; set n is drawn with seed K + n",
        metavar="FOLDER",
        exclusive="source",
    )
    photos: str | None = option(
        "photographs instead of a view (jpg, png, tif): items 2k-1 and 2k are two copies of patch k, each rotated and "
        "shifted; no CTF, no template.mrc",
        metavar="FOLDER",
        exclusive="source",
    )


@dataclass(frozen=True)
class Simulated(Settings):
    """How many are simulated, how large, how noisy and how far off centre."""

    count: int | None = option(
        "number of particles (1000; of photographs: all they give)",
        None,
        Question(
            "count",
            "Number of particles",
            "Each is rotated by any angle, all angles being equally likely.",
            default=1000,
            limits=take.COUNT,
        ),
        take=take.COUNT,
        metavar="N",
    )
    pixel_sizes: list[tuple[int, float]] | None = option(
        "with --centers: angstrom per pixel of the particles of each view, as 1:2.08 2:2.0 (--pixel-size: the same for "
        "all others)",
        take=take.numbered,
        count="+",
        metavar="N:A",
    )
    snr: float = option(
        "variance of the noise-free particle (after the CTF, over the whole box) over that of the noise (0.1); inf: no "
        "noise",
        0.1,
        Question(
            "snr",
            "SNR",
            "Signal-to-noise ratio: the variance of the particle without noise, as the microscope shows it and "
            "over the whole box, divided by that of the noise. 0.1 is ten times as much noise as particle.",
            default=0.1,
            limits=take.POSITIVE,
            condition="addNoise",
        ),
        take=take.POSITIVE_OR_INFINITE,
        metavar="S",
    )
    ssnr: tuple[float, float] | None = option(
        "more noise at low frequencies: coarser than A angstrom its power is multiplied by FACTOR, which divides the "
        "spectral SNR there, as 10:4 does by four; --snr remains that of the white noise",
        None,
        Question(
            "changeSsnr",
            "More noise at low frequencies?",
            "As ice and carbon make it. The SNR remains that of the white noise.",
            kind="yes",
            default=False,
            condition="addNoise",
            advanced=True,
        ),
        take=take.ssnr,
        metavar="A:FACTOR",
        said="*More noise at low frequencies*",
    )
    clean: bool = flag(
        "write the particles without their noise too: clean.mrcs and clean.star",
        Question(
            "writeClean",
            "Without noise, too?",
            "Yes: gives the same particles before the noise as outputClean.",
            default=False,
            condition="addNoise",
            advanced=True,
        ),
    )
    box: int | None = option(
        "pixels of a side (default: of the template; phantoms 128). Phantoms and built-in molecules fill the same part "
        "of any box: for the same size in angstrom, give --pixel-size, too",
        None,
        Question(
            "box",
            "Box",
            "Pixels of a side of the particles. -1 takes 128 for a phantom and the box of the image or "
            "map otherwise. Another box shows the same field of view, so its pixels are larger or smaller.",
            default=AUTOMATIC,
        ),
        take=take.BOX,
        metavar="D",
    )
    shift: float | None = option(
        "off centre by up to this in x and in y (10; with --realistic 5 %% of the box)",
        None,
        Question(
            "maxShift",
            "Largest shift",
            "How far the particles lie off the centre of their box at most, in x and in y.",
            default=10.0,
            limits=take.NUMBER,
        ),
        take=take.PIXELS,
        metavar="PX",
    )
    subpixel: bool = flag(
        "any shift, not only whole pixels",
        Question(
            "subpixel",
            "Shifts by parts of a pixel?",
            "No: by whole pixels. Yes: by any amount, as in real particles.",
            default=False,
            advanced=True,
        ),
    )


@dataclass(frozen=True)
class ManyViews(Settings):
    """Views from many directions, and what is mixed with them."""

    GROUP: ClassVar[Group | None] = Group("many views (of --phantom or --volume)")

    views: str | None = option(
        "a molecule in three dimensions, each particle seen from a direction of its own. random: from everywhere "
        "alike; uneven: most from near one of three directions, as at an air-water interface; single: all from about "
        "one, as the particles of a class. With --realistic and a molecule: uneven unless you say otherwise",
        None,
        Question(
            "views",
            "Particles show",
            "One view: what 'udl - align 2D' aligns. Many views: a molecule in three dimensions, each particle "
            "seen from a direction of its own, as in a set that is still to be classified. Most from three directions, "
            "as at an air-water interface: four in five particles lie near one of them. From about one direction: as "
            "the particles of one class are.",
            default=0,
            choices=(
                "One view",
                "Many views, from everywhere alike",
                "Many views, most from three directions",
                "Views of a molecule from about one direction",
            ),
            answers=(None, "random", "uneven", "single"),
        ),
        choices=("random", "uneven", "single"),
        said="*Particles show*: Many views",
    )
    jitter: float | None = option(
        "with --views single: how far the directions lie off the one, the standard deviation along either axis across "
        "it in degrees (0; with --realistic 5)",
        None,
        Question(
            "jitter",
            "Spread of the views",
            "How far the views lie off the one direction, which is drawn from the random seed: the standard "
            "deviation along either axis across it. Classes of real particles have some 5 degrees.",
            default=5.0,
            limits=take.Number(most=MOST_JITTER),
        ),
        take=take.DEGREES,
        metavar="DEG",
    )
    direction: list[float] | None = option(
        "with --views single: from where, RELION's angles in degrees (drawn from the seed)",
        take=float,
        count=2,
        metavar=("ROT", "TILT"),
    )
    noise_share: float | None = option(
        "particles that are noise alone (0)",
        None,
        Question(
            "noiseShare",
            "Share of noise alone",
            "How large a part of the particles, 0 to 1, holds noise and nothing else, as false picks do.",
            default=0.0,
            limits=take.SHARE,
        ),
        take=take.SHARE,
        metavar="F",
    )
    second: str | None = option(
        "a second molecule, a phantom or a map, among the first",
        metavar="NAME|MAP",
        said="*Second molecule*",
    )
    second_share: float | None = option(
        "particles that show it, 0 to 1",
        None,
        Question(
            "secondShare",
            "Share of the second molecule",
            "How large a part of the particles, 0 to 1, shows it.",
            default=0.2,
            limits=take.SHARE,
        ),
        take=take.SHARE,
        metavar="F",
    )


@dataclass(frozen=True)
class Photographs(Settings):
    """Pairs of patches of photographs."""

    GROUP: ClassVar[Group | None] = Group("photographs (with --photos)")

    part: str | None = option("the subfolder to use, as MS-COCO has them: train2017 or val2017", metavar="NAME")
    patches: int | None = option("patches from each photograph (1)", take=take.COUNT, metavar="N")
    flat: float | None = option(
        "leave out patches whose grey values have a standard deviation below this, of 256 levels (10)",
        take=take.NUMBER,
        metavar="LEVELS",
    )
    noise: str | None = option(
        "none (default); gaussian, of strength --snr; salt-pepper, in the --share of pixels",
        choices=("none", "gaussian", "salt-pepper"),
    )
    share: float | None = option("pixels that turn black or white, 0 to 1 (0.1)", take=take.SHARE, metavar="Q")


_SEEN_BY = {"condition": "applyCtf", "advanced": True}


@dataclass(frozen=True)
class SimulatedMicroscope(Settings):
    """The microscope that simulated particles are seen through."""

    GROUP: ClassVar[Group | None] = Group("microscope")

    no_ctf: bool = flag(
        "no CTF",
        Question(
            "applyCtf",
            "Apply a CTF?",
            "The contrast transfer function of a microscope, of another defocus for each particle.",
            default=True,
            inverted=True,
        ),
    )
    signed: bool = flag(
        "leave the signs of the CTF (default: phase-flipped)",
        Question(
            "flipPhases",
            "Phases flipped?",
            "Yes: the particles are as if their phases had been flipped, the CTF is positive everywhere. No: as "
            "the microscope leaves them.",
            default=True,
            inverted=True,
            condition="applyCtf",
        ),
    )
    defocus: list[float] | None = option(
        "range of the defocus in micrometers, one value per particle (0.5 2.0)",
        take=take.DEFOCUS,
        count=2,
        metavar=("MIN", "MAX"),
    )
    voltage: float | None = variant(Microscope, "voltage", _SEEN_BY, help="in kV (300)")
    cs: float | None = variant(Microscope, "cs", _SEEN_BY)
    amplitude_contrast: float | None = variant(
        Microscope, "amplitude_contrast", {"default": 0.07, **_SEEN_BY}, help="0 to 1 (0.07)"
    )
    b_factor: float | None = option(
        "envelope in A^2 (50)",
        None,
        Question(
            "bFactor",
            "B factor",
            "How fast the contrast falls towards fine detail: exp(-B / 4 d²).",
            default=50.0,
            condition="applyCtf",
            advanced=True,
        ),
        take=take.B_FACTOR,
        metavar="A2",
    )
