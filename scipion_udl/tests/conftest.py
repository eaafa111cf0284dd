"""pytest imports this before any test: importing the package of tests sets Scipion's environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from unittest import mock

import matplotlib.figure
import pytest
from PIL import Image

from scipion_udl.tests import set_scipion_environment

set_scipion_environment()
# Tests run in several processes at once (make test): each has its own projects, and one processor.
if "PYTEST_XDIST_WORKER" in os.environ:
    folder = Path(os.environ["SCIPION_USER_DATA"]) / os.environ["PYTEST_XDIST_WORKER"]
    folder.mkdir(exist_ok=True)
    os.environ.update(SCIPION_USER_DATA=str(folder), OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")


def _quickly(figure: object, to: str | Path | IO, *, format: str | None = None, **_: object) -> None:
    """In place of matplotlib's savefig: an empty picture."""
    if format == "svg":
        to.write('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"></svg>')
    else:
        Image.new("L", (1, 1)).save(to, format)


@pytest.fixture(autouse=True, scope="module")
def pictures(request: pytest.FixtureRequest) -> Iterator[None]:
    """Figures take a fifth of the time of a small run: they are made everywhere, and drawn for the modules that look at
    pictures and reports, which say so: ``DRAWN = True``."""
    if getattr(request.module, "DRAWN", False):
        yield
    else:
        with mock.patch.object(matplotlib.figure.Figure, "savefig", _quickly):
            yield
