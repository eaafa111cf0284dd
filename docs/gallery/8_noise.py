"""
Nothing but noise
=================

Noise that is aligned to anything shows that thing. This is what a run looks like that was given no particles at all:
nothing is claimed.
"""

import matplotlib.pyplot as plt
import numpy as np

import scipion_udl

# %%
# Two sets that differ in one thing: the first shows a molecule, the second shows nothing.

box, pixel_size = 48, 4.0
options = {"box": box, "pixel_size": pixel_size, "views": "single", "phantom": "boot", "shift": 3.0}
sets = {
    "particles": scipion_udl.simulate(250, snr=0.1, **options),
    "noise": scipion_udl.simulate(250, noise_share=1.0, **options),
}
found = {name: scipion_udl.align(one.images, pixel_size, gpu="none") for name, one in sets.items()}

# %%
# The averages of both, and what the halves agree on.

fig, axes = plt.subplots(1, 3, figsize=(10, 3), layout="constrained", width_ratios=[1, 1, 1.6])
for ax, (name, result) in zip(axes, found.items()):
    ax.imshow(result.average, cmap="gray")
    ax.set_title(f"average of the {name}", fontsize=10)
    ax.set_axis_off()
    frequency = np.arange(len(result.frc)) / (box * pixel_size)
    axes[2].plot(frequency[1:], result.frc[1:], label=name)
axes[2].axhline(0.143, color="0.6", ls="--", lw=1)
axes[2].set(xlabel="spatial frequency (1/Å)", ylabel="FRC")
axes[2].legend(frameon=False)

# %%

for name, result in found.items():
    print(
        f"{name}: mean score {result.score.mean():.2f}, resolution {result.resolution and round(result.resolution, 1)}"
    )
    print(f"    {result.resolution_note}")
