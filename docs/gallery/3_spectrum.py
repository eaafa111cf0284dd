"""
What the network sees
=====================

The amplitude spectrum of a particle does not change when the particle is shifted, and rotates when it is rotated. In
polar coordinates a rotation is a shift along the angle: that is what the network learns to read.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

from scipion_udl.imaging.fourier import to_fourier, transform
from scipion_udl.imaging.polar_spectra import SpectraSettings
from scipion_udl.simulation.phantoms import phantom

box = 64
image = torch.from_numpy(phantom("hook", box).image())
coefficients = to_fourier(image / image.std())[None]
poses = {"as it is": (0.0, 0.0), "shifted by 8 px": (0.0, 8.0), "rotated by 45°": (45.0, 0.0)}
angle = torch.tensor([pose[0] for pose in poses.values()])
shift = torch.tensor([[pose[1], 0.0] for pose in poses.values()])
particles = transform(coefficients, box, angle, shift)

# %%
# Polar log spectra of the three: rows are radii (Fourier pixels), columns directions over 180 degrees.

settings = SpectraSettings.for_box(box)
spectra = settings.of(to_fourier(particles), box)
fig, axes = plt.subplots(2, 3, figsize=(9, 4.6), layout="constrained", height_ratios=[2, 1])
for name, particle, spectrum, column in zip(poses, particles, spectra, axes.T):
    column[0].imshow(particle, cmap="gray")
    column[0].set_title(name, fontsize=10)
    column[0].set_axis_off()
    column[1].imshow(spectrum, aspect="auto", extent=(0, 180, settings.r_max, settings.r_min), cmap="magma")
    column[1].set(xlabel="direction (°)", xticks=[0, 45, 90, 135, 180])
axes[1, 0].set_ylabel("radius")

# %%
# How far one spectrum must be shifted to fit another is the rotation between the particles, modulo 180 degrees: the
# spectrum is the same after half a turn. Which of the two it is shows in real space, later.


def fit(first: torch.Tensor, second: torch.Tensor) -> np.ndarray:
    """The correlation of two polar spectra at every shift along the direction."""
    product = torch.fft.rfft(second) * torch.fft.rfft(first).conj()
    return torch.fft.irfft(product.sum(0), n=first.shape[-1]).numpy() / float(first.norm() * second.norm())


degrees = np.arange(settings.angles) * 180 / settings.angles
fig, ax = plt.subplots(figsize=(8, 2.8), layout="constrained")
for name, spectrum in list(zip(poses, spectra))[1:]:
    curve = fit(spectra[0], spectrum)
    ax.plot(degrees, curve, label=name)
    print(f"{name}: fits best at {degrees[curve.argmax()]:.1f}° (correlation {curve.max():.2f})")
ax.set(xlabel="rotation (°, modulo 180)", ylabel="correlation", xlim=(0, 180))
ax.legend(frameon=False)
