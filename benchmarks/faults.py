"""200 kills of real processes, and every open, write, flush, close, rename and read of images failed once in each
command; each run is continued and compared with an undisturbed one: ``python benchmarks/faults.py FOLDER``. With
--faults 0 or --kills 0 it is the one or the other alone. The tests do a sample of it. See
tests/fault_harness.py and fault_hooks.py.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # before numpy: forked processes have one thread each
        os.environ.setdefault(name, "1")

    from scipion_udl.tests.fault_harness import main

    sys.exit(main())
