"""Aligned particles and classes leave Scipion, and pass through pwem's own protocols on their way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pwem.objects as emobj
from pwem.protocols import ProtClassesSelector, ProtUserSubSet
from pyworkflow.object import Pointer
from pyworkflow.tests import setupTestOutput, setupTestProject

from scipion_udl.convert.classes import add_classes
from scipion_udl.convert.particles import Results
from scipion_udl.convert.scipion_sign import poses_of
from scipion_udl.imaging.poses import Poses
from scipion_udl.io.aligned import write_aligned
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import write_stack
from scipion_udl.protocols import ProtUdlExportParticles, ProtUdlImportParticles
from scipion_udl.tests.program_helpers import HAS_RELION, relion_aligned, worst_correlation, xmipp_aligned
from scipion_udl.tests.scipion_helpers import RunTest, particles_at, random_poses, view

BOX, COUNT = 64, 6
CLASSES = {2: [1, 3, 4], 5: [2, 6]}  # number of a class: ids of its particles
RIGHT = 0.998  # correlation with the view; half a pixel off gives 0.994


def small_poses(n: int, **options: object) -> Poses:
    """Any angles, and shifts that leave the view whole."""
    poses = random_poses(n, **options)
    return Poses(poses.angle, poses.shift / 2, poses.mirror)


class TestUdlExportParticles(RunTest):
    """Particles with known poses, alone and in classes."""

    @classmethod
    def setUpClass(cls) -> None:
        setupTestProject(cls)
        setupTestOutput(cls)
        cls.folder = Path(cls.getOutputPath()).absolute()
        cls.poses = small_poses(COUNT)
        y, x = np.mgrid[:BOX, :BOX] - BOX // 2
        cls.template = view(x, y)
        cls.source = cls.importAligned("plain", cls.poses)
        cls.addClasses(cls.source)

    @classmethod
    def importAligned(cls, name: str, poses: Poses) -> ProtUdlImportParticles:
        """A run that gives particles with these poses, which were picked somewhere."""
        stack, xmd = str(cls.folder / f"{name}.mrcs"), cls.folder / f"{name}.xmd"
        write_stack(stack, particles_at(poses, BOX), 2.5)
        write_aligned(open_particles(stack), poses, np.ones(len(poses)), np.zeros(len(poses), bool), xmd=str(xmd))
        return cls.importFile(xmd)

    @classmethod
    def addClasses(cls, source: ProtUdlImportParticles) -> None:
        """Give the run classes of its particles, too, as an alignment of classes gives them."""
        particles = source.outputParticles
        given = emobj.SetOfClasses2D(filename=str(cls.folder / "given.sqlite"))
        given.setImages(particles)
        items = {item.getObjId(): item.clone() for item in particles.iterItems()}
        for number, ids in CLASSES.items():
            class_item = emobj.Class2D(objId=number)
            class_item.copyInfo(particles)
            given.append(class_item)
            for item_id in ids:
                items[item_id].setClassId(number)
                class_item.append(items[item_id])
            given.update(class_item)
        given.write()
        ids = np.arange(1, COUNT + 1)
        found = Results(ids, cls.poses, np.ones(COUNT), np.zeros(COUNT, bool), np.zeros(COUNT, bool))
        averages = {number: emobj.Particle(location=items[ids[0]].getLocation()) for number, ids in CLASSES.items()}
        classes = source._createSetOfClasses2D(Pointer(source, extended="outputParticles"))
        add_classes(given, classes, found, averages)
        source._defineOutputs(outputClasses=classes)
        cls.proj._storeProtocol(source)

    def newExport(self, source: object, output: str, **options: object) -> ProtUdlExportParticles:
        export = self.newProtocol(ProtUdlExportParticles, **options)
        export.inputParticles.set(source)
        export.inputParticles.setExtended(output)
        return export

    def checkExport(self, source: object, output: str, expected: Poses) -> Path:
        """Both programs bring all images onto the view, and our import gives the same poses; the run's folder."""
        export = self.launchProtocol(self.newExport(source, output))
        folder = Path(self.proj.getPath(export._getExtraPath()))
        self.assertEqual(sorted(path.name for path in folder.iterdir()), ["aligned.star", "aligned.xmd"])
        self.assertIn(str(folder / "aligned.star"), "\n".join(export.summary()))
        images = xmipp_aligned(folder / "aligned.xmd")
        self.assertEqual(len(images), len(expected))
        self.assertGreater(worst_correlation(images, self.template), RIGHT)
        if HAS_RELION:
            self.assertGreater(worst_correlation(relion_aligned(folder / "aligned.star"), self.template), RIGHT)
        for name in ("aligned.star", "aligned.xmd"):
            found = open_particles(str(folder / name)).poses()
            np.testing.assert_allclose(Poses(found.angle - expected.angle).angle, 0, atol=1e-3)
            np.testing.assert_allclose(found.shift, expected.shift, atol=1e-3)
        return folder

    def test_an_aligned_set(self) -> None:
        folder = self.checkExport(self.source, "outputParticles", self.poses)
        table = open_particles(str(folder / "aligned.star")).table
        self.assertEqual(table.texts("udlItemId"), [str(k) for k in range(1, COUNT + 1)])
        self.assertEqual(set(table.numbers("rlnParticleFigureOfMerit")), {1.0})
        self.assertNotIn("rlnCoordinateX", table)

    def test_classes(self) -> None:
        rows = [item_id - 1 for ids in CLASSES.values() for item_id in ids]
        folder = self.checkExport(self.source, "outputClasses", self.poses[np.array(rows)])
        table = open_particles(str(folder / "aligned.star")).table
        self.assertEqual(table.texts("rlnClassNumber"), ["2", "2", "2", "5", "5"])

    def test_mirrored_particles_go_to_xmipp_alone(self) -> None:
        source = self.importAligned("mirrored", small_poses(COUNT, seed=3, mirrored=True))
        export = self.launchProtocol(self.newExport(source, "outputParticles"))
        folder = Path(self.proj.getPath(export._getExtraPath()))
        self.assertEqual([path.name for path in folder.iterdir()], ["aligned.xmd"])
        self.assertIn("RELION's 2D alignment cannot hold", "\n".join(export.summary()))
        self.assertGreater(worst_correlation(xmipp_aligned(folder / "aligned.xmd"), self.template), RIGHT)
        star = self.newExport(source, "outputParticles", fileForm=1)
        self.launchToFail(star)
        self.assertIn("RELION's 2D alignment cannot hold mirrored particles", star.getErrorMessage())

    def test_coordinates_and_ctf_come_along_and_no_score_is_made_up(self) -> None:
        star = self.folder / "picked.star"
        star.write_text(
            "data_optics\n\nloop_\n_rlnOpticsGroup\n_rlnVoltage\n_rlnSphericalAberration\n_rlnAmplitudeContrast\n"
            "_rlnImagePixelSize\n1 200 1.4 0.08 2.5\n\ndata_particles\n\nloop_\n_rlnImageName\n_rlnOpticsGroup\n"
            "_rlnAnglePsi\n_rlnOriginXAngst\n_rlnOriginYAngst\n_rlnDefocusU\n_rlnDefocusV\n_rlnDefocusAngle\n"
            "_rlnCoordinateX\n_rlnCoordinateY\n_rlnMicrographName\n"
            f"1@{self.folder}/plain.mrcs 1 30 2.5 5 15000 14000 20 100 200 mic1.mrc\n"
        )
        source = self.importFile(star)
        export = self.launchProtocol(self.newExport(source, "outputParticles", fileForm=1))
        written = open_particles(self.proj.getPath(export._getExtraPath("aligned.star")))
        given = open_particles(str(star))
        for label in ("rlnAnglePsi", "rlnOriginXAngst", "rlnOriginYAngst", "rlnDefocusU", "rlnDefocusAngle"):
            np.testing.assert_allclose(written.table.numbers(label), given.table.numbers(label), atol=1e-4)
        self.assertEqual(written.table.texts("rlnMicrographName"), ["mic1.mrc"])
        np.testing.assert_allclose(written.table.numbers("rlnCoordinateY"), 200)
        np.testing.assert_allclose(written.tables[0].numbers("rlnAmplitudeContrast"), 0.08)
        self.assertNotIn("rlnParticleFigureOfMerit", written.table)
        self.assertNotIn("udlAmbiguous", written.table)

    def test_particles_without_alignment_are_refused(self) -> None:
        bare = self.newProtocol(ProtUdlImportParticles, filePath=str(self.folder / "plain.mrcs"))
        self.launchProtocol(bare)
        self.assertIn("carry no 2D alignment", self.newExport(bare, "outputParticles").validate()[0])

    # pwem's own protocols

    def test_a_class_that_is_chosen_in_scipion_keeps_its_alignment(self) -> None:
        chosen = self.folder / "chosen.txt"
        chosen.write_text("2\n")
        for kind in ("SetOfParticles", "SetOfClasses2D"):
            subset = self.newProtocol(ProtUserSubSet, outputClassName=kind, other="", sqliteFile=f"{chosen},")
            subset.inputObject.set(self.source)
            subset.inputObject.setExtended("outputClasses")
            self.launchProtocol(subset)
            name, _ = next(iter(subset.iterOutputAttributes()))
            self.assertIn(kind.replace("SetOf", ""), name)
            self.checkExport(subset, name, self.poses[np.array(CLASSES[2]) - 1])

    def test_the_biggest_class_is_found_by_scipion(self) -> None:
        selector = self.newProtocol(ProtClassesSelector, firstNElements=1)
        selector.inputClasses.set(self.source)
        selector.inputClasses.setExtended("outputClasses")
        self.launchProtocol(selector)
        _, found = next(iter(selector.iterOutputAttributes()))
        self.assertEqual([item.getObjId() for item in found.iterItems()], CLASSES[2])
        poses = poses_of(found)
        np.testing.assert_allclose(poses.shift, self.poses[np.array(CLASSES[2]) - 1].shift, atol=1e-4)
