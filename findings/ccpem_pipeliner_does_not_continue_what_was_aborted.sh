#!/usr/bin/env bash
# ccpem-pipeliner 1.6.1 (the engine of Doppio): --continue_job of an aborted or failed job ends in a FileNotFoundError.
#
# Expected: a job that was aborted, or ran out of its time, goes on where it was: that is what continuing is for, and
# motion correction, CTF estimation, picking, extraction, classification and refinement all offer it.
# Happens: continue_job removes PIPELINER_JOB_EXIT_SUCCESS, which only a job that succeeded has, and stops there, after
# it has moved job.star away and written a new one. The job does not run.
# Way round: touch JOB/PIPELINER_JOB_EXIT_SUCCESS, then --continue_job JOB; this script shows that, too.
# Why it matters: days of processing seem lost, and are begun anew.
# A stand-in for relion_mask_create that waits takes the place of RELION, which need not be installed.
# Exits 0 where this is still so, 1 where it is not.
set -u
PYTHON=${PYTHON:-python3.11}
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 2
"$PYTHON" -m venv env && env/bin/python -m pip -q install ccpem-pipeliner==1.6.1 || exit 2
mkdir bin project
printf '#!/bin/sh\nexec sleep 120\n' >bin/relion_mask_create
chmod +x bin/relion_mask_create
export PATH="$dir/bin:$dir/env/bin:$PATH"
cd project || exit 2
python - <<'P'
import mrcfile, numpy as np
y, x, z = np.mgrid[-8:8, -8:8, -8:8]
with mrcfile.new("map.mrc", np.exp(-(x * x + y * y + z * z) / 20.0).astype("f4")) as file:
    file.voxel_size = 4.0
P
pipeliner --new_project >log 2>&1 || exit 2
cat >job.star <<'S'
data_job
_rlnJobTypeLabel relion.maskcreate
_rlnJobIsContinue 0
_rlnJobIsTomo 0
data_joboptions_values
loop_
_rlnJobOptionVariable
_rlnJobOptionValue
fn_in map.mrc
inimask_threshold 0.5
S
job=MaskCreate/job001
wait_for() { for _ in $(seq 60); do [ -e "$1" ] && return; sleep 1; done; echo "no $1 after a minute" >&2; exit 2; }
pipeliner --run_job job.star >>log 2>&1 || exit 2
wait_for $job/note.txt
pipeliner --abort_job $job/ >>log 2>&1 || exit 2
wait_for $job/PIPELINER_JOB_EXIT_ABORTED
pipeliner --continue_job $job/ >first 2>&1
code=$?
runs=$(grep -c "Running command 1" $job/run.out)
touch $job/PIPELINER_JOB_EXIT_SUCCESS
pipeliner --continue_job $job/ >second 2>&1
again=$?
for _ in $(seq 30); do [ "$(grep -c "Running command 1" $job/run.out)" -gt "$runs" ] && break; sleep 1; done
after=$(grep -c "Running command 1" $job/run.out)
pipeliner --abort_job $job/ >>log 2>&1
wait_for $job/PIPELINER_JOB_EXIT_ABORTED
python -c "import importlib.metadata as m; print('ccpem-pipeliner', m.version('ccpem-pipeliner'))"
echo "aborted, then --continue_job: exit code $code: $(tail -n 1 first)"
echo "after touch PIPELINER_JOB_EXIT_SUCCESS: exit code $again, the command was run $((after - runs)) time more"
[ "$code" -ne 0 ] && grep -q "FileNotFoundError.*PIPELINER_JOB_EXIT_SUCCESS" first && [ "$again" -eq 0 ] && [ "$after" -gt "$runs" ]
