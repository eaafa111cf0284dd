"""Evaluating alignments in a project, with the real engine, on particles whose poses, and errors, are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pwem import Domain
from pwem.objects import SetOfParticles, Transform
from pwem.protocols import ProtImportParticles
from pyworkflow.tests import setupTestOutput, setupTestProject

from scipion_udl.convert.scipion_sign import poses_of, transform_matrices
from scipion_udl.imaging.poses import Poses, compose
from scipion_udl.io.aligned import write_aligned
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import write_stack
from scipion_udl.io.tables import write_tables
from scipion_udl.io.truth import truth_table
from scipion_udl.protocols import ProtUdlEvaluate, ProtUdlImportParticles
from scipion_udl.tests.scipion_helpers import RunTest, particles_at, random_poses, write_spider

DRAWN = True

BOX, PIXEL_SIZE, COUNT = 48, 2.5, 40
WRONG = 13  # the item, from 0, that is rotated by 90 degrees too far


class TestUdlEvaluate(RunTest):
    """The protocol to evaluate, from its form to what it says."""

    @classmethod
    def setUpClass(cls) -> None:
        setupTestProject(cls)
        setupTestOutput(cls)
        cls.folder = Path(cls.getOutputPath()).absolute()
        cls.truth = random_poses(COUNT, mirrored=True)
        images = particles_at(cls.truth, BOX) + np.random.default_rng(1).normal(0, 0.3, (COUNT, BOX, BOX))
        write_stack(str(cls.folder / "p.mrcs"), images, PIXEL_SIZE)
        cls.source = open_particles(str(cls.folder / "p.mrcs"))
        write_tables(str(cls.folder / "truth.star"), [truth_table(cls.source.names, cls.truth)])
        rng = np.random.default_rng(2)
        rotations = rng.normal(0, 1.0, COUNT) + 90.0 * (np.arange(COUNT) == WRONG)
        cls.found = compose(Poses(rotations, rng.normal(0, 0.2, (COUNT, 2))), cls.truth)
        cls.aligned = cls.importPoses("found", cls.found)

    @classmethod
    def importPoses(cls, name: str, poses: Poses) -> ProtUdlImportParticles:
        path = str(cls.folder / f"{name}.xmd")
        write_aligned(cls.source, poses, np.zeros(COUNT), np.zeros(COUNT, bool), xmd=path)
        return cls.importFile(path)

    def newRun(self, particles: object = None, **options: object) -> ProtUdlEvaluate:
        run = self.newProtocol(ProtUdlEvaluate, numberOfThreads=1, **options)
        run.inputParticles.set(particles or self.aligned)
        run.inputParticles.setExtended("outputParticles")
        return run

    def figures(self, run: ProtUdlEvaluate) -> dict[str, float]:
        return {row["figure"]: float(row["value"]) for row in run.readFigures()}

    def test_the_errors_that_were_put_in_are_found(self) -> None:
        run = self.newRun(truthFrom=1, truthFile=str(self.folder / "truth.star"), symmetry=4, doPairs=True)
        self.assertEqual(run.validate(), [])
        self.launchProtocol(run)
        found = self.figures(run)
        self.assertEqual(found["particles"], COUNT)
        self.assertAlmostEqual(found["within_5"], 1 - 1 / COUNT)
        self.assertEqual(found["within_5_symmetry"], 1)  # a quarter turn is nothing to a four-fold view
        self.assertAlmostEqual(found["rotation_mean"], 90 / COUNT + 0.8, delta=0.3)
        self.assertAlmostEqual(found["shift_rms"], 0.2 * np.sqrt(2), delta=0.05)
        self.assertAlmostEqual(found["pair_within_5"], 1 - 2 / (COUNT - 1), places=5)
        self.assertGreater(found["correntropy_2"], found["correntropy_4"])
        self.checkWords(run, found)
        self.checkViewer(run)

    def checkWords(self, run: ProtUdlEvaluate, found: dict[str, float]) -> None:
        summary = "\n".join(run.summary())
        self.assertIn(f"*{COUNT}* particles compared with their true poses", summary)
        self.assertIn(f"{found['rotation_mean']:.2f}° mean", summary)
        self.assertIn("modulo 90°", summary)
        self.assertIn("39 pairs of neighbours", summary)
        self.assertIn(f"averages of 4 parts: *{found['correntropy_4']:.3f}*", summary)
        self.assertIn("Chen2023", "\n".join(run.methods()))

    def checkViewer(self, run: ProtUdlEvaluate) -> None:
        Domain.getViewers()
        (viewer_class,) = (v for v in Domain.findViewers(run, "tkinter") if v.__name__ == "UdlEvaluateViewer")
        viewer = viewer_class(project=self.proj)
        viewer.setProtocol(run)
        shown = viewer._getVisualizeDict()
        (plotter,) = shown["doShowFigure"]("doShowFigure")
        picture = self.folder / "figure.png"
        plotter.savefig(str(picture))
        plotter.close()
        self.assertGreater(picture.stat().st_size, 20000)
        (message,) = shown["doShowTable"]("doShowTable")
        self.assertIn("mean absolute rotation error, full circle: ", message.getMessage())

    def test_another_set_is_the_truth_whatever_its_order(self) -> None:
        truth = self.importPoses("truth", self.truth)
        other = SetOfParticles(filename=str(self.folder / "other.sqlite"))
        other.copyInfo(truth.outputParticles)
        items = [item.clone() for item in truth.outputParticles.iterItems()]
        for number, item in enumerate(items[::-1]):
            item.setObjId(number + 1)  # other ids, other order: the images alone tell
            if number:
                other.append(item)
        other.write()
        protocol = self.newRun(truthFrom=2)
        holder = self.newProtocol(ProtUdlImportParticles)
        self.proj.saveProtocol(holder)
        holder._defineOutputs(outputParticles=other)
        protocol.truthParticles.set(holder)
        protocol.truthParticles.setExtended("outputParticles")
        self.launchProtocol(protocol)
        found = self.figures(protocol)
        self.assertEqual(found["particles"], COUNT - 1)
        self.assertAlmostEqual(found["within_5"], 1 - 1 / (COUNT - 1), places=5)

    def test_real_particles_are_judged_by_themselves_and_by_a_reference(self) -> None:
        spider = write_spider(self.folder / "view.stk", particles_at(Poses.identity(1), BOX))
        view = self.launchProtocol(
            self.newProtocol(ProtImportParticles, filesPath=spider, samplingRate=PIXEL_SIZE, voltage=300)
        )
        run = self.newRun(maskRadius=22)
        run.inputReference.set(view)
        run.inputReference.setExtended("outputParticles.1")
        self.launchProtocol(run)
        found = self.figures(run)
        self.assertNotIn("rotation_mean", found)
        self.assertGreater(found["correlation"], 0.95)
        scrambled = self.launchProtocol(self.newRun(self.importPoses("scrambled", random_poses(COUNT, 5, True))))
        self.assertLess(self.figures(scrambled)["correntropy_2"], found["correntropy_2"] - 0.05)
        self.assertIn("no resolution", "\n".join(run.summary()))

    def test_disabled_items_do_not_count(self) -> None:
        kept = self.aligned.outputParticles
        part = SetOfParticles(filename=str(self.folder / "part.sqlite"))
        part.copyInfo(kept)
        for item in kept.iterItems():
            item.setEnabled(item.getObjId() - 1 != WRONG)
            part.append(item)
        part.write()
        holder = self.newProtocol(ProtUdlImportParticles)
        self.proj.saveProtocol(holder)
        holder._defineOutputs(outputParticles=part)
        run = self.newRun(holder, truthFrom=1, truthFile=str(self.folder / "truth.star"))
        self.launchProtocol(run)
        self.assertEqual((self.figures(run)["particles"], self.figures(run)["within_5"]), (COUNT - 1, 1))

    def test_the_symmetry_goes_with_true_poses_only(self) -> None:
        self.assertNotIn("--symmetry", self.newRun(symmetry=4)._evaluateOptions())  # the engine would refuse it
        known = self.newRun(symmetry=4, truthFrom=1, truthFile=str(self.folder / "truth.star"))
        self.assertIn("--symmetry 4", known._evaluateOptions())

    def test_what_cannot_be_evaluated_is_said_before_the_run(self) -> None:
        bare = self.importFile(self.folder / "p.mrcs")
        self.assertIn("no 2D alignment", "\n".join(self.newRun(bare).validate()))
        self.assertIn("is not there", "\n".join(self.newRun(truthFrom=1, truthFile="nowhere.star").validate()))
        self.assertIn("give a set of the same", "\n".join(self.newRun(truthFrom=2).validate()))
        self.assertIn("*Mask radius*", "\n".join(self.newRun(maskRadius=BOX).validate()))
        self.assertNotEqual(self.newRun(symmetry=0).validate(), [])
        self.assertEqual(self.newProtocol(ProtUdlEvaluate).validate(), ["*Aligned particles* cannot be EMPTY."])

    def test_the_truth_of_other_particles_is_refused(self) -> None:
        write_stack(str(self.folder / "q.mrcs"), particles_at(self.truth, BOX), PIXEL_SIZE)
        names = open_particles(str(self.folder / "q.mrcs")).names
        write_tables(str(self.folder / "other.star"), [truth_table(names, self.truth)])
        run = self.newRun(truthFrom=1, truthFile=str(self.folder / "other.star"))
        self.launchToFail(run)
        self.assertIn("names none of the images", run.getErrorMessage())

    def test_mirrored_particles_keep_their_mirror(self) -> None:
        self.assertTrue(0 < self.truth.mirror.sum() < COUNT)
        matrices = transform_matrices(poses_of(self.aligned.outputParticles))
        self.assertIsInstance(Transform(matrix=matrices[0]), Transform)
        np.testing.assert_allclose(matrices, transform_matrices(self.found), atol=1e-4)
