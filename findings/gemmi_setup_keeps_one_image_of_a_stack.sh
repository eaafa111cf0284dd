#!/usr/bin/env bash
# gemmi 0.7.5: Ccp4Map.setup() of an MRC image stack keeps one image, the last, and says nothing.
#
# Expected: five images stay five images, or an error says that a stack is no map.
# Happens: read_ccp4_map gives a grid of 8 x 8 x 5; after setup(), which its documentation asks for before the grid is
# used, the grid is 8 x 8 x 1. By the MRC2014 standard a stack has MZ = 1 (one section a volume), which is taken as the
# extent of the cell.
# Why it matters: averages and particles read in this way are one image, and a mean over them is the last particle.
# Exits 0 where this is still so, 1 where it is not.
set -u
PYTHON=${PYTHON:-python3.11}
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 2
"$PYTHON" -m venv env && env/bin/python -m pip -q install gemmi==0.7.5 mrcfile==1.5.4 || exit 2
env/bin/python - <<'P'
import sys
import gemmi, mrcfile, numpy as np
images = np.arange(5, dtype=np.float32)[:, None, None] + np.zeros((5, 8, 8), np.float32)
with mrcfile.new("stack.mrcs", images) as file:
    file.set_image_stack()
    file.voxel_size = 2.0
assert mrcfile.validate("stack.mrcs"), "the stack is not valid"
stack = gemmi.read_ccp4_map("stack.mrcs")
before = stack.grid.shape
stack.setup(0.0)
after = np.array(stack.grid)
print(f"gemmi {gemmi.__version__}: {len(images)} images, grid {before} before setup(), {after.shape} after it")
print(f"mean of the images {images.mean():g}, of what setup() keeps {after.mean():g}")
sys.exit(0 if before == (8, 8, 5) and after.shape == (8, 8, 1) and (after == 4).all() else 1)
P
