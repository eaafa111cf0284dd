"""Tables of ours in programs of the field: what their poses bring into register is our average.

The programs are in an environment of their own (``make programs``); without it these tests are skipped.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from scipion_udl.alignment.averages import apply_poses
from scipion_udl.imaging.poses import Poses
from scipion_udl.io.aligned import write_aligned
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import write_stack
from scipion_udl.io.tables import Table, write_tables
from scipion_udl.simulation.phantoms import phantom
from scipion_udl.tests import programs_worker

PYTHON = Path(sys.prefix) / "programs" / "bin" / "python"
COUNT, BOX, PIXEL = 24, 64, 2.5
SAME = 0.99

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="the programs are not installed (make programs)")


def made(folder, name):
    """Particles at known poses in three classes: the table of an alignment, our average, defocus."""
    random = np.random.default_rng(5)
    poses = Poses(random.uniform(-180, 180, COUNT), random.uniform(-5, 5, (COUNT, 2)))
    view = torch.from_numpy(phantom("hook", BOX).image()).float()[None].expand(COUNT, -1, -1)
    shift = -np.einsum("nji,nj->ni", _rotations(poses.angle), poses.shift)
    images = apply_poses(view, torch.zeros(COUNT), Poses(-poses.angle, shift)).numpy()
    images += random.normal(0, images.std(), images.shape).astype(np.float32)
    write_stack(str(folder / "p.mrcs"), images, PIXEL)
    defocus = random.uniform(9000, 20000, COUNT)
    columns = {"rlnImageName": [f"{k + 1:06d}@p.mrcs" for k in range(COUNT)], "rlnOpticsGroup": ["1"] * COUNT}
    columns |= {"rlnDefocusU": [f"{d:.3f}" for d in defocus], "rlnDefocusV": [f"{d:.3f}" for d in defocus]}
    columns |= {"rlnDefocusAngle": ["0.0"] * COUNT}
    optics = {"rlnOpticsGroupName": ["mine"], "rlnOpticsGroup": ["1"], "rlnImagePixelSize": [f"{PIXEL}"]}
    write_tables(str(folder / "in.star"), [Table("optics", optics), Table("particles", columns)])
    source = open_particles(str(folder / "in.star"))
    number = np.arange(COUNT) % 3 + 1
    flags = {"number": number, "flagged": number == 3} if name == "classes" else {}
    path = folder / f"{name}.star"
    write_aligned(source, poses, np.ones(COUNT), np.zeros(COUNT, bool), star=str(path), **flags)
    average = apply_poses(torch.from_numpy(images), torch.zeros(COUNT), poses).mean(0).numpy()
    return path, average, poses, defocus


def _rotations(angle):
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], -2)


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """What was made, by the name of the table, after all programs read all tables."""
    sets = {}
    for name in ("aligned", "classes"):
        folder = tmp_path_factory.mktemp(name)
        sets[name] = folder / name, *made(folder, name)
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"MPLBACKEND": "Agg"}
    command = [str(PYTHON), programs_worker.__file__, *(str(path) for _, path, *_ in sets.values())]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return sets


@pytest.mark.parametrize("name", ["aligned", "classes"])
@pytest.mark.parametrize("program", ["aspire", "cryodrgn"])
def test_the_poses_that_a_program_reads_bring_the_particles_into_register(read, name, program):
    out, _, average, *_ = read[name]
    with np.load(out / "averages.npz") as averages:
        inner = np.s_[6:-6, 6:-6]  # the border is filled in another way
        assert np.corrcoef(averages[program][inner].ravel(), average[inner].ravel())[0, 1] > SAME


@pytest.mark.parametrize("name", ["aligned", "classes"])
def test_programs_read_every_particle_pose_and_ctf(read, name):
    out, _, _, poses, defocus = read[name]
    found = json.loads((out / "read.json").read_text())
    assert found["starparser"] == found["starfile"] == COUNT
    np.testing.assert_allclose(found["psi"], poses.angle, atol=1e-5)
    assert found["ctf_finite"]
    np.testing.assert_allclose(found["defocus"], defocus, rtol=1e-5)
    counts = {"aligned": [["1", str(COUNT)]], "classes": [[str(k), str(COUNT // 3)] for k in (1, 2, 3)]}
    assert found["countparticles"] == counts[name]
    assert (out / "angdist.png").stat().st_size > 0
