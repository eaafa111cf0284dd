"""One view: its particles aligned, their averages, and what is to be made of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from scipion_udl.alignment.aligner import Aligner, Alignment, AlignmentPlan, longest_shift
from scipion_udl.alignment.averages import Averages, average_particles
from scipion_udl.alignment.fit import with_fit
from scipion_udl.alignment.given_poses import MANY, given_poses, how_far_they_held
from scipion_udl.alignment.known_start import KnownStart
from scipion_udl.alignment.mirror_search import RING as MIRROR_RING
from scipion_udl.alignment.mirror_search import ROUNDS, TOLERANCE, decide_again, share_mirrored
from scipion_udl.alignment.onto_reference import inverted_warning
from scipion_udl.constants import ENOUGH
from scipion_udl.imaging.fourier import soft_disc
from scipion_udl.imaging.half_set_frc import ResolutionEstimate, estimate_resolution, image_frc
from scipion_udl.imaging.poses import Poses, mirrored_first
from scipion_udl.io.stacks import StackWriter
from scipion_udl.messages import message
from scipion_udl.particles.max_shift import is_too_small
from scipion_udl.particles.name_order import ranks
from scipion_udl.pipelines.guide import Guide
from scipion_udl.pipelines.outcome import Outcome, correntropies
from scipion_udl.pipelines.run import Run
from scipion_udl.validation.angular_accuracy import angular_accuracy_warnings, expected_accuracy, with_angular_accuracy
from scipion_udl.validation.heterogeneity import consider_views, image_warnings

IN_A_CLASS = 32  # particles of a class found by a network of many views, of which a resolution is claimed


def align_set(
    run: Run,
    guide: Guide,
    settings: AlignmentPlan,
    reference: np.ndarray | None = None,
    start: Poses | KnownStart | None = None,
) -> Outcome | None:
    """Align the run's particles, which show one view, and say what is to be made of it.

    Parameters
    ----------
    run : Run
        With the particles.
    guide : Guide
        What tells the angles.
    settings : AlignmentPlan
        How they are aligned.
    reference : (D, D) array, optional
        To bring the average onto.
    start : Poses or KnownStart, optional
        Poses (N,) that are about right; those of a network of many views leave it at near views, which is no news to
        the user.

    Returns
    -------
    Outcome or None
        What came of it; of a group, all but the first process get None.
    """
    particles = run.particles
    if start is None and run.settings.start_poses:
        start = given_poses(run.source, run.settings.mirror)
    alignment, averages = _aligned(run, guide, settings, reference, start)
    sorted_ = isinstance(start, KnownStart)
    if isinstance(start, Poses):
        _tell_of_start(run, start, alignment)
    correntropy = correntropies(run, alignment, averages)
    if not run.group.first:  # all that is left is small
        return None
    # Few particles of a class are no witness, however many of other classes the network has learned from.
    alone = guide.network is None or run.settings.by_class
    estimate, frc = resolution_of(run, alignment, averages, IN_A_CLASS if sorted_ else ENOUGH if alone else 0)
    longest = longest_shift(settings, particles.scale)
    limited = not estimate.picked and is_too_small(alignment.at_limit, longest / particles.scale, estimate.signal)
    if limited and estimate.signal is False:
        estimate = replace(estimate, signal=None, note=message("no_claim_at_limit"))
    if sorted_ and estimate.signal is False and not estimate.picked:
        estimate = of_a_class(run, estimate, alignment.initial_lowpass)
    if estimate.signal is not None:
        sure = expected_accuracy(particles, alignment, averages, settings.max_shift)
        estimate = with_angular_accuracy(estimate, sure, alignment.fit)
    if estimate.signal is False and not sorted_:  # what flagged classes are is told of all of them together
        run.warn(estimate.note)
    estimate, warnings = consider_views(
        particles, alignment, estimate, not sorted_, bool(run.settings.by_class), limited
    )
    for warning in (*image_warnings(particles), *angular_accuracy_warnings(estimate.sure), *warnings):
        run.warn(warning)
    if limited:
        run.warn(message("shift_limit", share=alignment.at_limit, limit=longest))
    return Outcome(run, alignment, averages, estimate, frc, correntropy)


def of_a_class(run: Run, estimate: ResolutionEstimate, initial_lowpass: float) -> ResolutionEstimate:
    """The claim of a class that a network of many views found, whose halves agree on nothing finer for sure: few
    particles may not show more, and noise is told by other means (classification/assignment.py).

    Parameters
    ----------
    run : Run
        With its particles.
    estimate : ResolutionEstimate
        What its halves say.
    initial_lowpass : float
        The Fourier ring up to which these had a common start.

    Returns
    -------
    ResolutionEstimate
        That more particles would tell.
    """
    limit = run.source.box * run.source.pixel_size / max(initial_lowpass, 1e-9)
    note = message("class_needs_more", limit=limit)
    return replace(estimate, signal=None, note=note)


def _aligned(
    run: Run, guide: Guide, settings: AlignmentPlan, reference: np.ndarray | None, start: Poses | KnownStart | None
) -> tuple[Alignment, Averages]:
    """The alignment and its averages; where some are mirrored, again until hardly any particle changes hands."""
    particles = run.particles

    def found() -> tuple[Aligner, Alignment]:
        aligner = Aligner(particles, guide.network, guide.inputs, settings)
        first = mirrored_first(start) if isinstance(start, Poses) else start
        return aligner, aligner.run(reference, first) if particles.counted.sum() > 1 else _as_it_is(run)

    for number in range(ROUNDS + 1):
        aligner, alignment = found()
        if _takes_ctf_otherwise(run, alignment):
            aligner, alignment = found()
        if particles.mirrored is not None:
            alignment = replace(
                alignment, initial_lowpass=max(alignment.initial_lowpass, float(particles.within(MIRROR_RING)))
            )
        averages = averages_of(run, alignment)
        if particles.mirrored is None or alignment.half_poses is None or number == ROUNDS:
            break
        flags = decide_again(particles, alignment, averages, settings.max_shift)
        if (flags != particles.mirrored)[particles.usable].mean() <= TOLERANCE:
            break
        particles.mirrored = flags
    if run.settings.mirror and len(particles.usable):
        run.note(share_mirrored(alignment.poses.mirror, particles.usable))
    if aligner.inverted:
        run.warn(inverted_warning(run.settings.reference or "that was given"))
    return alignment, averages


def _takes_ctf_otherwise(run: Run, alignment: Alignment) -> bool:
    """Ask the particles that were aligned how their CTF is to be taken; whether that is another way, and
    they are to be aligned again. Classes are judged together, once all have been asked."""
    if not run.asks_for_ctf:
        return False
    particles, ctf = run.particles, run.ctf_choice
    order = particles.usable[
        np.argsort(ranks(particles.source.names, run.settings.seed)[particles.usable], kind="stable")
    ]
    apart = alignment.half_poses
    half = None if apart is None else alignment.half[order]
    ctf.hear(run.heading, particles, order, (alignment.poses if apart is None else apart)[order], half)
    return not run.settings.by_class and run.settle_ctf([run.heading])


def _tell_of_start(run: Run, start: Poses, alignment: Alignment) -> None:
    """Say how far the poses of the input held: a note, or a warning where they did not."""
    if len(run.particles.usable) < 2:
        return
    share, sentence = how_far_they_held(start, alignment.poses, run.particles.usable)
    if share > MANY:
        run.warn(sentence)
    else:
        run.note(sentence)


def _as_it_is(run: Run) -> Alignment:
    """A single particle has nothing to be aligned to, copies of one are aligned; constant images have no pose."""
    if len(run.particles.usable) > 1:
        run.warn(message("all_copies"))
    elif len(run.particles.usable):
        run.warn(message("one_particle"))
    else:
        run.warn(message("class_all_constant"))
    n = len(run.source)
    nothing = np.zeros(n)
    return Alignment(
        poses=Poses.identity(n),
        half_poses=None,
        half=nothing.astype(np.int64),
        score=nothing,
        ambiguous=nothing.astype(bool),
        initial_lowpass=0.0,
        searched=False,
        network_angle=np.full(n, np.nan),
        outlier=run.particles.statistics.blank.copy(),
    )


def averages_of(run: Run, alignment: Alignment, scale: tuple[float, float] | None = None) -> Averages:
    """The last pass: averages, and the aligned stack where it is asked for.

    Parameters
    ----------
    run : Run
        With the particles; the stack is among its unfinished files.
    alignment : Alignment
        Theirs.
    scale : (float, float), optional
        See :func:`average_particles`.

    Returns
    -------
    Averages
        Of all and of halves.
    """
    settings, particles = run.settings, run.particles
    poses = (alignment.poses, alignment.half_poses or alignment.poses)
    if not settings.write_stack or settings.by_class:  # of classes, one of all particles is written at the end
        return average_particles(particles, *poses, alignment.half, scale=scale)

    def with_stack() -> Averages:
        path = run.out.scratch("aligned.mrcs")
        with StackWriter(path, len(particles), run.source.box, run.source.pixel_size) as stack:
            return average_particles(particles, *poses, alignment.half, stack.write, scale)

    return run.group.on_rank0(with_stack)  # a file has one writer: on a shared disk several are not safe


def resolution_of(
    run: Run, alignment: Alignment, averages: Averages, enough: int
) -> tuple[ResolutionEstimate, np.ndarray]:
    """What may be said of the resolution.

    Parameters
    ----------
    run : Run
        With the particles.
    alignment : Alignment
        Theirs.
    averages : Averages
        Of its halves.
    enough : int
        Particles with an image that there must be.

    Returns
    -------
    ResolutionEstimate
        Why none is made where none is.
    (rings,) array
        FRC of the halves per Fourier ring.
    """
    source, particles = run.source, run.particles
    radius = particles.disc.radius * particles.scale
    mask = soft_disc(source.box, radius, max(4.0, 0.06 * source.box))
    if particles.disc.tube_radius is not None:
        mask = particles.disc.in_box(source.box).mask
    first, second = (torch.from_numpy(half) for half in averages.both[0])
    frc = image_frc(first, second, mask)
    if alignment.half_poses is None:
        return ResolutionEstimate(None, None, message("halves_not_apart")), frc
    if len(particles.usable) < enough:
        return ResolutionEstimate(None, None, message("too_few_to_claim", count=len(particles.usable))), frc
    estimate = estimate_resolution(
        frc, source.box, source.pixel_size, alignment.initial_lowpass, radius, particles.ring_limit
    )
    return with_fit(estimate, alignment.fit), frc
