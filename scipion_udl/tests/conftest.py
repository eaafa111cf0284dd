"""pytest imports this before any test: importing the package of tests sets Scipion's environment."""

from __future__ import annotations

from scipion_udl.tests import set_scipion_environment

set_scipion_environment()
