"""The project's tests. Scipion reads its environment once, at the first import of pyworkflow: it is set here.

pytest comes here by conftest.py, ``scipion tests`` by the import of a test.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import tempfile
from pathlib import Path


def set_scipion_environment() -> None:
    """Give Scipion what it needs to run protocols in a bare Python environment; what is set already stays."""
    folder = Path(tempfile.gettempdir()) / f"scipion_udl_tests_{os.getuid()}"
    hosts = Path(sysconfig.get_paths()["purelib"]) / "scipion" / "templates" / "hosts.template"
    values = {
        "SCIPION_HOME": str(folder),
        "SCIPION_USER_DATA": str(folder / "data"),
        "SCIPION_DOMAIN": "pwem",
        "SCIPION_PYTHON": sys.executable,
        "SCIPION_NOTIFY": "False",
        "SCIPION_TEST_NOSYNC": "True",
        "SCIPION_HOSTS": str(hosts),
        "MPLBACKEND": "Agg",
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    for name, value in values.items():
        os.environ.setdefault(name, value)
    for name in ("SCIPION_HOME", "SCIPION_USER_DATA"):
        Path(os.environ[name]).mkdir(parents=True, exist_ok=True)


set_scipion_environment()
