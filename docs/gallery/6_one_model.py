"""
Train once, align what comes later
==================================

A model that was trained on some particles aligns others of the same sample, without training.
"""

import matplotlib.pyplot as plt
import numpy as np

import scipion_udl

particles = {"box": 48, "pixel_size": 4.0, "phantom": "clamp", "shift": 3.0}

# %%
# The model learns from one set, 300 particles. ``model.save("model.safetensors")`` would keep it.

first = scipion_udl.simulate(300, snr=0.2, seed=1, **particles)
model = scipion_udl.train(first.images, pixel_size=4.0, gpu="none")
print(f"{model.card.network} network, {len(model.history)} epochs")

# %%
# It is applied to others, clearer and fainter than those it knows. With ``no_refine`` the network's own angles are
# kept; without it, everything is refined in real space.

snrs = [0.4, 0.2, 0.1, 0.05]
errors = {"network alone": [], "refined": []}
for number, snr in enumerate(snrs):
    later = scipion_udl.simulate(300, snr=snr, seed=10 + number, **particles)
    for name, alone in (("network alone", True), ("refined", False)):
        found = scipion_udl.align(later.images, pixel_size=4.0, model=model, no_refine=alone, gpu="none")
        wrong = np.abs(scipion_udl.evaluate(found, later).rotation)
        errors[name].append(float(np.median(wrong)))
    print(f"SNR {snr:g}: " + ", ".join(f"{name} {values[-1]:.2f}°" for name, values in errors.items()))

# %%

fig, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
for name, values in errors.items():
    ax.plot(snrs, values, "o-", label=name)
ax.set(xscale="log", xlabel="signal-to-noise ratio", ylabel="median rotation error (°)", ylim=(0, None))
ax.set_xticks(snrs, [f"{snr:g}" for snr in snrs])
ax.minorticks_off()
ax.legend(frameon=False)
