"""The command `check`: looks through a set before a run, once, and tells all that is wrong with it, not only the first.

Tables and images are read by the readers of every other command, which tell of faults here instead of ending the work.
"""

from __future__ import annotations

import os

import numpy as np

from scipion_udl.compute.heap import give_back_arrays
from scipion_udl.constants import ENOUGH, SMALLEST_BOX, WORKING_BOX
from scipion_udl.errors import UdlError
from scipion_udl.io import dialects
from scipion_udl.io.defocus import CTF_LABELS, read_defocus, sampled_defocus
from scipion_udl.io.other_programs import image_warnings, table_notes
from scipion_udl.io.particles import PLACEHOLDER, ParticleSource, open_particles
from scipion_udl.jobs.findings import Findings
from scipion_udl.particles.diameter import given_radius, size_words
from scipion_udl.settings.commands import CheckSettings

HEADER_DIFFERS = 0.01  # of the pixel size: headers hold it as single numbers, and people round it
READING = 3.2  # milliseconds for each further area of the working box, see estimate


def check(settings: CheckSettings) -> None:
    """`scipion-udl check`: prints the table; raises UdlError where the set cannot be aligned as it is."""
    give_back_arrays()
    found = Findings(settings.list)
    found.spare([settings.input])
    with found as findings:
        source = None
        try:
            source = open_particles(settings.input, settings.pixel_size, findings.error, lean=True)
        except UdlError as error:
            findings.error("table", str(error))
        if source is not None:
            findings.spare(source.files())
            facts = (source.box, source.pixel_size, source.pixel_size_known)
            radius = given_radius(settings, *facts, settings.input)
            findings.fact("diameter", f"{size_words(radius, *facts[1:])}, as given" if radius else "")
            check_table(source, findings)
            if not settings.quick:
                _look_at_images(settings, source, findings, radius)
            for sentence in image_warnings(source.stacks):
                findings.warn("other programs", sentence)
        print(_title(settings.input, source), findings.text(), sep="\n\n")
    if source is not None:
        print("\n" + estimate_text(len(source), source.box))
    if findings.errors:
        faults = "one fault" if findings.errors == 1 else f"{findings.errors} faults"
        raise UdlError(f"{settings.input} cannot be aligned as it is: {faults} to mend, told above")
    warnings = {0: "no warnings", 1: "one warning"}.get(findings.warnings, f"{findings.warnings} warnings")
    looked = "its images were not looked at" if settings.quick else "all its images were read"
    print(f"\n{settings.input} can be aligned ({warnings}; {looked}).")


def _look_at_images(settings: CheckSettings, source: ParticleSource, findings: Findings, radius: float | None) -> None:
    defocus = sampled_defocus(source)
    source.keep_columns(("rlnOpticsGroup",))  # images need no more, and there may be millions
    import torch  # which takes more memory than the table of a large set

    from scipion_udl.jobs.check_images import CHUNK_BYTES, check_images

    give_back_arrays(2 * CHUNK_BYTES)  # what is made of a piece of the images is made again and again
    torch.set_num_threads(settings.threads or max(1, len(os.sched_getaffinity(0))))
    check_images(source, findings, settings.contrast, radius, defocus)


def _title(path: str, source: ParticleSource | None) -> str:
    if source is None:
        return path
    form = {dialects.RELION30: "RELION 3.0", dialects.RELION31: "RELION 3.1 or later", dialects.XMIPP: "Xmipp"}
    size = f"{source.pixel_size:g} A/px" if source.pixel_size_known else "unknown pixel size"
    kind = "cryoSPARC" if source.cs is not None else form.get(source.form, "a bare stack")
    return f"{path}: {len(source)} particles of {source.box} px, {size} ({kind})"


def check_table(source: ParticleSource, findings: Findings) -> None:
    """All that tables and headers tell, no image read. Of its columns the source keeps those of optics groups, contrast
    transfer, classes and poses alone."""
    notes = table_notes(source)
    if source.table is not None:  # there may be millions of rows: what follows needs no more of them
        poses = dialects.pose_labels(source.table)
        source.keep_columns(("rlnOpticsGroup", *CTF_LABELS, *dialects.CLASS_LABEL.values(), *poses))
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
    for sentence in notes:
        findings.note("other programs", sentence)


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
        classes = len(dialects.told_classes(table, source.form))
    except UdlError as error:
        findings.warn("classes", str(error))
        classes = 0
    if classes:
        findings.fact("classes", "one")
        if classes > 1:
            findings.warn(
                "classes",
                f"the particles are of {classes} classes (column {dialects.CLASS_LABEL[source.form]}): each must be "
                "aligned by itself (align --by-class, or a table of one class), for an average of several views shows "
                "none of them",
            )
        if source.missing_classes():
            findings.warn("classes", source.missing_classes())
    optics = dialects.optics_table(source.tables)
    try:
        if optics is not None:
            _check_optics(len(np.unique(dialects.optics_rows(table, optics))), findings)
        _check_defocus(source, findings)
    except UdlError as error:
        findings.error("defocus" if "ptics" not in str(error) else "optics groups", str(error))
    _check_poses(source, findings)


def _check_defocus(source: ParticleSource, findings: Findings) -> None:
    said: list[str] = []
    defocus = read_defocus(source, warn=said.append)
    for sentence in said:
        findings.warn("defocus", sentence)
    if defocus is None:
        if not said:
            findings.note("defocus", "not given: the contrast transfer is left out of account")
        return
    _check_voltages(np.unique(defocus.voltage[defocus.known]), findings)
    values = defocus.defocus_u[defocus.known] / 1e4
    findings.fact("defocus", f"{values.min():.2f} to {values.max():.2f} micrometers")
    if defocus.flipped is None:
        return
    flipped = int(defocus.flipped.sum())
    if 0 < flipped < len(source):
        findings.note("defocus", f"{flipped} of {len(source)} particles are phase-flipped, by optics group or row")


def _check_optics(used: int, findings: Findings) -> None:
    findings.fact("optics groups", "one")
    if used > 1:
        findings.note("optics groups", f"{used}, all of one pixel size: they are aligned together")


def _check_voltages(voltages: np.ndarray, findings: Findings) -> None:
    if len(voltages) > 1:
        listed = ", ".join(f"{v:g}" for v in voltages[:4])
        findings.warn("optics groups", f"the particles were taken at different voltages ({listed} kV)")


def _check_poses(source: ParticleSource, findings: Findings) -> None:
    old = dialects.pose_labels(source.table)
    try:
        missing = source.missing_poses()  # which stops at what is no number
        if missing:
            findings.warn("poses", missing)
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
