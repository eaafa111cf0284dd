"""
Sort particles of many views
============================

Particles of a molecule seen from many directions, with some that show nothing, are sorted into classes, and each class
is aligned.
"""

import matplotlib.pyplot as plt

import scipion_udl

# %%
# One in ten shows nothing at all.

options = {"views": "uneven", "phantom": "boot", "shift": 3.0, "noise_share": 0.1}
made = scipion_udl.simulate(1200, snr=0.3, box=48, pixel_size=5.0, **options)
found = scipion_udl.classify(made.images, pixel_size=5.0, classes=8, gpu="none")

# %%
# Class averages in the order of their size, with what is said of each. What the particles do not support is given up,
# so that there may be fewer classes than asked for.

fig, axes = plt.subplots(2, 4, figsize=(9, 5.2), layout="constrained")
for ax in axes.flat:
    ax.set_axis_off()
for ax, one in zip(axes.flat, found.classes):
    ax.imshow(one.average, cmap="gray")
    resolution = f"{one.resolution:.1f} Å" if one.resolution else "none claimed"
    ax.set_title(f"{one.number}: {len(one.particles)} particles\n{resolution}", fontsize=10)
    if one.flag:
        ax.text(0.5, -0.1, f"flagged: {one.flag}", transform=ax.transAxes, ha="center", color="tab:red")

# %%

for warning in found.warnings:
    print(warning)
for one in found.classes:
    print(f"class {one.number}: mean score {one.figures['score_mean']:.2f}. {one.note}")
