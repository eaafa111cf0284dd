"""One thread: images of tests are small, and threads would wait for each other longer than they work."""

from __future__ import annotations

import importlib.util

import pytest

if importlib.util.find_spec("torch"):
    import torch

    @pytest.fixture(scope="session", autouse=True)
    def _one_thread():
        torch.set_num_threads(1)
