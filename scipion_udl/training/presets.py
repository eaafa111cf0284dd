"""How each kind of network is trained by each method: the settings that suit it, and the published ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from scipion_udl.errors import UdlError
from scipion_udl.messages import message
from scipion_udl.settings.networks import offered, trained_by

PAPER = ("paper-synthetic", "paper-real")
JOINT = ("mean", "autoencoder")


@dataclass(frozen=True)
class Preset:
    """Settings of a training.

    epochs: at most; lr: of Adam; batch: particles a step; patience: epochs without gain after which training has
    converged; learned: the held-out loss below which there is something to converge; particles: looked at, at most.
    noise: of the copies that a network compares, in standard deviations of its input. reach: the span of the rotations
    of UDL in the first epoch, degrees, and growth: by how much it grows an epoch, up to the period. decay: (steps,
    factor) of the learning rate. absolute: the published loss of pairs, absolute differences in degrees and a hinge
    that keeps outputs in 0 to 360, instead of 1 - cos. rounds: how many others each particle of a batch is paired with.
    joint: what JUDL reconstructs an aligned particle by, the "mean" of the others or the published "autoencoder";
    joint_weight: of that term; joint_growth: what is added to the weight in every epoch. clip: the longest gradient.
    """

    epochs: int
    lr: float
    batch: int
    patience: int
    learned: float = math.inf
    particles: int = 2048
    noise: float = 0.0
    rotation_range: float = 360.0
    growth: float = 0.0
    decay: tuple[int, float] | None = None
    absolute: bool = False
    rounds: int = 1
    joint: str = "mean"
    joint_weight: float = 1.0
    joint_growth: float = 0.0
    clip: float = 10.0


# Chen, Feng, Shen, J. Struct. Biol. 215 (2023) 107940, as their program has it; it trains all epochs.
_PUBLISHED = Preset(
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


def preset_of(network: str, method: str, name: str | None = None) -> Preset:
    """The recipe for a network and a method.

    Parameters
    ----------
    network : str
        Its word of --network.
    method : str
        "judl" or "udl".
    name : str, optional
        One of PAPER; None for ours.

    Returns
    -------
    Recipe
        How it is trained.

    Raises
    ------
    UdlError
        Where there is none: the network has no published recipe, or is not trained by this method.
    """
    rows = offered()
    if name is not None and not any(row.published for row in rows[network]):
        published = " or ".join(word for word, those in rows.items() if those[0].published)
        raise UdlError(message("recipe_of_polar", networks=published))
    row = trained_by(network, method)
    return Preset(**row.presets[method]) if name is None else _PAPER[name]
