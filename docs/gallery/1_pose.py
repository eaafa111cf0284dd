"""
The pose convention
===================

A pose rotates a particle about pixel ``box // 2``, then mirrors x where it is mirrored, then shifts it. A positive
angle is clockwise, seen with row 0 on top; x points to the right and y down.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

from scipion_udl.imaging.fourier import to_fourier, transform
from scipion_udl.simulation.phantoms import phantom

box = 96
image = torch.from_numpy(phantom("hook", box).image())

# %%
# ``transform`` takes Fourier coefficients and applies a rotation in degrees and a shift in pixels.

coefficients = to_fourier(image)[None]
poses = [(0, 0, 0), (30, 0, 0), (90, 0, 0), (0, 20, 0), (0, 0, 20), (90, 20, 0)]
fig, axes = plt.subplots(1, 6, figsize=(12, 2.4), layout="constrained")
for ax, (angle, x, y) in zip(axes, poses):
    moved = transform(coefficients, box, torch.tensor([float(angle)]), torch.tensor([[float(x), float(y)]]))[0]
    ax.imshow(moved, cmap="gray")
    ax.set_title(f"{angle}°, x {x:+d}, y {y:+d}", fontsize=10)
    ax.plot(box // 2, box // 2, "+", color="tab:orange")
    ax.set_axis_off()

# %%
# The other way leads back: rotate by the negative angle, and shift by the negative shift rotated with it.

moved = transform(coefficients, box, torch.tensor([90.0]), torch.tensor([[20.0, 0.0]]))
back = transform(to_fourier(moved), box, torch.tensor([-90.0]), torch.tensor([[0.0, 20.0]]))[0]
print(f"correlation with the original: {np.corrcoef(back.flatten(), image.flatten())[0, 1]:.4f}")
