"""The command `check`: looks through a set before a run, once, and tells all that is wrong with it, not only the first.

Tables and images are read by the readers of every other command, which tell of faults here instead of ending the work.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass

import numpy as np
import torch

from scipion_udl.alignment.consistency import FEW, worth_of_mean
from scipion_udl.alignment.copies import originals
from scipion_udl.alignment.diameter import given_radius, size_words
from scipion_udl.alignment.findings import Findings
from scipion_udl.alignment.fourier import soft_disc
from scipion_udl.alignment.polarity import DARK, UNKNOWN, RadialProfile, sampled_defocus
from scipion_udl.alignment.polarity_groups import GroupProfiles
from scipion_udl.alignment.prepare import DISC, LARGEST, SMALLEST_BOX, background, too_large
from scipion_udl.alignment.progress import Progress
from scipion_udl.alignment.train_command import ENOUGH
from scipion_udl.constants import WORKING_BOX
from scipion_udl.errors import UdlError
from scipion_udl.io import forms
from scipion_udl.io.defocus import read_defocus
from scipion_udl.io.other_programs import image_warnings, table_notes
from scipion_udl.io.particles import PLACEHOLDER, ParticleSource, open_particles

CHUNK_BYTES = 8 << 20  # of images held at a time
HEADER_DIFFERS = 0.01  # of the pixel size: headers hold it as single numbers, and people round it
READING = 3.2  # milliseconds for each further area of the working box, see estimate


@dataclass
class ImageFacts:
    """What one look through the images found, per particle (N,).

    mean, std: of the background, NaN where the image was not read; blank: constant, or not read; peak: the largest
    value, its sign left out. profile: of all images that are not blank and of the set's box, and by stack and optics
    group in groups.
    """

    mean: np.ndarray
    std: np.ndarray
    blank: np.ndarray
    peak: np.ndarray
    profile: RadialProfile
    groups: GroupProfiles


def check(args: argparse.Namespace) -> None:
    """`scipion-udl check`: prints the table; raises UdlError where the set cannot be aligned as it is.

    args: input, pixel_size, quick (tables and headers only), contrast (auto, bright or dark), list (a CSV file or
    None), diameter (A or None) or mask_radius (pixels or None).
    """
    torch.set_num_threads(args.threads or max(1, len(os.sched_getaffinity(0))))
    found = Findings(args.list)
    found.spare([args.input])
    with found as findings:
        source = None
        try:
            source = open_particles(args.input, args.pixel_size, findings.error)
        except UdlError as error:
            findings.error("table", str(error))
        if source is not None:
            findings.spare(source.files())
            facts = (source.box, source.pixel_size, source.pixel_size_known)
            radius = given_radius(args, *facts, args.input)
            findings.fact("diameter", f"{size_words(radius, *facts[1:])}, as given" if radius else "")
            check_table(source, findings)
            if not args.quick:
                check_images(source, findings, args.contrast, radius)
            check_other_programs(source, findings)
        print(_title(args.input, source), findings.text(), sep="\n\n")
    if source is not None:
        print("\n" + estimate_text(len(source), source.box))
    if findings.errors:
        faults = "one fault" if findings.errors == 1 else f"{findings.errors} faults"
        raise UdlError(f"{args.input} cannot be aligned as it is: {faults} to mend, told above")
    warnings = {0: "no warnings", 1: "one warning"}.get(findings.warnings, f"{findings.warnings} warnings")
    looked = "its images were not looked at" if args.quick else "all its images were read"
    print(f"\n{args.input} can be aligned ({warnings}; {looked}).")


def _title(path: str, source: ParticleSource | None) -> str:
    if source is None:
        return path
    form = {forms.RELION30: "RELION 3.0", forms.RELION31: "RELION 3.1 or later", forms.XMIPP: "Xmipp"}
    size = f"{source.pixel_size:g} A/px" if source.pixel_size_known else "unknown pixel size"
    kind = "cryoSPARC" if source.cs is not None else form.get(source.form, "a bare stack")
    return f"{path}: {len(source)} particles of {source.box} px, {size} ({kind})"


def check_table(source: ParticleSource, findings: Findings) -> None:
    """All that tables and headers tell, no image read."""
    for warning in source.warnings:
        findings.warn("reading", warning)
    count = len(source.stacks)
    findings.fact("files", "1 stack" if count == 1 else f"{count} stacks")
    findings.fact("image numbers", "all within their stacks")
    findings.fact("same image twice", "none")
    findings.fact("box", f"{source.box} px")
    if source.box < SMALLEST_BOX:
        findings.error("box", f"a box of {source.box} px is too small; {SMALLEST_BOX} or more are needed")
    _check_number(source, findings)
    _check_headers(source, findings)
    if source.table is not None:
        _check_columns(source, findings)


def _check_number(source: ParticleSource, findings: Findings) -> None:
    whole = np.array([reader.whole for reader in source.stacks])
    lost = int(((source.stack < 0) | (source.item >= whole[source.stack])).sum())
    if lost:
        findings.note("number", f"{lost} of {len(source)} have no image that can be read")
    elif len(source) < ENOUGH:
        findings.warn(
            "number",
            f"{len(source)} are too few to train a network on (about {ENOUGH} are needed): they are aligned without "
            "one unless you give a --model, and no resolution is claimed",
        )
    findings.fact("number", str(len(source)))


def _check_headers(source: ParticleSource, findings: Findings) -> None:
    """The pixel size of each image header against the one that is used."""
    findings.fact("pixel size", f"{source.pixel_size:g} A" if source.pixel_size_known else "unknown, 1 A stands in")
    if source.table is None or not source.pixel_size_known:
        return
    for reader in source.stacks:
        size = reader.pixel_size
        if size is None or size == PLACEHOLDER:
            continue
        if abs(size - source.pixel_size) > HEADER_DIFFERS * source.pixel_size:
            findings.warn(
                "pixel size",
                f"the header of {reader.path} says {size:g} A, {source.path} says {source.pixel_size:g} A, which is "
                "used: check which one is right",
            )


def _check_columns(source: ParticleSource, findings: Findings) -> None:
    """Classes, optics groups, defocus and old poses of a table."""
    table = source.table
    try:
        classes = len(forms.told_classes(table, source.form))
    except UdlError as error:
        findings.warn("classes", str(error))
        classes = 0
    if classes:
        findings.fact("classes", "one")
        if classes > 1:
            findings.warn(
                "classes",
                f"the particles are of {classes} classes (column {forms.CLASS_LABEL[source.form]}): each must be "
                "aligned by itself (align --by-class, or a table of one class), for an average of several views shows "
                "none of them",
            )
        if source.missing_classes():
            findings.warn("classes", source.missing_classes())
    optics = forms.optics_table(source.tables)
    try:
        if optics is not None:
            _check_optics(len(np.unique(forms.optics_rows(table, optics))), findings)
        defocus = read_defocus(source)
        if defocus is None:
            findings.note("defocus", "not given, or not of all particles: the contrast transfer is left out of account")
        else:
            _check_voltages(np.unique(defocus.voltage), findings)
            low, high = defocus.defocus_u.min() / 1e4, defocus.defocus_u.max() / 1e4
            findings.fact("defocus", f"{low:.2f} to {high:.2f} micrometers")
    except UdlError as error:
        findings.error("defocus" if "ptics" not in str(error) else "optics groups", str(error))
    _check_poses(source, findings)


def _check_optics(used: int, findings: Findings) -> None:
    findings.fact("optics groups", "one")
    if used > 1:
        findings.note("optics groups", f"{used}, all of one pixel size: they are aligned together")


def _check_voltages(voltages: np.ndarray, findings: Findings) -> None:
    if len(voltages) > 1:
        listed = ", ".join(f"{v:g}" for v in voltages[:4])
        findings.warn("optics groups", f"the particles were taken at different voltages ({listed} kV)")


def _check_poses(source: ParticleSource, findings: Findings) -> None:
    old = forms.pose_labels(source.table)
    try:
        source.poses()
        if source.missing_poses():
            findings.warn("poses", source.missing_poses())
        if source.has_3d_angles:
            findings.note(
                "poses",
                "rot and tilt are not 0: these are projection directions, which aligned tables will not have any more; "
                "keep the table",
            )
        elif old:
            findings.note("poses", f"old ones ({', '.join(old)}) give way to new ones in the aligned tables")
    except UdlError as error:
        findings.warn("poses", str(error))


def check_other_programs(source: ParticleSource, findings: Findings) -> None:
    """What programs that people use with these sets would misread, tables and images."""
    for sentence in image_warnings(source.stacks):
        findings.warn("other programs", sentence)
    for sentence in table_notes(source):
        findings.note("other programs", sentence)


def check_images(
    source: ParticleSource, findings: Findings, expected: str = "auto", mask_radius: float | None = None
) -> None:
    """Read every image once: NaN and inf, constant images, contrast, scale, copies; a bounded piece at a time."""
    facts = look_through(source, findings, mask_radius)
    read = np.isfinite(facts.mean)
    flat = np.flatnonzero(facts.blank & read)
    findings.fact("pixel values", "all finite")
    for row in np.flatnonzero(facts.peak > LARGEST):
        findings.error("pixel values", too_large(source, row))
    findings.fact("constant images", "none")
    if len(flat) and len(flat) == read.sum():
        findings.error("constant images", "all images are constant: there is nothing to align")
    else:
        for row in flat:
            findings.warn(
                "constant images", f"item {row + 1} ({source.names[row]}): it will be kept with pose 0 and score 0"
            )
    _check_polarity(source, facts, findings, expected, mask_radius)
    _check_scale(facts.std[read & ~facts.blank], findings)
    _check_copies(source, facts, findings)


def look_through(source: ParticleSource, findings: Findings, mask_radius: float | None = None) -> ImageFacts:
    """One pass over the images that can be read, stack by stack, a bounded piece at a time."""
    n = len(source)
    profile = RadialProfile(source.box)
    groups = GroupProfiles(source, len(profile.radii))
    facts = ImageFacts(np.full(n, np.nan), np.full(n, np.nan), np.ones(n, bool), np.zeros(n), profile, groups)
    progress, done = Progress(), 0
    for number, reader in enumerate(source.stacks):
        rows = np.flatnonzero((source.stack == number) & (source.item < reader.whole))
        rows = rows[np.argsort(source.item[rows], kind="stable")]
        disc = _disc(reader.shape, mask_radius)
        step = max(1, CHUNK_BYTES // (4 * reader.shape[0] * reader.shape[1]))
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            images = np.empty((len(part), *reader.shape), np.float32)
            try:
                reader.read_into(images, np.arange(len(part)), source.item[part], findings.error)
            except UdlError as error:  # the file went away, or its disk is broken: the next one may be fine
                findings.error("files", str(error))
                break
            source.apply_sign(images, part)
            with np.errstate(invalid="ignore"):  # of infinities of both signs: it is no number, as it is to be
                good = np.isfinite(images.sum((1, 2), dtype=np.float64))
            _measure(facts, part[good], torch.from_numpy(images[good]), disc)
            done += len(part)
            progress.show("reading", done, n)
    progress.clear()
    return facts


def _disc(shape: tuple[int, int], mask_radius: float | None) -> torch.Tensor:
    """The disc about the particle, (rows, columns); images that are not square have one in their middle square."""
    side = min(shape)
    disc = torch.zeros(shape)
    top, left = shape[0] // 2 - side // 2, shape[1] // 2 - side // 2
    radius = min(mask_radius or DISC * side, side / 2 - 2)
    disc[top : top + side, left : left + side] = soft_disc(side, max(radius, 1.0), max(2.0, 0.04 * side))
    return disc


def _measure(facts: ImageFacts, rows: np.ndarray, images: torch.Tensor, disc: torch.Tensor) -> None:
    if not len(rows):
        return
    mean, std, flat, peak = background(images, 1 - disc)
    facts.mean[rows], facts.std[rows], facts.blank[rows] = mean.numpy(), std.numpy(), flat.numpy()
    facts.peak[rows] = peak.numpy()
    if images.shape[1:] == (facts.profile.box, facts.profile.box):
        used = ~flat & (peak <= LARGEST)
        profiles = facts.profile.add(((images - mean[:, None, None]) / std[:, None, None])[used])
        facts.groups.add(rows[used.numpy()], profiles)


def _check_polarity(
    source: ParticleSource, facts: ImageFacts, findings: Findings, expected: str, mask_radius: float | None
) -> None:
    """Whether particles are bright or dark on their background, in the whole set, stack by stack and optics group by
    optics group."""
    if not facts.profile.count:
        return
    model = (source.pixel_size if source.pixel_size_known else None, sampled_defocus(source), mask_radius)
    found = facts.profile.decide(*model).word
    findings.fact("contrast", "cannot be told" if found == UNKNOWN else f"{found} particles")
    if expected != "auto" and found not in (expected, UNKNOWN):
        findings.warn(
            "contrast", f"the particles look {found}, not {expected}: invert the images, or say so to other programs"
        )
    elif expected == "auto" and found == DARK:
        findings.warn(
            "contrast",
            "the particles look dark on a bright ground: the alignment takes them as they are, but Xmipp and RELION "
            "expect bright ones (say --contrast dark where it is meant so)",
        )
    opposite = facts.groups.opposite(facts.profile, *model)
    if opposite:
        findings.warn("contrast", opposite)


def _check_scale(std: np.ndarray, findings: Findings) -> None:
    if len(std) < 2:
        return
    worth = worth_of_mean(std)
    spread = float(np.quantile(std, 0.99) / np.median(std))
    findings.fact("scale", f"noise within a factor of {spread:.3g} (99 % of the images)")
    if worth < FEW:
        findings.warn(
            "scale",
            f"the noise of the images differs by a factor of {spread:.3g} and more, so that their plain mean is worth "
            f"{worth:.0%} of them: normalise the particles",
        )


def _check_copies(source: ParticleSource, facts: ImageFacts, findings: Findings) -> None:
    """Images that are the same in every pixel though they have different names."""
    findings.fact("copies", "none")
    one_box = np.array([reader.shape == source.stacks[0].shape for reader in source.stacks])
    first = originals(source, facts.mean, facts.std, facts.blank | ~one_box[source.stack])
    for row in np.flatnonzero(first != np.arange(len(source))):
        if source.names[row] != source.names[first[row]]:  # else the table names it twice, which was told
            findings.warn(
                "copies",
                f"item {row + 1} ({source.names[row]}) is item {first[row] + 1} ({source.names[first[row]]}) again: "
                "the noise of a copy agrees with itself, which looks like signal",
            )


def estimate_text(count: int, box: int) -> str:
    """How long an alignment of ``count`` particles of ``box`` px takes and what memory it needs, in words."""
    seconds, memory = estimate(count, box)
    cores = len(os.sched_getaffinity(0))
    wall = _in_words(seconds / min(1 + 0.4 * (cores - 1), 4))  # measured: two cores take 0.7 of the time of one
    return (
        f"Estimate: align takes about {wall} on the CPU here ({cores} cores), training included, and {memory:.1f} GB "
        "of memory.\nIt is drawn from measurements on another machine at SNR 0.1; at SNR 0.01 it takes up to five "
        "times as long, with a GPU less."
    )


def _in_words(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def estimate(count: int, box: int) -> tuple[float, float]:
    """(CPU seconds of one core, GB) of an alignment with training: fitted to runs of 512 to 50 000 particles of 64 to
    256 px (docs/benchmarks.md). The working box is 128 px at most; larger images cost their reading and cropping."""
    area = (min(box, WORKING_BOX) / WORKING_BOX) ** 2
    larger = max(0.0, (box / WORKING_BOX) ** 2 - 1)
    per_particle = 1e-3 * (1.0 + 3.0 * area + READING * larger)
    return 5 + 12 * area + count * per_particle, 0.4 + 0.3 * area + 0.03 * larger + 2e-6 * count
