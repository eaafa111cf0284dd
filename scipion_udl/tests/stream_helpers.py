"""A set of particles that grows while a test runs, and runs that watch it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Callable

import psutil
from pwem.objects import SetOfParticles
from pyworkflow.object import Set
from pyworkflow.protocol import STATUS_FINISHED, STATUS_RUNNING, Protocol

from scipion_udl.tests.scipion_helpers import RunTest, kill


class Feeder:
    """The run that a stream comes from: the particles of an import, in a set that holds few of them at first."""

    def __init__(self, case: RunTest, star: Path, start: int, disabled: tuple[int, ...] = ()) -> None:
        self.case, self.run = case, case.importFile(star)
        self.path = case.proj.getPath(self.run.outputParticles.getFileName())
        self._items = [item.clone() for item in self.run.outputParticles.iterItems()]
        for item in self._items:
            item.setEnabled(item.getObjId() not in disabled)
        info = SetOfParticles()
        info.copyInfo(self.run.outputParticles)
        self.run.outputParticles.close()
        os.remove(self.path)
        self._set = SetOfParticles(filename=self.path)
        self._set.copyInfo(info)
        self._set.setStreamState(Set.STREAM_OPEN)
        self._write(start)
        self._status(STATUS_RUNNING)

    def add(self, count: int) -> None:
        """More particles, appended as any Scipion protocol does it."""
        self._set = SetOfParticles(filename=self.path)
        self._set.loadAllProperties()
        self._set.enableAppend()
        self._write(count)

    def end(self, status: str = STATUS_FINISHED, count: int = 0) -> None:
        """The set is complete, after ``count`` more particles."""
        self._set = SetOfParticles(filename=self.path)
        if count or os.path.getsize(self.path):
            self._set.loadAllProperties()
            self._set.enableAppend()
            self._set.setStreamState(Set.STREAM_CLOSED)
            self._write(count)
        self._status(status)

    def _write(self, count: int) -> None:
        for _ in range(count):
            self._set.append(self._items.pop(0))
        self._set.write()
        self._set.close()

    def _status(self, status: str) -> None:
        run, project = self.run, self.case.proj
        run.setStatus(status)
        run.outputParticles.copy(self._set, copyId=False, ignoreAttrs=[])
        run.outputParticles.close()
        run.setMapper(project.createMapper(project.getPath(run.getDbPath())))
        run._store()
        project._storeProtocol(run)
        run.getMapper().close()


class StreamTest(RunTest):
    """Runs that are started on a set that grows."""

    def startOn(self, protocol: type, feeder: Feeder, **options: object) -> Protocol:
        """Launch a protocol on what a feeder feeds."""
        given = {"batchSize": 25, "streamingSleepOnWait": 1, "binThreads": 1, **options}
        run = self.newProtocol(protocol, numberOfThreads=3, **given)
        run.inputParticles.set(feeder.run)
        run.inputParticles.setExtended("outputParticles")
        self.assertEqual(run.validate(), [])
        self.start(run)
        self.addCleanup(lambda: psutil.pid_exists(run.getPid()) and run.isActive() and kill(run))
        return run

    def until(self, run: Protocol, true: Callable[[], bool], what: str) -> None:
        """Wait for something; a run that has failed meanwhile says why."""
        deadline = time.time() + 240
        while not true():
            self.assertFalse(run.isFailed(), run.getErrorMessage())
            self.assertLess(time.time(), deadline, what)
            time.sleep(0.2)
            self.lookAgain(run)
