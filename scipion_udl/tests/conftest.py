"""pytest imports this before any test: importing the package of tests sets Scipion's environment."""

from __future__ import annotations

import os
from pathlib import Path

from scipion_udl.tests import set_scipion_environment

set_scipion_environment()
# Tests run in several processes at once (make test): each has its own projects, and one processor.
if "PYTEST_XDIST_WORKER" in os.environ:
    folder = Path(os.environ["SCIPION_USER_DATA"]) / os.environ["PYTEST_XDIST_WORKER"]
    folder.mkdir(exist_ok=True)
    os.environ.update(SCIPION_USER_DATA=str(folder), OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
