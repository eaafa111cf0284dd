#!/usr/bin/env bash
# scipion-pyworkflow 3.11.7 shows a run that has finished as failed, where it ended while its state was being read.
#
# A project looks every few seconds how its runs stand: it reads a run's own database where that is newer than what was
# read last. A comment says that the time of the database is taken before it is loaded.
# Expected: what the run writes during the reading is seen the next time.
# Happens: the time is taken after the reading, so that what was written meanwhile counts as read. If it was the last
# that the run wrote, the project keeps "running", finds no process, and sets the run to failed ("It probably has died
# or been killed"), while the run's own database says that it has finished. It stays so however often it is asked.
# Why it matters: on a slow disk, or with large sets, a run of hours that ended well looks lost and is started again;
# protocols that wait for it, in streaming too, take its output for incomplete. Its outputs are there: the log ends in
# PROTOCOL FINISHED.
# The reading is made slow here, so that the run ends in it each time.
# Exits 0 where this is still so, 1 where it is not.
set -u
PYTHON=${PYTHON:-python3.11}
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 2
"$PYTHON" -m venv env && env/bin/python -m pip -q install scipion-pyworkflow==3.11.7 scipion-app==3.8.3 || exit 2
mkdir home
templates=$(env/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/scipion/templates
export SCIPION_HOME=$dir/home SCIPION_USER_DATA=$dir/home SCIPION_DOMAIN=pyworkflowtests SCIPION_NOTIFY=False
export SCIPION_HOSTS=$templates/hosts.template SCIPION_PYTHON=$dir/env/bin/python MPLBACKEND=Agg
cat >race.py <<'P'
import os, subprocess, sys, time
from importlib.metadata import version
import pyworkflow.protocol as pwprot
from pyworkflow.project import Manager
from pyworkflowtests.protocols import SleepingProtocol

manager = Manager()
manager.createProject("race")
project = manager.loadProject("race")
run = project.newProtocol(SleepingProtocol, n=2)  # sleeps for 1 and for 2 seconds, and ends well
project.launchProtocol(run, wait=False)
log = project.getPath(run._getLogsPath("run.stdout"))
while not os.path.exists(log) or "STARTED" not in open(log).read():
    time.sleep(0.1)
read = pwprot.getProtocolFromDb


def slowly(*arguments):
    """Reads the run's database as always; the run ends before the reader goes on."""
    found = read(*arguments)
    while "PROTOCOL FINISHED" not in open(log).read():
        time.sleep(0.1)
    time.sleep(2)
    return found


pwprot.getProtocolFromDb = slowly
project._updateProtocol(run)
pwprot.getProtocolFromDb = read
seen = [run.getStatus()]
for _ in range(3):
    time.sleep(1)
    subprocess.run(["true"])  # another process that is started lets go of the run's, which has ended
    project._updateProtocol(run)
    seen.append(run.getStatus())
own = read(project.path, run.getDbPath(), run.getObjId())
print(f"scipion-pyworkflow {version('scipion-pyworkflow')}: the run's own database says {own.getStatus()}, "
      f"the project, asked four times, {', '.join(seen)}")
print(f"Its message: {run.getErrorMessage()}")
sys.exit(0 if own.getStatus() == "finished" and "finished" not in seen else 1)
P
env/bin/python race.py 2>err
code=$?
[ $code = 0 ] || tail -3 err
exit $code
