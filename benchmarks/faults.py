"""200 kills of real processes, and every write and rename failed once, each continued and compared with an undisturbed
run: ``python benchmarks/faults.py FOLDER``. The tests do a sample of it. See tests/alignment/fault_harness.py.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # before numpy: forked processes have one thread each
        os.environ.setdefault(name, "1")

    from scipion_udl.tests.alignment.fault_harness import main

    sys.exit(main())
