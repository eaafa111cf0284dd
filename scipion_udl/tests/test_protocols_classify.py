"""Sorting particles into 2D classes, in a project, with the real engine: three views whose particles are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pwem.objects as emobj
from pwem.emlib.image import ImageHandler
from pyworkflow.tests import BaseTest, setupTestOutput, setupTestProject

from scipion_udl.alignment.geometry import pose_errors
from scipion_udl.convert import poses_in
from scipion_udl.io.stacks import StackReader, write_stack
from scipion_udl.protocols import ProtUdlClassify2D, ProtUdlImportParticles
from scipion_udl.tests.scipion_helpers import correlation, read_truth, simulate

BOX, PIXEL_SIZE, COUNT, CLASSES = 48, 3.0, 120, 4
VIEWS = ("hook", "clamp", "anchor")


class ClassifyTest(BaseTest):
    """A project with particles of three views; particle k, from 1, is of view (k - 1) % 3."""

    @classmethod
    def setUpClass(cls) -> None:
        setupTestProject(cls)
        setupTestOutput(cls)
        cls.folder = Path(cls.getOutputPath()).absolute()
        options = {"count": COUNT, "box": BOX, "pixel_size": PIXEL_SIZE, "snr": 0.3, "shift": 3}
        stars = [simulate(cls.folder / view, phantom=view, seed=k, **options) for k, view in enumerate(VIEWS, 1)]
        cls.truth = [read_truth(star) for star in stars]
        images = np.stack([StackReader(str(star.parent / "particles.mrcs")).read() for star in stars], 1)
        cls.stack = str(cls.folder / "mixed.mrcs")
        write_stack(cls.stack, images.reshape(-1, BOX, BOX), PIXEL_SIZE)
        cls.imported = cls.launchProtocol(cls.newProtocol(ProtUdlImportParticles, filePath=cls.stack))

    @classmethod
    def newRun(cls, protocol: type = ProtUdlClassify2D, source: object = None, **options: object) -> ProtUdlClassify2D:
        given = {"numberOfClasses": CLASSES, "numberOfThreads": 1, **options}
        run = cls.newProtocol(protocol, **given)
        run.inputParticles.set(cls.imported if source is None else source)
        run.inputParticles.setExtended("outputParticles")
        return run

    def membersOf(self, classes: emobj.SetOfClasses2D) -> dict[int, list[emobj.Particle]]:
        """The items of each class, by its number; checks that a class says the same of itself and that ids tell its
        place by size."""
        found, sizes = {}, []
        for own in classes.iterItems():
            self.assertTrue(own.hasAlignment2D())
            items = [item.clone() for item in own.iterItems()]
            self.assertEqual({item.getClassId() for item in items}, {own.getObjId()})
            self.assertEqual(own.getSize(), len(items))
            found[own.getObjId()] = items
            sizes.append(own.getSize())
        self.assertEqual(list(found), list(range(1, CLASSES + 1)))
        return found

    def checkMembers(self, found: dict[int, list[emobj.Particle]], expected: set[int]) -> None:
        """Every particle is in one class; a class is of one view, and each view has one."""
        ids = [item.getObjId() for items in found.values() for item in items]
        self.assertEqual(len(ids), len(set(ids)))
        self.assertEqual(set(ids), expected)
        largest = set()
        for number, items in found.items():
            views = np.bincount([view_of(item) for item in items], minlength=len(VIEWS))
            if len(items) > COUNT // 4:
                self.assertGreater(views.max() / len(items), 0.85, f"class {number}: {views}")
                largest.add(int(views.argmax()))
        self.assertEqual(largest, {0, 1, 2})

    def checkGeometry(self, classes: emobj.SetOfClasses2D, found: dict[int, list[emobj.Particle]]) -> None:
        """The representative of a class is what its particles show, their alignment applied by Scipion itself."""
        output = str(self.folder / "one.mrc")
        for own in classes.iterItems():
            number, average = own.getObjId(), own.getRepresentative()
            self.assertEqual((average.getIndex(), average.getSamplingRate()), (number, PIXEL_SIZE))
            total = np.zeros((BOX, BOX))
            for item in found[number]:
                flat = item.getTransform().getMatrix()[np.ix_([0, 1, 3], [0, 1, 3])]
                ImageHandler.applyTransform("%d@%s" % item.getLocation(), output, flat, (BOX, BOX))  # noqa: UP031
                total += ImageHandler().read(output).getData()
            if len(found[number]) > COUNT // 4:
                self.assertGreater(correlation(total, ImageHandler().read(average).getData()), 0.95, number)
                self.checkPoses(found[number])

    def checkPoses(self, items: list[emobj.Particle]) -> None:
        """The poses of the particles of a class's own view are the true ones, but for one turn and shift."""
        view = int(np.bincount([view_of(item) for item in items]).argmax())
        own = [item for item in items if view_of(item) == view]
        errors = pose_errors(poses_in(own), self.truth[view][np.array([(item.getObjId() - 1) // 3 for item in own])])
        self.assertGreater(np.mean(np.abs(errors.rotation) < 10), 0.9)
        self.assertLess(np.median(np.abs(errors.rotation)), 2.5)


def view_of(item: emobj.Particle) -> int:
    return (item.getObjId() - 1) % len(VIEWS)


class TestUdlClassify2D(ClassifyTest):
    """The protocol from its form to its outputs, and what takes these."""

    def test_particles_in_and_classes_out(self) -> None:
        run = self.launchProtocol(self.newRun())
        found = self.membersOf(run.outputClasses)
        self.checkMembers(found, set(range(1, len(VIEWS) * COUNT + 1)))
        self.checkGeometry(run.outputClasses, found)
