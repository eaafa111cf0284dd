#!/usr/bin/env bash
# cryodrgn 4.3.1: `parse_ctf_star` of a STAR without rlnPhaseShift writes a CTF that is NaN for every particle.
#
# Expected: a phase shift of 0 (no phase plate), as RELION and earlier versions take it, or an error.
# Happens: exit code 0, "Phase shift (deg) : nan", and NaN in the phase shift of each row of ctf.pkl.
# Why it matters: RELION writes rlnPhaseShift only where a phase plate was used, so most tables lack it; training then
# runs on images whose CTF is NaN. `--ps 0`, or the column as 0, helps.
# Exits 0 where this is still so, 1 where it is not.
set -u
PYTHON=${PYTHON:-python3.11}
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 2
"$PYTHON" -m venv env && env/bin/python -m pip -q install torch==2.13.0 && env/bin/python -m pip -q install cryodrgn==4.3.1 || exit 2
{
  printf 'data_optics\n\nloop_\n_rlnOpticsGroupName #1\n_rlnOpticsGroup #2\n_rlnVoltage #3\n_rlnSphericalAberration #4\n'
  printf '_rlnAmplitudeContrast #5\n_rlnImagePixelSize #6\n_rlnImageSize #7\n_rlnImageDimensionality #8\n'
  printf 'opticsGroup1 1 300.0 2.7 0.1 1.5 64 2\n\ndata_particles\n\nloop_\n_rlnImageName #1\n_rlnOpticsGroup #2\n'
  printf '_rlnDefocusU #3\n_rlnDefocusV #4\n_rlnDefocusAngle #5\n'
  for k in 1 2 3; do printf '%06d@particles.mrcs 1 1500%d.0 14900.0 30.0\n' $k $k; done
} > particles.star
env/bin/cryodrgn parse_ctf_star particles.star -o ctf.pkl; code=$?
env/bin/cryodrgn parse_ctf_star particles.star -o with_ps.pkl --ps 0 >/dev/null 2>&1
env/bin/python - "$code" <<'P'
import pickle, sys
from importlib.metadata import version
import numpy as np
ctf, asked = (pickle.load(open(name, "rb")) for name in ("ctf.pkl", "with_ps.pkl"))
nan = int(np.isnan(ctf).any(1).sum())
print(f"cryodrgn {version('cryodrgn')}: exit code {sys.argv[1]}, NaN in the CTF of {nan} of {len(ctf)} particles;")
print(f"with --ps 0: in {int(np.isnan(asked).any(1).sum())}")
sys.exit(0 if sys.argv[1] == "0" and nan == len(ctf) and np.isfinite(asked).all() else 1)
P
