"""Fixtures of the engine's tests. Particles are simulated and aligned once; tests look at the results."""

from __future__ import annotations

import fcntl
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path

import pytest


def shared(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder ``name`` that ``make`` wrote: once, also where tests run in several processes that all ask for it."""
    root = factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    with open(root / f"{name}.made", "a+") as note:
        fcntl.flock(note, fcntl.LOCK_EX)
        note.seek(0)
        if not note.read():
            make(root / name)
            note.write("yes")
    return root / name


if importlib.util.find_spec("torch"):  # without torch there is no engine to be tested
    import torch

    from scipion_udl.compute.heap import keep_arrays
    from scipion_udl.tests.engine_helpers import DEVICES, run, simulate

    @pytest.fixture(scope="session", autouse=True)
    def one_thread():
        """Images of tests are small: threads would wait for each other longer than they work. Memory is kept as a run
        of the command line keeps it."""
        torch.set_num_threads(1)
        keep_arrays()

    @pytest.fixture(params=DEVICES)
    def device(request):
        """Every kind of processor that is there."""
        return torch.device(request.param)

    def simulated(*arguments, **options):
        return lambda folder: simulate(folder, *arguments, **options)

    def alignment_of(particles):
        def make(out):
            assert run("align", particles / "particles.star", "-o", out, "--write-stack") == 0

        return make

    @pytest.fixture(scope="session")
    def particles(tmp_path_factory):
        """A folder with 300 simulated particles of 64 px at SNR 0.1, CTF on, off centre by up to 5 px."""
        return shared(tmp_path_factory, "particles", simulated(300, 64, 0.1))

    @pytest.fixture(scope="session")
    def aligned(particles, tmp_path_factory):
        """What `align` makes of these particles: trained on them, refined, with the aligned stack."""
        return shared(tmp_path_factory, "aligned", alignment_of(particles))

    @pytest.fixture(scope="session")
    def model(aligned):
        """The model that was trained on these particles."""
        return aligned / "model.safetensors"

    @pytest.fixture(scope="session")
    def odd_particles(tmp_path_factory):
        """As ``particles``, of 65 px and another phantom."""
        return shared(tmp_path_factory, "odd", simulated(300, 65, 0.1, name="clamp", seed=7))

    @pytest.fixture(scope="session")
    def odd_aligned(odd_particles, tmp_path_factory):
        """As ``aligned``, of 65 px."""
        return shared(tmp_path_factory, "odd_aligned", alignment_of(odd_particles))
