"""Memory that is free again goes back to the system, or is kept for what comes next."""

import os
import subprocess
import sys

import pytest

needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="Linux tells the memory in /proc")

# Columns that grow side by side, as those of a table that is read; then what they hold, and how much the process grew.
GROWING = """
import numpy as np
from scipion_udl.compute.heap import give_back_arrays
from scipion_udl.io.star.growing import Growing

def held():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS:")) * 1024

give_back_arrays()
np.ones(4 << 20)  # 32 MB that are freed at once, from which on glibc would put all arrays into the heap
before = held()
columns = [Growing() for _ in range(6)]
for start in range(0, 800_000, 1 << 14):
    texts = [f"{k / 7:.6f}" for k in range(start, start + (1 << 14))]
    for column in columns:
        column.add(texts)
    del texts
for place in range(len(columns)):
    columns[place] = columns[place].column()
print(sum(column.nbytes for column in columns), held() - before)
"""


@needs_proc
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is of the GNU C library")
def test_columns_that_grew_side_by_side_leave_no_holes():
    done = subprocess.run([sys.executable, "-c", GROWING], capture_output=True, text=True, check=True)
    columns, process = map(int, done.stdout.split())
    assert process < 1.07 * columns + 4e6  # without, 1.2 times


# Chunks of particles that are made and freed, as in a pass; then how often the system had to clear pages for them.
PASSES = """
import resource, sys
import numpy as np
from scipion_udl.compute.heap import give_back_arrays, keep_arrays

{"keep": keep_arrays, "give back": give_back_arrays}[sys.argv[1]]()

def chunk():
    np.ones(6 << 20)  # 48 MB

chunk()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    chunk()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is of the GNU C library")
def test_chunks_of_a_pass_take_the_memory_of_those_before():
    cleared = {}
    for way in ("keep", "give back"):
        done = subprocess.run([sys.executable, "-c", PASSES, way], capture_output=True, text=True, check=True)
        cleared[way] = int(done.stdout)
    assert cleared["keep"] < 20
    assert cleared["give back"] >= 5 * 24  # pages are of 2 MB at most
