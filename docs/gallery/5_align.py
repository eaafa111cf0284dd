"""
Align particles of one view
===========================

Simulated particles are aligned without a reference, and the result is compared with the truth.
"""

import matplotlib.pyplot as plt
import numpy as np

import scipion_udl

# %%
# 500 particles, a tenth of the noise's variance in each, rotated by any angle and up to 4 pixels off centre.

made = scipion_udl.simulate(500, snr=0.1, box=64, pixel_size=3.0, phantom="hook", shift=4.0, seed=1)

# %%
# A network is trained on them without labels, and everything is refined. Nothing is written.

found = scipion_udl.align(made.images, pixel_size=3.0, seed=1, gpu="none")
print(f"resolution {found.resolution:.1f} Å, mean score {found.score.mean():.2f}")
print(f"{found.ambiguous.sum()} ambiguous particles, {found.outlier.sum()} outliers, {len(found.warnings)} warnings")

# %%
# Before and after: a particle, the mean of all as they came, and the mean of the aligned ones.

shown = {
    "a particle": made.images[0],
    "mean before": made.images.mean(0),
    "mean after": found.average,
    "FRC-weighted": found.average_weighted,
    "the truth": made.template,
}
fig, axes = plt.subplots(1, 5, figsize=(11, 2.6), layout="constrained")
for ax, (title, image) in zip(axes, shown.items()):
    ax.imshow(image, cmap="gray")
    ax.set_title(title, fontsize=10)
    ax.set_axis_off()

# %%
# The rotation and shift that all have in common cannot be known without a reference: they are taken out.

errors = scipion_udl.evaluate(found, made, pixel_size=3.0)
print(f"median rotation error {np.median(np.abs(errors.rotation)):.2f}°")
fig, axes = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained")
axes[0].hist(errors.rotation, bins=60, range=(-3, 3))
axes[0].set(xlabel="rotation error (°)", ylabel="particles")
axes[1].scatter(*errors.shift.T, s=6)
axes[1].set(xlabel="shift error in x (px)", ylabel="in y (px)", aspect="equal")

# %%
# The poses go to RELION with ``found.to_star("aligned.star")``, and to Xmipp with ``to_xmd``. Or apply them yourself:

aligned = scipion_udl.apply(made.images, found)
print(aligned.shape, f"mean like the average: {np.corrcoef(aligned.mean(0).flat, found.average.flat)[0, 1]:.4f}")
