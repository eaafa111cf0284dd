"""What Scipion's side of 'udl - align 2D' takes on a large set, the engine's time apart, and what it adds to the start.

    python -m benchmarks.scipion_sets [--rows 300000] [--starts 5]

Reading (the set to the engine's table), writing (the engine's table to the output set) and registering are those of the
protocol, in a project. The images are of 8 px. In the engine's place a table of random poses is written, and the time
for that is not counted. The start is measured in fresh processes that have
imported pwem, as Scipion has when it comes to the plugin; the least of several tries counts.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import scipion_udl.tests  # noqa: F401, isort: skip - sets Scipion's environment, before it is imported

import numpy as np
import pwem.objects as emobj
import pyworkflow as pw
from pyworkflow.object import Float
from pyworkflow.project import Manager

from scipion_udl.imaging.poses import Poses
from scipion_udl.io.aligned import write_aligned
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import write_stack

BOX, PIXEL_SIZE = 8, 2.0
MOST_SECONDS, MOST_ANSWER, MOST_START = 120.0, 1.0, 0.3

# The protocols' modules, after what Scipion has imported by then; and what must not come along.
START = """
import sys, time
import scipion_udl.tests, pwem, pwem.objects, pwem.protocols, pwem.emlib.image
there, begun = set(sys.modules), time.perf_counter()
import scipion_udl, scipion_udl.plugin, scipion_udl.protocols, scipion_udl.objects
print(time.perf_counter() - begun, *sorted({"torch", "matplotlib", "scipy"} & (set(sys.modules) - there)))
"""


def make_particles(path: str, stack: str, rows: int) -> emobj.SetOfParticles:
    """A set of ``rows`` items with CTF, coordinate and an attribute of another program; one made, all others copied."""
    write_stack(stack, np.random.default_rng(0).normal(size=(rows, BOX, BOX)).astype(np.float32), PIXEL_SIZE)
    particles = emobj.SetOfParticles(filename=path)
    particles.setSamplingRate(PIXEL_SIZE)
    particles.setHasCTF(True)
    particles.setAcquisition(
        emobj.Acquisition(magnification=50000, voltage=300, sphericalAberration=2.7, amplitudeContrast=0.1)
    )
    item = emobj.Particle(location=(1, stack), objId=1)
    item.setCTF(emobj.CTFModel(defocusU=15000.0, defocusV=14000.0, defocusAngle=30.0))
    item.setCoordinate(emobj.Coordinate(x=100, y=200))
    item.getCoordinate().setMicName("mic1.mrc")
    item._xmipp_zScore = Float(1.0)
    particles.append(item)
    particles.write()
    particles.close()
    with sqlite3.connect(path) as database:
        names = [row[1] for row in database.execute("PRAGMA table_info(Objects)") if row[1] != "id"]
        numbers = f"WITH RECURSIVE n(k) AS (SELECT 2 UNION ALL SELECT k + 1 FROM n WHERE k < {rows}) SELECT k FROM n"
        (index,) = database.execute("SELECT column_name FROM Classes WHERE label_property = '_index'").fetchone()
        values = ", ".join("k" if name == index else name for name in names)
        database.execute(f"INSERT INTO Objects SELECT k, {values} FROM Objects, ({numbers})")
    particles.load()
    return particles


def run(rows: int) -> dict[str, float]:
    """Seconds of each part, for a set of ``rows`` items, in a project of its own."""
    pw.Config.getDomain().getPlugins()
    protocols = pw.Config.getDomain().getProtocols()
    manager = Manager()
    project = manager.createProject(f"UdlBenchmark{os.getpid()}")
    os.chdir(project.path)
    try:
        source = project.newProtocol(protocols["ProtUdlImportParticles"])
        project.saveProtocol(source)
        source._defineOutputs(outputParticles=make_particles("in.sqlite", os.path.abspath("in.mrcs"), rows))
        protocol = project.newProtocol(protocols["ProtUdlAlign2D"])
        protocol.inputParticles.set(source)
        protocol.inputParticles.setExtended("outputParticles")
        project.saveProtocol(protocol)
        protocol.makePathsAndClean()
        return measure(protocol)
    finally:
        os.chdir(tempfile.gettempdir())
        project.closeMapper()
        manager.deleteProject(project.getShortName())


def measure(protocol: object) -> dict[str, float]:
    """Seconds of each part of a protocol's work, and of its answers."""
    seconds: dict[str, float] = {}

    @contextmanager
    def part(name: str) -> object:
        begun = time.perf_counter()
        yield
        seconds[name] = time.perf_counter() - begun

    protocol.validate()  # asks the engine's Python for its version, once in the life of a program
    with part("validate"):
        protocol.validate()
    with part("warnings"):
        protocol.warnings()
    with part("reading"):
        protocol.convertInputStep(*protocol._inputArguments())
    pretend_engine(Path(protocol._getExtraPath()))
    with part("writing and registering"):
        protocol.createOutputStep()
    with part("summary"):
        protocol.summary()
    return seconds


def pretend_engine(folder: Path) -> None:
    """Write what the engine would: random poses for all items, an average, a summary."""
    source = open_particles(str(folder / "particles.star"))
    n, random = len(source), np.random.default_rng(0)
    poses = Poses(random.uniform(-180, 180, n), random.normal(size=(n, 2)))
    write_aligned(source, poses, random.random(n), random.random(n) < 0.1, star=str(folder / "aligned.star"))
    write_stack(str(folder / "average.mrcs"), np.zeros((1, BOX, BOX), np.float32), PIXEL_SIZE)
    (folder / "summary.json").write_text(json.dumps({"particles": n, "box": BOX, "resolution": 8.0}))


def start(tries: int) -> tuple[float, str]:
    """The least time that the protocols add to Scipion's start, and which heavy packages came along."""
    found = []
    for _ in range(tries):
        done = subprocess.run([sys.executable, "-c", START], check=True, capture_output=True, text=True)
        words = done.stdout.strip().splitlines()[-1].split()
        found.append((float(words[0]), " ".join(words[1:])))
    return min(found)


def main() -> int:
    """Measure, print a table, and return 1 where a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--starts", type=int, default=5)
    args = parser.parse_args()
    seconds = run(args.rows)
    sets = seconds["reading"] + seconds["writing and registering"]
    added, heavy = start(args.starts)
    rows = [
        *((name, value, None) for name, value in seconds.items() if name in ("reading", "writing and registering")),
        (f"together, of {args.rows} rows", sets, MOST_SECONDS),
        *((f"{name}()", seconds[name], MOST_ANSWER) for name in ("validate", "warnings", "summary")),
        ("added to Scipion's start", added, MOST_START),
    ]
    for name, value, limit in rows:
        verdict = "" if limit is None else f"at most {limit:g}: {'met' if value <= limit else 'MISSED'}"
        print(f"{name:32} {value:8.2f} s  {verdict}")
    print(f"heavy packages at the start: {heavy or 'none'}")
    return int(bool(heavy) or any(limit is not None and value > limit for _, value, limit in rows))


if __name__ == "__main__":
    sys.exit(main())
