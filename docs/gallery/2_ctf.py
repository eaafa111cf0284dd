"""
What the microscope does to a particle
======================================

The contrast transfer function (CTF) of a defocused microscope removes some frequencies and turns the sign of others.
Particles are simulated with it, aligned with it, and averages are corrected for it.
"""

import matplotlib.pyplot as plt
import numpy as np

from scipion_udl.simulation.ctf import CtfSettings, simulated_ctf
from scipion_udl.simulation.phantoms import phantom

box, pixel_size = 128, 2.0
image = phantom("hook", box).image()
defocus = np.array([0.5, 1.0, 2.0])  # micrometers
signed = simulated_ctf(CtfSettings(signed=True), defocus, box, pixel_size)

# %%
# Along one axis: the farther from focus, the earlier the first zero. Phase-flipped images have the absolute value.

frequency = np.fft.rfftfreq(box, pixel_size)
fig, ax = plt.subplots(figsize=(8, 3), layout="constrained")
for value, curve in zip(defocus, signed[:, 0]):
    ax.plot(frequency, curve, label=f"{value:g} µm")
ax.axhline(0, color="0.7", lw=0.8)
ax.set(xlabel="spatial frequency (1/Å)", ylabel="CTF")
ax.legend(title="defocus", frameon=False)
first_zero = [frequency[np.flatnonzero(curve < 0)[0]] for curve in signed[:, 0]]
print("first zero at", ", ".join(f"{1 / zero:.1f} Å" for zero in first_zero))

# %%
# The same particle through each of them: above as the camera records it, below with its phases flipped.

fig, axes = plt.subplots(2, 4, figsize=(9, 4.6), layout="constrained")
spectrum = np.fft.rfft2(image)
for row, values in zip(axes, (signed, np.abs(signed))):
    row[0].imshow(image, cmap="gray")
    for ax, value, one in zip(row[1:], defocus, values):
        ax.imshow(np.fft.irfft2(spectrum * one, s=image.shape), cmap="gray")
        ax.set_title(f"{value:g} µm", fontsize=10)
    for ax in row:
        ax.set_axis_off()
axes[0, 0].set_title("the molecule's view", fontsize=10)
