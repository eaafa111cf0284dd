"""Fixtures of the engine's tests. Particles are simulated and aligned once; tests look at the results."""

from __future__ import annotations

import importlib.util

import pytest

if importlib.util.find_spec("torch"):  # without torch there is no engine to be tested
    import torch

    from scipion_udl.tests.alignment.engine_helpers import DEVICES, run, simulate

    @pytest.fixture(scope="session", autouse=True)
    def _one_thread():
        """Images of tests are small: threads would wait for each other longer than they work."""
        torch.set_num_threads(1)

    @pytest.fixture(params=DEVICES)
    def device(request):
        """Every kind of processor that is there."""
        return torch.device(request.param)

    @pytest.fixture(scope="session")
    def particles(tmp_path_factory):
        """A folder with 300 simulated particles of 64 px at SNR 0.1, CTF on, off centre by up to 5 px."""
        return simulate(tmp_path_factory.mktemp("engine") / "particles", 300, 64, 0.1)

    @pytest.fixture(scope="session")
    def aligned(particles):
        """What `align` makes of these particles: trained on them, refined, with the aligned stack."""
        out = particles.parent / "aligned"
        assert run("align", particles / "particles.star", "-o", out, "--write-stack") == 0
        return out

    @pytest.fixture(scope="session")
    def model(aligned):
        """The model that was trained on these particles."""
        return aligned / "model.safetensors"

    @pytest.fixture(scope="session")
    def odd_particles(tmp_path_factory):
        """As ``particles``, of 65 px and another phantom."""
        return simulate(tmp_path_factory.mktemp("engine") / "odd", 300, 65, 0.1, name="clamp", seed=7)

    @pytest.fixture(scope="session")
    def odd_aligned(odd_particles):
        """As ``aligned``, of 65 px."""
        out = odd_particles.parent / "odd_aligned"
        assert run("align", odd_particles / "particles.star", "-o", out, "--write-stack") == 0
        return out
