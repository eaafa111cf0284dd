"""The options of `scipion-udl simulate`. Nothing heavy is imported here."""

from __future__ import annotations

import argparse

from scipion_udl import values as take
from scipion_udl.cli.options import IMAGE
from scipion_udl.constants import INTENSITIES, JUNK_KINDS
from scipion_udl.simulate.effects import REALISTIC


def add_simulated(parser: argparse.ArgumentParser) -> None:
    """All that says what is simulated."""
    _add_view(parser)
    _add_particles(parser)
    _add_many_views(parser)
    _add_realism(parser)
    _add_photographs(parser)
    _add_transfer(parser)


def _add_view(parser: argparse.ArgumentParser) -> None:
    """What is simulated: one of several kinds of views, or photographs."""
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--template", metavar="IMAGE", help=f"the view to simulate: png or MRC, {IMAGE}")
    source.add_argument(
        "--phantom",
        metavar="NAME",
        help="a built-in view: hook, clamp, hammer, anchor (asymmetric), pebble (asymmetric, small), dimer (two-fold), "
        "barrel, spindle (nearly two-fold), tube; with --views a built-in molecule: boot, crane, saddle, anvil "
        "(asymmetric), tetramer (D2)",
    )
    source.add_argument("--volume", metavar="MAP", help="with --views: the molecule to simulate, an MRC file of a cube")
    source.add_argument(
        "--centers",
        metavar="FOLDER",
        help="several single views: FOLDER/1/ori.png, FOLDER/2/ori.png, ...; each gives a set of its own, in OUT/1, "
        "OUT/2, ...; set n is drawn with seed K + n",
    )
    source.add_argument(
        "--photos",
        metavar="FOLDER",
        help="photographs instead of a view (jpg, png, tif): items 2k-1 and 2k are two copies of patch k, each turned "
        "and shifted; no CTF, no template.mrc",
    )


def _add_particles(parser: argparse.ArgumentParser) -> None:
    """How many are simulated, how large, how noisy and how far off centre."""
    parser.add_argument(
        "--count", type=take.positive_int, metavar="N", help="number of particles (1000; of photographs: all they give)"
    )
    parser.add_argument(
        "--pixel-sizes",
        type=take.numbered,
        nargs="+",
        metavar="N:A",
        help="with --centers: angstrom per pixel of the particles of each view, as 1:2.08 2:2.0 (--pixel-size: the "
        "same for all others)",
    )
    parser.add_argument(
        "--snr",
        type=take.positive_or_inf,
        default=0.1,
        metavar="S",
        help="variance of the noise-free particle (after the CTF, over the whole box) over that of the noise (0.1); "
        "inf: no noise",
    )
    parser.add_argument(
        "--ssnr",
        type=take.ssnr,
        metavar="A:FACTOR",
        help="more noise at low frequencies: coarser than A angstrom its power is multiplied by FACTOR, which divides "
        "the spectral SNR there, as 10:4 does by four; --snr remains that of the white noise",
    )
    parser.add_argument(
        "--clean", action="store_true", help="write the particles without their noise too: clean.mrcs and clean.star"
    )
    parser.add_argument(
        "--box",
        type=take.positive_int,
        metavar="D",
        help="pixels of a side (default: of the template; phantoms 128). Phantoms and built-in molecules fill the same "
        "part of any box: for the same size in angstrom, give --pixel-size, too",
    )
    parser.add_argument(
        "--shift",
        type=take.not_negative,
        metavar="PX",
        help="off centre by up to this in x and in y (10; with --realistic 5 %% of the box)",
    )
    parser.add_argument("--subpixel", action="store_true", help="any shift, not only whole pixels")


def _add_many_views(parser: argparse.ArgumentParser) -> None:
    """Views from many directions, and what is mixed with them."""
    group = parser.add_argument_group("many views (of --phantom or --volume)")
    group.add_argument(
        "--views",
        choices=["random", "uneven", "single"],
        help="a molecule in three dimensions, each particle seen from a direction of its own. random: from everywhere "
        "alike; uneven: most from near one of three directions, as at an air-water interface; single: all from about "
        "one, as the particles of a class. With --realistic and a molecule: uneven unless you say otherwise",
    )
    group.add_argument(
        "--jitter",
        type=take.not_negative,
        metavar="DEG",
        help="with --views single: how far the directions lie off the one, the standard deviation along either axis "
        "across it in degrees (0; with --realistic 5)",
    )
    group.add_argument(
        "--direction",
        type=float,
        nargs=2,
        metavar=("ROT", "TILT"),
        help="with --views single: from where, RELION's angles in degrees (drawn from the seed)",
    )
    group.add_argument("--noise-share", type=take.fraction, metavar="F", help="particles that are noise alone (0)")
    group.add_argument("--second", metavar="NAME|MAP", help="a second molecule, a phantom or a map, among the first")
    group.add_argument("--second-share", type=take.fraction, metavar="F", help="particles that show it, 0 to 1")


def _add_realism(parser: argparse.ArgumentParser) -> None:
    """What real particles have and clean ones lack."""
    group = parser.add_argument_group(
        "as real particles are",
        "each alone, or all at once with --realistic; particles then come from micrographs, with names and coordinates "
        "in the table",
    )
    usual = REALISTIC
    group.add_argument(
        "--realistic",
        action="store_true",
        help="all of the following at a strength as real sets have it, and shifts by parts of a pixel; each can be "
        "changed by its own option, 0 leaves it away",
    )
    group.add_argument(
        "--per-micrograph",
        type=take.positive_int,
        metavar="N",
        help=f"particles of a micrograph, which share its defocus, ice and grey values ({usual.per_micrograph})",
    )
    _add_contents(group)
    _add_ground(group)
    group.add_argument(
        "--defocus-error",
        type=take.not_negative,
        metavar="A",
        help="the defocus in the table is wrong by so much, the standard deviation among micrographs in angstrom; "
        f"truth.star has the true one (0; {usual.defocus_error:g})",
    )
    group.add_argument(
        "--astigmatism",
        type=take.not_negative,
        metavar="A",
        help="standard deviation among micrographs of the difference of the two defocus values, in angstrom, in any "
        f"direction (0; {usual.astigmatism:g})",
    )


def _add_contents(group: argparse._ArgumentGroup) -> None:
    """What is in the boxes beside, or in the place of, a particle in their middle."""
    usual = REALISTIC
    group.add_argument(
        "--neighbours",
        type=take.fraction,
        metavar="F",
        help="crowded ice: other copies of the molecule around each particle, on so large a share of the sites of a "
        f"hexagonal pattern; none overlaps it (0; {usual.neighbours:g})",
    )
    group.add_argument(
        "--spacing",
        type=take.positive,
        metavar="X",
        help=f"distance of these sites in diameters of the molecule, 1 or more ({usual.spacing:g})",
    )
    group.add_argument(
        "--junk",
        type=take.fraction,
        metavar="F",
        help=f"share of the picks that show no particle; truth.star says which (0; {usual.junk:g})",
    )
    group.add_argument(
        "--junk-kinds",
        nargs="+",
        choices=JUNK_KINDS,
        metavar="KIND",
        help="kinds of junk, alike often: empty (ice alone), blob (contamination), carbon (the edge of the film), "
        "touching (two molecules that overlap) (all)",
    )
    group.add_argument(
        "--tail",
        type=take.fraction,
        metavar="F",
        help="share of the picks that lie farther off centre than --shift, by a distance that is exponentially "
        f"distributed, up to 35 %% of the box (0; {usual.tail:g})",
    )


def _add_ground(group: argparse._ArgumentGroup) -> None:
    """What images lie on: ice, ramps, hot pixels, grey values."""
    usual = REALISTIC
    group.add_argument(
        "--structural",
        type=take.fraction,
        metavar="F",
        help="share of the noise's variance that is structure of the ice and passes the CTF; the rest is white shot "
        f"noise, and --snr stays that of both together (0; {usual.structural:g})",
    )
    group.add_argument(
        "--thickness",
        type=take.not_negative,
        nargs=2,
        metavar=("M", "P"),
        help="ice thickness: spread of the particles' contrast (standard deviation of its logarithm) among micrographs "
        "and among the particles of one; --snr is the mean (0 0; {:g} {:g})".format(*usual.thickness),
    )
    group.add_argument(
        "--ramp",
        type=take.not_negative,
        metavar="H",
        help="linear ramps, one of any direction in each image: root mean square height from the centre to the edge in "
        f"noise deviations (0; {usual.ramp:g})",
    )
    group.add_argument(
        "--hot-pixels",
        type=take.not_negative,
        metavar="N",
        help=f"mean number of hot pixels in an image, 8 to 30 noise deviations high (0; {usual.hot_pixels:g})",
    )
    group.add_argument(
        "--intensities",
        choices=INTENSITIES,
        help="normalised: noise of mean 0 and variance 1; raw: not normalised at all, counts with a gain and an offset "
        f"of each micrograph (normalised; {usual.intensities})",
    )


def _add_photographs(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("photographs (with --photos)")
    group.add_argument("--part", metavar="NAME", help="the subfolder to use, as MS-COCO has them: train2017 or val2017")
    group.add_argument("--patches", type=take.positive_int, metavar="N", help="patches from each photograph (1)")
    group.add_argument(
        "--flat",
        type=take.not_negative,
        metavar="LEVELS",
        help="leave out patches whose grey values have a standard deviation below this, of 256 levels (10)",
    )
    group.add_argument(
        "--noise",
        choices=["none", "gaussian", "salt-pepper"],
        help="none (default); gaussian, of strength --snr; salt-pepper, in the --share of pixels",
    )
    group.add_argument("--share", type=take.fraction, metavar="Q", help="pixels that turn black or white, 0 to 1 (0.1)")


def _add_transfer(parser: argparse.ArgumentParser) -> None:
    """The microscope that simulated particles are seen through."""
    group = parser.add_argument_group("microscope")
    group.add_argument("--no-ctf", action="store_true", help="no CTF")
    group.add_argument("--signed", action="store_true", help="leave the signs of the CTF (default: phase-flipped)")
    group.add_argument(
        "--defocus",
        type=take.defocus,
        nargs=2,
        metavar=("MIN", "MAX"),
        help="range of the defocus in micrometers, one value per particle (0.5 2.0)",
    )
    group.add_argument("--voltage", type=take.voltage, metavar="KV", help="in kV (300)")
    group.add_argument("--cs", type=take.aberration, metavar="MM", help="spherical aberration in mm (2.7)")
    group.add_argument("--amplitude-contrast", type=take.fraction, metavar="Q", help="0 to 1 (0.07)")
    group.add_argument("--b-factor", type=take.not_negative, metavar="A2", help="envelope in A^2 (50)")
