"""Class averages that are given become the templates that classes begin with, or are kept to.

Nobody knows how a given average lies, nor in what units and contrast it is, so the particles are asked: each average is
taken as it is, mirrored, inverted, and both, whichever lets the set of them explain the particles best. How loud each
ring of it is follows from the particles, too, so that an average says what the particles look like, and its filter,
sharpening and noise say nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional

from scipion_udl.classification.class_search import TOGETHER, Comparer, Finder, moved_templates
from scipion_udl.classification.em import SHARED, ClassFit, RoundRow, Step
from scipion_udl.imaging.fourier import resize, to_fourier, to_images
from scipion_udl.imaging.polar_samples import AngularTransform, PolarSampling
from scipion_udl.models.class_bank import ClassBank

SCALE_ERROR = 5e-4  # of the pixel size: references are padded until a whole number of pixels comes as near to it
MOST_PADDING = 64  # pixels
LOUDEST = 3.0  # times what is expected of a ring, at most, where few particles tell how loud it is
SWEEPS = 4  # over all references, in which each may change how it is taken
CENTRING = 2  # rounds of the coarsest level, in which references are moved to where their particles lie


@dataclass(frozen=True)
class Taken:
    """How K references are taken: mirrored (K,) bool, inverted (K,) bool."""

    mirrored: np.ndarray
    inverted: np.ndarray


def reference_coefficients(
    images: np.ndarray, scale: float, sampling: PolarSampling, device: torch.device
) -> torch.Tensor:
    """Images of any size as the polar coefficients of particles of the working box.

    Parameters
    ----------
    images : (K, D, D) array
        Class averages, row 0 on top as in particles; origin at pixel D // 2.
    scale : float
        The pixel size of the images in working pixels.
    sampling : PolarSampling
        How particles are sampled.
    device : torch.device
        Where the result lies.

    Returns
    -------
    (K, rings, orders) complex64 tensor
        In the units of the images, up to the last ring of the sampling.
    """
    transform = AngularTransform(sampling, sampling.rings, device)
    found = []
    for image in images:
        whole = _in_working_box(torch.from_numpy(np.asarray(image, np.float32))[None].to(device), scale, sampling.box)
        found.append(transform.forward(transform.seen(sampling.of(to_fourier(whole)))))
    return torch.cat(found)


def _in_working_box(images: torch.Tensor, scale: float, box: int) -> torch.Tensor:
    """Images (n, D, D) with pixels of the working box, padded with their edge's mean or cut to it, (n, box, box)."""
    edge = torch.cat([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], 1).mean(1)[:, None, None]
    images, size = images - edge, images.shape[-1]
    candidates = range(size, size + MOST_PADDING)
    padded = next((one for one in candidates if abs(round(one * scale) / (one * scale) - 1) < SCALE_ERROR), None)
    if padded is None:
        padded = min(candidates, key=lambda one: abs(round(one * scale) / (one * scale) - 1))
    images = _centred(images, padded)
    new = max(round(padded * scale), 2)
    values = to_images(resize(to_fourier(images), padded, new), new)
    return _centred(values, box)


def _centred(images: torch.Tensor, box: int) -> torch.Tensor:
    """Images (n, D, D) in another box, pixel D // 2 on pixel box // 2, what is new at 0."""
    before = box // 2 - images.shape[-1] // 2
    after = box - images.shape[-1] - before
    return functional.pad(images, (before, after, before, after))


def bank_of_references(class_fit: ClassFit, coefficients: torch.Tensor) -> tuple[ClassBank, torch.Tensor, Taken]:
    """A bank of the coarsest level whose templates are references, each as the particles say that it is to be taken.

    Parameters
    ----------
    class_fit : ClassFit
        What the particles are.
    coefficients : (K, rings, orders) complex tensor
        Of the references, as of :func:`reference_coefficients`.

    Returns
    -------
    ClassBank
        Of K classes, moved so that their particles lie about the centre.
    (K, rings, orders) complex tensor
        The references as they are taken, moved likewise; of all rings.
    Taken
        Which were mirrored and inverted for it.
    """
    rings = class_fit.levels()[0]
    rows = torch.arange(len(class_fit.samples))
    both = AngularTransform(class_fit.sampling, 1, class_fit.device).mirrored(coefficients)
    variants = torch.stack([coefficients, both, -coefficients, -both])
    four = _bank(class_fit, variants.flatten(0, 1), rings)
    gains = _gains(class_fit, four, rows).view(len(rows), 4, -1)
    chosen = best_variants(gains)
    taken = variants[chosen, torch.arange(len(chosen))]
    bank = _bank(class_fit, taken, rings)
    transform = AngularTransform(class_fit.sampling, class_fit.sampling.rings, class_fit.device)
    for number in range(1, CENTRING + 1):
        step = _round(class_fit, bank, rows, f"references, round {number}", near=False)
        mean = torch.where(step.count[:, None] > 1, step.offset / step.count.clamp(min=1)[:, None], 0.0)
        taken = moved_templates(transform, taken, -mean)
        louder = bank.complex * _loudness(bank, step)[..., None]  # as the particles lie, so before it is moved
        bank.set(moved_templates(step.comparer.transform, louder, -mean))
        bank.members = step.count.clone()
        class_fit.samples.known[rows] = False  # the references have moved
    kind = chosen.numpy()
    return bank, taken, Taken(np.isin(kind, (1, 3)), kind >= 2)


def best_variants(gains: torch.Tensor) -> torch.Tensor:
    """How each of K references is to be taken, so that all of them together explain the particles best.

    One after the other changes, while that gains anything. Of random views, the mirror images of all explain the
    particles nearly as well as they do themselves, so that this may end where it is not best. So all begin alike, once
    in each of the ways, and once each as it fits its share of the particles best by itself, for an average fits those
    that it is of a little better than others of the view.

    Parameters
    ----------
    gains : (N, V, K) tensor
        The log likelihood of each particle with each reference, taken in each of V ways.

    Returns
    -------
    (K,) int64 tensor
        The way of each, from 0; of ways that explain as much the first that was found.
    """
    particles, ways, count = gains.shape
    alone = gains.topk(max(1, particles // count), 0).values.double().sum(0).argmax(0)
    starts = [*(torch.full((count,), way) for way in range(ways)), alone]
    ends = [_changed_one_by_one(gains, start) for start in starts]
    return ends[int(torch.stack([worth for _, worth in ends]).argmax())][0]


def _changed_one_by_one(gains: torch.Tensor, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The ways (K,) that are reached from ``chosen`` (K,), and how well they explain the particles, as of
    :func:`best_variants`."""
    places = torch.arange(len(chosen))
    for _ in range(SWEEPS):
        before = chosen.clone()
        for k in range(len(chosen)):
            own = gains[:, chosen, places].clone()
            own[:, k] = -torch.inf
            others = own.amax(1)[:, None] if len(chosen) > 1 else torch.full((len(gains), 1), -torch.inf)
            worth = torch.maximum(others, gains[:, :, k]).double().sum(0)
            best = int(worth.argmax())
            if worth[best] > worth[chosen[k]]:
                chosen[k] = best
        if torch.equal(before, chosen):
            break
    return chosen, gains[:, chosen, places].amax(1).double().sum()


def fitted_references(class_fit: ClassFit, bank: ClassBank, references: torch.Tensor) -> ClassBank:
    """The bank of all rings whose templates stay the references; the particles tell how loud each ring of them is.

    Parameters
    ----------
    class_fit : ClassFit
        What the particles are; its history grows by a row a level.
    bank : ClassBank
        Of the coarsest level, as of :func:`bank_of_references`.
    references : (K, rings, orders) complex tensor
        The references as they are taken.

    Returns
    -------
    ClassBank
        With as many classes, in the same order; a reference that no particle is like keeps its class.
    """
    rows = torch.arange(len(class_fit.samples))
    for rings in class_fit.levels():
        wide, seen = class_fit.widened(bank, rings), bank.config["rings"]
        templates = wide.complex.clone()  # what coarser levels have told of the coarse rings stays
        templates[:, seen:] = _seen(class_fit, references, rings)[:, seen:]
        wide.set(templates)
        step = _round(class_fit, wide, rows, class_fit.stage(wide), near=class_fit.bank_is_fine(wide))
        wide.set(wide.complex * _loudness(wide, step)[..., None])
        wide.members = step.count.clone()
        bank = wide
    return bank


def _round(class_fit: ClassFit, bank: ClassBank, rows: torch.Tensor, stage: str, near: bool) -> Step:
    """All particles compared with the templates once."""
    near = near and bool(class_fit.samples.known[rows].all())
    step = Step(Finder(bank, class_fit.sampling, class_fit.search_range, SHARED, alike=True), class_fit, rows, near)
    changed = step.run(stage)
    class_fit.history.append(RoundRow(bank.config["rings"], step.gain, changed, len(rows)))
    return step


def _bank(class_fit: ClassFit, coefficients: torch.Tensor, rings: int) -> ClassBank:
    """A bank of the first rings, each ring as loud as the particles' signal is on the whole."""
    bank = class_fit.empty_bank(len(coefficients), rings)
    bank.set(_seen(class_fit, coefficients, rings))
    return bank


def _seen(class_fit: ClassFit, coefficients: torch.Tensor, rings: int) -> torch.Tensor:
    """The first rings of coefficients (K, rings, orders), each as loud as the particles' signal is on the whole."""
    transform = AngularTransform(class_fit.sampling, rings, class_fit.device)
    own = coefficients[:, :rings, : transform.orders]
    power = (own.abs().square() * transform.weight).sum(-1) / transform.root.square()
    # A ring that a reference has been filtered out of is noise: it is not made loud.
    floor = 1e-4 * (power * torch.arange(1, rings + 1, device=power.device)).amax(1, keepdim=True)
    return own * (class_fit.signal[:rings] / power.clamp(min=1e-30)).sqrt().where(power > floor, 0.0)[..., None]


def _loudness(bank: ClassBank, step: Step) -> torch.Tensor:
    """What each ring of each template (K, rings) is to be multiplied by to be as loud as its particles have it: least
    squares, with the template as it is as the prior."""
    template = bank.complex
    weight = step.comparer.transform.weight
    found = ((template.conj() * step.total).real * weight).sum(-1)
    power = (template.abs().square() * weight).sum(-1)
    prior = 1 / bank.signal
    return ((found + prior * power) / (power * (step.ctf + prior)).clamp(min=1e-30)).clamp(0, LOUDEST)


def _gains(class_fit: ClassFit, bank: ClassBank, rows: torch.Tensor) -> torch.Tensor:
    """The gain of each particle with each template, at all shifts, (n, K) on the CPU."""
    comparer = Comparer(bank, class_fit.sampling, class_fit.search_range)
    own = torch.from_numpy(class_fit.group.share(rows.numpy(), TOGETHER))
    found = [torch.zeros(0, len(bank.complex)), *(gain.cpu() for gain, _ in comparer.chunks(class_fit.samples, own))]
    return torch.from_numpy(class_fit.group.gather(torch.cat(found).numpy()))
