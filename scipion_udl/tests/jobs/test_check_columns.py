"""`scipion-udl check` keeps the columns alone that it asks for, and says what it would say with all of them."""

import numpy as np
import pytest

from scipion_udl import cli
from scipion_udl.io import dialects
from scipion_udl.io.defocus import CTF_LABELS
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import write_stack
from scipion_udl.io.star.columns import Unread
from scipion_udl.io.tables import read_tables

pytest.importorskip("torch")

COUNT, BOX = 40, 16
OPTICS = {
    "rlnOpticsGroupName": ["1.50", "2.50"],
    "rlnOpticsGroup": ["1", "2"],
    "rlnVoltage": ["300", "200"],
    "rlnSphericalAberration": ["2.7", "2.7"],
    "rlnAmplitudeContrast": ["0.1", "0.1"],
    "rlnImagePixelSize": ["2", "2"],
    "rlnImageSize": ["32", "32"],
    "rlnMtfFileName": ["1.0", "2.0"],
    "rlnBeamTiltX": ["0", "0"],
}


def every(value):
    return [value(k) for k in range(COUNT)]


# What neither opening nor check asks for.
PASSED_OVER = {
    "rlnCoordinateX": every(lambda k: f"{100 * k}.5"),
    "rlnCtfMaxResolution": every(lambda k: f"3.{k}"),
    "rlnAutopickFigureOfMerit": every(lambda k: "none"),
    "rlnLogLikeliContribution": every(lambda k: f"{k}.7e+04"),
    "rlnNrOfSignificantSamples": every(str),
    "udlScore": every(str),
}
NAMES = every(lambda k: f"{k + 1}@a.mrcs")
RELION31 = {
    "rlnCoordinateY": every(str),
    "rlnImageName": NAMES,
    "rlnMicrographName": every(lambda k: f"{k}.50"),
    "rlnOpticsGroup": every(lambda k: f"{1 + k % 2}"),
    "rlnDefocusU": every(lambda k: "-999" if k == 7 else f"{10000 + k}"),
    "rlnDefocusV": every(lambda k: f"{10000 + k}"),
    "rlnDefocusAngle": every(str),
    "rlnCtfDataArePhaseFlipped": every(lambda k: f"{k % 3 % 2}"),
    "rlnClassNumber": every(lambda k: "None" if k == 3 else f"{1 + k % 4}"),
    "rlnAnglePsi": every(lambda k: "nan" if k == 5 else f"{k}.5"),
    "rlnOriginXAngst": every(str),
    "rlnAngleRot": every(str),
    "rlnAngleTiltPrior": every(lambda k: "90"),
    **PASSED_OVER,
}
RELION30 = {
    "rlnImageName": NAMES,
    "rlnDetectorPixelSize": every(lambda k: "-1" if k == 2 else "2"),
    "rlnMagnification": every(lambda k: "10000"),
    "rlnMicrographPixelSize": every(lambda k: "1"),
    "rlnVoltage": every(lambda k: "0" if k == 4 else "300"),
    "rlnDefocusU": every(lambda k: "1e9"),
    "rlnAnglePsi": every(lambda k: "three" if k == 9 else "3"),
    **PASSED_OVER,
}
XMIPP = {
    "enabled": every(lambda k: f"{1 - 2 * (k % 2)}"),
    "image": NAMES,
    "micrograph": every(str),
    "samplingRate": every(lambda k: "2"),
    "ctfDefocusU": every(lambda k: "10000"),
    "ctfVoltage": every(lambda k: "3000"),
    "anglePsi": every(str),
    "angleTilt": every(str),
    "flip": every(lambda k: "1"),
    "ref": every(lambda k: f"{k % 2}"),
    "xcoor": every(str),
    "zScore": every(str),
}
TABLES = {
    "relion31.star": {"optics": OPTICS, "particles": RELION31},
    "relion30.star": {"": RELION30},
    "one.xmd": {"noname": XMIPP},
    "classes.xmd": {
        "classes": {"ref": ["1", "2"], "image": ["1@b.mrcs", "2@b.mrcs"]},
        "class000001_images": {label: column[:30] for label, column in XMIPP.items()},
        "class000002_images": {
            label: column[30:] for label, column in XMIPP.items() if label not in ("zScore", "flip")
        },
    },
    "tomo.star": {
        "": {"rlnImageName": ["a.mrc", "b.mrc"], "rlnCtfImage": ["c.mrc", "d.mrc"], "rlnCoordinateZ": ["1", "2"]}
    },
    "nowhere.star": {"": {"rlnTomoName": ["t1", "t2"], "rlnCoordinateZ": ["1", "2"]}},
}


@pytest.fixture
def table(tmp_path, monkeypatch, request):
    """The path of one of TABLES, beside its images."""
    monkeypatch.chdir(tmp_path)
    write_stack("a.mrcs", np.random.default_rng(0).normal(size=(COUNT, BOX, BOX)), 2.0)
    lines = []
    for name, block in TABLES[request.param].items():
        lines += [f"data_{name}", "loop_", *(f"_{label}" for label in block)]
        lines += [" ".join(row) for row in zip(*block.values())] + [""]
    (tmp_path / request.param).write_text("\n".join(lines))
    return request.param


def said(capsys, path):
    code = cli.main(["check", path, "--threads", "1", "--list", "found.csv"])
    output = capsys.readouterr()
    with open("found.csv") as file:
        return code, output.out, output.err, file.read()


@pytest.mark.parametrize("table", TABLES, indirect=True)
def test_it_says_the_same_as_if_all_columns_were_kept(table, capsys, monkeypatch):
    lean = said(capsys, table)
    monkeypatch.setattr(dialects, "tells_facts", lambda label: True)
    assert lean == said(capsys, table)


@pytest.mark.parametrize("table", ["relion31.star", "relion30.star"], indirect=True)
def test_what_it_does_not_ask_for_is_not_kept(table):
    source = open_particles(table, lean=True)
    passed_over = {label for label, column in source.table.columns.items() if isinstance(column, Unread)}
    assert passed_over >= set(PASSED_OVER)
    assert len(source.table.columns["rlnCtfMaxResolution"]) == COUNT
    assert not any(isinstance(column, Unread) for column in open_particles(table).table.columns.values())


@pytest.mark.parametrize("table", ["relion31.star"], indirect=True)
def test_to_ask_for_it_all_the_same_is_a_fault_of_the_program_not_an_empty_column(table):
    particles = read_tables(table, dialects.tells_facts)[1]
    with pytest.raises(RuntimeError, match="not kept"):
        particles.numbers("rlnCoordinateX")
    with pytest.raises(RuntimeError, match="not kept"):
        particles.rows([3, 1]).texts("rlnCoordinateX")[0]


def test_every_column_of_the_contrast_transfer_and_the_class_is_asked_for():
    for label in (*CTF_LABELS, *dialects.CLASS_LABEL.values(), *dialects.IMAGE_LABEL.values()):
        assert dialects.tells_facts(label), label
