"""Aligning particles while their set is still growing."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Callable
from unittest import mock

import psutil
from pwem.emlib.image import ImageHandler
from pwem.objects import SetOfParticles
from pyworkflow.object import Set
from pyworkflow.protocol import STATUS_ABORTED, STATUS_FAILED, STATUS_FINISHED, STATUS_RUNNING

from scipion_udl.protocols import ProtUdlAlign2DStreaming
from scipion_udl.protocols.protocol_align_2d_streaming import Batch
from scipion_udl.set_rows import Growth, read_growth
from scipion_udl.tests.scipion_helpers import BOX, COUNT, PIXEL_SIZE, ProjectTest, correlation, kill, make_set

FIRST = 130


class Feeder:
    """The run that a stream comes from: the particles of an import, in a set that holds few of them at first."""

    def __init__(self, case: ProjectTest, start: int, disabled: tuple[int, ...] = ()) -> None:
        self.case, self.run = case, case.importFile(case.star)
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


class TestUdlStreaming(ProjectTest):
    """'udl - align 2D (streaming)' on sets that grow while it runs."""

    def start(self, feeder: Feeder, **options: object) -> ProtUdlAlign2DStreaming:
        given = {"firstBatch": FIRST, "batchSize": 25, "streamingSleepOnWait": 1, "binThreads": 1, **options}
        run = self.newProtocol(ProtUdlAlign2DStreaming, numberOfThreads=3, **given)
        run.inputParticles.set(feeder.run)
        run.inputParticles.setExtended("outputParticles")
        self.assertEqual(run.validate(), [])
        self.proj.launchProtocol(run, wait=False)
        self.addCleanup(lambda: psutil.pid_exists(run.getPid()) and run.isActive() and kill(run))
        return run

    def until(self, run: ProtUdlAlign2DStreaming, true: Callable[[], bool], what: str) -> None:
        """Wait for something; a run that has failed meanwhile says why."""
        deadline = time.time() + 240
        while not true():
            self.assertFalse(run.isFailed(), run.getErrorMessage())
            self.assertLess(time.time(), deadline, what)
            time.sleep(1)
            self.proj._updateProtocol(run)

    def sizeOf(self, run: ProtUdlAlign2DStreaming) -> int:
        return run.outputParticles.getSize() if run.hasAttribute("outputParticles") else 0

    def checkOutput(self, run: ProtUdlAlign2DStreaming, ids: list[int]) -> None:
        particles = run.outputParticles
        self.assertEqual([item.getObjId() for item in particles.iterItems()], ids)
        self.assertEqual(particles.getSize(), len(ids))
        self.assertTrue(particles.isStreamClosed() and particles.hasAlignment2D() and particles.hasCTF())
        self.checkAgainstTruth(particles, [k - 1 for k in ids])
        average = run.outputAverage
        self.assertEqual((average.getSamplingRate(), average.getDim()), (PIXEL_SIZE, (BOX, BOX, 1)))

    def test_a_set_that_grows_while_the_run_is_killed_again_and_again(self) -> None:
        disabled = (3, 150, 151, COUNT)
        feeder = Feeder(self, 60, disabled)
        run = self.start(feeder)
        self.untilStep(run, "resumableStepGeneratorStep")
        feeder.add(80)
        self.untilStep(run, "alignFirstStep")
        kill(run)
        self.resume(run)
        self.until(run, lambda: hasattr(run, "outputAverage"), "the first particles are not aligned")
        self.assertEqual(self.sizeOf(run), FIRST)
        self.assertTrue(run.isActive() and run.outputParticles.isStreamOpen())
        first = ImageHandler().read(run.outputAverage).getData()
        early = {item.getObjId(): item.getTransform().getMatrix().tolist() for item in run.outputParticles.iterItems()}
        self.assertIn("the input still grows", "\n".join(run.summary()))
        feeder.add(30)
        self.untilStep(run, "joinStep")
        kill(run)
        feeder.end(count=30)
        self.resume(run)
        self.untilEnd(run)
        self.checkOutput(run, [k for k in range(1, COUNT + 1) if k not in disabled])
        for item in run.outputParticles.iterItems():
            if item.getObjId() in early:  # the first ones stayed as they were
                self.assertEqual(item.getTransform().getMatrix().tolist(), early[item.getObjId()])
        self.checkAverage(run, first)
        self.checkWords(run)

    def checkAverage(self, run: ProtUdlAlign2DStreaming, first: object) -> None:
        last = ImageHandler().read(run.outputAverage).getData()
        self.assertGreater(correlation(first, last), 0.9)
        self.assertLess(correlation(first, last), 0.9999)
        facts = run.readEngineSummary()
        self.assertEqual((facts["particles"], facts["pooled_particles"]), (COUNT - 4, COUNT - 4))
        self.assertAlmostEqual(run.outputAverage._udlResolution.get(), facts["resolution"], places=3)
        folders = [self.extraFile(run, f"batch_{k:04d}/average.mrcs").exists() for k in (1, 2)]
        self.assertTrue(folders[0])  # the averages that others are joined to stay

    def checkWords(self, run: ProtUdlAlign2DStreaming) -> None:
        summary = "\n".join(run.summary())
        self.assertIn(f"*{COUNT - 4}* particles have come", summary)
        self.assertIn("the input is complete", summary)
        self.assertIn("Trained by *JUDL*", summary)
        self.assertIn("none of the outputs: 4", summary)
        self.assertIn("half averages of the first", "\n".join(run.methods()))
        self.assertEqual(run.outputModel.misfit(BOX, PIXEL_SIZE), "")
        self.assertTrue(self.extraFile(run, "aligned.xmd").exists())

    def test_inputs_that_end_early(self) -> None:
        feeders = [Feeder(self, 129), Feeder(self, 5, disabled=(1, 2, 3, 4, 5))]
        for feeder, status in zip(feeders, (STATUS_FAILED, STATUS_FINISHED)):
            feeder.end(status)
        few, none = (self.start(feeder, firstBatch=150) for feeder in feeders)
        self.untilEnd(few)
        self.checkOutput(few, list(range(1, 130)))
        summary = "\n".join(few.summary())
        self.assertIn("complete with 129 particles, fewer than the 150", summary)
        self.assertIn("The run that the particles come from failed", summary)
        deadline = time.time() + 120
        while none.isActive() and time.time() < deadline:
            time.sleep(1)
            self.proj._updateProtocol(none)
        self.assertTrue(none.isFailed())
        self.assertIn("has no enabled particle", none.getErrorMessage())

    def test_a_run_that_goes_on_says_what_holds_of_it(self) -> None:
        """Of one that was stopped, with answers that were changed since and a first batch that was small."""
        run = self.newRun(ProtUdlAlign2DStreaming)
        self.proj.saveProtocol(run)
        run.makePathsAndClean()
        small = "64 particles are too few to train on: they are aligned in real space alone, and no resolution is"
        for number, found in ((1, {"warnings": [f"{small} claimed."]}), (2, {"resolution": 8.0})):
            batch = Batch(number, run._getExtraPath(f"batch_{number:04d}"), [number, 10 + number], [])
            batch.write()
            Path(batch.path("summary.json")).write_text(json.dumps({"particles": 64, **found}))
        run._wasAsked("align", run._firstOptions(), ([1],))
        with mock.patch.object(run, "_idsOfOutput", return_value={1, 2, 12}):  # 11 was disabled late
            run._takeUp()
            self.assertEqual(run._done, 2)
            self.assertEqual(run._readJson("stream.json"), {})
            run.maxShift.set(7)
            run._takeUp()
        (note,) = run._readJson("stream.json")["notes"]
        self.assertIn("have no effect on this run", note)
        self.assertNotIn("no resolution", " ".join(run.readEngineSummary()["warnings"]))
        for status, words in ((STATUS_ABORTED, "was stopped, and *Continue*"), (STATUS_FINISHED, "is complete")):
            run.setStatus(status)
            self.assertIn(words, run.summary()[0])

    def test_only_what_is_new_is_seen_whatever_its_id(self) -> None:
        path = str(self.folder / "growing.sqlite")
        particles = make_set(path, str(self.star.parent / "particles.mrcs"), [5, 6, 9], disabled=(6,))
        self.assertEqual(read_growth(path, set()), Growth([(5, True), (6, False), (9, True)], True))
        self.assertEqual(read_growth(path, {5, 6}).items, [(9, True)])
        self.assertEqual(read_growth(path, {5, 6, 9}).items, [])
        self.assertEqual(read_growth(path, {6, 9}).items, [(5, True)])  # it came after those with higher ids
        particles.setStreamState(Set.STREAM_OPEN)
        particles.write()
        self.assertFalse(read_growth(path, set()).closed)
        empty = str(self.folder / "empty.sqlite")
        SetOfParticles(filename=empty).write()
        self.assertEqual(read_growth(empty, set()), Growth([], False))
