"""Runs that are killed in the midst of a step, and runs that go through a queue."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from unittest import mock

import pyworkflow as pw
from pwem.objects import SetOfParticles
from pyworkflow.protocol import STATUS_FAILED, Protocol
from pyworkflow.protocol.hosts import HostConfig

from scipion_udl.messages import message
from scipion_udl.protocols import ProtUdlAlign2D, ProtUdlTrain
from scipion_udl.tests.scipion_forks import engine_waits
from scipion_udl.tests.scipion_helpers import COUNT, ProjectTest, kill

# A queue that starts what it is given at once and knows a job by the number of its process. What jobs print goes to
# files of their own, and nobody is told how they end.
SUBMIT = """#!/bin/bash
nohup bash "$1" > "$2.out" 2> "$2.err" < /dev/null &
echo "Your job $! has been submitted"
echo "$1" >> {log}
"""
CHECK = '#!/bin/bash\nkill -0 "$1" 2> /dev/null && echo "$1 running"\nexit 0\n'
HOSTS = """[localhost]
PARALLEL_COMMAND = mpirun -np %_(JOB_NODES)d %_(COMMAND)s
NAME = FAKE
MANDATORY = False
SUBMIT_COMMAND = {folder}/submit %_(JOB_SCRIPT)s %_(JOB_LOGS)s
SUBMIT_TEMPLATE = #!/bin/bash
    cd {project}
    %_(JOB_COMMAND)s
CANCEL_COMMAND = kill %_(JOB_ID)s
CHECK_COMMAND = {folder}/check %_(JOB_ID)s
QUEUES = {{ "default": {{}} }}
"""


class TestUdlRobust(ProjectTest):
    """Runs killed in each of their steps go on with what is done; runs that are given to a queue come to the same."""

    @contextmanager
    def locked(self, particles: SetOfParticles) -> Iterator[None]:
        """Nobody can read a set: a step that reads it waits."""
        with closing(sqlite3.connect(self.proj.getPath(particles.getFileName()), isolation_level=None)) as database:
            database.execute("BEGIN EXCLUSIVE")
            yield
            database.execute("ROLLBACK")

    def killAt(self, run: Protocol, step: str) -> None:
        """Launch a run (again), and kill it when a step begins."""
        self.launchUntil(run, step)
        kill(run)

    def launchUntil(self, run: Protocol, step: str) -> None:
        """Launch a run (again), and wait until a step begins; it comes no further than where that starts the engine."""
        said = len(self.logOf(run))
        with engine_waits(step[: -len("Step")]):
            self.resume(run)
        self.untilStep(run, step, said)

    def markRunning(self, run: Protocol, step: int) -> None:
        """Leave a step as a kill in it leaves it; for one that is over too soon to be killed in."""
        with closing(sqlite3.connect(self.proj.getPath(run.getStepsFile()))) as database:
            (column,) = database.execute("SELECT column_name FROM Classes WHERE label_property = 'status'").fetchone()
            database.execute(f"UPDATE Objects SET {column} = 'running' WHERE id = ?", (step,))
            database.commit()
        run.setStatus(STATUS_FAILED)

    def test_align_2d_killed_in_every_step(self) -> None:
        run = self.newRun(ProtUdlAlign2D, epochs=2, maxShift=4)
        with self.locked(self.imported.outputParticles):
            self.killAt(run, "convertInputStep")
        self.assertFalse(self.extraFile(run, "particles.star").exists())
        self.killAt(run, "trainStep")
        self.launchUntil(run, "alignStep")
        self.proj.stopProtocol(run)  # as a user does it
        self.lookAgain(run)
        model = self.extraFile(run, "model.safetensors")
        trained = (model.read_bytes(), model.stat().st_mtime_ns)
        self.assertFalse(self.extraFile(run, "aligned.star").exists())
        self.assertEqual(run.outputModel.getNetwork(), "polar")  # of use, even if nobody goes on
        with self.locked(self.imported.outputParticles):
            self.killAt(run, "createOutputStep")
        aligned = self.extraFile(run, "aligned.star").stat().st_mtime_ns
        self.resume(run)
        self.untilEnd(run)
        self.assertEqual((model.read_bytes(), model.stat().st_mtime_ns), trained)
        self.assertEqual(self.extraFile(run, "aligned.star").stat().st_mtime_ns, aligned)
        self.assertSetSize(run.outputParticles, COUNT)
        self.checkAgainstTruth(run.outputParticles)
        self.assertIn("Trained by", "\n".join(run.summary()))

    def test_train_killed_in_every_step(self) -> None:
        run = self.newRun(ProtUdlTrain, epochs=2)
        with self.locked(self.imported.outputParticles):
            self.killAt(run, "convertInputStep")
        self.killAt(run, "trainStep")
        self.assertFalse(self.extraFile(run, "model.safetensors").exists())
        self.resume(run)
        self.untilEnd(run)
        model = self.extraFile(run, "model.safetensors").stat().st_mtime_ns
        self.markRunning(run, 3)
        self.resume(run)
        self.untilEnd(run)
        self.assertIn("createOutputStep", self.logOf(run).rpartition("RESUMING")[2])
        self.assertEqual(self.extraFile(run, "model.safetensors").stat().st_mtime_ns, model)
        self.assertEqual(run.outputModel.getNetwork(), "polar")
        self.assertTrue(Path(self.proj.getPath(run.outputModel.getFileName())).exists())

    # through a queue

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        queue = cls.folder / "queue"
        queue.mkdir(exist_ok=True)
        cls.submitted = queue / "submitted"
        texts = {"submit": SUBMIT.format(log=cls.submitted), "check": CHECK}
        texts["hosts.conf"] = HOSTS.format(folder=queue, project=Path(cls.proj.path).absolute())
        for name, text in texts.items():
            (queue / name).write_text(text)
            (queue / name).chmod((queue / name).stat().st_mode | stat.S_IXUSR)
        cls.hosts = str(queue / "hosts.conf")

    @contextmanager
    def queue(self) -> Iterator[None]:
        """Scipion with this queue."""
        with mock.patch.dict(os.environ, SCIPION_HOSTS=self.hosts), mock.patch.object(
            pw.Config, "SCIPION_HOSTS", self.hosts
        ), mock.patch.object(self.proj, "_hosts", HostConfig.load(self.hosts)):
            yield

    def launch(self, run: Protocol, steps: bool) -> None:
        """Give a run (or, where ``steps``, each of its commands) to the queue."""
        run._useQueue.set(True)
        run.setQueueParams(("default", {"QUEUE_FOR_JOBS": "Y" if steps else "N"}))
        self.proj.launchProtocol(run, wait=False)

    def test_a_run_goes_to_the_queue_as_a_whole_or_command_by_command(self) -> None:
        whole, steps = (self.newRun(ProtUdlTrain, epochs=1) for _ in range(2))
        with self.queue():
            self.launch(whole, steps=False)
            self.launch(steps, steps=True)
            for run in (whole, steps):
                self.untilEnd(run)
        models = [self.extraFile(run, "model.safetensors").read_bytes() for run in (whole, steps)]
        self.assertEqual(models[0], models[1])
        self.assertEqual([run.outputModel.getNetwork() for run in (whole, steps)], ["polar", "polar"])
        scripts = [Path(name).read_text() for name in self.submitted.read_text().split()]
        self.assertEqual(len(scripts), 2)  # the second run had one command for the engine
        (protocol,), (command,) = (
            [script for script in scripts if words in script] for words in ("pw_protocol_run", "scipion_udl.cli train")
        )
        self.assertIn(whole.strId(), protocol)
        self.assertIn(steps._getExtraPath(), command)

    def test_what_the_engine_said_in_a_job_is_found(self) -> None:
        run = self.newRun(ProtUdlAlign2D)
        self.proj.saveProtocol(run)
        logs = Path(self.proj.getPath(run._getLogsPath()))
        logs.mkdir(parents=True, exist_ok=True)
        (logs / "7-1.err").write_text("some queue\nscipion-udl align: particles.mrcs: item 7 holds NaN: mend it\n")
        self.assertEqual(run._engineComplaint(), "particles.mrcs: item 7 holds NaN: mend it")
        told = message("max_shift_too_large", value=99.0, most=16.0)  # the engine's own file of it comes first
        extra = Path(self.proj.getPath(run._getExtraPath()))
        extra.mkdir(parents=True, exist_ok=True)
        (extra / "error.json").write_text(json.dumps(told.entry()))
        self.assertTrue(run._engineComplaint().startswith("*Largest shift* 99 is more than half the box"))
