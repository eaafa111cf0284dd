"""averages.star: class averages as RELION takes them for references."""

import os
import shutil
import subprocess

import numpy as np
import pytest

from scipion_udl.io.stacks import StackReader, write_stack
from scipion_udl.io.tables import Table, read_tables, write_tables
from scipion_udl.results.references import write_references


def test_every_class_has_a_row_that_can_be_used_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_references("averages.star", "out dir/averages.mrcs", [2, 5, 9], [30, 10, 60], [8.5, None, 12.0])
    (table,) = read_tables("averages.star")
    assert table.name == "model_classes"
    assert table.texts("rlnReferenceImage")[2] == f"000003@{tmp_path}/out dir/averages.mrcs"
    assert table.texts("rlnClassNumber") == ["2", "5", "9"]
    assert table.numbers("rlnClassDistribution").tolist() == [0.3, 0.1, 0.6]
    assert table.known("rlnEstimatedResolution")[[0, 2]].tolist() == [8.5, 12.0]
    assert np.isnan(table.known("rlnEstimatedResolution")[1])
    assert table.texts("udlParticles") == ["30", "10", "60"]


@pytest.mark.skipif(not shutil.which("relion_refine"), reason="RELION is not installed")
def test_relion_begins_each_class_with_its_own_average(tmp_path, monkeypatch):
    """Discs of three sizes as references, and particles of each: after one iteration class k is still disc k."""
    monkeypatch.chdir(tmp_path)
    y, x = np.mgrid[:32, :32] - 16
    discs = np.stack([np.hypot(x, 1.5 * y) < radius for radius in (4, 8, 12)]).astype(np.float32)
    rng = np.random.default_rng(0)
    images = np.repeat(discs, 10, axis=0) + 0.3 * rng.normal(size=(30, 32, 32))
    write_stack("p.mrcs", images, 4.0)
    write_stack("averages.mrcs", discs, 4.0)
    optics = {"rlnOpticsGroupName": ["g"], "rlnOpticsGroup": ["1"], "rlnVoltage": ["300"], "rlnImageSize": ["32"]}
    optics |= {"rlnSphericalAberration": ["2.7"], "rlnAmplitudeContrast": ["0.1"], "rlnImagePixelSize": ["4.0"]}
    optics["rlnImageDimensionality"] = ["2"]
    rows = {"rlnImageName": [f"{k + 1:06d}@p.mrcs" for k in range(30)], "rlnOpticsGroup": ["1"] * 30}
    for label in ("AngleRot", "AngleTilt", "AnglePsi", "OriginXAngst", "OriginYAngst"):
        rows[f"rln{label}"] = ["0.0"] * 30
    write_tables("p.star", [Table("optics", optics), Table("particles", rows)])
    write_references("averages.star", "averages.mrcs", [1, 2, 3], [10, 10, 10], [None] * 3)
    os.mkdir("run")
    command = ["relion_refine", "--i", "p.star", "--ref", "averages.star", "--K", "3", "--o", "run/run", "--iter", "1"]
    more = ["--skip_align", "--particle_diameter", "110", "--dont_check_norm", "--pad", "1", "--j", "1"]
    done = subprocess.run([*command, *more], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    found = StackReader("run/run_it001_classes.mrcs").read()
    correntropy = [[np.corrcoef(a.ravel(), b.ravel())[0, 1] for b in discs] for a in found]
    assert np.argmax(correntropy, axis=1).tolist() == [0, 1, 2]
