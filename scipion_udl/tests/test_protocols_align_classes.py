"""2D classes in, each of them aligned by itself: geometry against the truth, and what becomes of ids and averages."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np
import pwem.objects as emobj
from pwem.emlib.image import ImageHandler
from pyworkflow.object import Pointer
from pyworkflow.protocol import STATUS_FINISHED
from pyworkflow.tests import setupTestOutput, setupTestProject

from scipion_udl.convert.scipion_sign import poses_in
from scipion_udl.imaging.poses import pose_errors
from scipion_udl.protocols import ProtUdlAlign2D, ProtUdlSimulate
from scipion_udl.protocols.forms.align_2d import LEAVE_OUTLIERS
from scipion_udl.tests.scipion_helpers import RunTest, correlation, read_truth, simulate

BOX, COUNT, PIXEL_SIZE = 48, 50, 3.0
VIEWS = {2: "hook", 5: "clamp", 9: "anchor"}  # number of the class: its view
DISABLED = {5: [505, 506], 9: [901]}


class TestUdlAlign2DClasses(RunTest):
    """Three classes of three views, and a fourth that the user has disabled."""

    @classmethod
    def setUpClass(cls) -> None:
        setupTestProject(cls)
        setupTestOutput(cls)
        folder = Path(cls.getOutputPath()).absolute()
        stars = {
            number: simulate(
                folder / view, phantom=view, count=COUNT, box=BOX, pixel_size=PIXEL_SIZE, snr=0.3, shift=3, seed=number
            )
            for number, view in VIEWS.items()
        }
        cls.truth = {number: read_truth(star) for number, star in stars.items()}
        cls.source = cls.makeClasses({number: str(star.parent / "particles.mrcs") for number, star in stars.items()})

    @classmethod
    def makeClasses(cls, stacks: dict[int, str]) -> ProtUdlSimulate:
        """A run that gives all particles, and their classes; particle k of class n has the id 100 n + k."""
        source = cls.newProtocol(ProtUdlSimulate)
        cls.proj.saveProtocol(source)
        source.makePathsAndClean()
        particles = source._createSetOfParticles()
        particles.setSamplingRate(PIXEL_SIZE)
        particles.setAcquisition(
            emobj.Acquisition(magnification=50000, voltage=300, sphericalAberration=2.7, amplitudeContrast=0.1)
        )
        items = {number: cls.itemsOf(number, stack) for number, stack in stacks.items()}
        items[12] = [item.clone() for item in items[2][:3]]  # of the disabled class
        for k, item in enumerate(items[12]):
            item.setObjId(1200 + k)
        for item in chain(*items.values()):
            particles.append(item)
        source._defineOutputs(outputParticles=particles)
        classes = source._createSetOfClasses2D(Pointer(source, extended="outputParticles"))
        for number, own in items.items():
            average = emobj.Class2D(objId=number)
            average.copyInfo(particles)
            average.setRepresentative(own[0].clone())
            average.setEnabled(number != 12)
            classes.append(average)
            for item in own:
                item.setClassId(number)
                average.append(item)
            classes.update(average)
        source._defineOutputs(outputClasses=classes)
        source.setStatus(STATUS_FINISHED)
        cls.proj._storeProtocol(source)
        return source

    @staticmethod
    def itemsOf(number: int, stack: str) -> list[emobj.Particle]:
        items = []
        for k in range(COUNT):
            item = emobj.Particle(location=(k + 1, stack), objId=100 * number + k)
            item.setEnabled(item.getObjId() not in DISABLED.get(number, []))
            items.append(item)
        return items

    def test_each_class_is_aligned_by_itself(self) -> None:
        run = self.newProtocol(
            ProtUdlAlign2D, numberOfThreads=1, epochs=1, maxShift=3, leaveOut=LEAVE_OUTLIERS, writeStack=True
        )
        run.inputParticles.set(self.source)
        run.inputParticles.setExtended("outputClasses")
        self.assertEqual(run.validate(), [])
        self.launchProtocol(run)
        found = {}
        for class_item in run.outputClasses.iterItems():
            self.assertTrue(class_item.hasAlignment2D())
            items = [item.clone() for item in class_item.iterItems()]
            self.checkClass(class_item.getObjId(), class_item.getRepresentative(), items)
            found[class_item.getObjId()] = {item.getObjId() for item in items}
        self.assertEqual(sorted(found), sorted(VIEWS))
        self.checkSets(run, found)
        summary = "\n".join(run.summary())
        self.assertIn("*3* classes", summary)
        self.assertIn("none of the outputs: 6", summary)
        self.assertIn("in 3 classes, each by itself", run.methods()[0])

    def checkClass(self, number: int, average: emobj.Particle, items: list[emobj.Particle]) -> None:
        """The poses are the true ones, but for one turn and shift of the class; its average is that of its images."""
        rows = np.array([item.getObjId() - 100 * number for item in items])
        errors = pose_errors(poses_in(items), self.truth[number][rows])
        self.assertGreater(np.mean(np.abs(errors.rotation) < 8), 0.95, number)
        self.assertLess(np.sqrt(np.mean(errors.shift**2)), 1.0, number)
        total, output = np.zeros((BOX, BOX)), str(Path(self.getOutputPath("one.mrc")).absolute())
        for item in items:
            flat = item.getTransform().getMatrix()[np.ix_([0, 1, 3], [0, 1, 3])]
            ImageHandler.applyTransform("%d@%s" % item.getLocation(), output, flat, (BOX, BOX))  # noqa: UP031
            total += ImageHandler().read(output).getData()
        self.assertEqual(average.getIndex(), sorted(VIEWS).index(number) + 1)
        self.assertTrue(average.getFileName().endswith("averages.mrcs"))
        self.assertGreater(correlation(total, ImageHandler().read(average).getData()), 0.95, number)

    def checkSets(self, run: ProtUdlAlign2D, found: dict[int, set[int]]) -> None:
        """All particles but the disabled ones are in one of the two sets, once, with their class and alignment."""
        enabled = {100 * n + k for n in VIEWS for k in range(COUNT)} - set(chain(*DISABLED.values()))
        discarded = run.outputParticlesDiscarded if run.hasAttribute("outputParticlesDiscarded") else []
        left_out = {item.getObjId() for item in discarded}
        self.assertTrue(all(item._udlOutlier.get() for item in discarded))
        self.assertTrue(run.outputParticles.hasAlignment2D())
        self.assertEqual(run.outputParticles.getSamplingRate(), PIXEL_SIZE)
        kept = {item.getObjId(): item.getClassId() for item in run.outputParticles.iterItems()}
        self.assertEqual({*kept, *left_out}, enabled)
        self.assertEqual(set(kept) & left_out, set())
        for number, ids in found.items():
            self.assertEqual({item_id for item_id, of in kept.items() if of == number}, ids)
        self.assertEqual({item.getObjId() for item in run.outputAlignedStack.iterItems()}, set(kept))
        averages = {item.getObjId(): item._udlResolution.get() for item in run.outputAverages.iterItems()}
        self.assertEqual(sorted(averages), sorted(VIEWS))
        for resolution in averages.values():
            self.assertTrue(resolution is None or 2 * PIXEL_SIZE <= resolution < BOX * PIXEL_SIZE)

    def test_a_reference_is_for_one_view(self) -> None:
        run = self.newProtocol(ProtUdlAlign2D)
        run.inputParticles.set(self.source)
        run.inputParticles.setExtended("outputClasses")
        run.inputReference.set(self.source)
        run.inputReference.setExtended("outputClasses")
        self.assertIn("*Reference image* is for particles of one view", "\n".join(run.validate()))
        run.inputParticles.setExtended("outputParticles")
        run.referenceItem.set(5)
        self.assertEqual(run.validate(), [])
        self.assertIn("--reference 000001@", run._alignOptions())
        self.assertIn("clamp", run._alignOptions())
        run.referenceItem.set(6)
        self.assertIn("no item number 6", "\n".join(run.validate()))
        run.inputReference.setExtended("outputClasses.9")  # as the command line of Scipion says it
        self.assertIn("anchor", run._alignOptions())
