#!/usr/bin/env bash
# RELION 3.1.3: `relion_refine --K 2 --ref STACK` takes the first image of the stack for both classes, without a word.
#
# Expected: a stack of two references gives each of the two classes its own (its help says "Image, stack or star-file
# with the reference(s)"), or an error asks for a STAR.
# Happens: both classes of run_it000_classes.mrcs are the first image; a STAR of the same two images gives each its own.
# Why it matters: a classification that is meant to start from chosen averages starts from one view in all classes.
# Needs RELION 3.1.3 (Debian: apt-get install relion). Exits 0 where this is still so, 1 where it is not, 2 without RELION.
set -u
PYTHON=${PYTHON:-python3.11}
command -v relion_refine >/dev/null || { echo "relion_refine is not installed (apt-get install relion)"; exit 2; }
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 2
"$PYTHON" -m venv env && env/bin/python -m pip -q install mrcfile==1.5.4 || exit 2
env/bin/python - <<'P'
import mrcfile, numpy as np
y, x = np.mgrid[:32, :32] - 16
one = np.exp(-(x**2 + y**2) / 30)
two = np.exp(-((x - 6) ** 2 + y**2) / 10) + np.exp(-((x + 6) ** 2 + y**2) / 10)
images = np.repeat([one, two], 20, 0) + np.random.default_rng(0).normal(0, 0.3, (40, 32, 32))
for name, stack in (("p", images), ("refs", np.stack([one, two]))):
    with mrcfile.new(f"{name}.mrcs", stack.astype(np.float32)) as file:
        file.set_image_stack()
        file.voxel_size = 4.0
P
{
  printf 'data_optics\n\nloop_\n_rlnOpticsGroupName #1\n_rlnOpticsGroup #2\n_rlnVoltage #3\n_rlnSphericalAberration #4\n'
  printf '_rlnAmplitudeContrast #5\n_rlnImagePixelSize #6\n_rlnImageSize #7\n_rlnImageDimensionality #8\n'
  printf 'opticsGroup1 1 300.0 2.7 0.1 4.0 32 2\n\ndata_particles\n\nloop_\n_rlnImageName #1\n_rlnOpticsGroup #2\n'
  for k in $(seq 1 40); do printf '%06d@p.mrcs 1\n' "$k"; done
} > p.star
printf 'data_\n\nloop_\n_rlnReferenceImage #1\n000001@refs.mrcs\n000002@refs.mrcs\n' > refs.star
relion_refine --version 2>&1 | head -n 1
for ref in mrcs star; do
  mkdir $ref
  relion_refine --i p.star --o $ref/run --K 2 --ref refs.$ref --iter 1 --particle_diameter 100 --psi_step 30 \
    --offset_range 3 --offset_step 2 --oversampling 0 --pad 1 --firstiter_cc --dont_check_norm --random_seed 1 \
    --ini_high 20 > $ref/log 2>&1 || { tail -n 3 $ref/log; exit 2; }
done
env/bin/python - <<'P'
import sys
import mrcfile, numpy as np
refs = mrcfile.read("refs.mrcs")
best = {}
for kind in ("mrcs", "star"):
    classes = mrcfile.read(f"{kind}/run_it000_classes.mrcs").reshape(2, 32, 32)
    best[kind] = [int(np.argmax([np.corrcoef(c.ravel(), r.ravel())[0, 1] for r in refs])) + 1 for c in classes]
    print(f"--ref refs.{kind}: the classes start from the references {best[kind]}")
sys.exit(0 if best == {"mrcs": [1, 1], "star": [1, 2]} else 1)
P
