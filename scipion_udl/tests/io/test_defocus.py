"""The defocus that tables give, in the labels of every form."""

from __future__ import annotations

import re

import numpy as np
import pytest

from scipion_udl.errors import UdlError
from scipion_udl.io.defocus import read_defocus
from scipion_udl.io.particles import Optics, open_particles
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
    assert found.flipped.tolist() == [False] * N  # as RELION reads a table without a word on it
    assert not found.said
    assert not found.premultiplied.any()


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
    assert found.flipped.all()


@pytest.mark.parametrize("place", ["optics", "rows"])
@pytest.mark.parametrize(
    ("said", "meant"),
    [(["0", "0"], [0, 0, 0]), (["1", "1"], [1, 1, 1]), (["1", "0"], [1, 0, 1]), (["-999", "1"], [0, 1, 0])],
)
def test_each_particle_is_phase_flipped_as_its_optics_group_says_or_its_row(stack, said, meant, place):
    groups, columns = optics(**SCOPE), {**RELION, "rlnOpticsGroup": ["1", "2", "1"]}
    if place == "optics":
        groups.set("rlnCtfDataArePhaseFlipped", said)
    else:
        columns["rlnCtfDataArePhaseFlipped"] = [said[int(group) - 1] for group in columns["rlnOpticsGroup"]]
    found = written(stack, [groups, particles(stack, columns)])
    assert found.flipped.tolist() == [bool(flag) for flag in meant]
    assert found.said


def test_premultiplied_by_optics_group(stack):
    groups = optics(**SCOPE, rlnCtfDataAreCtfPremultiplied=["0", "1"])
    found = written(stack, [groups, particles(stack, {**RELION, "rlnOpticsGroup": ["1", "2", "1"]})])
    assert found.premultiplied.tolist() == [False, True, False]


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


def told(stack, tables, given=None, name="particles.star"):
    """(what is read, what is warned of)."""
    path, said = stack.parent / name, []
    write_tables(str(path), tables)
    source = open_particles(str(path))
    source.optics = Optics(**given or {})
    return read_defocus(source, said.append), said


def test_without_defocus_there_is_no_transfer_and_nothing_to_warn_of(stack):
    assert told(stack, [particles(stack, SCOPE)]) == (None, [])


def test_one_defocus_is_that_of_both_axes(stack):
    """As RELION reads a table without rlnDefocusV."""
    found = written(stack, [particles(stack, {"rlnDefocusU": RELION["rlnDefocusU"], **SCOPE})])
    assert found.defocus_v.tolist() == [9000, 10000, 11000]


@pytest.mark.parametrize("lacks", ["0", "0.000000", "-999", "-999.0", "nan", '""', "None", "1", "-1"])
@pytest.mark.parametrize("column", ["rlnDefocusU", "rlnDefocusV"])
def test_a_row_without_defocus_takes_it_from_no_other(stack, lacks, column):
    columns = {**RELION, **SCOPE, column: [RELION[column][0], lacks, RELION[column][2]]}
    found, (warning,) = told(stack, [particles(stack, columns)])
    assert found.known.tolist() == [True, False, True]
    assert (found.defocus_u[[0, 2]].tolist(), found.defocus_v[[0, 2]].tolist()) == ([9000, 11000], [8000, 9000])
    assert found.defocus_u[1] == found.defocus_v[1] == 0
    assert "no defocus for 1 of 3 particles (the first: item 2, 000002@" in warning


def test_a_column_of_placeholders_is_told(stack):
    none = {"rlnDefocusU": "-999", "rlnDefocusV": "-999"}
    found, (warning,) = told(stack, [particles(stack, {**none, **SCOPE})])
    assert found is None
    assert "a value in no row" in warning


def test_placeholders_of_angle_phase_shift_and_envelope_are_nothing(stack):
    more = {label: ["5", "-999", "nan"] for label in ("rlnDefocusAngle", "rlnPhaseShift", "rlnCtfBfactor")}
    found = written(stack, [particles(stack, {**RELION, **SCOPE, **more})])
    assert found.known.all()
    for name in ("angle", "phase_shift", "b_factor"):
        assert getattr(found, name).tolist() == [5, 0, 0]


@pytest.mark.parametrize("form", ["3.0", "3.1", "xmd"])
@pytest.mark.parametrize("text", [None, "-999", "nan"])
def test_a_microscope_that_lacks_is_told_and_comes_from_the_options(stack, form, text):
    names = ["rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast"]
    columns, groups = {**RELION, "rlnOpticsGroup": "1"}, optics()
    if form == "xmd":
        names = ["ctfVoltage", "ctfSphericalAberration", "ctfQ0"]
        columns = {"ctfDefocusU": RELION["rlnDefocusU"], "ctfDefocusV": RELION["rlnDefocusV"]}
    if text is not None and form == "3.1":
        groups = optics(**dict.fromkeys(names, text))
    elif text is not None:
        columns.update(dict.fromkeys(names, text))
    label = "image" if form == "xmd" else "rlnImageName"
    tables = [particles(stack, columns, label)]
    tables = [groups, *tables] if form == "3.1" else tables
    name = "p.xmd" if form == "xmd" else "p.star"
    found, (warning,) = told(stack, tables, name=name)
    assert found is None
    assert "no voltage, spherical aberration and amplitude contrast" in warning
    assert "give --voltage, --cs and --amplitude-contrast" in warning
    found, said = told(stack, tables, {"voltage": 200.0, "cs": 2.0, "amplitude_contrast": 0.08}, name)
    for name, value in {"voltage": 200, "cs": 2, "amplitude_contrast": 0.08}.items():
        assert getattr(found, name).tolist() == [value] * N
    assert not said
    assert "voltage 200 kV (--voltage, 3 of 3 particles)" in found.filled


def test_options_do_not_change_what_the_table_says(stack):
    found = written(stack, [particles(stack, {**RELION, **SCOPE})])
    again, said = told(stack, [particles(stack, {**RELION, **SCOPE})], {"voltage": 200.0})
    assert (again.voltage.tolist(), again.filled, said) == (found.voltage.tolist(), None, [])


def test_one_optics_group_without_voltage_loses_its_own_transfer_alone(stack):
    groups = optics(**{**SCOPE, "rlnVoltage": ["300", "0"]})
    tables = [groups, particles(stack, {**RELION, "rlnOpticsGroup": ["1", "2", "1"]})]
    found, (warning,) = told(stack, tables)
    assert found.known.tolist() == [True, False, True]
    assert "no voltage for 1 of 3 particles (the first: item 2" in warning
    assert "Give --voltage" in warning
    found, said = told(stack, tables, {"voltage": 200.0})
    assert (found.voltage.tolist(), said) == ([300, 200, 300], [])


@pytest.mark.parametrize(
    ("label", "value", "words"),
    [
        ("rlnAmplitudeContrast", "10", "an amplitude contrast of 10"),
        ("rlnVoltage", "300000", "a voltage of 300000 kV"),
        ("rlnVoltage", "1e-320", "a voltage of"),
        ("rlnSphericalAberration", "1e38", "a spherical aberration of"),
        ("rlnDefocusU", "1e20", "a defocus of 1e+20 A"),
        ("rlnDefocusV", "-1e308", "a defocus of"),
        ("rlnCtfBfactor", "1e20", "a B-factor of"),
    ],
)
def test_values_that_no_microscope_has_are_refused_by_row(stack, label, value, words):
    columns = {**RELION, **{name: [text] * 3 for name, text in SCOPE.items()}, "rlnCtfBfactor": ["0"] * 3}
    columns[label] = [columns[label][0], value, columns[label][2]]
    with pytest.raises(UdlError, match=re.escape(words)) as caught:
        written(stack, [particles(stack, columns)])
    assert f"row 2 has {words}" in str(caught.value)
    assert f"(column _{label})" in str(caught.value)


def test_a_bare_stack_has_none(stack):
    assert read_defocus(open_particles(str(stack))) is None
