"""Training and aligning in a project, with the real engine, on simulated particles whose poses are known."""

from __future__ import annotations

import json
import os
import sqlite3
from unittest import mock

import mrcfile
import numpy as np
from pwem import Domain
from pwem.emlib.image import ImageHandler
from pwem.objects import Class2D, Particle, SetOfClasses2D
from pwem.protocols import ProtImportParticles
from pyworkflow.object import Pointer
from pyworkflow.protocol import MODE_RESUME, STATUS_ABORTED, STATUS_RUNNING

from scipion_udl import Plugin
from scipion_udl.convert.particles import read_results
from scipion_udl.convert.scipion_sign import poses_in, poses_of
from scipion_udl.engine_env import engine_gpus
from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import Poses
from scipion_udl.messages import message
from scipion_udl.protocols import (
    ProtUdlAlign2D,
    ProtUdlAlign2DStreaming,
    ProtUdlEvaluate,
    ProtUdlImportModel,
    ProtUdlSimulate,
    ProtUdlTrain,
)
from scipion_udl.protocols.asking import in_words_of_the_form
from scipion_udl.protocols.forms.align_2d import LEAVE_BELOW, LEAVE_NOTHING, START
from scipion_udl.tests.scipion_helpers import (
    BOX,
    COUNT,
    PIXEL_SIZE,
    ProjectTest,
    correlation,
    first_particles,
    make_set,
    write_spider,
)
from scipion_udl.tests.test_protocols_import import write_model
from scipion_udl.wizards import images_to_show

DRAWN = True


class TestUdlAlign2D(ProjectTest):
    """The protocol to align, from its form to its outputs."""

    def test_particles_in_and_an_alignment_out(self) -> None:
        run = self.launchProtocol(self.newRun(ProtUdlAlign2D, epochs=2))
        particles, average = run.outputParticles, run.outputAverage
        self.assertSetSize(particles, COUNT)
        self.assertTrue(particles.hasAlignment2D())
        self.assertTrue(particles.hasCTF())
        self.assertEqual(particles.getSamplingRate(), PIXEL_SIZE)
        self.checkAgainstTruth(particles)
        for item in particles.iterItems():
            self.assertTrue(-1 <= item._udlScore.get() <= 1)
            self.assertIn(item._udlAmbiguous.get(), (True, False))
        self.assertIsInstance(average, Particle)
        self.assertEqual((average.getSamplingRate(), average.getDim()), (PIXEL_SIZE, (BOX, BOX, 1)))
        self.assertEqual(run.outputModel.misfit(BOX, PIXEL_SIZE), "")
        self.checkAverage(particles, average)
        self.checkTables(run)
        self.checkWords(run)
        self.checkViewer(run)

    def checkTables(self, run: ProtUdlAlign2D) -> None:
        """What the engine wrote for other programs holds the alignment that Scipion got."""
        expected = poses_of(run.outputParticles)
        for name in ("aligned.star", "aligned.xmd"):
            found = poses_of(self.importFile(self.extraFile(run, name)).outputParticles)
            np.testing.assert_allclose(Poses(found.angle - expected.angle).angle, 0, atol=1e-4)
            np.testing.assert_allclose(found.shift, expected.shift, atol=1e-4)

    def checkAverage(self, particles: object, average: Particle) -> None:
        """The average is that of the particles as Scipion itself applies their alignment."""
        total, output = np.zeros((BOX, BOX)), str(self.folder / "one.mrc")
        for item in particles.iterItems():
            flat = item.getTransform().getMatrix()[np.ix_([0, 1, 3], [0, 1, 3])]
            ImageHandler.applyTransform("%d@%s" % item.getLocation(), output, flat, (BOX, BOX))  # noqa: UP031
            total += ImageHandler().read(output).getData()
        found = ImageHandler().read(average).getData()
        self.assertGreater(correlation(total, found), 0.97)  # Scipion takes the nearest pixel here
        with mrcfile.open(self.proj.getPath(average.getFileName())) as mrc:
            self.assertEqual(mrc.data.shape, (1, BOX, BOX))

    def checkWords(self, run: ProtUdlAlign2D) -> None:
        summary = "\n".join(run.summary())
        self.assertIn(f"Aligned *{COUNT}* particles", summary)
        self.assertIn("report.html", summary)
        self.assertIn("JUDL", summary)
        self.assertIn("Chen2023", "\n".join(run.methods()))
        self.assertIn("10.1016/j.jsb.2023.107940", "\n".join(run.citations()))
        self.assertIn("2205.11829", "\n".join(run.citations()))
        self.assertEqual(run.hasSummaryWarnings(), "WARNINGS" in summary)

    def checkViewer(self, run: ProtUdlAlign2D) -> None:
        """Everything that the viewer offers can be made from the files of the run, off screen."""
        Domain.getViewers()
        (viewer_class,) = (v for v in Domain.findViewers(run, "tkinter") if v.__name__ == "UdlAlign2DViewer")
        viewer = viewer_class(project=self.proj)
        viewer.setProtocol(run)
        for name, show in viewer._getVisualizeDict().items():
            views = show(name)
            self.assertEqual(len(views), 1, name)
            if name == "doShowReport":
                self.assertTrue(views[0].url.endswith("report.html"))
            if name in ("doShowReport", "doShowClasses", "doShowSet"):  # a page, a word that there are none, a program
                continue
            picture = self.folder / f"{name}.png"
            views[0].savefig(str(picture))
            self.assertGreater(picture.stat().st_size, 5000, name)
            views[0].close()

    def test_disabled_items_and_gaps_in_the_ids(self) -> None:
        source = self.importFile(self.star)
        disabled, removed = {3, 50, 51, 200}, {7, 8, 120}
        with sqlite3.connect(self.proj.getPath(source.outputParticles.getFileName())) as database:
            database.execute(f"UPDATE Objects SET enabled=0 WHERE id IN {tuple(disabled)}")
            database.execute(f"DELETE FROM Objects WHERE id IN {tuple(removed)}")
        run = self.launchProtocol(self.newRun(ProtUdlAlign2D, source, writeStack=True, epochs=2, maxShift=4))
        expected = [k for k in range(1, COUNT + 1) if k not in disabled | removed]
        self.assertEqual([item.getObjId() for item in run.outputParticles.iterItems()], expected)
        for item in run.outputParticles.iterItems():
            self.assertEqual(item.getIndex(), item.getObjId())
        self.checkAgainstTruth(run.outputParticles, [k - 1 for k in expected])
        self.assertIn("none of the outputs: 4", "\n".join(run.summary()))
        self.checkStack(run)
        self.checkLeavingOut(run)

    def checkStack(self, run: ProtUdlAlign2D) -> None:
        """The aligned images are the particles as Scipion itself applies their alignment; ids and CTF come along."""
        images = run.outputAlignedStack
        self.assertFalse(images.hasAlignment())
        self.assertTrue(images.hasCTF())
        aligned = {item.getObjId(): item.clone() for item in run.outputParticles.iterItems()}
        output = str(self.folder / "one.mrc")
        for item in images.iterItems():
            source = aligned.pop(item.getObjId())
            self.assertFalse(item.hasTransform())
            self.assertEqual(item.getCTF().getDefocusU(), source.getCTF().getDefocusU())
            rotation = poses_in([source]).angle[0]
            change = item.getCTF().getDefocusAngle() - source.getCTF().getDefocusAngle() - rotation
            self.assertAlmostEqual((change + 90) % 180, 90, places=3)
            if item.getObjId() % 10 == 0:
                flat = source.getTransform().getMatrix()[np.ix_([0, 1, 3], [0, 1, 3])]
                ImageHandler.applyTransform("%d@%s" % source.getLocation(), output, flat, (BOX, BOX))  # noqa: UP031
                applied, written = ImageHandler().read(output).getData(), ImageHandler().read(item).getData()
                inner = (slice(12, -12), slice(12, -12))  # Scipion takes the nearest pixel here, and noise minds that
                self.assertGreater(correlation(applied[inner], written[inner]), 0.7)
        self.assertEqual(aligned, {})

    def checkLeavingOut(self, run: ProtUdlAlign2D) -> None:
        """A threshold sorts particles by their score, and nothing is lost; the alignment is not done anew."""
        scores = {item.getObjId(): item._udlScore.get() for item in run.outputParticles.iterItems()}
        threshold = float(np.mean(np.sort(list(scores.values()))[90:92]))
        done = self.extraFile(run, "aligned.star").stat().st_mtime_ns
        run.outputParticles.close()  # its file is written anew
        run.runMode.set(MODE_RESUME)
        run.leaveOut.set(LEAVE_BELOW)
        run.scoreThreshold.set(1.0)
        with self.assertRaisesRegex(UdlError, "lower .Lowest score"):
            run._isKept(read_results(str(self.extraFile(run, "aligned.star"))))
        run.scoreThreshold.set(threshold)
        self.launchProtocol(run)
        for output, is_kept in ((run.outputParticles, True), (run.outputParticlesDiscarded, False)):
            self.assertTrue(output.hasAlignment2D())
            for item in output.iterItems():
                self.assertEqual(scores.pop(item.getObjId()) >= threshold, is_kept)
            output.close()
        self.assertEqual(scores, {})
        self.assertSetSize(run.outputAlignedStack, run.outputParticles.getSize())
        left_out = run.outputParticlesDiscarded.getSize()
        self.assertIn(f"outputParticlesDiscarded: *{left_out}*", "\n".join(run.summary()))
        run.leaveOut.set(LEAVE_NOTHING)
        self.launchProtocol(run)
        self.assertEqual(list(run.outputParticlesDiscarded.iterItems()), [])
        self.assertNotIn("Discarded", "\n".join(run.summary()))
        self.assertSetSize(run.outputParticles, COUNT - 7)
        self.assertEqual(self.extraFile(run, "aligned.star").stat().st_mtime_ns, done)

    def test_few_particles_are_aligned_without_a_network(self) -> None:
        source = self.importFile(first_particles(self.star, self.folder / "few.star", 20))
        run = self.newRun(ProtUdlAlign2D, source, maxShift=4)
        self.assertIn("20 particles", "\n".join(run.warnings()))
        self.launchProtocol(run)
        self.assertSetSize(run.outputParticles, 20)
        self.assertFalse(run.hasAttribute("outputModel"))
        self.assertIn("too few", "\n".join(run.summary()))
        self.assertTrue(run.hasSummaryWarnings())

    def test_a_bad_particle_is_named(self) -> None:
        images = mrcfile.read(str(self.star.parent / "particles.mrcs")).copy()
        images[6, 10, 10] = np.nan
        with mrcfile.new(str(self.folder / "nan.mrcs")) as mrc:
            mrc.set_data(images)
            mrc.set_image_stack()
            mrc.voxel_size = PIXEL_SIZE
        source = self.importFile(self.folder / "nan.mrcs")
        run = self.newRun(ProtUdlAlign2D, source)
        self.launchToFail(run)
        self.assertIn("item 7 holds NaN", run.getErrorMessage())
        self.assertNotIn("Traceback", run.getErrorMessage())

    def test_a_gpu_that_is_not_there_is_an_error(self) -> None:
        names, problem = engine_gpus(Plugin.getEngineProgram())
        self.assertEqual(problem, "")
        run = self.newRun(ProtUdlAlign2D, useGpu=True, gpuList=str(len(names)))
        (error,) = run.validate()
        self.assertIn(f"GPU {len(names)} was asked for", error)
        run.gpuList.set("")
        self.assertIn("GPU ID", run.validate()[0])
        run.useGpu.set(False)
        self.assertEqual(run.validate(), [])

    def test_lengths_must_fit_into_the_box(self) -> None:
        run = self.newRun(ProtUdlAlign2D, maxShift=BOX, maskRadius=BOX)
        errors = "\n".join(run.validate())
        self.assertIn("*Largest shift*", errors)
        self.assertIn("*Mask radius*", errors)

    def test_a_diameter_must_fit_into_the_box(self) -> None:
        whole = BOX * PIXEL_SIZE
        self.assertEqual(self.newRun(ProtUdlAlign2D, diameter=whole).validate(), [])
        (error,) = self.newRun(ProtUdlAlign2D, diameter=whole + 1).validate()
        self.assertIn(f"*Particle diameter* is {whole + 1:g} Å, more than the box of {BOX} px, {whole:g} Å", error)
        (error,) = self.newRun(ProtUdlAlign2D, diameter=100, maskRadius=20).validate()
        self.assertIn("set *Mask radius* to -1", error)


class TestUdlAlign2DForm(ProjectTest):
    """What the answers of the form mean to the engine, and what is refused beforehand."""

    def test_only_what_was_answered_is_told_to_the_engine(self) -> None:
        self.assertEqual(self.newRun(ProtUdlAlign2D)._alignOptions(), "--seed 1 --ctf auto")
        answers = {"contrast": 2, "finest": 12.5, "doMirror": True, "writeStack": True, "maxShift": 5, "maskRadius": 20}
        options = self.newRun(ProtUdlAlign2D, **answers)._alignOptions()
        for option in ("--polarity dark", "--high-resolution-limit 12.5", "--mirror", "--write-stack", "--max-shift 5"):
            self.assertIn(f" {option}", options)
        found = in_words_of_the_form(message("finest_without_pixel_size"))
        self.assertIn(
            "*High-resolution limit* is in angstrom, and the pixel size is not known: give *Pixel size*", found
        )

    def test_the_diameter_is_told_in_angstrom_and_an_older_radius_in_pixels(self) -> None:
        for protocol, ask in (
            (ProtUdlAlign2D, "_alignOptions"),
            (ProtUdlAlign2DStreaming, "_alignOptions"),
            (ProtUdlTrain, "_trainingOptions"),
        ):
            run = self.newRun(protocol, diameter=130.5)
            self.assertIn(" --diameter 130.5", getattr(run, ask)())
            run = self.newRun(protocol, maskRadius=20)  # as projects of before have it
            self.assertIn(" --mask-radius 20", getattr(run, ask)())
            self.assertNotIn("--diameter", getattr(run, ask)())
        param = run.getParam("maskRadius")
        self.assertEqual([run.evalParamCondition("maskRadius"), param.default.get()], [True, "-1"])
        run.maskRadius.set(-1)
        self.assertFalse(run.evalParamCondition("maskRadius"))  # new forms ask for the diameter alone

    def test_answers_that_do_not_fit_are_refused(self) -> None:
        for answer, sentence in (
            ({"finest": 1.9 * PIXEL_SIZE}, "nothing finer than 6 Å"),
            ({"leaveOut": LEAVE_BELOW, "scoreThreshold": 1.5}, "scores are between -1 and 1"),
            ({"alignmentOfInput": START}, "carry no 2D alignment"),
        ):
            (error,) = self.newRun(ProtUdlAlign2D, **answer).validate()
            self.assertIn(sentence, error)

    def test_an_input_that_is_missing_or_empty_is_told_in_one_sentence(self) -> None:
        for protocol in (ProtUdlAlign2D, ProtUdlAlign2DStreaming, ProtUdlTrain, ProtUdlEvaluate):
            run = self.newProtocol(protocol)
            (error,) = run.validate()
            self.assertIn("cannot be EMPTY", error)
            self.assertEqual(run.warnings(), [])
        run = self.newProtocol(ProtUdlAlign2D)
        run.inputParticles.set(make_set(self.folder / "none.sqlite", "", []))
        self.assertEqual(run.validate(), ["*Input particles* has no particles: choose another set."])
        classes = SetOfClasses2D(filename=str(self.folder / "none_classes.sqlite"))
        classes.setImages(Pointer(self.imported, extended="outputParticles"))
        for number in (1, 2):
            classes.append(Class2D(objId=number))
            run.inputParticles.set(classes)
            self.assertEqual(run.validate(), ["*Input particles* has no particles: choose another set."])
            self.assertEqual(images_to_show(classes), [])

    def test_a_number_that_was_deleted_is_told_in_one_sentence(self) -> None:
        labels = {"maxShift": "Largest shift (px)", "finest": "High-resolution limit (Å)", "seed": "Random seed"}
        for name, label in labels.items():
            run = self.newRun(ProtUdlAlign2D)
            getattr(run, name).set(None)
            self.assertEqual(run.validate(), [f"*{label}* is empty: give a number."])
        self.assertEqual(self.newProtocol(ProtUdlSimulate).validate(), [])  # which may have no pixel size

    def test_a_reference_that_does_not_fit_is_told(self) -> None:
        run = self.newRun(ProtUdlAlign2D)
        run.inputReference.set(Particle(location=(1, "gone.mrc")))
        (error,) = run.validate()
        self.assertIn("The image of *Reference image*, gone.mrc, cannot be read", error)
        reference = Particle(location=(1, str(self.star.parent / "particles.mrcs")))
        for pixel_size, warnings in ((PIXEL_SIZE, 0), (2 * PIXEL_SIZE, 1)):
            reference.setSamplingRate(pixel_size)
            run.inputReference.set(reference)
            self.assertEqual(run.validate(), [])
            self.assertEqual(sum("*Reference image* has 6 Å" in text for text in run.warnings()), warnings)

    def test_the_summary_of_a_running_protocol_says_how_far_it_is(self) -> None:
        run = self.newRun(ProtUdlAlign2D)
        self.proj.saveProtocol(run)
        run.makePathsAndClean()
        progress = {"stage": "halves, round 1", "done": 120, "total": 200, "unit": "particle"}
        progress.update(epoch=12, epochs=60, loss=0.12345, true_error=2.5, seconds=9.0)
        self.extraFile(run, "progress.json").write_text(json.dumps(progress))
        run.setStatus(STATUS_RUNNING)
        now, training = run.summary()
        self.assertEqual(now, "Now: *halves, round 1*, 120 of 200 particles.")
        self.assertEqual(training, "Training: epoch 12 of at most 60, held-out loss 0.1235, true error 2.50°.")
        run.setStatus(STATUS_ABORTED)
        self.assertIn("It stopped at: *halves, round 1*", run.summary()[0])

    def test_averages_of_an_earlier_input_are_not_taken_for_those_of_this_one(self) -> None:
        """A run on classes that goes on with particles has no class gallery any more."""
        run = self.newRun(ProtUdlAlign2D)
        self.proj.saveProtocol(run)
        run.makePathsAndClean()
        for name in ("average.mrcs", "averages.mrcs"):
            self.extraFile(run, name).write_text("old")
        with mock.patch.object(run, "_runEngine"):
            run.alignStep("")
        self.assertTrue(self.extraFile(run, "average.mrcs").exists())
        self.assertFalse(self.extraFile(run, "averages.mrcs").exists())

    def test_a_long_run_is_warned_of(self) -> None:
        run = self.newRun(ProtUdlAlign2D)
        self.assertEqual(run.warnings(), [])
        with mock.patch("scipion_udl.protocols.protocol_align_2d.count_items", return_value=5_000_000):
            self.assertIn(f"5000000 particles of {BOX} px", "\n".join(run.warnings()))

    def test_the_form_says_it_in_the_words_of_the_engine(self) -> None:
        for number, option in enumerate(("auto", "flipped", "signed", "none")):
            run = self.newRun(ProtUdlAlign2D, ctfTreatment=number)
            self.assertIn(f" --ctf {option}", run._alignOptions())
            self.assertEqual(run.validate(), [])

    def test_a_ctf_that_is_not_there_cannot_be_asked_for(self) -> None:
        bare = self.importFile(self.star.parent / "particles.mrcs")
        for number, refused in ((0, False), (1, True), (2, True), (3, False)):
            errors = "\n".join(self.newRun(ProtUdlAlign2D, bare, ctfTreatment=number).validate())
            self.assertEqual("have no CTF" in errors, refused)

    def test_warnings_speak_of_the_form(self) -> None:
        told = message("flips_unknown", words="phase-flipped", choice="signed")
        self.assertTrue(told.endswith("give --ctf signed."))
        told = in_words_of_the_form(told)
        self.assertTrue(told.endswith("give *CTF of the particles*: Phases were not flipped."), told)
        self.assertEqual(in_words_of_the_form("a text with --ctf signed"), "a text with --ctf signed")  # no message

    def test_a_set_whose_file_is_gone_is_told_beforehand(self) -> None:
        """Scipion would find the set empty, and make an empty file in the place of the one that is gone."""
        there = self.proj.getPath(self.imported.outputParticles.getFileName())
        self.imported.outputParticles.close()
        os.rename(there, f"{there}.away")
        try:
            told = self.newRun(ProtUdlAlign2D).validate()
            made = os.path.exists(there)
        finally:
            os.rename(f"{there}.away", there)
        self.assertEqual(len(told), 1, told)
        self.assertRegex(told[0], r"particles\.sqlite, is not there any more: run the protocol that made it again")
        self.assertFalse(made)


class TestUdlModels(ProjectTest):
    """Models: trained, imported, used."""

    def test_a_trained_model_aligns_onto_a_reference(self) -> None:
        trained = self.launchProtocol(self.newRun(ProtUdlTrain, method=0, seed=5, epochs=2))
        self.assertIn("Trained by *JUDL*", "\n".join(trained.summary()))
        self.assertTrue(self.extraFile(trained, "training.csv").exists())
        run = self.newRun(ProtUdlAlign2D, modelFrom=1, maxShift=4, maskRadius=21)
        run.inputModel.set(trained)
        run.inputModel.setExtended("outputModel")
        run.inputReference.set(self.importSpider())
        run.inputReference.setExtended("outputParticles.2")
        self.assertEqual(run.validate(), [])
        self.launchProtocol(run)
        self.assertFalse(run.hasAttribute("outputModel"))
        self.assertFalse(self.extraFile(run, "model.safetensors").exists())
        found = poses_of(run.outputParticles)
        rotation = np.abs(Poses(found.angle - self.truth.angle).angle)
        self.assertLess(np.median(rotation), 3.0)  # the truth is the pose that brings a particle onto the template

    def importSpider(self) -> ProtImportParticles:
        """The template as the second image of a stack of Spider's, such as class averages of Xmipp come in."""
        template = mrcfile.read(str(self.star.parent / "template.mrc")).reshape(BOX, BOX)
        spider = write_spider(self.folder / "averages.stk", np.stack([np.rot90(template), template]))
        return self.launchProtocol(
            self.newProtocol(ProtImportParticles, filesPath=spider, samplingRate=PIXEL_SIZE, voltage=300)
        )

    def test_a_model_that_does_not_fit_is_refused(self) -> None:
        path = write_model(self.folder / "other.safetensors", box=128, pixel_size=PIXEL_SIZE)
        imported = self.launchProtocol(self.newProtocol(ProtUdlImportModel, modelFile=str(path)))
        run = self.newRun(ProtUdlAlign2D, modelFrom=1)
        self.assertIn("cannot be EMPTY", "\n".join(run.validate()))
        run.inputModel.set(imported)
        run.inputModel.setExtended("outputModel")
        self.assertIn("was trained on particles 384 Å across", "\n".join(run.validate()))
        os.remove(self.proj.getPath(imported.outputModel.getFileName()))
        self.assertIn("is not there any more", "\n".join(run.validate()))
