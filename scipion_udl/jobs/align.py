"""The command `align`: options in, files out. What is computed stands in the modules this one calls."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from scipion_udl.alignment.aligner import Aligner, Alignment, AlignSettings, longest_shift
from scipion_udl.alignment.averages import Averages, average_particles
from scipion_udl.alignment.fit import with_fit
from scipion_udl.alignment.given_poses import MANY, given_poses, how_far_they_held
from scipion_udl.alignment.known_start import KnownStart
from scipion_udl.alignment.mirror import AMBIGUOUS, ROUNDS, STILL, decide_again, decide_hands, share_mirrored
from scipion_udl.alignment.mirror import RING as HANDS
from scipion_udl.alignment.onto_reference import inverted_warning
from scipion_udl.compute.distributed import Ranks
from scipion_udl.compute.threads import CLASSES, side_by_side
from scipion_udl.constants import AUTOMATIC_SHIFT, MODEL, MODEL_PICTURE
from scipion_udl.errors import UdlError, is_out_of_memory
from scipion_udl.imaging.fourier import soft_disc
from scipion_udl.imaging.frc import Claim, claim_resolution, image_frc
from scipion_udl.imaging.polar_spectra import SpectraSettings
from scipion_udl.imaging.poses import Poses, mirrored_first
from scipion_udl.imaging.spectrum_images import SpectrumImageSettings
from scipion_udl.io.images import read_image
from scipion_udl.io.output.folder import OutputFolder
from scipion_udl.io.stacks import StackWriter
from scipion_udl.jobs.train import CHECKPOINT, ENOUGH, forget_earlier, how_many, train_model, warn_of_training
from scipion_udl.models.checkpoint import ModelCard, load_model
from scipion_udl.models.polar import PolarNetwork, PolarView
from scipion_udl.particles.resolution_limit import bounded
from scipion_udl.particles.shift_limit import NO_CLAIM, TOO_SMALL, TOO_SMALL_CODE, is_too_small
from scipion_udl.pipelines.classes import ClassResult, that_teach
from scipion_udl.pipelines.classes import members as class_members
from scipion_udl.pipelines.continued import check_began_with
from scipion_udl.pipelines.run import Run, given_files
from scipion_udl.results import joinable, run_results
from scipion_udl.results.class_results import write_classes
from scipion_udl.settings import commands
from scipion_udl.settings.option import given
from scipion_udl.training.trainer import view_of
from scipion_udl.validation.angular_accuracy import certainty_warnings, share_of_sure, with_certainty
from scipion_udl.validation.heterogeneity import consider_views, image_warnings

NO_SIGNAL_CODE = "no_signal"
IN_A_CLASS = 32  # particles of a class found by a network of many views, of which a resolution is claimed
FIT = 256  # particles that choose among the views of a model, at most
Inputs = SpectraSettings | SpectrumImageSettings


@dataclass
class Guide:
    """What tells the particles' angles: a network (None: every angle is searched) and its input; training: the summary
    of the training in this run, history: its epochs, both None where there was none; classes: numbers of the classes
    that it was trained on in this run."""

    network: nn.Module | PolarView | None
    inputs: Inputs
    training: dict | None = None
    history: list[dict] | None = None
    classes: list[int] | None = None

    @property
    def view(self) -> int | None:
        """Which view (from 0) of a network of several this is of, None for all of it."""
        return self.network.number if isinstance(self.network, PolarView) else None

    def of(self, run: Run, number: int | None = None) -> Guide:
        """What tells the angles of the run's particles, all of one view or class. A network of several views gives the
        one that it was trained on for class ``number`` in this run, or else the one that fits these particles best."""
        if self.classes is not None:
            known = number in self.classes
            return replace(self, network=view_of(self.network, self.classes.index(number)) if known else None)
        if not isinstance(self.network, PolarNetwork) or self.network.views == 1:
            return self
        particles, inputs = run.particles, bounded(self.inputs, run.particles.finest)
        if not len(particles.usable):  # nothing is asked of it
            return replace(self, network=None)
        subset = particles.subset(FIT, run.settings.seed)
        spectra = particles.all(subset, "spectra", lambda part, values: inputs.of(values, particles.box))
        best = run.team.by_first(lambda: self.network.best_view(spectra))
        run.say(f"View {best + 1} of the model's {self.network.views} fits best")
        return replace(self, network=self.network.view(best))


def align(settings: commands.AlignSettings) -> None:
    """`scipion-udl align`: aligned.star, aligned.xmd, averages, frc.csv, report.html, summary.json in OUT."""
    folder = OutputFolder(settings.output, settings.overwrite, settings.resume, "align")
    folder.spare(given_files(settings))
    with Ranks.from_environment() as team, team.folder(folder) as out:
        run = Run(settings, out, team)
        team.by_first(lambda: forget_earlier(out))
        classes = class_members(run.source) if settings.by_class else None
        run.warn_of(run.source.missing_classes() if settings.by_class else None)
        reference = _reference(run)
        _check_start(run)
        search = AlignSettings(_max_shift(run), settings.seed, not settings.no_refine, bound=settings.max_shift)
        run.scan()
        run.use_contrast()
        if settings.mirror:
            run.within_memory(lambda: _find_mirrored(run, classes))
        guide = run.within_memory(lambda: _guide(run, classes))
        if classes is None:
            own = run.within_memory(lambda: guide.of(run))
            outcome = run.within_memory(lambda: align_set(run, own, search, reference))
        else:
            outcome = align_classes(run, guide, search, classes)
        run.note_contrast()
        if not team.first:
            return
        with team.alone():
            if classes is None:
                text = run.within_memory(
                    lambda: run_results.write_alignment(run, outcome, guide.training, guide.history)
                )
                joinable.remember(outcome, search.max_shift, own.view)
            else:
                text = run.within_memory(lambda: write_classes(run, outcome, guide.training, guide.history))
        _end(run)
        print(text)


def align_set(
    run: Run,
    guide: Guide,
    settings: AlignSettings,
    reference: np.ndarray | None = None,
    start: Poses | KnownStart | None = None,
) -> run_results.Outcome | None:
    """Align the run's particles, which show one view, and say what is to be made of it; of a team, all but the first
    process get None. reference: (D, D), to bring the average onto; start: poses (N,) that are about right; those of a
    network of many views leave it at near views, which is no news to the user."""
    particles = run.particles
    if start is None and run.settings.start_poses:
        start = given_poses(run.source, run.settings.mirror)
    alignment, averages = _aligned(run, guide, settings, reference, start)
    sorted_ = isinstance(start, KnownStart)
    if start is not None and not sorted_:
        _tell_of_start(run, start, alignment)
    alike = run_results.correntropies(run, alignment, averages)
    if not run.team.first:  # all that is left is small
        return None
    # Few particles of a class are no witness, however many of other classes the network has learned from.
    alone = guide.network is None or run.settings.by_class
    claim, frc = claim_of(run, alignment, averages, IN_A_CLASS if sorted_ else ENOUGH if alone else 0)
    longest = longest_shift(settings, particles.scale)
    limited = is_too_small(alignment.at_limit, longest / particles.scale, claim.signal)
    if limited and claim.signal is False and not claim.picked:
        claim = replace(claim, signal=None, note=NO_CLAIM)
    if sorted_ and claim.signal is False and not claim.picked:
        claim = _of_a_class(run, claim, alignment.shared)
    if claim.signal is not None:
        sure = share_of_sure(particles, alignment, averages, settings.max_shift)
        claim = with_certainty(claim, sure, alignment.fit)
    if claim.signal is False and not sorted_:  # what flagged classes are is told of all of them together
        run.warn(claim.note, NO_SIGNAL_CODE)
    claim, warnings = consider_views(particles, alignment, claim, not sorted_, bool(run.settings.by_class), limited)
    for warning in (*image_warnings(particles), *certainty_warnings(claim.sure)):
        run.warn(warning)
    for warning, code in warnings:
        run.warn(warning, code)
    if limited:
        run.warn(TOO_SMALL.format(share=alignment.at_limit, limit=longest), TOO_SMALL_CODE)
    return run_results.Outcome(run, alignment, averages, claim, frc, alike)


def _of_a_class(run: Run, claim: Claim, shared: float) -> Claim:
    """The claim of a class that a network of many views found, whose halves agree on nothing finer for sure: few
    particles may not show more, and noise is told by other means (classification/assignment.py)."""
    limit = run.source.box * run.source.pixel_size / max(shared, 1e-9)
    note = (
        f"No resolution is claimed: two halves of the class, aligned apart from each other, do not agree for sure on "
        f"anything finer than {limit:.1f} A, up to which it was found. More particles in it would tell."
    )
    return replace(claim, signal=None, note=note)


def _aligned(
    run: Run, guide: Guide, settings: AlignSettings, reference: np.ndarray | None, start: Poses | KnownStart | None
) -> tuple[Alignment, Averages]:
    """The alignment and its averages; where some are mirrored, again until hardly any particle changes hands."""
    particles = run.particles

    def found() -> tuple[Aligner, Alignment]:
        aligner = Aligner(particles, guide.network, guide.inputs, settings, run.say)
        first = mirrored_first(start) if isinstance(start, Poses) else start
        return aligner, aligner.run(reference, first) if particles.counted.sum() > 1 else _as_it_is(run)

    for number in range(ROUNDS + 1):
        aligner, alignment = found()
        if _takes_transfer_otherwise(run, alignment):
            aligner, alignment = found()
        if particles.mirrored is not None:
            alignment = replace(alignment, shared=max(alignment.shared, float(particles.within(HANDS))))
        averages = averages_of(run, alignment)
        if particles.mirrored is None or alignment.half_poses is None or number == ROUNDS:
            break
        flags = decide_again(particles, alignment, averages, settings.max_shift, run.say)
        if (flags != particles.mirrored)[particles.usable].mean() <= STILL:
            break
        particles.mirrored = flags
    if run.settings.mirror and len(particles.usable):
        run.notes.append(share_mirrored(alignment.poses.mirror, particles.usable))
        run.say(run.notes[-1])
    if aligner.inverted:
        run.warn(inverted_warning(given(run.settings.reference)))
    return alignment, averages


def _takes_transfer_otherwise(run: Run, alignment: Alignment) -> bool:
    """Ask the particles that were aligned how their contrast transfer is to be taken; whether that is another way, and
    they are to be aligned again. Classes are judged together, once all have been asked."""
    particles, transfer = run.particles, run.transfer
    if not transfer.asks_images:
        return False
    order = particles.usable[np.argsort(particles.ranks(run.settings.seed)[particles.usable], kind="stable")]
    halves = alignment.half_poses is not None
    poses = (alignment.half_poses if halves else alignment.poses)[order]
    transfer.hear(run.heading, particles, order, poses, alignment.half[order] if halves else None)
    return not run.settings.by_class and run.settle_contrast([run.heading])


def _find_mirrored(run: Run, classes: dict[int, np.ndarray] | None) -> None:
    """Decide which particles are to be mirrored before anything is aligned: as their poses say where these are the
    start, or by their spectra, class by class; where the hands cannot be told apart nothing is, and the user is told.
    """
    particles = run.particles
    if run.settings.start_poses and given_poses(run.source, True).mirror.any():
        particles.mirrored = given_poses(run.source, True).mirror
        return
    flags, unclear = np.zeros(len(particles), bool), 0
    for own in [np.arange(len(particles))] if classes is None else classes.values():
        found = decide_hands(particles if classes is None else particles.part(own), run.settings.seed, run.say)
        unclear += found is None
        if found is not None:
            flags[own] = found
    if unclear:
        run.warn(AMBIGUOUS if classes is None else f"{AMBIGUOUS[:-1]} in {unclear} of {len(classes)} classes.")
    if flags.any():
        particles.mirrored = flags


def _check_start(run: Run) -> None:
    """Raises UdlError where the run cannot start from the poses of the input, but is to, or where the error of a
    training is asked for, and none takes place."""
    untrained = next((name for name in ("model", "start_poses") if getattr(run.settings, name)), None)
    if run.settings.truth and untrained:
        raise UdlError(
            f"--truth shows the error of a network that is trained, and with --{untrained.replace('_', '-')} none is: "
            "leave --truth out, and compare the poses afterwards with `scipion-udl evaluate --truth`."
        )
    if not run.settings.start_poses:
        return
    given_poses(run.source, run.settings.mirror)
    run.warn_of(run.source.missing_poses())
    if run.settings.no_refine:
        raise UdlError("--no-refine keeps the angles of a network, but --start-poses asks none: leave out one of them.")
    if run.settings.model:
        run.warn(f"With --start-poses no network is asked: {run.settings.model} is not used.")


def _tell_of_start(run: Run, start: Poses, alignment: Alignment) -> None:
    """Say how far the poses of the input held: a note, or a warning where they did not."""
    if len(run.particles.usable) < 2:
        return
    share, sentence = how_far_they_held(start, alignment.poses, run.particles.usable)
    if share > MANY:
        run.warn(sentence)
    elif sentence not in run.notes:  # with less memory, all is done again
        run.say(sentence)
        run.notes.append(sentence)


def align_classes(
    run: Run,
    guide: Guide,
    settings: AlignSettings,
    classes: dict[int, np.ndarray],
    start: KnownStart | None = None,
) -> list[ClassResult]:
    """Align each class by itself; classes: the particles (from 0) of each; start: of all particles. What came of them
    by ascending number; of a team, all but the first process get none."""
    work, done = _ClassWork(run, guide, settings, classes, start), []
    order = list(work.order)
    while order and (run.team.size > 1 or run.device.type != "cpu"):
        done.append(work.alone(order.pop(0)))
    given_up, finished = threading.Event(), sum(len(result.members) for result in done if result is not None)
    most = min(CLASSES, max(len(order), 1))
    for number, result in side_by_side(lambda n: work.quietly(n, given_up), order, run.device, most, given_up):
        done.append(result)
        finished += len(classes[number])
        run.particles.report("alignment of the classes", finished, len(run.particles))
    done += [work.alone(number) for number in work.short]  # by itself, each has all of the memory
    done = [result for result in done if result is not None]
    # What classes tell whose halves agree on nothing is of no account: junk, or noise.
    if run.settle_contrast([f"Class {one.number}: " for one in done if one.figures["signal_found"] is not False]):
        return align_classes(run, guide, settings, classes, start)
    return sorted(done, key=lambda result: result.number)


class _ClassWork:
    """The alignment of each of the ``classes`` of a run; arguments as of :func:`align_classes`. ``order``: their
    numbers, as they are aligned; ``short``: of those for which memory was not enough beside others."""

    def __init__(
        self,
        run: Run,
        guide: Guide,
        settings: AlignSettings,
        classes: dict[int, np.ndarray],
        start: KnownStart | None,
    ) -> None:
        self.run, self.guide, self.settings, self.classes, self.start = run, guide, settings, classes, start
        # The largest class comes first: what takes longest is not left to the end.
        self.order = sorted(classes, key=lambda number: (-len(classes[number]), number))
        self.short: list[int] = []

    def alone(self, number: int) -> ClassResult | None:
        """A class while no other is aligned; None for all but the first process of a team."""
        part = self._part(number)
        outcome = part.within_memory(lambda: self._outcome(part, number))
        self.run.particles.chunk = part.particles.chunk  # what was too much once is not tried again
        return None if outcome is None else ClassResult.of(number, self.classes[number], outcome)

    def quietly(self, number: int, given_up: threading.Event) -> tuple[int, ClassResult | None]:
        """(number, what came of the class) beside others; None where memory was not enough."""

        def report(stage: str, done: int, total: int) -> None:
            if given_up.is_set():
                raise RuntimeError("given up")

        part = self._part(number)
        part.particles.report = report
        try:
            return number, ClassResult.of(number, self.classes[number], self._outcome(part, number))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        self.short.append(number)
        return number, None

    def _part(self, number: int) -> Run:
        own = self.classes[number]
        place = f"{self.order.index(number) + 1} of {len(self.order)}"
        self.run.say(f"Class {number} ({place}): {len(own)} particle{'' if len(own) == 1 else 's'}")
        return self.run.part(own, f"Class {number}")

    def _outcome(self, part: Run, number: int) -> run_results.Outcome | None:
        first = None if self.start is None else self.start[self.classes[number]]
        return align_set(part, self.guide.of(part, number), self.settings, start=first)


def _end(run: Run) -> None:
    """What a run that ends well no longer needs."""
    if os.path.exists(run.out.final(CHECKPOINT)):
        os.remove(run.out.final(CHECKPOINT))
    run.progress.clear()


def _reference(run: Run) -> np.ndarray | None:
    if not run.settings.reference:
        return None
    if run.settings.by_class:
        raise UdlError("--reference is one image, but --by-class makes an average a class: leave out one of them.")
    image, _ = read_image(run.settings.reference)
    if image.shape[-1] != run.source.box:
        raise UdlError(
            f"The reference {run.settings.reference} has {image.shape[-1]} px, the particles have "
            f"{run.source.box}: give one of the same box and pixel size."
        )
    if image.min() == image.max():
        raise UdlError(f"The reference {run.settings.reference} is a constant image: give one that shows the particle.")
    return image


def _max_shift(run: Run) -> float:
    wanted, box = run.settings.max_shift, run.source.box
    if wanted is not None and wanted > box / 2:
        raise UdlError(
            f"--max-shift {wanted:g} is more than half the box, {box / 2:g} px: give how far off the centre of its box "
            f"a particle may lie, or nothing for an automatic limit."
        )
    return AUTOMATIC_SHIFT * box if wanted is None else float(wanted)


def _guide(run: Run, classes: dict[int, np.ndarray] | None) -> Guide:
    """A network that is loaded, continued, or trained now; none for a few particles without a model."""
    settings, out = run.settings, run.out
    if settings.start_poses:  # no network is trained, or asked
        return Guide(None, SpectraSettings.for_box(run.particles.box))
    if settings.model:
        network, card = load_network(run, settings.model)
        run.say(f"Model {settings.model} ({card.method.upper()}, version {card.made_by})")
        return Guide(network, card.inputs())
    teaching = None if classes is None else that_teach(run, classes)
    usable = how_many(run, teaching)
    if usable < ENOUGH:
        if settings.no_refine:
            raise UdlError(
                f"--no-refine leaves the angles to the network, and {usable} particles are too few to train one (about "
                f"{ENOUGH} are needed): give a --model, or leave --no-refine out."
            )
        if usable > 1:
            run.warn(
                f"{usable} particles are too few to train on (about {ENOUGH} are needed): they are aligned in "
                "real space alone, and no resolution is claimed."
            )
        return Guide(None, SpectraSettings.for_box(run.particles.box))
    if settings.resume and run.team.by_first(lambda: out.has(MODEL)):
        run.say("Going on with the model that was trained before")
        network, card = load_network(run, out.final(MODEL))
        check_began_with(run, card, out.final(MODEL))
        warn_of_training(run, card.training)
        history = run.team.by_first(lambda: run_results.read_history(out.final("training.csv")))
        return Guide(network, card.inputs(), card.training, history, card.training.get("classes"))
    result, card = train_model(run, None, teaching)
    run.method = card.method
    written = [name for name in ("training.csv", MODEL_PICTURE, MODEL) if os.path.exists(out.scratch(name))]
    out.publish(*written)  # now, so that a stopped run goes on from here
    return Guide(result.network, card.inputs(), card.training, result.history, card.training.get("classes"))


def load_network(run: Run, path: str) -> tuple[nn.Module, ModelCard]:
    """(network, card) of a model file. Raises UdlError where it does not fit the particles, or knows pairs alone."""
    network, card = load_model(path, run.device)
    card.check_fits(run.source.box, run.source.pixel_size, path)
    if card.network == "classes":
        raise UdlError(f"{path} holds the classes of a whole set, not one view: use it with classify.")
    if card.inputs() is None:
        raise UdlError(f"{path} is a {card.network} network, which compares two images: use it with align-pairs.")
    run.method = card.method
    return network, card


def _as_it_is(run: Run) -> Alignment:
    """A single particle has nothing to be aligned to, copies of one are aligned; constant images have no pose."""
    if len(run.particles.usable) > 1:
        run.warn("All particles are copies of one image, which lie alike as they are: they are left so.")
    elif len(run.particles.usable):
        run.warn("One particle has nothing to be aligned to: it is left as it is.")
    else:
        run.warn("All its images are constant: they are left as they are.")
    n = len(run.source)
    nothing = np.zeros(n)
    return Alignment(
        poses=Poses.identity(n),
        half_poses=None,
        half=nothing.astype(np.int64),
        score=nothing,
        ambiguous=nothing.astype(bool),
        shared=0.0,
        searched=False,
        network_angle=np.full(n, np.nan),
        outlier=run.particles.statistics.blank.copy(),
    )


def averages_of(run: Run, alignment: Alignment, scale: tuple[float, float] | None = None) -> Averages:
    """The last pass: averages, and the aligned stack where it is asked for. scale: see :func:`average_particles`."""
    settings, particles = run.settings, run.particles
    poses = (alignment.poses, alignment.half_poses or alignment.poses)
    if not settings.write_stack or settings.by_class:  # of classes, one of all particles is written at the end
        return average_particles(particles, *poses, alignment.half, scale=scale)

    def with_stack() -> Averages:
        path = run.out.scratch("aligned.mrcs")
        with StackWriter(path, len(particles), run.source.box, run.source.pixel_size) as stack:
            return average_particles(particles, *poses, alignment.half, stack.write, scale)

    return run.team.by_first(with_stack)  # a file has one writer: on a shared disk several are not safe


def claim_of(run: Run, alignment: Alignment, averages: Averages, enough: int) -> tuple[Claim, np.ndarray]:
    """What may be said of the resolution, and the FRC of the halves per Fourier ring. enough: particles with an image
    that there must be."""
    source, particles = run.source, run.particles
    radius = particles.disc_radius * particles.scale
    mask = soft_disc(source.box, radius, max(4.0, 0.06 * source.box))
    frc = image_frc(*(torch.from_numpy(half) for half in averages.halves), mask)
    if alignment.half_poses is None:
        return Claim(None, None, "The halves were not aligned apart from each other: no resolution is claimed."), frc
    if len(particles.usable) < enough:
        return Claim(None, None, f"{len(particles.usable)} particles are too few: no resolution is claimed."), frc
    claim = claim_resolution(frc, source.box, source.pixel_size, alignment.shared, radius, particles.finest)
    return with_fit(claim, alignment.fit), frc
