#!/usr/bin/env bash
# RELION 3.1.3 reads unsigned 16-bit images (MRC mode 6) above 32767 as negative values, without a word.
#
# Expected: MRC2014's mode 6 is unsigned, so 33000 is 33000; or an error, as for mode 12.
# Happens: relion_stack_create exits 0, and 33000 comes out as 33000 - 65536 = -32536.
# Why it matters: detectors and converters write counts in mode 6; particles whose values straddle 32767 are torn apart,
# bright becomes dark, and averages are of another picture.
# Needs RELION 3.1.3 (Debian: apt-get install relion). Exits 0 where this is still so, 1 where it is not, 2 without RELION.
set -u
PYTHON=${PYTHON:-python3.11}
command -v relion_stack_create >/dev/null || { echo "relion_stack_create is not installed (apt-get install relion)"; exit 2; }
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 2
"$PYTHON" -m venv env && env/bin/python -m pip -q install mrcfile==1.5.4 || exit 2
env/bin/python - <<'P'
import mrcfile, numpy as np
values = (32000 + 2000 * np.linspace(0, 1, 3 * 32 * 32)).astype(np.uint16).reshape(3, 32, 32)
with mrcfile.new("p.mrcs", values) as file:
    file.set_image_stack()
    file.voxel_size = 2.0
assert mrcfile.validate("p.mrcs")
P
{
  printf 'data_optics\n\nloop_\n_rlnOpticsGroupName #1\n_rlnOpticsGroup #2\n_rlnVoltage #3\n_rlnSphericalAberration #4\n'
  printf '_rlnAmplitudeContrast #5\n_rlnImagePixelSize #6\n_rlnImageSize #7\n_rlnImageDimensionality #8\n'
  printf 'opticsGroup1 1 300.0 2.7 0.1 2.0 32 2\n\ndata_particles\n\nloop_\n_rlnImageName #1\n_rlnOpticsGroup #2\n'
  for k in 1 2 3; do printf '%06d@p.mrcs 1\n' $k; done
} > in.star
relion_stack_create --version 2>&1 | head -n 1
relion_stack_create --i in.star --o out > log 2>&1; code=$?
env/bin/python - $code <<'P'
import sys
import mrcfile, numpy as np
before, after = (mrcfile.read(name).astype(float) for name in ("p.mrcs", "out.mrcs"))
high = before > 32767
print(f"exit code {sys.argv[1]}; values {before.min():g} to {before.max():g} come out as {after.min():g} to {after.max():g}")
print(f"of those above 32767 {np.mean(after[high] < 0):.0%} are negative, the others are right: {(after == before)[~high].all()}")
sys.exit(0 if (after[high] == before[high] - 65536).all() and (after == before)[~high].all() else 1)
P
