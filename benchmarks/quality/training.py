"""Networks that judge classes and particles, trained on sets whose truth is known, and measured on others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata

from benchmarks.quality.sets import JudgedSet
from scipion_udl.quality import class_features, particle_features
from scipion_udl.quality.judge import FARTHEST, Judge
from scipion_udl.quality.particle_features import with_evidence

UNITS, NETWORKS, STEPS, RATE = 12, 6, 400, 0.02
DECAY_OF_CLASSES, DECAY_OF_PARTICLES = 3e-3, 1e-4  # of weights: there are few classes and many particles
PARTS = 6  # that the sets are cut into, so that classes are judged by networks that were trained on others


def train(sets: Sequence[JudgedSet], card: dict[str, Any], seed: int = 0) -> tuple[Judge, Judge]:
    """The networks of classes and of particles, trained on all of the sets. card: what is said of them."""
    evidence = apart(sets, seed)
    return of_classes(sets, card, seed), of_particles(sets, evidence, card, seed)


def of_classes(sets: Sequence[JudgedSet], card: dict[str, Any], seed: int = 0) -> Judge:
    """The network of classes: a class is good where most of its particles are; one of half and half says little."""
    share = np.concatenate([one.share for one in sets])
    weight = 0.2 + 0.8 * np.abs(2 * share - 1)
    which = np.repeat(np.arange(len(sets)), [len(one.classes) for one in sets])
    numbers = np.concatenate([one.classes for one in sets])
    told = card | {"names": class_features.NAMES}
    return fitted(numbers, share > 0.5, weight, which, told, seed, DECAY_OF_CLASSES)


def of_particles(
    sets: Sequence[JudgedSet], evidence: Sequence[np.ndarray], card: dict[str, Any], seed: int = 0
) -> Judge:
    """The network of particles, given how much speaks for their classes (:func:`apart`)."""
    numbers = np.concatenate([with_evidence(one.particles, one.place, own) for one, own in zip(sets, evidence)])
    good = np.concatenate([one.good for one in sets])
    which = np.repeat(np.arange(len(sets)), [len(one.particles) for one in sets])
    told = card | {"names": particle_features.NAMES}
    return fitted(numbers, good, np.ones(len(good)), which, told, seed, DECAY_OF_PARTICLES)


def apart(sets: Sequence[JudgedSet], seed: int = 0) -> list[np.ndarray]:
    """How much speaks for the classes (K,) of each set, by networks trained on others."""
    found: list[np.ndarray] = [np.zeros(0)] * len(sets)
    for part in range(min(PARTS, len(sets))):
        judge = of_classes([one for k, one in enumerate(sets) if k % PARTS != part], {}, seed)
        for k in range(part, len(sets), PARTS):
            found[k] = judge.evidence(sets[k].classes)
    return found


def fitted(
    numbers: np.ndarray,
    good: np.ndarray,
    weight: np.ndarray,
    which: np.ndarray,
    card: dict[str, Any],
    seed: int,
    decay: float,
) -> Judge:
    """Networks that tell good (n,) from numbers (n, F); each sees the sets, which (n,), as often as chance will have
    it."""
    mean, deviation = numbers.mean(0), numbers.std(0) + 1e-6
    generator, random = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    scaled = torch.from_numpy(np.clip((numbers - mean) / deviation, -FARTHEST, FARTHEST)).float()
    count = int(which.max()) + 1
    often = [np.bincount(random.integers(0, count, count), minlength=count) for _ in range(NETWORKS)]
    weights = torch.from_numpy(np.stack([(0.5 + 0.5 * one[which]) * weight / weight.mean() for one in often])).float()
    features = numbers.shape[1]
    hidden = torch.randn(NETWORKS, UNITS, features, generator=generator) / np.sqrt(features)
    out = 0.1 * torch.randn(NETWORKS, UNITS, generator=generator)
    values = [hidden, torch.zeros(NETWORKS, UNITS), out, torch.zeros(NETWORKS)]
    for value in values:
        value.requires_grad_()
    answer = torch.from_numpy(good.astype(np.float32)).expand(NETWORKS, -1)
    optimiser = torch.optim.Adam(values, RATE)
    for _ in range(STEPS):
        optimiser.zero_grad()
        units = torch.tanh(torch.einsum("nf,mhf->mnh", scaled, values[0]) + values[1][:, None])
        told = (units * values[2][:, None]).sum(2) + values[3][:, None]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(told, answer, weights)
        (loss + decay / NETWORKS * (values[0].square().sum() + values[2].square().sum())).backward()
        optimiser.step()
    made = [value.detach().double().numpy() for value in values]
    return Judge(mean, deviation, *made, np.median(numbers[good], axis=0), card)


def area(score: np.ndarray, good: np.ndarray) -> float:
    """The area under the curve of what is found against what is taken along by mistake; NaN where all are alike."""
    pairs = good.sum() * (~good).sum()
    if not pairs:
        return float("nan")
    return float((rankdata(score)[good].sum() - good.sum() * (good.sum() + 1) / 2) / pairs)


def figures(one: JudgedSet, classes: np.ndarray, particles: np.ndarray, least: float = 0.5) -> dict[str, float]:
    """How the quality of the classes (K,) and of the particles (n,) of a set does. kept: of the good particles;
    dropped: of the junk; area: of classes; brier: mean square of what the quality of classes is wrong by."""
    good_class = one.share > 0.5
    chosen = (classes >= least)[one.place] & (particles >= least)
    junk = ~one.good
    return {
        "classes": len(classes),
        "particles": len(one.good),
        "junk": float(junk.mean()),
        "kept": float(chosen[one.good].mean()) if one.good.any() else float("nan"),
        "dropped": float((~chosen)[junk].mean()) if junk.any() else float("nan"),
        "area": area(classes, good_class),
        "brier": float(np.square(classes - good_class).mean()),
        "area_particles": area(particles, one.good),
    }
