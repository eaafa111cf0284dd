"""What tests of the pair network share: spectra of particles with known rotations, and a small network that knows
them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from scipion_udl.imaging.fourier import to_fourier
from scipion_udl.imaging.poses import Poses
from scipion_udl.imaging.spectrum_images import SpectrumImageSettings
from scipion_udl.models.checkpoint import ModelCard, save_model
from scipion_udl.models.resnet import PairNetwork
from scipion_udl.simulation.phantoms import phantom
from scipion_udl.tests.engine_helpers import PIXEL_SIZE
from scipion_udl.training.datasets import TensorSamples
from scipion_udl.training.objectives import PairObjective
from scipion_udl.training.presets import Preset, preset_of
from scipion_udl.training.trainer import TrainingResult, TrainingSettings, train_network

BOX = 32
SPECTRA = SpectrumImageSettings(box=BOX, size=16, r_max=7)
SMALL = {"size": 16, "widths": (8, 16), "hidden": (16,), "mask": (4,)}


def particles(angle: np.ndarray, noise: float = 0.0, seed: int = 0) -> torch.Tensor:
    """Fine spectra (N, F, F) of a phantom rotated by pose angles (N,), degrees, in noise of this part of its scale."""
    images = torch.from_numpy(phantom("clamp", BOX).sample(Poses(-np.asarray(angle))))
    images = images / images.std()
    images = images + noise * torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
    return SPECTRA.fine(to_fourier(images), BOX)


def train(
    data: torch.Tensor,
    method: str = "udl",
    network: PairNetwork | None = None,
    report: Callable[[dict, int], None] | None = None,
    checkpoint: str | None = None,
    preset: Preset | None = None,
    **options: object,
) -> tuple[TrainingResult, list[dict]]:
    """(result, rows as they were reported) of a training of a small network."""
    settings = TrainingSettings(method, network="resnet", **{"seed": 4, "batch": 32, "epochs": 4, **options})
    preset = preset or settings.preset
    torch.manual_seed(4)
    network = network or PairNetwork(**SMALL, head="difference")
    objective = PairObjective(method, preset, SPECTRA)
    rows = []

    def tell(row, epochs):
        rows.append(row)
        if report:
            report(row, epochs)

    result = train_network(
        TensorSamples(data), network, settings, checkpoint=checkpoint, report=tell, objective=objective
    )
    return result, rows


@lru_cache(maxsize=1)
def learned_network() -> PairNetwork:
    """A small network that was trained on clean particles for some seconds, once for all tests."""
    clean = particles(np.random.default_rng(1).uniform(0, 360, 512))
    preset = replace(preset_of("resnet", "udl"), noise=0.2)
    return train(clean, preset=preset, epochs=12, lr=3e-3)[0].network


def save_learned(path: Path) -> Path:
    """The same as a model file of particles of BOX px, PIXEL_SIZE each."""
    network = learned_network()
    save_model(str(path), network, ModelCard("udl", "resnet", network.config, asdict(SPECTRA), BOX, PIXEL_SIZE))
    return path
