"""
Resolution from two half sets
=============================

The Fourier ring correlation (FRC) of two averages that share nothing but the particle tells up to which frequency they
show it. Here the poses are known, so the halves are independent by themselves; in an alignment they are kept apart.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

from scipion_udl.imaging.fourier import soft_disc
from scipion_udl.imaging.half_set_frc import CLAIM, estimate_resolution, image_frc
from scipion_udl.simulation.phantoms import phantom

box, pixel_size, snr = 128, 2.0, 0.05
image = phantom("hook", box).image()
sigma = image.std() / np.sqrt(snr)
noise = np.random.default_rng(1)
mask = soft_disc(box, 0.4 * box, 8.0)


def half(count: int) -> np.ndarray:
    """The average of ``count`` particles: the noise of a mean is smaller by the root of their number."""
    return (image + noise.normal(0, sigma / np.sqrt(count), image.shape)).astype(np.float32)


# %%
# With four times as many particles the noise of the average is halved, and the curve falls later. What is claimed lies
# before the crossing at 0.143 by the scatter of the rings, so that chance does not make it too good.

frequency = np.arange(box // 2) / (box * pixel_size)
fig, ax = plt.subplots(figsize=(8, 3.4), layout="constrained")
averages = {}
for count in (50, 200, 800, 3200):
    averages[count] = [half(count // 2), half(count // 2)]
    frc = image_frc(*(torch.from_numpy(one) for one in averages[count]), mask)
    estimate = estimate_resolution(frc, box, pixel_size, initial_lowpass=4, mask_radius=0.4 * box)
    ax.plot(frequency[1:], frc[1:], label=f"{count} particles")
    print(f"{count:5d} particles: {estimate.resolution:.1f} Å")
ax.axhline(CLAIM, color="0.6", ls="--", lw=1)
ax.set(xlabel="spatial frequency (1/Å)", ylabel="FRC", ylim=(-0.2, 1.05))
ax.legend(frameon=False)

# %%
# One half of each set.

fig, axes = plt.subplots(1, 4, figsize=(9, 2.5), layout="constrained")
for ax, (count, (first, _)) in zip(axes, averages.items()):
    ax.imshow(first, cmap="gray")
    ax.set_title(f"{count // 2} particles", fontsize=10)
    ax.set_axis_off()
