"""Classes that live: particles that come later teach the templates of an earlier run further, and open classes of views
that it has not seen.

A template is the sum of what all particles so far have taught it; those that come add theirs, and none of the first is
needed again. The particles that come also make classes by themselves. One that explains its particles better than the
classes so far do, what it gains by fitting the noise of its own particles left out, is of a view that these do not
show, and is opened before the others are taught, which would take it over. Of two classes that have come to look the
same, one ends: what comes later goes to the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from scipion_udl.classification.assignment import Sorted, own_part, sort_particles
from scipion_udl.classification.class_search import Comparer
from scipion_udl.classification.em import ClassFit
from scipion_udl.classification.samples import gathered
from scipion_udl.classification.similarity import correlations
from scipion_udl.classification.taught import Taught
from scipion_udl.constants import TRAIN_A_CLASS, TRAIN_AT_MOST
from scipion_udl.imaging.polar_samples import PolarSampling
from scipion_udl.models.class_bank import ClassBank
from scipion_udl.pipelines.appending.appendable_classes import Earlier, Life
from scipion_udl.pipelines.classes import ClassResult
from scipion_udl.pipelines.learn_classes import levels, shift_search_range
from scipion_udl.pipelines.run import Run

ROUNDS = 3  # of each level, in which the particles that come teach the templates
OF_A_TRIAL = 40  # particles: so many of those that come make a class by themselves
LEAST = 30  # particles that a class must have to be opened
FEWEST = 15  # of them must still be in it when the other classes have been taught
SURE = 5.0  # standard errors by which a class must explain its particles better than all others do
WORTH = 0.1  # of what is explained of a particle: so much better
SAME = 0.97  # correlation of two templates that show the same
FEW = 256  # particles that tell how strongly CTFs show
BORN, SPLIT, MERGED = "born", "split", "merged"
REASONS = {
    BORN: "its particles are explained better by it than by any other class",
    SPLIT: "the other class held two views, of which it is one",
    MERGED: "the other class has come to show the same, and gets what comes later",
}
MOSTLY = 0.8  # of the particles of a new class: where so many would go to one other class, it is split off that


@dataclass
class Event:
    """What happened to a class: kind, BORN, SPLIT or MERGED; class_number: which, from 1; other: the class that it was
    split off, or that gets from now on what would come to it, 0 for none."""

    kind: str
    class_number: int
    other: int


@dataclass
class Renewed:
    """Classes after a batch. bank: templates of those that particles can be put into; active: (K,) of each of them the
    class, from 0; ctf: (rings,) squared CTF of the particles that have taught them, the mean; count: how many have;
    events: what happened to them; found: the particles of the batch in these templates, None where they are not sorted
    into them yet."""

    bank: ClassBank
    active: np.ndarray
    ctf: torch.Tensor
    count: float
    events: list[Event]
    found: Sorted | None = None

    def without(self, gone: np.ndarray) -> Renewed:
        """The same without some templates.

        Parameters
        ----------
        gone : (K,) bool array
            Those that go.

        Returns
        -------
        Renewed
            Events stay as they are.
        """
        bank = self.bank.chosen(torch.from_numpy(np.flatnonzero(~gone)))
        return replace(self, bank=bank, active=self.active[~gone], found=None)

    def life(self, earlier: Earlier, classes: list[ClassResult]) -> Life:
        """What the next particles renew the classes by.

        Parameters
        ----------
        earlier : Earlier
            What the run left that these have come to.
        classes : list of ClassResult
            All classes.

        Returns
        -------
        Life
            Its history goes on.
        """
        size = {one.number: len(one.members) for one in classes}
        rows = [
            (earlier.batches + 1, e.kind, e.class_number, e.other or "", size[e.class_number], REASONS[e.kind])
            for e in self.events
        ]
        history = () if earlier.life is None else earlier.life.history
        return Life(tuple(map(int, self.active)), tuple(self.ctf.tolist()), float(self.count), (*history, *rows))


def as_it_was(bank: ClassBank, life: Life | None, count: int) -> Renewed:
    """The classes of an earlier run before anything is renewed.

    Parameters
    ----------
    bank : ClassBank
        Its templates.
    life : Life or None
        What it has left of them; None of a run that has left nothing.
    count : int
        How many classes it has.

    Returns
    -------
    Renewed
        Without events.
    """
    if life is None:
        return Renewed(bank, np.arange(count), torch.ones(bank.config["rings"]), 0.0, [])
    return Renewed(bank, np.array(life.active), torch.tensor(life.ctf), life.count, [])


def first_life(run: Run, bank: ClassBank, sampling: PolarSampling, classes: list[ClassResult]) -> Life:
    """What the classes of a first run are renewed by.

    Parameters
    ----------
    run : Run
        With its particles.
    bank : ClassBank
        Its templates, in the order of the classes.
    sampling : PolarSampling
        How particles are sampled for them.
    classes : list of ClassResult
        Its classes.

    Returns
    -------
    Life
        With the beginning of all classes as its history.
    """
    few = gathered(run.particles, sampling, run.particles.subset(FEW, run.settings.seed))
    ctf = few.ctf[:, : bank.config["rings"]].mean(0).tolist()
    rows = tuple((1, BORN, one.number, "", one.figures["particles"], REASONS[BORN]) for one in classes)
    return Life(tuple(range(len(classes))), tuple(ctf), max(float(bank.members.sum()), 1.0), rows)


def renew(run: Run, earlier: Renewed, sampling: PolarSampling, first_new: int) -> Renewed:
    """Have the particles of a run teach the classes of an earlier one.

    Parameters
    ----------
    run : Run
        With the particles that come.
    earlier : Renewed
        The classes as they are.
    sampling : PolarSampling
        How particles are sampled for them.
    first_new : int
        The number, from 0, of the first class that is opened.

    Returns
    -------
    Renewed
        New templates, those of further classes at the end.
    """
    known, particles = earlier.bank, run.particles
    subset = particles.subset(min(TRAIN_A_CLASS * known.config["classes"], TRAIN_AT_MOST), run.settings.seed)
    if not len(subset):
        return earlier
    samples = gathered(particles, sampling, subset)
    report = particles.reader.context.report
    fit = ClassFit(samples, sampling, shift_search_range(run), run.settings.seed, report)
    alone = _by_themselves(run, fit, known)
    missed = np.zeros(0, np.int64) if alone is None else _missed(run, fit, known, alone)
    more = None if alone is None or not len(missed) else alone.complex[torch.from_numpy(missed)]
    bank = _taught(fit, earlier, more)
    share = len(subset) / (earlier.count + len(subset))
    own = samples.ctf[:, : known.config["rings"]].mean(0).cpu()
    ctf, count = (1 - share) * earlier.ctf + share * own, earlier.count + len(subset)
    renewed = _opened(run, fit, replace(earlier, ctf=ctf, count=count), bank, first_new)
    return merged(renewed, sampling, shift_search_range(run))


def _by_themselves(run: Run, fit: ClassFit, bank: ClassBank) -> ClassBank | None:
    """The classes that the samples make by themselves, as fine as those of a bank; None where they are too few."""
    count = min(bank.config["classes"], len(fit.samples) // OF_A_TRIAL)
    if count < 2:
        return None
    run.say("Classes that the particles make by themselves, among which new views show")
    *_, made = levels(run, fit, count)
    rings = bank.config["rings"]
    return fit.widened(made, rings) if made.config["rings"] < rings else made.limited(rings, bank.config["orders"])


def _taught(fit: ClassFit, earlier: Renewed, more: torch.Tensor | None) -> ClassBank:
    """The templates of the earlier classes, and of new ones (n, rings, orders), with what the samples teach them."""
    bank = earlier.bank if more is None else _joined(earlier.bank, more)
    bank = bank.chosen(torch.arange(bank.config["classes"]))  # a copy
    new = bank.config["classes"] - earlier.bank.config["classes"]
    fit.before = Taught.of(earlier.bank, earlier.ctf).with_new(new)
    fit.level(bank, torch.arange(len(fit.samples)), ROUNDS, 1, split_too=False)
    return bank


def _missed(run: Run, fit: ClassFit, bank: ClassBank, alone: ClassBank) -> np.ndarray:
    """Which of the classes that particles make by themselves, (n,) from 0, are missed among those of the bank: the one
    that most is gained by first."""
    usable, reach = run.particles.usable, fit.search_range
    known, found = (sort_particles(run.particles, one, fit.sampling, reach) for one in (bank, alone))
    own = own_part(Comparer(alone, fit.sampling, reach), fit.samples.ctf)
    before, usual = known.gain[usable], float(np.median(known.gain[usable]))
    label, likely, gain = found.label[usable], found.likely[usable], found.gain[usable, None] - found.odds[usable]
    gain = gain - own[likely]
    missed: list[int] = []
    left = [k for k in range(alone.config["classes"]) if (label == k).sum() >= LEAST]
    while left:
        gained = {k: (gain[:, 0] - before)[label == k] for k in left}
        sure = {k: v.mean() / max(v.std() / np.sqrt(len(v)), 1e-9) for k, v in gained.items()}
        there = [k for k in left if sure[k] >= SURE and gained[k].mean() >= WORTH * usual]
        if not there:
            break
        best = max(there, key=lambda k: gained[k].sum())
        words = (
            f"{len(gained[best])} particles make a class that explains them by {gained[best].mean():.0f} nats better"
        )
        run.say(f"{words} than any other, of {usual:.0f} ({sure[best]:.1f} standard errors)", detail=True)
        missed.append(best)
        left.remove(best)
        with_it = np.where(likely == best, gain, -np.inf).max(1)
        before = np.maximum(before, with_it)
    return np.array(missed, np.int64)


def _opened(run: Run, fit: ClassFit, earlier: Renewed, bank: ClassBank, first_new: int) -> Renewed:
    """The classes with those at the end of the bank, but for those that have kept few particles once all others were
    taught."""
    known, usable = earlier.bank.config["classes"], run.particles.usable
    if bank.config["classes"] == known:
        return replace(earlier, bank=bank)
    found = sort_particles(run.particles, bank, fit.sampling, fit.search_range)
    label, likely = found.label[usable], found.likely[usable]
    few = np.bincount(label, minlength=bank.config["classes"]) < FEWEST
    few[:known] = False
    events: list[Event] = []
    for k in np.flatnonzero(~few)[known:]:
        members = likely[label == k]
        others = members[np.arange(len(members)), (members < known).argmax(1)][(members < known).any(1)]
        events.append(_event(earlier, first_new + len(events) + 1, others, len(members)))
    active = np.concatenate([earlier.active, first_new + np.arange(bank.config["classes"] - known)])
    opened = replace(earlier, bank=bank, active=active, events=events, found=found)
    return replace(opened.without(few), active=active[: known + len(events)]) if few.any() else opened


def _event(earlier: Renewed, number: int, others: np.ndarray, count: int) -> Event:
    """What is told of a class of so many particles, which would be in the templates ``others`` (n,) else."""
    nearest, sizes = np.unique(others, return_counts=True)
    if not len(sizes) or sizes.max() < MOSTLY * count:
        return Event(BORN, number, 0)
    return Event(SPLIT, number, int(earlier.active[nearest[sizes.argmax()]]) + 1)


def _joined(bank: ClassBank, templates: torch.Tensor) -> ClassBank:
    """The bank with further templates (n, rings, orders) at the end, which nobody has taught."""
    few = len(templates)
    more = ClassBank(**bank.config | {"classes": bank.config["classes"] + few}).to(bank.template.device)
    more.set(torch.cat([bank.complex, templates[:, :, : bank.config["orders"]]]))
    more.members = torch.cat([bank.members, bank.members.new_zeros(few)])
    more.signal, more.upright = bank.signal.clone(), bank.upright
    return more


def merged(renewed: Renewed, sampling: PolarSampling, search_range: float) -> Renewed:
    """Without the smaller of any two classes whose templates show the same.

    Parameters
    ----------
    renewed : Renewed
        The classes; those that were just opened stay.
    sampling : PolarSampling
        How particles are sampled for their templates.
    search_range : float
        How far templates are shifted along either axis, working pixels.

    Returns
    -------
    Renewed
        With an event for each class that gets nothing from now on.
    """
    alike = correlations(renewed.bank.free(), sampling, search_range, False)
    np.fill_diagonal(alike, 0)
    gone, events = np.zeros(len(alike), bool), list(renewed.events)
    members = renewed.bank.members.cpu().numpy()
    new = {event.class_number for event in events}
    for a in np.argsort(members, kind="stable"):
        b = int(np.where(gone, 0, alike[a]).argmax())
        if alike[a, b] < SAME or renewed.active[a] + 1 in new:
            continue
        gone[a] = True
        events.append(Event(MERGED, int(renewed.active[a]) + 1, int(renewed.active[b]) + 1))
    return replace(renewed.without(gone), events=events) if gone.any() else renewed
