"""
A network of your own
=====================

A new network is a class and a row: then it is trained, and aligns, as those that come with the program do.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

import scipion_udl
from scipion_udl.models.polar_network import refine_angles
from scipion_udl.settings import networks


class Correlator(nn.Module):
    """Correlates each ring of a polar spectrum with one that it learns; the best shift is the rotation."""

    def __init__(self, radii: int, angles: int) -> None:
        super().__init__()
        self.config = {"radii": radii, "angles": angles}
        near = torch.arange(angles) - angles // 2
        self.template = nn.Parameter(torch.exp(-((near / 6) ** 2)).expand(radii, -1).clone())
        self.register_buffer("agreement", torch.ones(radii))

    def rotations(self, spectra: torch.Tensor) -> torch.Tensor:
        """Rotations (N,), degrees, modulo 180, of spectra (N, radii, angles)."""
        product = torch.fft.rfft(spectra) * torch.fft.rfft(self.template).conj()
        return refine_angles(torch.fft.irfft(product.sum(1), n=spectra.shape[-1]))


# %%
# The row says what it is called, what it sees, by which objective it learns, and for how long.

row = networks.NetworkRow(
    "correlator",
    f"{__name__}:Correlator",
    networks.SPECTRA,
    "a network that correlates",
    "scipion_udl.training.objectives:PolarObjective",
    {"judl": {"epochs": 30, "lr": 1e-2, "batch": 64, "patience": 6}},
    help="correlates polar spectra with one that it learns",
)
networks.ROWS.pop(row.name, None)  # where this script is run twice
networks.register(row)

# %%
# Trained on 300 particles, beside the polar network. The rotation errors are those of the networks alone, modulo 180
# degrees: by chance they would be 45 degrees on average.

made = scipion_udl.simulate(300, snr=0.5, box=48, pixel_size=4.0, phantom="hook", shift=3.0, seed=1)
fig, ax = plt.subplots(figsize=(7, 3), layout="constrained")
for name in ("polar", "correlator"):
    model = scipion_udl.train(made.images, pixel_size=4.0, network=name, gpu="none")
    found = scipion_udl.align(made.images, pixel_size=4.0, model=model, no_refine=True, gpu="none")
    wrong = scipion_udl.evaluate(found, made)
    error = np.abs((wrong.rotation + 90) % 180 - 90)
    ax.hist(np.clip(error, 0, 10), bins=60, range=(0, 10), histtype="step", lw=1.8, label=name)
    print(f"{name}: {len(model.history)} epochs, median error {np.median(error):.2f}°")
ax.set(xlabel="rotation error, modulo 180 (°)", ylabel="particles")
ax.legend(frameon=False)
