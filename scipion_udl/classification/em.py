"""How the class network learns: rounds over particles, from coarse to fine.

A round compares every particle with every class, in all orientations, and puts in place of each template the one that
reconstructs its particles best, their CTF and the noise counted, and how thick the ice is that each lies
in: the closed-form step of the joint objective. A particle counts for the classes that it fits about as well as its
best one, in the proportion of their likelihoods. Rounds begin at low resolution, where few particles tell views apart,
and take in finer rings as they go. Classes that lose their particles are given half of the one that explains its own
worst.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from scipion_udl.classification.class_search import TOGETHER, Finder, Likely, Samples, moved_templates
from scipion_udl.classification.splitting import exchanged
from scipion_udl.classification.taught import Taught
from scipion_udl.compute.distributed import ProcessGroup
from scipion_udl.imaging.polar_samples import AngularTransform, PolarSampling
from scipion_udl.models.class_bank import ClassBank

LEVELS = (6, 8, 10, 12, 14)  # rings; finer ones no longer tell views apart, and are for the alignment of each class
ROUNDS = 5  # of a level at most
TOLERANCE = 0.03  # share of particles that change classes, below which a level is done
SPLITS = 3  # times of a level that classes are split, at most
AGAIN = 3  # more rounds at most after classes were split
WIDE = 2  # rounds of a level that look over all shifts; the others look about the last one
SHARED = 4  # classes that a particle counts for, at most
LEAST = 0.15  # of the mean size: a class with fewer particles is given up
DULL = 0.15  # of what good classes explain of a particle: those with less hold what looks like nothing, as noise does
DULL_SHARE = 0.04  # of the classes may be such, the rest of them is given up
FAINT = 0.03  # signal over noise in a ring, below which it is left out


@dataclass
class RoundRow:
    """What a round came to: rings, mean log likelihood a particle (nats), share of particles that changed classes."""

    rings: int
    gain: float
    changed: float
    particles: int

    def as_epoch(self, number: int) -> dict:
        """A row of training.csv: the loss is the negative log likelihood a particle over that of noise (nats).

        Parameters
        ----------
        number : int
            Of the round, from 1.

        Returns
        -------
        dict
            By column.
        """
        stage = f"{self.rings} rings"
        row = {"epoch": number, "stage": stage, "loss": -self.gain}
        return {**row, "changed": self.changed, "particles": self.particles}


@dataclass
class ClassFit:
    """Teaches classes from samples.

    samples; sampling; search_range: how far off centre particles lie along an axis, working pixels; seed; report: told
    (rows of a round done, all of them) now and then; group: the processes that share each round, all of which have all
    samples; upright: whether particles are compared as they lie, without a search for poses; before: what others have
    taught the classes before, None for nothing: such classes stay where they are, and none is given up.
    """

    samples: Samples
    sampling: PolarSampling
    search_range: float
    seed: int
    report: Callable[[str, int, int], None] = lambda stage, done, total: None
    group: ProcessGroup = field(default_factory=ProcessGroup)
    upright: bool = False
    before: Taught | None = None
    history: list[RoundRow] = field(default_factory=list)
    splits: int = 0

    def __post_init__(self) -> None:
        self.device = self.samples.values.device
        self.signal = self.samples.signal().clamp(min=1e-3)
        self.best = torch.full((len(self.samples),), -1, dtype=torch.int64)
        self.angle = torch.zeros(len(self.samples))
        self.contrast = torch.ones(len(self.samples))

    @property
    def rings(self) -> int:
        """The rings that carry signal."""
        seen = self.signal * self.samples.ctf.mean(0) > FAINT
        return max(LEVELS[0], int(seen.nonzero().max()) + 1 if seen.any() else 0)

    def levels(self) -> list[int]:
        """The rings of each level.

        Returns
        -------
        list of int
            Ascending; the last is as fine as the samples allow, LEVELS[-1] at most.
        """
        top = min(self.rings, self.samples.values.shape[1], LEVELS[-1])
        return [rings for rings in LEVELS if rings < top - 1] + [top]

    def empty_bank(self, classes: int, rings: int) -> ClassBank:
        """A bank without templates.

        Parameters
        ----------
        classes : int
            How many there will be.
        rings : int
            Fourier rings of the templates.

        Returns
        -------
        ClassBank
            It knows the expected signal already.
        """
        orders = AngularTransform(self.sampling, rings).orders
        bank = ClassBank(classes, rings, orders, self.sampling.angles).to(self.device)
        bank.signal = self.signal[:rings].clone()
        bank.upright = self.upright
        return bank

    def widened(self, bank: ClassBank, rings: int) -> ClassBank:
        """The same templates in a bank of more rings.

        Parameters
        ----------
        bank : ClassBank
            A bank of fewer rings.
        rings : int
            Fourier rings of the new one.

        Returns
        -------
        ClassBank
            A new one, zero where the old one had nothing.
        """
        old = bank.complex
        wide = self.empty_bank(len(old), rings)
        templates = wide.complex.clone()
        templates[:, : old.shape[1], : old.shape[2]] = old
        wide.set(templates)
        wide.members = bank.members.clone()
        return wide

    def bank_is_fine(self, bank: ClassBank) -> bool:
        """Whether the level is one at which shifts are known well enough from the ones before.

        Parameters
        ----------
        bank : ClassBank
            The bank of the level.

        Returns
        -------
        bool
            True from the third level on.
        """
        return bank.config["rings"] > LEVELS[1]

    def stage(self, bank: ClassBank) -> str:
        """What the level of a bank is called.

        Parameters
        ----------
        bank : ClassBank
            The bank of the level.

        Returns
        -------
        str
            As in "learning classes, step 2 of 4".
        """
        levels, rings = self.levels(), bank.config["rings"]
        return f"learning classes, step {sum(one <= rings for one in levels)} of {len(levels)}"

    def level(
        self, bank: ClassBank, rows: torch.Tensor, rounds: int = ROUNDS, wide: int = WIDE, split_too: bool = True
    ) -> float:
        """Go through the rounds of one level, with the bank's rings, until few particles change classes.

        Parameters
        ----------
        bank : ClassBank
            Its templates are learned, in place.
        rows : (n,) int64 tensor
            Numbers of the samples that teach.
        rounds : int, optional
            How many there may be.
        wide : int, optional
            In how many of them all shifts are looked at; then only those near the known one are, where all are known.
        split_too : bool, optional
            Whether classes that hold two views are split then, after which a few more rounds follow.

        Returns
        -------
        float
            The last mean log likelihood of a particle, nats.
        """
        number, last, splits = 1, rounds, SPLITS if split_too else 0
        while number <= last:
            near = (number > wide or self.bank_is_fine(bank)) and bool(self.samples.known[rows].all())
            finder = Finder(bank, self.sampling, self.search_range, SHARED, alike=True)
            step = Step(finder, self, rows, near)
            changed = step.run(f"{self.stage(bank)}, round {number}")
            bank.set(step.templates(revive=self.before is None))
            bank.members = step.members()
            self.history.append(RoundRow(bank.config["rings"], step.gain, changed, len(rows)))
            still = changed < TOLERANCE and number > 1  # the first has nothing yet to compare the finest rings with
            if splits and (still or number == last):
                splits, last = splits - 1, number + (AGAIN if step.split() else 0)
            elif still:
                break
            number += 1
        return step.gain


class Step:
    """One round: the sums that the next templates are made of."""

    def __init__(self, finder: Finder, class_fit: ClassFit, rows: torch.Tensor, near: bool) -> None:
        self.finder, self.class_fit, self.rows, self.near = finder, class_fit, rows, near
        self.comparer = comparer = finder.fine
        shape = comparer.bank.complex.shape
        device = class_fit.device
        self.total = torch.zeros(shape, dtype=torch.complex64, device=device)
        self.ctf = torch.zeros(shape[:2], device=device)
        self.count, self.misfit, self.explained = torch.zeros(3, shape[0], device=device)
        self.offset = torch.zeros(shape[0], 2, device=device)
        # Of each class the particle that fits it worst: its gain, number and pose; one row more, which means nothing.
        self.odd_gain = torch.full((shape[0],), torch.inf, device=device)
        self.odd_item = torch.zeros(shape[0] + 1, dtype=torch.int64, device=device)
        self.odd_shift, self.odd_angle = (torch.zeros(shape[0] + 1, *more, device=device) for more in ((2,), ()))
        self.gain = 0.0
        self.worth = torch.zeros(shape[0], device=device)  # how much worse its particles are explained without a class

    def run(self, stage: str) -> float:
        """Go through the particles; of a group, each process through its share of them.

        Parameters
        ----------
        stage : str
            What the progress bar calls it.

        Returns
        -------
        float
            The share of those that changed classes, 0 to 1.
        """
        done, changed, samples, group = 0, 0, self.class_fit.samples, self.class_fit.group
        own = torch.from_numpy(group.share(self.rows.numpy(), TOGETHER))
        for part, found in self.finder.chunks(samples, own, self.near):
            best = found.which[:, 0]
            self.worth.index_add_(0, best, found.gain[:, 0] - found.gain[:, min(1, self.finder.count - 1)])
            self.class_fit.angle[part] = found.angle[:, 0].cpu()
            self.class_fit.contrast[part] = found.contrast[:, 0].cpu()
            samples.centre[part] = found.shift[:, 0].to(samples.centre.device)
            samples.known[part] = True
            changed += int((self.class_fit.best[part] != best.cpu()).sum())
            self.class_fit.best[part] = best.cpu()
            self.gain += float(found.gain[:, 0].double().sum())
            self._add(part, found)
            done += len(part)
            self.class_fit.report(stage, done, len(own))
        if not group.is_alone:
            changed = self._shared(changed)
        self.gain /= max(len(self.rows), 1)
        return changed / max(len(self.rows), 1)

    def _shared(self, changed: int) -> int:
        """Take over what the other processes of the group have found in their shares; how many changed classes in all
        of them."""
        class_fit, group = self.class_fit, self.class_fit.group
        for name in ("total", "ctf", "count", "misfit", "explained", "offset", "worth"):
            setattr(self, name, group.total(getattr(self, name)))
        centre = class_fit.samples.centre.cpu()
        kept = [class_fit.best, class_fit.angle, class_fit.contrast, class_fit.samples.known, centre]
        group.gather_rows([one.numpy() for one in kept], self.rows.numpy(), TOGETHER)
        class_fit.samples.centre.copy_(centre)
        both = group.total(torch.tensor([self.gain, changed], dtype=torch.float64))
        self.gain = float(both[0])
        odd = group.gather_all((self.odd_gain.cpu(), self.odd_item.cpu(), self.odd_shift.cpu(), self.odd_angle.cpu()))
        worst = torch.stack([one[0] for one in odd]).argmin(0)
        for k, rank in enumerate(worst.tolist()):
            for own, value in zip((self.odd_gain, self.odd_item, self.odd_shift, self.odd_angle), odd[rank]):
                own[k] = value[k].to(own.device)
        return int(both[1])

    def _add(self, part: torch.Tensor, found: Likely) -> None:
        samples, comparer = self.class_fit.samples, self.comparer
        share = found.gain[:, :SHARED].softmax(1)
        row, column = (share > 1e-3).nonzero().unbind(1)
        own, weight, gain, shift, angle, contrast = (
            value[row, column] for value in (found.which, share, found.gain, found.shift, found.angle, found.contrast)
        )
        aligned = comparer.aligned(samples, part[row.to(part.device)], shift, angle)
        ctf = samples.ctf[part, : comparer.rings].to(weight.device)[row]
        self.total.index_add_(0, own, aligned * (weight * contrast)[:, None, None])
        self.ctf.index_add_(0, own, ctf * (weight * contrast.square())[:, None])
        self.count.index_add_(0, own, weight)
        # Where particles of a class lie in its own frame: what all have in common is the template's.
        radians = torch.deg2rad(angle)
        cos, sin = radians.cos(), radians.sin()
        x, y = shift.unbind(1)
        rotated = torch.stack([cos * x - sin * y, sin * x + cos * y], 1)
        self.offset.index_add_(0, own, rotated * weight[:, None])
        power = samples.power[part, : comparer.rings].to(weight.device)[row]
        left = (power - 1) @ comparer.transform.root.square() - gain
        self.misfit.index_add_(0, own, left * weight)
        self.explained.index_add_(0, own, gain * weight)
        self._note_odd(part, row, own, gain, shift, angle)

    def _note_odd(
        self,
        part: torch.Tensor,
        row: torch.Tensor,
        own: torch.Tensor,
        gain: torch.Tensor,
        shift: torch.Tensor,
        angle: torch.Tensor,
    ) -> None:
        """Remember the particle of each class that fits it worst, as the seed of another class."""
        lowest = self.odd_gain.scatter_reduce(0, own, gain, "amin")
        worst = (gain == lowest[own]) & (gain < self.odd_gain[own])
        self.odd_gain = lowest
        # The rows of classes that have a new one; the others go to a place that nobody looks at.
        to = torch.where(worst, own, len(lowest))
        self.odd_item[to] = part.to(own.device)[row]
        self.odd_shift[to], self.odd_angle[to] = shift, angle

    def templates(self, revive: bool) -> torch.Tensor:
        """The next templates: the least squares solution with the expected signal as its prior.

        Parameters
        ----------
        revive : bool
            Whether classes of very few particles get a new template.

        Returns
        -------
        (K, rings, orders) complex tensor
            One a class, moved so that its particles lie about the centre.
        """
        comparer, before = self.comparer, self.class_fit.before
        prior = 1 / comparer.bank.signal
        total, ctf = self.total, self.ctf
        if before is not None:
            total, ctf = total + before.total, ctf + before.ctf
        templates = total / (ctf + prior)[..., None]
        few = LEAST * len(self.rows) / len(self.count)
        mean = torch.where((self.count > max(few, 8))[:, None], self.offset / self.count.clamp(min=1)[:, None], 0.0)
        if before is not None:
            mean[before.count > 0] = 0
        templates = moved_templates(comparer.transform, templates, -mean)
        if revive:
            self._revive(templates, few)
        return templates

    def members(self) -> torch.Tensor:
        """How many particles have taught each class, those before included.

        Returns
        -------
        (K,) tensor
            A particle counts for all classes that it is likely in, once in all.
        """
        before = self.class_fit.before
        return self.count.clone() if before is None else self.count + before.count

    def split(self) -> bool:
        """Split classes of the bank that hold two views, at the cost of those needed least.

        Returns
        -------
        bool
            Whether any was.
        """
        few = LEAST * len(self.rows) / len(self.count)
        spared = self.count < few
        spared[self._dull(few)] = True
        class_fit, rows = self.class_fit, self.rows
        found = class_fit.best[rows], class_fit.angle[rows], class_fit.contrast[rows]
        done = exchanged(self.comparer, class_fit.samples, rows, *found, self.worth, spared, class_fit.group)
        class_fit.splits += len(done)
        return bool(done)

    def _dull(self, few: float) -> torch.Tensor:
        """The classes that explain next to nothing of their particles, the largest first: noise needs no many."""
        mean = self.explained / self.count.clamp(min=1e-6)
        dull = ((mean < DULL * self._explained_well(mean)) & (self.count >= few)).nonzero()[:, 0]
        return dull[self.count[dull].argsort(descending=True, stable=True)]

    def _explained_well(self, mean: torch.Tensor) -> float:
        """What a quarter of the particles have explained of them at least, where classes explain ``mean`` (K,): however
        many classes noise holds."""
        order = mean.argsort(descending=True, stable=True)
        reached = self.count[order].cumsum(0) >= 0.25 * self.count.sum()
        return float(mean[order[int(reached.int().argmax())]])

    def _revive(self, templates: torch.Tensor, few: float) -> None:
        """Give every class that lost its particles half of the one that explains its own worst, in place."""
        misfit = self.misfit.clone()
        lost = self.count < few
        dull = self._dull(few)
        misfit[dull] = 0
        lost[dull[max(1, round(DULL_SHARE * len(templates))) :]] = True
        for number in lost.nonzero()[:, 0].tolist():
            donor = int(misfit.argmax())
            if torch.isinf(self.odd_gain[donor]) or self.count[donor] < 2 * few:
                continue
            row = self.odd_item[donor, None].to(self.class_fit.samples.values.device)
            pose = self.odd_shift[donor, None], self.odd_angle[donor, None]
            own = self.comparer.aligned(self.class_fit.samples, row, *pose)[0]
            ctf = self.class_fit.samples.ctf[row, : self.comparer.rings].to(own.device)[0]
            alone = own / (ctf + 1 / self.comparer.bank.signal)[:, None]
            templates[number] = 0.5 * (templates[donor] + alone)
            misfit[donor] /= 2
            self.count[donor] /= 2
            self.count[number] = self.count[donor]
