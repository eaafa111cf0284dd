"""How each kind of network is trained by each method: the settings that suit it, and the published ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

PAPER = ("paper-synthetic", "paper-real")
JOINT = ("mean", "autoencoder")


@dataclass(frozen=True)
class Recipe:
    """Settings of a training.

    epochs: at most; lr: of Adam; batch: particles a step; patience: epochs without gain after which training has
    converged; learned: the held-out loss below which there is something to converge; particles: looked at, at most.
    noise: of the copies that a network compares, in standard deviations of its input. reach: the span of the turns of
    UDL in the first epoch, degrees, and growth: by how much it grows an epoch, up to the period. decay: (steps, factor)
    of the learning rate. absolute: the published loss of pairs, absolute differences in degrees and a hinge that keeps
    outputs in 0 to 360, instead of 1 - cos. rounds: how many others each particle of a batch is paired with. joint:
    what JUDL reconstructs an aligned particle by, the "mean" of the others or the published "autoencoder";
    joint_weight: of that term; joint_growth: what is added to the weight in every epoch. clip: the longest gradient.
    """

    epochs: int
    lr: float
    batch: int
    patience: int
    learned: float = math.inf
    particles: int = 2048
    noise: float = 0.0
    reach: float = 360.0
    growth: float = 0.0
    decay: tuple[int, float] | None = None
    absolute: bool = False
    rounds: int = 1
    joint: str = "mean"
    joint_weight: float = 1.0
    joint_growth: float = 0.0
    clip: float = 10.0


# UDL stands at chance for some epochs before it finds the turn, so that a rest there is no convergence; and without
# fresh noise in every copy it learns each particle's own noise, which turns with the particle as well.
_OWN = {
    ("polar", "judl"): Recipe(epochs=60, lr=1e-3, batch=128, patience=6),
    ("polar", "udl"): Recipe(
        epochs=120, lr=2e-3, batch=64, patience=12, learned=0.5, noise=1.0, reach=34.0, growth=4.0
    ),
    ("resnet", "udl"): Recipe(epochs=60, lr=2e-3, batch=64, patience=10, learned=0.5, noise=1.0, rounds=3),
    # No fresh noise here: the mean of the others, which has no noise in common with a particle, keeps it honest.
    ("resnet", "judl"): Recipe(epochs=30, lr=3e-4, batch=64, patience=8),
    ("matching", "udl"): Recipe(
        epochs=30, lr=1e-3, batch=32, patience=10, learned=0.5, particles=8192, decay=(1000, 0.5)
    ),
}
# Chen, Feng, Shen, J. Struct. Biol. 215 (2023) 107940, as their program has it; it trains all epochs.
_PUBLISHED = Recipe(
    epochs=100,
    lr=3e-4,
    batch=32,
    patience=100,
    particles=50_000,
    decay=(12_000, 0.8),
    absolute=True,
    joint="autoencoder",
    joint_weight=0.0,
    joint_growth=20.0,
    clip=math.inf,
)
_PAPER = {"paper-synthetic": _PUBLISHED, "paper-real": replace(_PUBLISHED, lr=1e-4)}


def recipe_of(network: str, method: str, name: str | None = None) -> Recipe:
    """The recipe for a network (polar, resnet, matching) and method (judl, udl); name: one of PAPER, None for ours.

    Raises ValueError where there is none.
    """
    if name is not None and network == "polar":
        raise ValueError("the published recipes are of the published networks: give --network resnet or matching")
    if (network, method) not in _OWN:
        raise ValueError(f"the {network} network is trained by --method udl only")
    return _OWN[network, method] if name is None else _PAPER[name]
