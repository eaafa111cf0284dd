"""The defocus that tables give, in the labels of every form."""

from __future__ import annotations

import numpy as np
import pytest

from scipion_udl.io.defocus import read_defocus
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import write_stack
from scipion_udl.io.tables import Table, write_tables

N = 3
RELION = {"rlnDefocusU": ["9000", "10000", "11000"], "rlnDefocusV": ["8000", "8500", "9000"]}
SCOPE = {"rlnVoltage": "300", "rlnSphericalAberration": "2.7", "rlnAmplitudeContrast": "0.1"}


@pytest.fixture
def stack(tmp_path):
    path = tmp_path / "particles.mrcs"
    write_stack(str(path), np.random.default_rng(0).normal(size=(N, 16, 16)).astype(np.float32), 2.0)
    return path


def written(stack, tables, name="particles.star"):
    path = stack.parent / name
    write_tables(str(path), tables)
    return read_defocus(open_particles(str(path)))


def particles(stack, columns, label="rlnImageName"):
    table = Table("particles", {label: [f"{k + 1:06d}@{stack}" for k in range(N)]})
    for name, values in columns.items():
        table.set(name, values)
    return table


def optics(**columns):
    table = Table("optics", {"rlnOpticsGroup": ["1", "2"], "rlnImagePixelSize": ["2", "2"]})
    for name, values in columns.items():
        table.set(name, values)
    return table


def test_relion_30_has_all_in_one_table(stack):
    more = {**RELION, **SCOPE, "rlnDefocusAngle": "30", "rlnPhaseShift": "90", "rlnCtfBfactor": "50"}
    found = written(stack, [particles(stack, more)])
    assert found.defocus_u.tolist() == [9000, 10000, 11000]
    assert found.defocus_v.tolist() == [8000, 8500, 9000]
    for name, value in {"angle": 30, "phase_shift": 90, "b_factor": 50, "voltage": 300, "cs": 2.7}.items():
        assert getattr(found, name).tolist() == [value] * N
    assert found.flipped is None
    assert not found.premultiplied


def test_optics_groups_give_each_particle_its_own_microscope(stack):
    groups = optics(
        rlnVoltage=["300", "200"],
        rlnSphericalAberration=["2.7", "2.0"],
        rlnAmplitudeContrast=["0.1", "0.07"],
        rlnCtfDataArePhaseFlipped="1",
    )
    found = written(stack, [groups, particles(stack, {**RELION, "rlnOpticsGroup": ["2", "1", "2"]})])
    assert found.voltage.tolist() == [200, 300, 200]
    assert found.cs.tolist() == [2.0, 2.7, 2.0]
    assert found.amplitude_contrast.tolist() == [0.07, 0.1, 0.07]
    assert found.angle.tolist() == [0] * N  # round where the table has no angle
    assert found.flipped is True


@pytest.mark.parametrize(("said", "meant"), [(["0", "0"], False), (["1", "1"], True), (["1", "0"], None)])
def test_phase_flipped_by_groups(stack, said, meant):
    groups = optics(**SCOPE, rlnCtfDataArePhaseFlipped=said)
    found = written(stack, [groups, particles(stack, {**RELION, "rlnOpticsGroup": ["1", "2", "1"]})])
    assert found.flipped is meant


def test_premultiplied(stack):
    groups = optics(**SCOPE, rlnCtfDataAreCtfPremultiplied=["0", "1"])
    found = written(stack, [groups, particles(stack, {**RELION, "rlnOpticsGroup": ["1", "2", "1"]})])
    assert found.premultiplied


def test_xmipp_labels(stack):
    columns = {
        "ctfDefocusU": ["9000", "10000", "11000"],
        "ctfDefocusV": "8000",
        "ctfDefocusAngle": "45",
        "ctfVPPphaseshift": "10",
        "ctfVoltage": "200",
        "ctfSphericalAberration": "2.0",
        "ctfQ0": "0.1",
    }
    found = written(stack, [particles(stack, columns, "image")], "particles.xmd")
    assert found.defocus_u.tolist() == [9000, 10000, 11000]
    for name, value in {"defocus_v": 8000, "angle": 45, "phase_shift": 10, "voltage": 200, "cs": 2.0}.items():
        assert getattr(found, name).tolist() == [value] * N
    assert found.flipped is None


@pytest.mark.parametrize("missing", ["rlnDefocusU", "rlnDefocusV", "rlnVoltage", "rlnSphericalAberration"])
def test_without_defocus_or_microscope_there_is_none(stack, missing):
    columns = {name: value for name, value in {**RELION, **SCOPE}.items() if name != missing}
    assert written(stack, [particles(stack, columns)]) is None


def test_a_particle_without_a_value_leaves_all_without(stack):
    zero = {"rlnDefocusU": ["9000", "0", "9000"], "rlnDefocusV": ["9000", "0", "9000"]}
    assert written(stack, [particles(stack, {**zero, **SCOPE})]) is None


def test_a_bare_stack_has_none(stack):
    assert read_defocus(open_particles(str(stack))) is None
