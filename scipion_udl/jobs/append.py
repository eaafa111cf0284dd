"""`align --append-to RUN`: particles that come later, aligned to the averages of an earlier run
(pipelines/appending/append_to_alignment.py)."""

from __future__ import annotations

import os
from dataclasses import replace

from scipion_udl.alignment.aligner import Aligner, AlignmentPlan
from scipion_udl.compute.distributed import ProcessGroup
from scipion_udl.errors import UdlError
from scipion_udl.imaging.polar_spectra import SpectraSettings
from scipion_udl.io.output.folder import OutputFolder
from scipion_udl.messages import message
from scipion_udl.models.network import TellsRotations
from scipion_udl.models.polar_network import view_of
from scipion_udl.pipelines.align_set import averages_of
from scipion_udl.pipelines.appending.append_to_alignment import Appender, pooled, resolution_of_all
from scipion_udl.pipelines.appending.appendable_alignment import (
    FILE,
    NEEDED,
    AppendableRun,
    counts_of,
    files_of,
    key_of,
)
from scipion_udl.pipelines.guide import Inputs, load_network, particle_inputs
from scipion_udl.pipelines.preparation import known_of
from scipion_udl.pipelines.run import Run, given_files
from scipion_udl.results import run_results
from scipion_udl.settings import commands
from scipion_udl.settings.option import given
from scipion_udl.validation.heterogeneity import image_warnings

# Options that speak of a set as a whole, with what to do instead.
_NOT_WITH_APPEND = {
    "by_class": "RUN is of one view, and so are the particles that are joined to it",
    "low_resolution_limit": "what was compared in RUN is compared now",
    "high_resolution_limit": "what was compared in RUN is compared now",
    "start_poses": "where the particles lie follows from the averages of RUN",
    "helix": "particles are joined one by one, and the segments of a tube belong together",
    "truth": "it shows the error of a network while it is trained, and that of RUN is",
    "reference": "the particles take over the orientation of RUN",
    "no_refine": "particles that are joined are refined",
    "correntropy": "it compares particles with the average of the others of one run",
    "authors_xmd": "it holds the correntropy, which compares particles with the others of one run",
}


def join(settings: commands.AlignSettings) -> None:
    """Do `scipion-udl align --append-to RUN [--pool PREVIOUS]`: the files of `align` in OUT, for the particles that
    come; its averages, halves and FRC are of all particles so far.

    Parameters
    ----------
    settings : AlignSettings
        The options.

    Raises
    ------
    UdlError
        Where the particles do not fit RUN, or RUN is nothing that particles can be joined to.
    """
    settings, base, earlier = _earlier(settings)
    first, pool = given(settings.append_to), given(settings.pool)
    folder = OutputFolder(settings.output, settings.overwrite, settings.resume, "align")
    read = [os.path.join(f, name) for f in (first, pool) for name in (FILE, *NEEDED)]
    folder.spare([*given_files(settings), *read])
    with ProcessGroup.from_environment() as group, group.folder(folder) as out:
        run = Run(settings, out, group)
        run.particles.ring_limit = base.finest
        base.check_fits(run.source.box, run.source.pixel_size, first, settings.input)
        preparation = base.preparation()
        preparation.take_radius(run, first)
        known = {first: base.known(), f"{pool} or of those that it was pooled with": earlier.known()}
        preparation.scan(run, known)
        preparation.use_ctf(run)
        network, inputs = _network(run, base)
        max_shift = base.max_shift if settings.max_shift is None else float(settings.max_shift)
        aligner = Aligner(run.particles, network, inputs, AlignmentPlan(max_shift, settings.seed))
        alignment = run.within_memory(lambda: Appender(aligner, base, first).run())
        averages = run.within_memory(lambda: averages_of(run, alignment, (base.background, base.noise_level)))
        if not group.first:
            return
        counts = counts_of(run.particles, averages)
        averages, counts = pooled(run, averages, counts, earlier)
        estimate, frc = resolution_of_all(run, alignment, averages, counts)
        for warning in image_warnings(run.particles) if len(run.particles.usable) else ():
            run.warn(warning)
        _write(run_results.Outcome(run, alignment, averages, estimate, frc), base, earlier, counts)


def _earlier(settings: commands.AlignSettings) -> tuple[commands.AlignSettings, AppendableRun, AppendableRun]:
    """The settings with what follows from the run that particles are joined to, this run, and what their averages are
    added to."""
    for name, reason in _NOT_WITH_APPEND.items():
        if getattr(settings, name):
            option = settings.option(name).flag
            raise UdlError(message("not_with_join", option=option, reason=reason))
    run = given(settings.append_to)
    base = AppendableRun.read(run)
    if base.mirror:
        raise UdlError(message("run_was_mirrored", run=run))
    if base.filaments:
        raise UdlError(message("run_was_of_filaments", run=run))
    if settings.max_shift is not None and settings.max_shift > base.box / 2:
        raise UdlError(message("max_shift_too_large_to_join", value=settings.max_shift, most=base.box / 2))
    settings = settings.but(model=settings.model or base.model_file(run))
    if settings.pool is None or os.path.realpath(settings.pool) == os.path.realpath(run):
        return settings.but(pool=run), base, base
    earlier = AppendableRun.read(settings.pool)
    if earlier.joined_to != base.key:
        raise UdlError(message("pool_of_another_run", pool=settings.pool, run=run))
    return settings, base, earlier


def _network(run: Run, base: AppendableRun) -> tuple[TellsRotations | None, Inputs]:
    if not run.settings.model:
        run.say("No network: every angle is searched")
        return None, SpectraSettings.for_box(run.particles.box)
    network, card = load_network(run, run.settings.model)
    run.say(f"Model {run.settings.model} ({card.method.upper()}, version {card.made_by})")
    views = int(getattr(network, "views", 1))
    if views > 1 and (base.view is None or base.view >= views):
        raise UdlError(
            message("model_without_the_view", model=run.settings.model, views=views, run=run.settings.append_to)
        )
    return view_of(network, base.view), particle_inputs(card)


def _write(outcome: run_results.Outcome, base: AppendableRun, earlier: AppendableRun, counts: dict) -> None:
    run, settings, out = outcome.run, outcome.run.settings, outcome.run.out
    run.note(message("joined", count=len(run.source), before=earlier.particles, total=counts["particles"]))
    facts = {
        "joined_to": settings.append_to,
        "pooled_with": settings.pool,
        "pooled_particles": counts["particles"],
        "half_counts": counts["half_counts"],
        "batches": earlier.batches + 1,
    }
    text = run_results.write_alignment(run, outcome, None, None, **facts)
    model = None if settings.model is None else os.path.relpath(settings.model, out.path)
    key = key_of(outcome.averages.both[0])
    known = earlier.known().and_those_of(known_of(run)).packed()
    files = files_of(run, settings.model)
    left = replace(
        base, **counts, **known, model=model, batches=facts["batches"], key=key, files=files, joined_to=base.key
    )
    left.write(out.scratch(FILE))
    run.log.result(text)
