"""Fixtures of the engine's tests, and one thread."""

from scipion_udl.tests.engine_fixtures import *  # noqa: F403
