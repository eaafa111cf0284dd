"""What the Scipion tests share: particles with known poses, and sets of them."""

from __future__ import annotations

import importlib.util
import shlex
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import psutil
import pwem.objects as emobj
from pwem.emlib.image import ImageHandler
from pyworkflow.protocol import MODE_RESUME, STATUS_FAILED, STATUS_FINISHED, Protocol
from pyworkflow.tests import BaseTest, setupTestOutput, setupTestProject

from scipion_udl import Plugin
from scipion_udl.convert.scipion_sign import poses_of
from scipion_udl.imaging.poses import Poses, pose_errors, to_matrices
from scipion_udl.io.stacks import write_stack
from scipion_udl.io.tables import read_tables
from scipion_udl.protocols import ProtUdlAlign2D, ProtUdlImportParticles, ProtUdlTrain
from scipion_udl.tests.scipion_forks import in_forks

BOX, PIXEL_SIZE, COUNT = 48, 3.0, 200  # of the particles of a ProjectTest

# An asymmetric view, made of round spots: x, y, width, height.
SPOTS = [(0, 0, 6, 1.0), (12, -5, 4, 1.2), (-8, 10, 3, 0.8), (4, 14, 5, 0.6)]


def view(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The view at any points (pixels from the origin), by formula: nothing is interpolated."""
    return sum(h * np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * s**2)) for a, b, s, h in SPOTS)


def particles_at(poses: Poses, box: int) -> np.ndarray:
    """Particles (N, box, box), float32, that ``poses`` bring onto the view: particle(p) = view(A p)."""
    y, x = np.mgrid[:box, :box] - box // 2
    points = np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
    moved = to_matrices(poses) @ points
    return view(moved[:, 0], moved[:, 1]).reshape(-1, box, box).astype(np.float32)


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """The correlation coefficient of two images."""
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def random_poses(n: int, seed: int = 0, mirrored: bool = False, reach: float = 6.0) -> Poses:
    """Poses with any angle and shifts up to ``reach`` pixels."""
    random = np.random.default_rng(seed)
    mirror = random.random(n) < 0.5 if mirrored else None
    return Poses(random.uniform(-180, 180, n), random.uniform(-reach, reach, (n, 2)), mirror)


def make_set(
    path: str | Path, stack: str, ids: list[int], disabled: tuple[int, ...] = (), box: int = 64
) -> emobj.SetOfParticles:
    """A set whose items have the given ids and the images 1, 2, ... of a stack; those of ``disabled`` are disabled."""
    particles = emobj.SetOfParticles(filename=str(path))
    particles.setSamplingRate(2.5)
    particles.setAcquisition(
        emobj.Acquisition(magnification=50000, voltage=200, sphericalAberration=1.4, amplitudeContrast=0.08)
    )
    particles.setDim((box, box, 1))
    for k, item_id in enumerate(ids):
        item = emobj.Particle()
        item.setObjId(item_id)
        item.setLocation(k + 1, str(stack))
        item.setEnabled(item_id not in disabled)
        particles.append(item)
    particles.write()
    return particles


def write_spider(path: Path, images: np.ndarray) -> str:
    """Images (N, D, D) as a stack of Spider's (.stk), the form of Xmipp's class averages; returns its path."""
    stack = str(path.with_suffix(".mrcs"))
    write_stack(stack, np.asarray(images, np.float32), 1.0)
    for k in range(1, len(images) + 1):
        ImageHandler().convert((k, stack), (k, str(path)))
    return str(path)


def simulate(folder: Path, **options: object) -> Path:
    """Particles made by the engine into ``folder`` (anew): the path of particles.star, truth.star is beside it."""
    shutil.rmtree(folder, ignore_errors=True)
    words = ["simulate", str(folder)]
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    if importlib.util.find_spec("torch"):  # the engine is in this environment, and need not be started
        from scipion_udl import cli

        assert cli.main(words) == 0
    else:
        arguments = " ".join(map(shlex.quote, words))
        subprocess.run(f"{Plugin.getEngineProgram()} {arguments}", shell=True, check=True, env=Plugin.getEnviron())
    return folder / "particles.star"


def first_particles(star: Path, path: Path, count: int) -> Path:
    """The table of the first particles of another, written to ``path``, which is returned."""
    lines = star.read_text().splitlines()
    first = next(k for k, line in enumerate(lines) if "@" in line)
    path.write_text("\n".join([*lines[: first + count], ""]))
    return path


def read_truth(star: Path) -> Poses:
    """The true poses of simulated particles, in the order of their stack."""
    (table,) = (table for table in read_tables(str(star.parent / "truth.star")) if "udlAngle" in table)
    shift = np.stack([table.numbers("udlShiftX"), table.numbers("udlShiftY")], -1)
    return Poses(table.numbers("udlAngle"), shift, table.numbers("udlMirror") != 0)


def kill(run: Protocol) -> None:
    """End a running protocol and all that it has started, at once, as a machine does that goes down."""
    family = [psutil.Process(run.getPid())]
    family[0].suspend()  # or it may start something while its children are looked for
    for shell in family[0].children():
        shell.suspend()
    family += family[0].children(recursive=True)
    for process in family:
        process.kill()
    psutil.wait_procs(family)
    run.setStatus(STATUS_FAILED)


class RunTest(BaseTest):
    """What is asked of runs in a project."""

    @classmethod
    def launchProtocol(cls, run: Protocol, **options: object) -> Protocol:
        with in_forks():
            return super().launchProtocol(run, **options)

    @classmethod
    def importFile(cls, path: str | Path, **options: object) -> ProtUdlImportParticles:
        return cls.launchProtocol(cls.newProtocol(ProtUdlImportParticles, filePath=str(path), **options))

    def launchToFail(self, run: Protocol) -> None:
        """Launch a run that must fail."""
        with in_forks():
            self.proj.launchProtocol(run, wait=True)
        self.assertTrue(run.isFailed())

    def logOf(self, run: Protocol) -> str:
        """What a run has said so far."""
        path = Path(self.proj.getPath(run._getLogsPath("run.stdout")))
        return path.read_text() if path.exists() else ""

    def lookAgain(self, run: Protocol) -> None:
        """Read how a run stands. Scipion takes the time of the run's database after it has read it, so that it never
        sees what a run writes meanwhile, when that was the last: it is told that it has not read it yet."""
        run.lastUpdateTimeStamp.set(None)
        self.proj._updateProtocol(run)

    def untilStep(self, run: Protocol, step: str, after: int = 0) -> None:
        """Wait until the log says that a step begins; after: where in the log to look."""
        deadline = time.time() + 240
        while f"STARTED\x1b[0m: {step}, step" not in self.logOf(run)[after:]:
            self.assertLess(time.time(), deadline, f"{step} does not begin: {self.logOf(run)}")
            time.sleep(0.1)
        self.lookAgain(run)

    def untilEnd(self, run: Protocol) -> None:
        """Wait until a run has ended well."""
        deadline = time.time() + 240
        while run.isActive():
            self.assertLess(time.time(), deadline, "the run does not end")
            time.sleep(0.2)
            self.lookAgain(run)
        self.assertEqual(run.getStatus(), STATUS_FINISHED, run.getErrorMessage())

    def resume(self, run: Protocol) -> None:
        """Launch a run again that was stopped; it goes on in another process."""
        run.runMode.set(MODE_RESUME)
        self.start(run)

    def start(self, run: Protocol) -> None:
        """Launch a run that is not waited for."""
        with in_forks():
            self.proj.launchProtocol(run, wait=False)

    def extraFile(self, run: object, name: str) -> Path:
        return Path(self.proj.getPath(run._getExtraPath(name)))


class ProjectTest(RunTest):
    """A project with simulated particles in it."""

    @classmethod
    def setUpClass(cls) -> None:
        setupTestProject(cls)
        setupTestOutput(cls)
        cls.folder = Path(cls.getOutputPath()).absolute()
        cls.star = simulate(
            cls.folder / "particles", phantom="hook", count=COUNT, box=BOX, pixel_size=PIXEL_SIZE, snr=0.3, shift=3
        )
        cls.truth = read_truth(cls.star)
        cls.imported = cls.importFile(cls.star)

    @classmethod
    def newRun(cls, protocol: type, particles: object = None, **options: object) -> ProtUdlAlign2D | ProtUdlTrain:
        run = cls.newProtocol(protocol, numberOfThreads=1, **options)
        run.inputParticles.set(cls.imported if particles is None else particles)
        run.inputParticles.setExtended("outputParticles")
        return run

    def checkAgainstTruth(self, particles: object, rows: slice | list = slice(None)) -> None:
        errors = pose_errors(poses_of(particles), self.truth[rows])
        self.assertGreater(np.mean(np.abs(errors.rotation) < 5), 0.98)
        self.assertLess(np.median(np.abs(errors.rotation)), 1.0)
        self.assertLess(np.sqrt(np.mean(errors.shift**2)), 0.7)
