#!/usr/bin/env bash
# torch-grid-utils 0.6.0: circle(..., smoothing_radius=) has a soft edge that is not round.
#
# Expected: a mask whose value depends on the distance from its centre alone, and that changes with a fractional radius.
# Happens: the edge falls off with the distance to the nearest pixel of the hard circle. At 13 px from the centre of a
# circle of 10 px with an edge of 5 px the mask is 0.31 at (13, 0) and 0.55 at (5, 12). Radii between two that hold the
# same pixels give the same mask, whole circles and edges alike, and the edge lies outside of the radius.
# Why it matters: a mask about a particle weighs some directions more than others, by up to a quarter within its edge,
# so what is compared of two orientations is not the same; and a diameter in angstrom is rounded to whole pixels.
# Exits 0 where this is still so, 1 where it is not.
set -u
PYTHON=${PYTHON:-python3.11}
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 2
"$PYTHON" -m venv env && env/bin/python -m pip -q install torch==2.13.0 numpy==2.2.6 torch-grid-utils==0.6.0 || exit 2
env/bin/python - <<'P'
import sys
from importlib.metadata import version
from torch_grid_utils import circle
mask, other = (circle(radius, (64, 64), smoothing_radius=5) for radius in (10.1, 10.19))
mask_10 = circle(10.0, (64, 64), smoothing_radius=5)
along, across = float(mask_10[32, 45]), float(mask_10[37, 44])  # 13 px to the right; 12 to the right and 5 down
print(f"torch-grid-utils {version('torch-grid-utils')}: at 13 px {along:.3f} along the axis, {across:.3f} off it")
print(f"largest difference of masks of 10.10 and 10.19 px: {float((mask - other).abs().max()):g}")
sys.exit(0 if across - along > 0.2 and bool((mask == other).all()) else 1)
P
