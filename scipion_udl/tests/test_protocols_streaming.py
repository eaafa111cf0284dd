"""Aligning particles while their set is still growing."""

from __future__ import annotations

import json
import time
from pathlib import Path
from unittest import mock

from pwem.emlib.image import ImageHandler
from pwem.objects import SetOfParticles
from pyworkflow.object import Set
from pyworkflow.protocol import STATUS_ABORTED, STATUS_FAILED, STATUS_FINISHED

from scipion_udl.convert.set_rows import Growth, read_growth
from scipion_udl.messages import entries, message
from scipion_udl.protocols import ProtUdlAlign2DStreaming
from scipion_udl.protocols.streaming import Batch
from scipion_udl.tests.scipion_forks import engine_waits
from scipion_udl.tests.scipion_helpers import BOX, COUNT, PIXEL_SIZE, ProjectTest, correlation, kill, make_set
from scipion_udl.tests.stream_helpers import Feeder, StreamTest

FIRST = 130


class TestUdlStreaming(StreamTest, ProjectTest):
    """'udl - align 2D (streaming)' on sets that grow while it runs."""

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
        feeder = Feeder(self, self.star, 60, disabled)
        answers = {"firstBatch": FIRST, "batchSize": 35, "epochs": 2, "maxShift": 4}
        with engine_waits("align"):
            run = self.startOn(ProtUdlAlign2DStreaming, feeder, **answers)
        self.untilStep(run, "resumableStepGeneratorStep")
        feeder.add(80)
        self.untilStep(run, "firstStep")
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
        feeders = [Feeder(self, self.star, 129), Feeder(self, self.star, 5, disabled=(1, 2, 3, 4, 5))]
        for feeder, status in zip(feeders, (STATUS_FAILED, STATUS_FINISHED)):
            feeder.end(status)
        few, none = (
            self.startOn(ProtUdlAlign2DStreaming, feeder, firstBatch=150, epochs=2, maxShift=4) for feeder in feeders
        )
        self.untilEnd(few)
        self.checkOutput(few, list(range(1, 130)))
        summary = "\n".join(few.summary())
        self.assertIn("complete with 129 particles, fewer than the 150", summary)
        self.assertIn("The run that the particles come from failed", summary)
        deadline = time.time() + 120
        while none.isActive() and time.time() < deadline:
            time.sleep(0.2)
            self.lookAgain(none)
        self.assertTrue(none.isFailed())
        self.assertIn("has no enabled particle", none.getErrorMessage())

    def test_a_run_that_goes_on_says_what_holds_of_it(self) -> None:
        """Of one that was stopped, with answers that were changed since and a first batch that was small."""
        run = self.newRun(ProtUdlAlign2DStreaming)
        self.proj.saveProtocol(run)
        run.makePathsAndClean()
        small = message("too_few_for_training", count=64, least=128)
        self.assertIn("no resolution", small)
        said = {"warnings": [small], "messages": entries([small])}
        for number, found in ((1, said), (2, {"resolution": 8.0, "messages": []})):
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
        (warning,) = run.readEngineSummary()["warnings"]
        self.assertTrue(warning.endswith("aligned in real space alone."), warning)
        self.assertEqual([one["text"] for one in run.readEngineSummary()["messages"]], [warning])
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
