"""The command `check`: looks through a set before a run, once, and tells all that is wrong with it, not only the first.

Tables and images are read by the readers of every other command, which tell of faults here instead of ending the work.
"""

from __future__ import annotations

import os

import numpy as np

from scipion_udl.compute.heap import give_back_arrays
from scipion_udl.constants import ENOUGH, SMALLEST_BOX, proposed_classes
from scipion_udl.cost_estimate import cost_of_alignment, cost_of_classification, in_words
from scipion_udl.errors import UdlError
from scipion_udl.io import dialects
from scipion_udl.io.defocus import CTF_LABELS, read_defocus, sampled_defocus
from scipion_udl.io.other_programs import image_warnings, table_notes
from scipion_udl.io.particles import PLACEHOLDER, ParticleSource, open_particles
from scipion_udl.io.source import table_of
from scipion_udl.jobs.diagnostics import Diagnostics
from scipion_udl.messages import Message, message
from scipion_udl.particles.diameter import given_radius, size_words
from scipion_udl.settings.commands import CheckSettings

HEADER_DIFFERS = 0.01  # of the pixel size: headers hold it as single numbers, and people round it


def check(settings: CheckSettings) -> None:
    """Do `scipion-udl check`: prints the table.

    Parameters
    ----------
    settings : CheckSettings
        The options.

    Raises
    ------
    UdlError
        Where the set cannot be aligned as it is.
    """
    give_back_arrays()
    found = Diagnostics(settings.list)
    found.spare([settings.input])
    with found as diagnostics:
        source = None
        try:
            source = open_particles(settings.input, settings.pixel_size, diagnostics.error, lean=True)
        except UdlError as error:
            diagnostics.error("table", error.message)
        if source is not None:
            diagnostics.spare(source.files())
            facts = (source.box, source.pixel_size, source.pixel_size_known)
            radius = given_radius(settings, *facts, settings.input)
            diagnostics.fact("diameter", f"{size_words(radius, *facts[1:])}, as given" if radius else "")
            check_table(source, diagnostics)
            if not settings.quick:
                _look_at_images(settings, source, diagnostics, radius)
            for sentence in image_warnings(source.stacks):
                diagnostics.warn("other programs", sentence)
        print(_title(settings.input, source), diagnostics.text(), sep="\n\n")
    if source is not None:
        print("\n" + estimate_text(len(source), source.box))
    if diagnostics.errors:
        faults = "one fault" if diagnostics.errors == 1 else f"{diagnostics.errors} faults"
        raise UdlError(message("input_has_faults", path=settings.input, faults=faults))
    warnings = {0: "no warnings", 1: "one warning"}.get(diagnostics.warnings, f"{diagnostics.warnings} warnings")
    looked = "its images were not looked at" if settings.quick else "all its images were read"
    print(f"\n{settings.input} can be aligned ({warnings}; {looked}).")


def _look_at_images(
    settings: CheckSettings, source: ParticleSource, diagnostics: Diagnostics, radius: float | None
) -> None:
    defocus = sampled_defocus(source)
    source.keep_columns(("rlnOpticsGroup",))  # images need no more, and there may be millions
    import torch  # which takes more memory than the table of a large set

    from scipion_udl.jobs.check_images import CHUNK_BYTES, check_images

    give_back_arrays(2 * CHUNK_BYTES)  # what is made of a piece of the images is made again and again
    torch.set_num_threads(settings.threads or max(1, len(os.sched_getaffinity(0))))
    check_images(source, diagnostics, settings.polarity, radius, defocus)


def _title(path: str, source: ParticleSource | None) -> str:
    if source is None:
        return path
    form = {dialects.RELION30: "RELION 3.0", dialects.RELION31: "RELION 3.1 or later", dialects.XMIPP: "Xmipp"}
    size = f"{source.pixel_size:g} A/px" if source.pixel_size_known else "unknown pixel size"
    kind = "cryoSPARC" if source.cs is not None else form.get(source.form, "a bare stack")
    return f"{path}: {len(source)} particles of {source.box} px, {size} ({kind})"


def check_table(source: ParticleSource, diagnostics: Diagnostics) -> None:
    """Find all that tables and headers tell, no image read.

    Parameters
    ----------
    source : ParticleSource
        The set; of its columns it keeps those of optics groups, CTF, classes and poses alone.
    diagnostics : Findings
        Told of all.
    """
    notes = table_notes(source)
    if source.table is not None:  # there may be millions of rows: what follows needs no more of them
        poses = dialects.pose_labels(source.table)
        source.keep_columns(("rlnOpticsGroup", *CTF_LABELS, *dialects.CLASS_LABEL.values(), *poses))
    for warning in source.warnings:
        diagnostics.warn("reading", warning)
    count = len(source.stacks)
    diagnostics.fact("files", "1 stack" if count == 1 else f"{count} stacks")
    diagnostics.fact("image numbers", "all within their stacks")
    diagnostics.fact("same image twice", "none")
    diagnostics.fact("box", f"{source.box} px")
    if source.box < SMALLEST_BOX:
        diagnostics.error("box", message("check_box_too_small", box=source.box, least=SMALLEST_BOX))
    _check_number(source, diagnostics)
    _check_headers(source, diagnostics)
    if source.table is not None:
        _check_columns(source, diagnostics)
    for sentence in notes:
        diagnostics.note("other programs", sentence)


def _check_number(source: ParticleSource, diagnostics: Diagnostics) -> None:
    whole = np.array([reader.whole for reader in source.stacks])
    lost = int(((source.stack < 0) | (source.item >= whole[source.stack])).sum())
    if lost:
        diagnostics.note("number", message("images_lost", count=lost, total=len(source)))
    elif len(source) < ENOUGH:
        diagnostics.warn(
            "number",
            message("check_too_few", count=len(source), least=ENOUGH),
        )
    diagnostics.fact("number", str(len(source)))


def _check_headers(source: ParticleSource, diagnostics: Diagnostics) -> None:
    """The pixel size of each image header against the one that is used."""
    diagnostics.fact("pixel size", f"{source.pixel_size:g} A" if source.pixel_size_known else "unknown, 1 A stands in")
    if source.table is None or not source.pixel_size_known:
        return
    for reader in source.stacks:
        size = reader.pixel_size
        if size is None or size == PLACEHOLDER:
            continue
        if abs(size - source.pixel_size) > HEADER_DIFFERS * source.pixel_size:
            diagnostics.warn(
                "pixel size",
                message("header_differs", path=reader.path, size=size, table=source.path, in_use=source.pixel_size),
            )


def _check_columns(source: ParticleSource, diagnostics: Diagnostics) -> None:
    """Classes, optics groups, defocus and old poses of a table."""
    table = table_of(source)
    try:
        classes = len(dialects.told_classes(table, source.form))
    except UdlError as error:
        diagnostics.warn("classes", error.message)
        classes = 0
    if classes:
        diagnostics.fact("classes", "one")
        if classes > 1:
            diagnostics.warn(
                "classes",
                message("several_classes", classes=classes, column=dialects.CLASS_LABEL[source.form]),
            )
        missing = source.missing_classes()
        if missing:
            diagnostics.warn("classes", missing)
    optics = dialects.optics_table(source.tables)
    try:
        if optics is not None:
            _check_optics(len(np.unique(dialects.optics_rows(table, optics))), diagnostics)
        _check_defocus(source, diagnostics)
    except UdlError as error:
        diagnostics.error("optics groups" if _is_of_optics(error.message) else "defocus", error.message)
    _check_poses(source, diagnostics)


def _is_of_optics(fault: Message) -> bool:
    """Whether a fault lies in the table of optics groups, or in which group a particle is of."""
    named = {fault.values.get(name) for name in ("name", "label", "column")}
    return fault.code == "optics_group_missing" or not named.isdisjoint({"optics", "rlnOpticsGroup"})


def _check_defocus(source: ParticleSource, diagnostics: Diagnostics) -> None:
    said: list[Message] = []
    defocus = read_defocus(source, warn=said.append)
    for sentence in said:
        diagnostics.warn("defocus", sentence)
    if defocus is None:
        if not said:
            diagnostics.note("defocus", message("no_defocus"))
        return
    _check_voltages(np.unique(defocus.voltage[defocus.known]), diagnostics)
    values = defocus.defocus_u[defocus.known] / 1e4
    diagnostics.fact("defocus", f"{values.min():.2f} to {values.max():.2f} micrometers")
    if defocus.flipped is None:
        return
    flipped = int(defocus.flipped.sum())
    if 0 < flipped < len(source):
        diagnostics.note("defocus", message("some_phase_flipped", count=flipped, total=len(source)))


def _check_optics(used: int, diagnostics: Diagnostics) -> None:
    diagnostics.fact("optics groups", "one")
    if used > 1:
        diagnostics.note("optics groups", message("optics_groups", count=used))


def _check_voltages(voltages: np.ndarray, diagnostics: Diagnostics) -> None:
    if len(voltages) > 1:
        listed = ", ".join(f"{v:g}" for v in voltages[:4])
        diagnostics.warn("optics groups", message("voltages_differ", listed=listed))


def _check_poses(source: ParticleSource, diagnostics: Diagnostics) -> None:
    old = dialects.pose_labels(table_of(source))
    try:
        missing = source.missing_poses()  # which stops at what is no number
        if missing:
            diagnostics.warn("poses", missing)
        if source.has_3d_angles:
            diagnostics.note("poses", message("poses_are_3d"))
        elif old:
            diagnostics.note("poses", message("old_poses", old=", ".join(old)))
    except UdlError as error:
        diagnostics.warn("poses", error.message)


def estimate_text(count: int, box: int) -> str:
    """How long an alignment and a classification take and what memory they need, in words.

    Parameters
    ----------
    count : int
        Particles.
    box : int
        Pixels.

    Returns
    -------
    str
        Three lines.
    """
    classes, cores = proposed_classes(count), len(os.sched_getaffinity(0))
    align, classify = cost_of_alignment(count, box), cost_of_classification(count, box, classes)
    times = [in_words(cost.minutes(cores)) for cost in (align, classify)]
    return (
        f"Estimate: align takes about {times[0]} on the CPU here ({cores} cores), training included, and "
        f"{align.gigabytes:.1f} GB of memory;\nclassify, in {classes} classes, takes about {times[1]} and "
        f"{classify.gigabytes:.1f} GB.\nIt is drawn from measurements on another machine at SNR 0.1; at SNR 0.01 it "
        "takes up to five times as long, with a GPU less."
    )
