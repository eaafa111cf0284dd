"""What the classes begin with: single particles that differ.

At the resolution of the first level a single particle stands well above its noise, so that it can serve as a template.
They are chosen one after the other among those that the ones before explain least; several starts, each with rounds of
its own, are judged by how well they explain all.
"""

from __future__ import annotations

import torch

from scipion_udl.classification.class_search import TOGETHER, Comparer
from scipion_udl.classification.em import LEVELS, ClassFit
from scipion_udl.compute.log import Say
from scipion_udl.models.class_bank import ClassBank

POOL = 20  # particles a class that seeds are chosen from
GROUP = 10  # seeds are chosen in so many groups at most
POOREST = 0.15  # of the pool: the next seeds come from this share that is explained least
TRIAL = 3  # rounds of each start before they are judged


def seeded(class_fit: ClassFit, classes: int, rows: torch.Tensor, generator: torch.Generator) -> ClassBank:
    """A bank at the first level whose templates are particles that the ones before explain least.

    Parameters
    ----------
    class_fit : ClassFit
        What teaches.
    classes : int
        How many templates.
    rows : (n,) int64 tensor
        Numbers of the samples that may be chosen.
    generator : torch.Generator
        Of the choice; on the CPU.

    Returns
    -------
    ClassBank
        With the templates.
    """
    bank = class_fit.empty_bank(classes, min(LEVELS[0], class_fit.levels()[-1]))
    pool = rows[torch.randperm(len(rows), generator=generator)[: max(POOL * classes, 200)]]
    templates, explained = bank.complex.clone(), torch.full((len(pool),), -torch.inf)
    per_group = max(1, classes // GROUP)
    chosen = 0
    while chosen < classes:
        count = min(per_group, classes - chosen) if chosen else 1
        poorest = explained.argsort(stable=True)[: max(count, round(POOREST * len(pool)))]
        picked = poorest[torch.randperm(len(poorest), generator=generator)[:count]]
        if len(picked) < count:  # fewer particles than classes
            picked = picked.repeat(count)[:count]
        explained[picked] = torch.inf
        one = _as_templates(class_fit, bank, pool[picked])
        templates[chosen : chosen + count] = one
        explained = torch.maximum(explained, _explained(class_fit, one, pool))
        chosen += count
    bank.set(templates)
    return bank


def best_start(class_fit: ClassFit, classes: int, rows: torch.Tensor, starts: int, log: Say) -> ClassBank:
    """Of one or more starts the one that explains the particles best, after rounds of the first level.

    Parameters
    ----------
    class_fit : ClassFit
        What teaches; its seed tells the starts.
    classes : int
        How many templates.
    rows : (n,) int64 tensor
        Numbers of the samples that teach.
    starts : int
        How many starts, 1 or more.
    log : Say
        Told of each start.

    Returns
    -------
    ClassBank
        That of the best start.

    Raises
    ------
    ValueError
        For less than one start.
    """
    best: ClassBank | None = None
    highest = -torch.inf
    for number in range(1, starts + 1):
        generator = torch.Generator().manual_seed(1000 * class_fit.seed + number)
        class_fit.samples.known[rows] = False
        bank = seeded(class_fit, classes, rows, generator)
        gain = class_fit.level(bank, rows, TRIAL, split_too=False)
        log(f"Start {number} of {starts}: log likelihood {gain:.1f} a particle after {TRIAL} rounds", detail=True)
        if best is None or gain > highest:
            best, highest = bank, gain
    if best is None:
        raise ValueError("no start was asked for")
    return best


def _as_templates(class_fit: ClassFit, bank: ClassBank, rows: torch.Tensor) -> torch.Tensor:
    """Particles as templates (n, rings, orders), as strong as the expected signal lets believe."""
    comparer = Comparer(bank, class_fit.sampling, 0.0)
    still = torch.zeros(len(rows), 2, device=class_fit.device)
    own = comparer.aligned(class_fit.samples, rows, still, still[:, 0])
    ctf = class_fit.samples.ctf[rows, : comparer.rings].to(own.device)
    return own / (ctf + 1 / bank.signal)[..., None]


def _explained(class_fit: ClassFit, templates: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """The highest gain of each of the particles ``rows`` with any of these templates, (len(rows),)."""
    few = class_fit.empty_bank(len(templates), templates.shape[1])
    few.set(templates)
    comparer = Comparer(few, class_fit.sampling, class_fit.search_range)
    own = torch.from_numpy(class_fit.group.share(rows.numpy(), TOGETHER))
    gains = [torch.zeros(0), *(gain.amax(1).cpu() for gain, _ in comparer.chunks(class_fit.samples, own))]
    return torch.from_numpy(class_fit.group.gather(torch.cat(gains).numpy()))
