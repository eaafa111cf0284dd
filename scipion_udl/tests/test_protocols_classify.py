"""Sorting particles into 2D classes, in a project, with the real engine: three views whose particles are known."""

from __future__ import annotations

import csv
import os
import sqlite3
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import mrcfile
import numpy as np
import pwem.objects as emobj
from pwem.emlib.image import ImageHandler
from pwem.protocols import ProtUserSubSet
from pyworkflow.tests import setupTestOutput, setupTestProject
from pyworkflow.viewer import MessageView

from scipion_udl.constants import CLASSES_SO_FAR, automatic_shift
from scipion_udl.convert.scipion_sign import poses_in
from scipion_udl.imaging.poses import pose_errors
from scipion_udl.io.stacks import StackReader, write_stack
from scipion_udl.messages import entries, message
from scipion_udl.protocols import ProtUdlAlign2D, ProtUdlClassify2D, ProtUdlClassify2DStreaming
from scipion_udl.tests import on_screen
from scipion_udl.tests.scipion_forks import in_forks
from scipion_udl.tests.scipion_helpers import RunTest, correlation, kill, read_truth, simulate
from scipion_udl.tests.stream_helpers import Feeder, StreamTest
from scipion_udl.viewers import UdlClassesViewer, UdlClassify2DViewer
from scipion_udl.viewers.choice import ChoiceGallery

BOX, PIXEL_SIZE, COUNT, CLASSES = 48, 3.0, 70, 4
ANSWERS = {"numberOfClasses": CLASSES, "starts": 1}  # one network, not the best of several
DISABLED = (3, 100, 101)
VIEWS = ("hook", "clamp", "anchor")


class ClassifyTest(RunTest):
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
        cls.imported = cls.importFile(cls.stack)

    @classmethod
    def newRun(cls, protocol: type = ProtUdlClassify2D, source: object = None, **options: object) -> ProtUdlClassify2D:
        given = {"numberOfClasses": CLASSES, "numberOfThreads": 1, **options}
        run = cls.newProtocol(protocol, **given)
        run.inputParticles.set(cls.imported if source is None else source)
        run.inputParticles.setExtended("outputParticles")
        return run

    def membersOf(self, classes: emobj.SetOfClasses2D, numbers: object = None) -> dict[int, list[emobj.Particle]]:
        """The items of each class, by its number; checks that a class says the same of itself."""
        found = {}
        for own in classes.iterItems():
            self.assertTrue(own.hasAlignment2D())
            items = [item.clone() for item in own.iterItems()]
            self.assertEqual({item.getClassId() for item in items}, {own.getObjId()})
            self.assertEqual(own.getSize(), len(items))
            found[own.getObjId()] = items
        self.assertEqual(list(found), list(numbers or range(1, CLASSES + 1)))
        return found

    def checkMembers(self, found: dict[int, list[emobj.Particle]], expected: set[int]) -> None:
        """Every particle is in one class; a class is of one view, and each view has one."""
        ids = [item.getObjId() for items in found.values() for item in items]
        self.assertEqual(len(ids), len(set(ids)))
        self.assertEqual(set(ids), expected)
        largest = set()
        for number, items in found.items():
            views = np.bincount([view_of(item) for item in items], minlength=len(VIEWS))
            if len(items) > COUNT // 3:
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
            if len(found[number]) > COUNT // 3:
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


def view_of_class(classes: dict[int, int], number: int) -> int:
    """The view of most particles of a class; classes: of each particle, by its id."""
    views = [(item - 1) % len(VIEWS) for item, own in classes.items() if own == number]
    return int(np.bincount(views).argmax())


class TestUdlClassify2D(ClassifyTest):
    """The protocol from its form to its outputs, and what takes these."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        with sqlite3.connect(cls.proj.getPath(cls.imported.outputParticles.getFileName())) as database:
            database.execute(f"UPDATE Objects SET enabled=0 WHERE id IN {DISABLED}")
        cls.run_ = cls.launchProtocol(cls.newRun(**ANSWERS))
        cls.facts = {one["class"]: one for one in cls.run_.readEngineSummary()["classes"]}

    def test_every_particle_is_in_a_class_of_its_view_and_in_register(self) -> None:
        found = self.membersOf(self.run_.outputClasses)
        sizes = [len(items) for items in found.values()]
        self.assertEqual(sizes, sorted(sizes, reverse=True))
        self.checkMembers(found, set(range(1, len(VIEWS) * COUNT + 1)) - set(DISABLED))
        self.checkGeometry(self.run_.outputClasses, found)
        for items in found.values():
            for item in items:
                self.assertTrue(-1 <= item._udlScore.get() <= 1)
                self.assertIn(item._udlOutlier.get(), (True, False))
                self.assertIn(item._udlAmbiguous.get(), (True, False))

    def test_what_is_known_of_classes_is_told(self) -> None:
        classes, averages = self.run_.outputClasses, self.run_.outputAverages
        self.assertEqual((len(classes), averages.getSize()), (CLASSES, CLASSES))
        self.assertEqual((averages.getSamplingRate(), averages.getDim()), (PIXEL_SIZE, (BOX, BOX, 1)))
        for own, average in zip(classes.iterItems(), averages.iterItems()):
            facts = self.facts[own.getObjId()]
            self.assertEqual(average.getObjId(), own.getObjId())
            self.assertEqual(average.getLocation(), own.getRepresentative().getLocation())
            for item in (own, average):
                self.assertEqual(item._udlFlagged.get(), bool(facts["flagged"]))
                self.assertEqual((item._udlMirrorOf.get(), item._udlView.get()), (facts["mirror_of"], facts["view"]))
                self.assertEqual(item._udlSuperclass.get(), facts["superclass"])
            for item in (own.getRepresentative(), average):
                self.assertEqual(item._udlResolution.get(), facts["resolution"])
        self.assertEqual(self.run_.outputModel.misfit(BOX, PIXEL_SIZE), "")

    def test_its_model_is_of_classes_and_brings_them_along(self) -> None:
        for protocol, refused in ((ProtUdlClassify2D, False), (ProtUdlAlign2D, True)):
            run = self.newRun(protocol, modelFrom=1)
            run.inputModel.set(self.run_)
            run.inputModel.setExtended("outputModel")
            errors = run.validate()
            self.assertEqual([error for error in errors if "udl - classify 2D" in error], errors)
            self.assertEqual(bool(errors), refused)
            if not refused:
                self.assertNotIn("--classes", run._classifyOptions())
                self.assertIn("--classes", self.run_._classifyOptions())

    def test_averages_of_one_run_are_the_references_of_another(self) -> None:
        """Fixed ones: particles go where the first run has them, and its number is in the table."""
        run = self.newRun(referencesAre=1, doRefine=False)
        run.inputReferences.set(self.run_)
        run.inputReferences.setExtended("outputClasses")
        self.assertEqual(run.validate(), [])
        self.launchProtocol(run)
        with open(run._getExtraPath("classes.csv"), encoding="utf-8", newline="") as file:
            reference = {int(row["class"]): int(row["reference"]) for row in csv.DictReader(file)}
        before = {item.getObjId(): own.getObjId() for own in self.run_.outputClasses.iterItems() for item in own}
        after = {item.getObjId(): own.getObjId() for own in run.outputClasses.iterItems() for item in own}
        self.assertEqual(set(before), set(after))
        same = np.mean([view_of_class(before, before[k]) == view_of_class(before, reference[after[k]]) for k in after])
        self.assertGreater(same, 0.9)
        self.assertIn("given class average", run.methods()[0])
        self.assertNotIn("--classes", run._classifyOptions())
        options = run._classifyOptions()
        self.assertIn("--references", options)
        self.assertIn("--fixed-references", options)
        self.assertNotIn("--starts", options)

    def test_classes_of_aligned_particles_in_their_poses(self) -> None:
        run = self.newRun(keepAlignment=1, doRefine=False, numberOfClasses=2)
        self.assertIn("no 2D alignment to keep", " ".join(run.validate()))
        run.inputParticles.set(self.run_)
        run.inputParticles.setExtended("outputClasses.1")
        self.assertEqual(run.validate(), [])
        self.launchProtocol(run)
        before = {item.getObjId(): item.getTransform().getMatrix() for item in self.run_.outputClasses[1].iterItems()}
        after = {item.getObjId(): item.getTransform().getMatrix() for one in run.outputClasses for item in one}
        self.assertEqual(set(before), set(after))
        for number, matrix in after.items():
            np.testing.assert_allclose(matrix, before[number], atol=1e-3)

    def test_words(self) -> None:
        summary = "\n".join(self.run_.summary())
        self.assertIn(f"Sorted *{len(VIEWS) * COUNT - len(DISABLED)}* particles", summary)
        self.assertIn(f"*{CLASSES}* classes", summary)
        self.assertIn("flagged", summary)
        self.assertIn("none of the outputs: 3", summary)
        self.assertIn("report.html", summary)
        self.assertIn("Chen2023", self.run_.methods()[0])
        self.assertIn(f"{CLASSES} 2D classes", self.run_.methods()[0])
        self.assertIn("rotated and shifted by a network of learned templates", self.run_.methods()[0])
        self.assertNotIn("180", self.run_.methods()[0])  # the templates are compared in every orientation
        self.assertIn(f"Learned *{CLASSES}* classes in ", summary)
        self.assertIn("10.1016/j.jsb.2023.107940", "\n".join(self.run_.citations()))

    def test_a_subset_of_good_classes_is_aligned_by_align_2d(self) -> None:
        """As a user does it: choose classes in the gallery, make a subset, give it to 'udl - align 2D'."""
        gallery = self.gallery()
        gallery.choose(np.arange(CLASSES) < 2)
        subset = self.subset(gallery, "Classes").outputClasses2D
        numbers = [own.getObjId() for own in subset.iterItems()]
        self.assertEqual(numbers, [1, 2])
        run = self.newRun(ProtUdlAlign2D, numberOfClasses=None, epochs=1, maxShift=3)
        run.inputParticles.set(subset)
        run.inputParticles.setExtended("")
        self.launchProtocol(run)
        aligned = self.membersOf(run.outputClasses, numbers)
        for number, items in self.membersOf(self.run_.outputClasses).items():
            if number in numbers:
                self.assertEqual({item.getObjId() for item in items}, {item.getObjId() for item in aligned[number]})
        for items in aligned.values():
            self.checkPoses(items)

    def test_a_subset_of_particles_keeps_their_alignment(self) -> None:
        gallery = self.gallery()
        gallery.choose(np.arange(CLASSES) == 1)
        particles = self.subset(gallery, "Particles").outputParticles
        found = {item.getObjId(): item.getTransform().getMatrix().tolist() for item in particles.iterItems()}
        expected = self.membersOf(self.run_.outputClasses)[2]
        self.assertEqual(found, {item.getObjId(): item.getTransform().getMatrix().tolist() for item in expected})
        self.assertTrue(particles.hasAlignment2D())
        averages = self.subset(gallery, "Averages").outputRepresentatives
        self.assertEqual([item.getIndex() for item in averages.iterItems()], [2])

    def gallery(self) -> ChoiceGallery:
        viewer = UdlClassify2DViewer(project=self.proj)
        viewer.setProtocol(self.run_)
        (plotter,) = viewer._getVisualizeDict()["doShowClasses"]()
        return plotter.getFigure().udl_gallery

    def test_while_it_learns_the_gallery_shows_what_was_learned_so_far(self) -> None:
        viewer, folder = UdlClassify2DViewer(project=self.proj), tempfile.mkdtemp(dir=self.getOutputPath())
        images = mrcfile.read(self.run_._getExtraPath("averages.mrcs"))[:, 8:-8, 8:-8]
        write_stack(os.path.join(folder, CLASSES_SO_FAR), images, 2 * PIXEL_SIZE)
        viewer.setProtocol(self.run_)
        with mock.patch.object(self.run_, "_getExtraPath", lambda *names: os.path.join(folder, *names)):
            (plotter,) = viewer._getVisualizeDict()["doShowClasses"]()
        gallery = plotter.getFigure().udl_gallery
        self.assertIn("learned so far", gallery.note.get_text())
        self.assertEqual(len(gallery.rows), len(images))
        self.assertEqual(gallery.pixel_size, 2 * PIXEL_SIZE)

    def subset(self, gallery: ChoiceGallery, kind: str) -> ProtUserSubSet:
        """What comes of pressing a button of the gallery, where no window of the project is open."""
        before = {run.getObjId() for run in self.proj.getRuns()}
        with in_forks():
            gallery.make(kind)
        self.assertIn("Started", gallery.told.get_text())
        (new,) = (run for run in self.proj.getRuns() if run.getObjId() not in before)
        self.untilEnd(new)
        return new

    def test_the_gallery_by_size_resolution_similarity_and_quality(self) -> None:
        gallery = self.gallery()
        self.assertEqual(list(gallery.orders)[:3], ["by size", "by resolution", "by similarity"])
        groups = [self.facts[row + 1]["superclass"] for row in gallery.orders["by superclass"]]
        self.assertEqual(groups, sorted(groups))
        self.assertEqual(gallery.orders["by size"].tolist(), list(range(CLASSES)))
        views = [self.facts[row + 1]["view"] for row in gallery.orders["by similarity"]]
        self.assertEqual(views, sorted(views))
        quality = [self.facts[row + 1]["quality"] for row in gallery.orders["by quality"]]
        self.assertEqual(quality, sorted(quality, reverse=True))
        for row in range(CLASSES):
            facts, words = self.facts[row + 1], gallery.caption(row)
            self.assertTrue(words.split("\n")[0].endswith(f", {facts['quality']:.2f}"), words)
            self.assertIn(f"{row + 1}: {facts['particles']}", words)
            self.assertEqual("flagged" in words, bool(facts["flagged"]))
            self.assertEqual("mirror of" in words, facts["mirror_of"] is not None)
            self.assertEqual(gallery.chosen[row], not facts["flagged"])

    def test_classes_are_seen_one_by_one(self) -> None:
        viewer = UdlClassify2DViewer(project=self.proj)
        viewer.setProtocol(self.run_)
        viewer.classNumber.set(2)
        (plotter,) = viewer._getVisualizeDict()["doShowParticles"]()
        rows = plotter.getFigure().udl_gallery.orders["Worst first"]
        self.assertEqual(len(rows), self.facts[2]["particles"])
        for name in ("doShowReport", "doShowFrc", "doShowHistograms", "doShowTraining"):
            (view,) = viewer._getVisualizeDict()[name]()
            self.assertFalse(isinstance(view, MessageView), name)

    def test_scipion_finds_the_viewers(self) -> None:
        find = self.proj.getDomain().findViewers
        self.assertIs(find(self.run_, "tkinter")[0], UdlClassify2DViewer)
        self.assertIn(UdlClassesViewer, find(self.run_.outputClasses, "tkinter"))

    @unittest.skipUnless(on_screen.can_show(), "xvfb-run is not installed")
    def test_classes_are_chosen_by_the_mouse_beside_scipions_window(self) -> None:
        self.proj.mapper.commit()  # or the window waits for this process to be done with the project
        found = on_screen.show("subset", self.proj.getShortName())
        self.assertEqual(found["classes"], [1, 2])
        self.assertEqual(found["label"], f"classes of 2 of {CLASSES} classes")
        self.assertIn("Started", found["told"])
        self.assertIn(f"Chosen: 2 of {CLASSES} classes", found["count"])
        self.assertEqual(found["cut"], [])


class TestUdlClassify2DStreaming(StreamTest, ClassifyTest):
    """Particles that keep coming are sorted into the classes that the first of them made."""

    def test_classes_that_grow_while_the_run_is_killed(self) -> None:
        feeder = Feeder(self, self.stack, 70, DISABLED)
        run = self.startOn(ProtUdlClassify2DStreaming, feeder, firstBatch=120, batchSize=40, **ANSWERS)
        self.untilStep(run, "resumableStepGeneratorStep")
        feeder.add(70)
        self.until(run, lambda: run.hasAttribute("outputAverages"), "the first particles are not sorted")
        early = self.posesOf(run)
        self.assertEqual(len(early), 120)
        self.assertIn("the input still grows", "\n".join(run.summary()))
        feeder.add(40)
        self.untilStep(run, "joinStep")
        kill(run)
        self.resume(run)
        feeder.end(count=len(VIEWS) * COUNT - 180)
        self.untilEnd(run)
        late = self.posesOf(run)
        self.assertEqual({key: late[key] for key in early}, early)  # nothing is sorted or aligned again
        found = self.membersOf(run.outputClasses)
        self.checkMembers(found, set(range(1, len(VIEWS) * COUNT + 1)) - set(DISABLED))
        self.checkGeometry(run.outputClasses, found)
        self.assertTrue(run.outputClasses.isStreamClosed() and run.outputAverages.isStreamClosed())
        self.checkFigures(run, found)

    def posesOf(self, run: ProtUdlClassify2DStreaming) -> dict[int, tuple]:
        """Class and alignment of each particle."""
        items = (item for own in run.outputClasses.iterItems() for item in own.iterItems())
        return {item.getObjId(): (item.getClassId(), item.getTransform().getMatrix().tolist()) for item in items}

    def checkFigures(self, run: ProtUdlClassify2DStreaming, found: dict[int, list[emobj.Particle]]) -> None:
        """The figures of the classes are those of all particles, wherever they stand."""
        facts = run.readEngineSummary()
        sizes = {number: len(items) for number, items in found.items()}
        self.assertEqual(facts["particles"], sum(sizes.values()))
        self.assertEqual({one["class"]: one["particles"] for one in facts["classes"]}, sizes)
        with open(self.extraFile(run, "classes.csv"), encoding="utf-8", newline="") as file:
            self.assertEqual({int(row["class"]): int(row["particles"]) for row in csv.DictReader(file)}, sizes)
        ambiguous = sum(item._udlAmbiguous.get() for items in found.values() for item in items)
        outliers = sum(item._udlOutlier.get() for items in found.values() for item in items)
        self.assertEqual((facts["ambiguous"], facts["outliers"]), (ambiguous, outliers))
        resolutions = {item.getObjId(): item._udlResolution.get() for item in run.outputAverages.iterItems()}
        self.assertEqual(resolutions, {one["class"]: one["resolution"] for one in facts["classes"]})
        summary = "\n".join(run.summary())
        self.assertIn(f"*{sum(sizes.values())}* particles have come", summary)
        self.assertIn("the input is complete", summary)
        self.assertIn("none of the outputs: 3", summary)
        self.assertIn("those that came later", run.methods()[1])
        self.assertEqual(run.outputModel.misfit(BOX, PIXEL_SIZE), "")
        viewer = UdlClassify2DViewer(project=self.proj)
        viewer.setProtocol(run)
        (plotter,) = viewer._getVisualizeDict()["doShowParticles"]()
        self.assertEqual(len(plotter.getFigure().udl_gallery.orders["Best first"]), sum(sizes.values()))


class TestUdlClassify2DForm(ClassifyTest):
    """What the answers of the form mean to the engine, and what is refused or warned of beforehand."""

    def test_only_what_was_answered_is_told_to_the_engine(self) -> None:
        self.assertEqual(self.newRun()._classifyOptions(), "--classes 4 --seed 1 --ctf auto")
        answers = {"contrast": 1, "finest": 12.5, "diameter": 130, "maxShift": 5, "teach": 200, "starts": 3}
        answers["doRefine"] = False
        options = self.newRun(**answers)._classifyOptions()
        asked = (
            "--polarity bright",
            "--high-resolution-limit 12.5",
            "--max-shift 5",
            "--training-subset 200",
            "--starts 3",
        )
        for option in (*asked, "--diameter 130"):
            self.assertIn(f" {option}", options)
        self.assertTrue(options.endswith(" --no-refine"))

    def test_answers_that_do_not_fit_are_refused(self) -> None:
        for answer, sentence in (
            ({"finest": 1.9 * PIXEL_SIZE}, "nothing finer than 6 Å"),
            ({"maxShift": BOX}, "*Largest shift*"),
            ({"numberOfClasses": 53}, "there are 210 particles: give fewer, for at least 4 of each"),
            ({"numberOfClasses": 1}, "*Number of classes* is 1: give 2 or more, or -1"),
            ({"teach": 3}, "3 for 4 classes"),
            ({"ctfTreatment": 1}, "no CTF"),
        ):
            errors = self.newRun(**answer).validate()
            self.assertEqual(len(errors), 1, answer)
            self.assertIn(sentence, errors[0])
        self.assertIn("cannot be EMPTY", self.newProtocol(ProtUdlClassify2D).validate()[0])

    def test_small_classes_and_long_runs_are_warned_of(self) -> None:
        self.assertEqual(self.newRun().warnings(), [])
        (warning,) = self.newRun(numberOfClasses=50).warnings()
        self.assertIn("4 for each", warning)

    def test_as_many_classes_as_suit_the_particles_where_nobody_says_how_many(self) -> None:
        count = len(VIEWS) * COUNT
        for asked, made in ((-1, count // 100), (7, 7)):
            run = self.newRun(numberOfClasses=asked)
            self.assertEqual(run.classesToMake(), made)
            self.assertIn(f"--classes {made} ", run._classifyOptions())
            self.assertEqual(run.validate(), [])
        streaming = self.newRun(ProtUdlClassify2DStreaming, numberOfClasses=-1, firstBatch=1200)
        self.assertEqual(streaming.classesToMake(), 12)  # of the first particles, which make the classes
        self.assertEqual(self.newProtocol(ProtUdlClassify2D).numberOfClasses.get(), -1)

    def test_a_summary_says_of_what_classes_were_learned_and_how_far_particles_may_lie(self) -> None:
        run = self.newRun(numberOfClasses=-1)
        said = {"training": {"rounds": 31}, "classes_asked": 5, "box": BOX}
        self.assertEqual(run._learningSummary(said), ["Learned *5* classes (automatic) in 31 rounds."])
        self.assertEqual(run._learningSummary({"model": "given"}), [])
        self.assertEqual(run._shiftSummary(said), [f"Largest shift: *{automatic_shift(BOX):.3g} px*, automatic."])
        self.assertEqual(self.newRun(maxShift=7)._shiftSummary(said), [])

    def test_flagged_junk_is_no_cause_for_a_warning_sign(self) -> None:
        run = self.newRun()
        classes = [{"class": k, "image": k, "particles": 10, "flagged": k == 2, "signal_found": True} for k in (1, 2)]
        junk = message(
            "classes_flagged", count=1, total=2, share=0.5, why="their particles fit no better than noise would"
        )
        said = {"particles": 20, "box": 48, "classes": classes, "messages": entries([], [junk])}
        with mock.patch.object(ProtUdlClassify2D, "readEngineSummary", lambda _self: said):
            self.assertFalse(run.hasSummaryWarnings())
            summary = "\n".join(run.summary())
            self.assertIn("*1 class is flagged* as junk, with 10 particles (50 %)", summary)
            self.assertIn(str(junk), summary)

    def test_what_a_summary_says_of_noise(self) -> None:
        run = self.newRun()
        classes = [{"class": k, "image": k, "particles": 10, "flagged": True, "signal_found": False} for k in (1, 2)]
        said = {"particles": 20, "box": 48, "classes": classes, "signal_found": False, "warnings": ["Only noise."]}
        with mock.patch.object(ProtUdlClassify2D, "readEngineSummary", lambda _self: said):
            summary = "\n".join(run.summary())
            self.assertTrue(run.hasSummaryWarnings())
            for words in ("*No classes were found*", "*2 classes are flagged* as junk, with 20 particles (100 %)"):
                self.assertIn(words, summary)
            for one, other in ((classes[0], 2), (classes[1], 1)):
                one["mirror_of"] = other
            self.assertIn("mirror images of each other: 1 and 2.", "\n".join(run.summary()))
