"""The command `classify`: 2D classes of particles that show many views."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from scipion_udl.alignment.aligner import Alignment, AlignSettings
from scipion_udl.alignment.known_start import KnownStart
from scipion_udl.classification.assignment import Sorted, like_noise, sort_particles
from scipion_udl.classification.em import Learner
from scipion_udl.classification.fitting import learner_of, levels
from scipion_udl.classification.flags import (
    CONTAMINATION,
    EMPTY,
    LEAST_INSIDE,
    NOISE,
    OUTSIDE,
    REASONS,
    SENTENCES,
    Inside,
    mostly,
    signal_inside,
    without_particle,
)
from scipion_udl.classification.real_space import LikelyRounds
from scipion_udl.classification.samples import gathered
from scipion_udl.classification.scoring import seen_up_to
from scipion_udl.classification.similarity import by_similarity, correlations, mirror_pairs
from scipion_udl.constants import AUTOMATIC_SHIFT, LEAST_OF_A_CLASS, MODEL
from scipion_udl.errors import UdlError
from scipion_udl.imaging.polar_samples import PolarSampling
from scipion_udl.imaging.polar_spectra import SpectraSettings
from scipion_udl.io.output.folder import OutputFolder
from scipion_udl.jobs.align import Guide, align_classes, averages_of, claim_of
from scipion_udl.jobs.join import scan_new, use_contrast_of
from scipion_udl.jobs.join_classes import (
    Earlier,
    check_fits,
    check_joining,
    files_of,
    join_classes,
    write_for_later,
    write_joined,
    write_references,
)
from scipion_udl.models.checkpoint import ModelCard, card_format, load_model, save_model
from scipion_udl.models.class_bank import ClassBank
from scipion_udl.particles.outliers import outliers, score_limit, score_spread
from scipion_udl.particles.polarity_words import contrast_of
from scipion_udl.pipelines.classes import ClassResult
from scipion_udl.pipelines.continued import BEGAN, began_with, check_began_with
from scipion_udl.pipelines.outcome import Outcome
from scipion_udl.pipelines.run import Run, given_files
from scipion_udl.results import run_results
from scipion_udl.results.class_results import COLUMNS, write_classes
from scipion_udl.settings.commands import ClassifySettings
from scipion_udl.settings.option import given

CLASSES = 50  # where nothing is said
FEW_TEACH = 20  # particles a class that teach: with fewer the user is warned
OWN = ("share", "score_spread", "inside", "flagged", "flag", "mirror_of", "view")
HALVES = (
    "The resolution of a class tells how far the averages of two halves of its particles agree. Views that differ "
    "within a class blur both alike, which it does not see."
)
SUPPORTED = (
    "The particles support {found} of the {asked} classes asked for: what the others showed is explained as well by "
    "these, whose averages are less noisy for it."
)
NONE_FOUND = (
    "No classes were found: in all of them the particles fit no better than noise would. They may be noise alone, or "
    "too few for their noise; neither classes nor averages are to be relied on."
)


@torch.no_grad()
def classify(settings: ClassifySettings) -> None:
    """`scipion-udl classify`: classes.star, classes.xmd, averages, classes.csv, report.html, summary.json in OUT.

    Raises UdlError where there are too few particles for so many classes.
    """
    settings, earlier = _earlier(_checked(settings))
    folder = OutputFolder(settings.output, settings.overwrite, settings.resume, "classify")
    folder.spare([*given_files(settings), *(files_of(given(settings.join)) if earlier else [])])
    with folder as out:
        run = Run(settings, out)
        _check(run, earlier)
        _look_through(run, earlier)
        bank, card, history = run.within_memory(lambda: _network(run))
        sampling = card.inputs()
        found = run.within_memory(lambda: sort_particles(run.particles, bank, sampling, _reach(run)))
        if earlier is None:
            more = {}
            if not settings.no_refine:
                found = _in_real_space(run, found)
            bank, found, flags = run.within_memory(lambda b=bank, f=found: _numbered(run, b, sampling, f))
            run.within_memory(lambda: _ask_for_transfer(run, found, flags != ""))
            classes = _aligned(run, found, bank.config["rings"])
            flags = _settled(run, flags, classes)
            flagged = flags != ""
            _tell_of_flagged(run, flags, found)
            run.within_memory(lambda: _characterise(run, classes, bank, sampling, flags))
            _score(run, classes, found)
            if any(one.figures["resolution"] for one in classes):
                run.notes.append(HALVES)
        else:
            flags = np.array([one.get("flag") or NOISE if one["flagged"] else "" for one in earlier.classes])
            flagged = flags != ""
            found = _with_blank(run, found, flagged)
            classes = run.within_memory(lambda: join_classes(run, earlier, found, _reach(run)))
            more = write_references(run, earlier)
            _tell_of_flagged(run, flags, found)
        # The templates in the order of the classes, for those who come later.
        save_model(out.scratch(MODEL), bank, replace(card, config=bank.config))
        if earlier is None:
            run.note_contrast()
        columns = {"number": found.label + 1, "flagged": flagged[found.label]}
        more |= {"flagged_particles": int(columns["flagged"].sum())}
        if not settings.model:
            more |= {"classes_asked": settings.classes, "classes_supported": len(flags)}
        named = tuple(name for name in COLUMNS if name != "note")
        run.method, taught = card.method, card.training if history else None
        text = write_classes(run, classes, taught, history, "classes", (*named, *OWN, "note"), columns, more)
        if earlier is None:
            write_for_later(run, sampling, classes)
        else:
            write_joined(run, earlier)
        run.progress.clear()
        print(text)


def _checked(settings: ClassifySettings) -> ClassifySettings:
    """With what nobody asked for filled in. Raises UdlError for options on how classes are learned where none are."""
    given = next((f"--{name}" for name in ("join", "model") if getattr(settings, name)), None)
    for name in ("classes", "starts", "teach"):
        if given and getattr(settings, name) is not None:
            raise UdlError(f"{given} brings its classes along, and none are learned: leave --{name} out.")
    return settings.but(classes=settings.classes or CLASSES)


def _earlier(settings: ClassifySettings) -> tuple[ClassifySettings, Earlier | None]:
    """The settings with the model of the run that particles are to join, and this run; None where there is none."""
    if not settings.join:
        return settings, None
    check_joining(settings)
    return settings.but(model=os.path.join(settings.join, MODEL)), Earlier.read(settings.join)


def _check(run: Run, earlier: Earlier | None) -> None:
    """Raises UdlError for what cannot go together, before anything is done."""
    settings, least = run.settings, LEAST_OF_A_CLASS * given(run.settings.classes)
    _reach(run)
    if earlier is not None:
        check_fits(run, earlier)
    elif settings.teach is not None and not settings.model and settings.teach < least:
        raise UdlError(
            f"--teach {settings.teach} particles are too few to teach {settings.classes} classes (at least "
            f"{LEAST_OF_A_CLASS} a class are needed): let more teach, or ask for fewer with --classes."
        )


def _look_through(run: Run, earlier: Earlier | None) -> None:
    """Measure what preparation needs and take the contrast transfer, as the run that particles join took it."""
    if earlier is None:
        run.scan()
        run.use_contrast()
        return
    known = {f"{run.settings.join} or of those that it was joined to": earlier.known}
    scan_new(run, known, earlier.noise, earlier.loud_limit)
    use_contrast_of(run, earlier.ctf, earlier.levels, earlier.premultiplied)


def _reach(run: Run) -> float:
    """How far off centre particles lie along an axis, working pixels."""
    wanted = run.settings.max_shift
    if wanted is not None and wanted > run.source.box / 2:
        raise UdlError(f"--max-shift {wanted:g} is more than half the box, {run.source.box / 2:g} px: give less.")
    return (AUTOMATIC_SHIFT * run.source.box if wanted is None else wanted) / run.particles.scale


def _network(run: Run) -> tuple[ClassBank, ModelCard, list[dict] | None]:
    """The class network, loaded, kept from before, or taught now; its card and its rounds."""
    settings, out = run.settings, run.out
    kept = settings.resume and out.has(MODEL)
    path = settings.model or (out.final(MODEL) if kept else None)
    if path:
        bank, card = load_model(path, run.device)
        if not isinstance(bank, ClassBank):
            raise UdlError(f"{path} is a model of one view, not of classes: give the model of a classify run.")
        card.check_fits(run.source.box, run.source.pixel_size, path)
        history = None
        if not settings.model:
            check_began_with(run, card, path)
            _warn_of_few(run, card.training)
            history = run_results.read_history(out.final("training.csv"))
        out.start_anew(MODEL)  # not before: from here on nothing is wrong with what was given
        run.say(f"{bank.config['classes']} classes of {path}")
        rings = run.particles.within(bank.config["rings"])  # --finest
        return seen_up_to(bank, card.inputs(), rings), card, history
    count = given(settings.classes)
    if len(run.particles.usable) < LEAST_OF_A_CLASS * count:
        raise UdlError(
            f"{settings.input} has {len(run.particles.usable)} particles with an image, too few for {count} classes "
            f"(at least {LEAST_OF_A_CLASS} a class are needed): ask for fewer with --classes."
        )
    out.start_anew(MODEL)
    learner = learner_of(run, count, _reach(run))
    *_, bank = levels(run, learner, count)
    card = _card(run, bank, learner)
    _warn_of_few(run, card.training)
    save_model(out.scratch(MODEL), bank, card)
    rows = [row.as_epoch(number) for number, row in enumerate(learner.history, 1)]
    header = list(rows[0])
    run_results.write_csv(out.scratch("training.csv"), header, ([row[name] for name in header] for row in rows))
    out.publish("training.csv", MODEL)
    return bank, card, rows


def _warn_of_few(run: Run, training: dict) -> None:
    """Warn where few particles have taught each class. training: of the network's card."""
    teach, count = training["particles"], training["classes"]
    if teach < FEW_TEACH * count:
        run.warn(
            f"{teach} particles teach {count} classes, {teach // count} for each: views may be missed, and good ones "
            "taken for noise. Ask for fewer classes, or let more teach."
        )


def _in_real_space(run: Run, found: Sorted) -> Sorted:
    given = (_reach(run), run.settings.seed, run.say, not run.settings.model)
    return run.within_memory(lambda: LikelyRounds(run.particles, *given).run(found))


def _card(run: Run, bank: ClassBank, learner: Learner) -> ModelCard:
    last = learner.history[-1]
    training: dict[str, Any] = {
        "rounds": len(learner.history),
        "particles": len(learner.samples),
        "classes": run.settings.classes,
    }
    training |= {"seed": run.settings.seed, "input": os.path.basename(run.settings.input), BEGAN: began_with(run)}
    return ModelCard(
        method="judl",
        network="classes",
        config=bank.config,
        spectra=vars(learner.sampling),
        box=run.source.box,
        pixel_size=run.source.pixel_size,
        contrast=contrast_of(run.particles.statistics),
        training=training | {"gain": last.gain, "changed": last.changed},
        format=card_format("classes", bank.config),
    )


def _numbered(
    run: Run, bank: ClassBank, sampling: PolarSampling, found: Sorted
) -> tuple[ClassBank, Sorted, np.ndarray]:
    """Classes numbered by their size, those without particles left out; and the codes of their flags (K,), of flags.py,
    empty for none."""
    bank, found, _ = _by_size(bank, found, run.particles.usable)
    flags = _flags(run, bank, sampling, found)
    bank, found, order = _by_size(bank, _with_blank(run, found, flags != ""), np.arange(len(found.label)))
    return bank, found, flags[order]


def _with_blank(run: Run, found: Sorted, flagged: np.ndarray) -> Sorted:
    """Blank images in the first flagged class; in the last one where none is."""
    label = found.label.copy()
    label[run.particles.statistics.blank] = flagged.argmax() if flagged.any() else len(flagged) - 1
    return replace(found, label=label)


def _by_size(bank: ClassBank, found: Sorted, counted: np.ndarray) -> tuple[ClassBank, Sorted, np.ndarray]:
    """Classes numbered by how many of the particles ``counted`` they hold, those without left out; and the numbers that
    they had. What is not counted and was in one of those is in class -1."""
    sizes = np.bincount(found.label[counted], minlength=bank.config["classes"])
    order = np.argsort(-sizes, kind="stable")
    order = order[sizes[order] > 0]
    new = np.full(len(sizes), -1)
    new[order] = np.arange(len(order))
    ordered = ClassBank(**bank.config | {"classes": len(order)}).to(bank.template.device)
    which = torch.from_numpy(order)
    ordered.set(bank.complex[which])
    ordered.members, ordered.signal = bank.members[which.to(bank.members.device)], bank.signal.clone()
    return ordered, replace(found, label=new[found.label], likely=new[found.likely]), order


def _flags(run: Run, bank: ClassBank, sampling: PolarSampling, found: Sorted) -> np.ndarray:
    """The codes of the flags of classes (K,): their particles fit no better than noise, or show no particle."""
    few = run.particles.subset(256, run.settings.seed)
    samples = gathered(run.particles, sampling, few)
    usable = run.particles.usable
    seen = replace(found, label=found.label[usable], gain=found.gain[usable])
    noise = like_noise(bank, sampling, _reach(run), samples.transfer, seen, run.settings.seed)
    empty = without_particle(seen.label, run.particles.statistics.matter[usable], noise)
    loud = mostly(seen.label, run.particles.statistics.loud[usable], len(noise))
    return np.select([empty, loud, noise], [EMPTY, CONTAMINATION, NOISE], "")


def _settled(run: Run, flags: np.ndarray, classes: list[ClassResult]) -> np.ndarray:
    """The flags (K,) once the classes are aligned: halves that agree are no noise, unless they agree on no more than
    picking makes of it, or on what lies outside of the particle. Adds to the figures what share of each class's signal
    lies inside."""
    flags, particles = flags.copy(), run.particles
    radius = particles.mask_radius * particles.scale
    beyond = radius + particles.edge * particles.scale / 2
    for k, one in enumerate(classes):
        halves = [one.images.pop(name, None) for name in ("first", "second")]
        found = Inside(None, False) if halves[0] is None else signal_inside(halves, radius, beyond)
        one.figures["inside"] = None if found.share is None else round(found.share, 3)
        if one.figures["like_picked_noise"]:
            flags[k] = flags[k] or NOISE
        elif flags[k] == NOISE and one.figures["signal_found"] is True:
            flags[k] = ""
        if not flags[k] and found.outside and found.share < LEAST_INSIDE:
            flags[k] = OUTSIDE
        if flags[k]:
            one.figures["resolution"] = None
    return flags


def _score(run: Run, classes: list[ClassResult], found: Sorted) -> None:
    """Give particles the network's score, which compares those of different classes; a correlation with the average of
    each class ranks them within it alone."""
    for one in classes:
        score = found.score[one.members]
        one.alignment = replace(one.alignment, score=score)
        usable = ~run.particles.statistics.blank[one.members]
        one.figures["score_mean"] = float(score[usable].mean()) if usable.any() else 0.0


def _ask_for_transfer(run: Run, found: Sorted, flagged: np.ndarray) -> None:
    """Ask particles of all classes but the flagged ones (K,), together, how their contrast transfer is to be taken."""
    particles, label = run.particles, found.label[run.particles.usable]
    usable = particles.usable
    order = np.argsort(particles.ranks(run.settings.seed)[usable], kind="stable")
    for number in np.flatnonzero(~flagged):
        own = usable[order[label[order] == number]]
        run.transfer.hear(str(number), particles, own, found.poses[own])
    run.settle_contrast(map(str, np.flatnonzero(~flagged)))


def _tell_of_flagged(run: Run, flags: np.ndarray, found: Sorted) -> None:
    """Warn of flagged classes (K,), and say where classes found no particles."""
    asked, flagged = given(run.settings.classes), flags != ""
    if (flags == NOISE).all():
        run.warn(NONE_FOUND)
        return
    if not run.settings.model and len(flags) < asked:
        run.say(SUPPORTED.format(found=len(flags), asked=asked))
        run.notes.append(SUPPORTED.format(found=len(flags), asked=asked))
    usable = run.particles.usable
    for code, why in REASONS.items():
        which = flags == code
        if which.any():
            share = which[found.label[usable]].sum() / max(len(usable), 1)
            count = f"{int(which.sum())} of {len(flags)} classes, with {share:.1%} of the particles"
            run.warn(f"{count}, are flagged: {why}.")
    if flagged.all():
        run.warn("All classes are flagged: neither classes nor averages are to be relied on.")


def _aligned(run: Run, found: Sorted, rings: int) -> list[ClassResult]:
    """Each class aligned in real space, from where the network has its particles; or left as the network has it. rings:
    of the network."""
    members = {k + 1: np.flatnonzero(found.label == k) for k in range(found.label.max() + 1)}
    settings = AlignSettings(_reach(run) * run.particles.scale, run.settings.seed, bound=run.settings.max_shift)
    if not run.settings.no_refine:
        guide = Guide(None, SpectraSettings.for_box(run.particles.box))
        return align_classes(run, guide, settings, members, KnownStart(found.poses, rings))
    done = []
    for number, own in members.items():
        part = run.part(own, f"Class {number}")
        blank, score = part.particles.statistics.blank, found.score[own]
        half, no = np.arange(len(own)) % 2, np.zeros(len(own), bool)
        limit = score_limit(score[~blank])
        alignment = Alignment(
            found.poses[own], None, half, score, no, 0.0, False, np.full(len(own), np.nan),
            outliers(score, part.particles.statistics.odd, limit), score_limit=limit,
        )  # fmt: skip
        averages = averages_of(part, alignment)
        claim, frc = claim_of(part, alignment, averages, 0)
        done.append(ClassResult.of(number, own, Outcome(part, alignment, averages, claim, frc)))
    return done


def _characterise(
    run: Run, classes: list[ClassResult], bank: ClassBank, sampling: PolarSampling, flags: np.ndarray
) -> None:
    """Add to the figures of each class what it is among the others."""
    pairs = mirror_pairs(correlations(bank, sampling, _reach(run), True), flags != "")
    place = np.empty(len(classes), np.int64)
    place[by_similarity(correlations(bank, sampling, _reach(run), False))] = np.arange(1, len(classes) + 1)
    for k, result in enumerate(classes):
        result.figures.update(
            share=round(len(result.members) / len(run.source), 5),
            score_spread=round(float(score_spread(result.alignment.score)[1]), 5),
            flagged=bool(flags[k]),
            flag=str(flags[k]),
            mirror_of=None if pairs[k] is None else pairs[k] + 1,
            view=int(place[k]),
            note=SENTENCES[str(flags[k])] if flags[k] else result.figures["resolution_note"],
        )
    several = [(k + 1, p + 1) for k, p in enumerate(pairs) if p is not None and k < p]
    if several:
        shown = ", ".join(f"{a} and {b}" for a, b in several[:5]) + (" and others" if len(several) > 5 else "")
        run.notes.append(f"Classes that are each other's mirror image: {shown}.")
    alone = [k + 1 for k, p in enumerate(pairs) if p == k]
    if alone:
        shown = ", ".join(map(str, alone[:10])) + (" and others" if len(alone) > 10 else "")
        run.notes.append(
            f"Classes that are (nearly) their own mirror image: {shown}. Views from opposite sides, which are each "
            "other's mirror image, may lie in them together."
        )
