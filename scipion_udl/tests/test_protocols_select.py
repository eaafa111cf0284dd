"""Good classes and particles chosen out of classes of another program, and out of such that were judged before."""

from __future__ import annotations

import csv
from itertools import chain
from pathlib import Path

import numpy as np
import pwem.objects as emobj
from pwem.emlib.image import ImageHandler
from pyworkflow.object import Float, Pointer
from pyworkflow.protocol import MODE_RESUME, STATUS_FINISHED
from pyworkflow.tests import setupTestOutput, setupTestProject

from scipion_udl.convert.scipion_sign import transform_matrices
from scipion_udl.imaging.poses import Poses, to_matrices
from scipion_udl.io.stacks import StackReader, write_stack
from scipion_udl.io.tables import read_tables
from scipion_udl.protocols import ProtUdlSelectClasses, ProtUdlSimulate
from scipion_udl.tests.scipion_helpers import RunTest, correlation
from scipion_udl.viewers import UdlSelectClassesViewer

BOX, COUNT, PIXEL_SIZE = 40, 60, 4.0
# Number of a class: spots of its view (x, y, width, height); one shows noise, and one the user has disabled.
VIEWS = {
    2: [(0, 0, 4, 1.0), (8, -3, 3, 1.2), (-5, 6, 2, 0.8), (3, 9, 3, 0.6)],
    5: [(0, 1, 4, 1.1), (-7, -4, 3, 1.0), (6, 5, 3, 0.9), (0, -9, 2, 0.7)],
    9: [(1, 0, 5, 1.0), (7, 6, 2, 1.1), (-8, 2, 3, 0.9), (-2, -8, 2, 0.8)],
}
NOISE, DISABLED_CLASS = 7, 12
DISABLED = (503, 504, 911)
SNR = 0.5


def seen(spots: list[tuple], poses: Poses, random: np.random.Generator) -> np.ndarray:
    """Noisy particles (n, BOX, BOX) that ``poses`` bring onto the view that is made of spots."""
    y, x = np.mgrid[:BOX, :BOX] - BOX // 2
    moved = to_matrices(poses) @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
    images = sum(h * np.exp(-((moved[:, 0] - a) ** 2 + (moved[:, 1] - b) ** 2) / (2 * s**2)) for a, b, s, h in spots)
    images = np.broadcast_to(images, (len(poses), x.size)).reshape(-1, BOX, BOX)
    return (images + random.normal(0, images.std() / SNR**0.5 or 0.4, images.shape)).astype(np.float32)


class TestUdlSelectClasses(RunTest):
    """Three views and noise, each particle in the class of its view: particle k of class n has the id 100 n + k."""

    @classmethod
    def setUpClass(cls) -> None:
        setupTestProject(cls)
        setupTestOutput(cls)
        cls.folder = Path(cls.getOutputPath()).absolute()
        random = np.random.default_rng(5)
        draw = lambda: Poses(random.uniform(-180, 180, COUNT), random.uniform(-2, 2, (COUNT, 2)))  # noqa: E731
        cls.poses = {number: draw() for number in (*VIEWS, NOISE, DISABLED_CLASS)}
        spots = {**VIEWS, NOISE: [(0, 0, 1, 0.0)], DISABLED_CLASS: VIEWS[2]}
        cls.stack = str(cls.folder / "particles.mrcs")
        write_stack(cls.stack, np.concatenate([seen(spots[k], cls.poses[k], random) for k in cls.poses]), PIXEL_SIZE)
        cls.source = cls.newSource()
        cls.run_ = cls.launchProtocol(cls.newRun())
        cls.facts = {one["class"]: one for one in cls.run_.readEngineSummary()["classes"]}

    @classmethod
    def items(cls, number: int) -> list[emobj.Particle]:
        first = list(cls.poses).index(number) * COUNT
        found = []
        for k, matrix in enumerate(transform_matrices(cls.poses[number])):
            item = emobj.Particle(location=(first + k + 1, cls.stack), objId=100 * number + k)
            item.setEnabled(item.getObjId() not in DISABLED)
            item.setClassId(number)
            item.setTransform(emobj.Transform(matrix))
            item._theirs = Float(100 * number + k + 0.5)  # what another program hangs on it
            found.append(item)
        return found

    @classmethod
    def newSource(cls, judged: Path | None = None) -> ProtUdlSimulate:
        """A run of another program that gives the classes; judged: the folder in which they were judged when they were
        made, as by 'udl - classify 2D'."""
        source = cls.newProtocol(ProtUdlSimulate)
        cls.proj.saveProtocol(source)
        source.makePathsAndClean()
        particles = source._createSetOfParticles()
        particles.setSamplingRate(PIXEL_SIZE)
        particles.setAcquisition(
            emobj.Acquisition(magnification=50000, voltage=300, sphericalAberration=2.7, amplitudeContrast=0.1)
        )
        for item in chain(*map(cls.items, cls.poses)):
            particles.append(item)
        source._defineOutputs(outputParticles=particles)
        classes = source._createSetOfClasses2D(Pointer(source, extended="outputParticles"))
        quality = cls.qualityIn(judged) if judged else {}
        for number in cls.poses:
            one, own = emobj.Class2D(objId=number), cls.items(number)
            one.copyInfo(particles)
            one.setAlignment2D()
            one.setRepresentative(emobj.Particle(location=own[0].getLocation()))
            if judged and number != DISABLED_CLASS:
                place = sorted({*VIEWS, NOISE}).index(number) + 1, str(judged / "averages.mrcs")
                one.setRepresentative(emobj.Particle(location=place))
            one.setEnabled(number != DISABLED_CLASS)
            classes.append(one)
            for item in own:
                if judged:
                    item._udlQuality = Float(quality.get(item.getObjId(), 0.0))
                one.append(item)
            classes.update(one)
        source._defineOutputs(outputClasses=classes)
        source.setStatus(STATUS_FINISHED)
        cls.proj._storeProtocol(source)
        return source

    @staticmethod
    def qualityIn(folder: Path) -> dict[int, float]:
        """The quality of each particle, by its id, as selected.star has it."""
        table = read_tables(str(folder / "selected.star"))[1]
        return dict(zip(map(int, table.texts("udlItemId")), table.numbers("udlQuality")))

    @classmethod
    def newRun(cls, source: ProtUdlSimulate | None = None, **answers: object) -> ProtUdlSelectClasses:
        run = cls.newProtocol(ProtUdlSelectClasses, numberOfThreads=1, **answers)
        run.inputClasses.set(source or cls.source)
        run.inputClasses.setExtended("outputClasses")
        return run

    def test_views_are_chosen_and_noise_is_not(self) -> None:
        classes = {one.getObjId(): [item.clone() for item in one] for one in self.run_.outputClasses.iterItems()}
        self.assertEqual(sorted(classes), sorted(VIEWS))
        for number, items in classes.items():
            enabled = {100 * number + k for k in range(COUNT)} - set(DISABLED)
            self.assertLessEqual({item.getObjId() for item in items}, enabled)
            self.assertGreater(len(items), 0.9 * len(enabled), number)

    def test_particles_are_those_of_the_classes_as_they_came_with_their_quality(self) -> None:
        quality = self.qualityIn(self.extraFile(self.run_, "judged"))
        given = {item.getObjId(): item for number in VIEWS for item in self.items(number)}
        of_classes = chain(*([item.clone() for item in one] for one in self.run_.outputClasses.iterItems()))
        particles = [item.clone() for item in self.run_.outputParticles.iterItems()]
        self.assertEqual({item.getObjId() for item in particles}, {item.getObjId() for item in of_classes})
        self.assertTrue(self.run_.outputParticles.hasAlignment2D())
        self.assertEqual(self.run_.outputParticles.getSamplingRate(), PIXEL_SIZE)
        for item in particles:
            before = given[item.getObjId()]
            np.testing.assert_allclose(item.getTransform().getMatrix(), before.getTransform().getMatrix())
            self.assertEqual(
                (item.getLocation()[0], item._theirs.get()), (before.getLocation()[0], before._theirs.get())
            )
            self.assertEqual(item.getClassId(), item.getObjId() // 100)
            self.assertAlmostEqual(item._udlQuality.get(), quality[item.getObjId()], places=4)
            self.assertGreaterEqual(item._udlQuality.get(), 0.5)

    def test_averages_are_of_their_classes_and_representatives_those_of_the_input(self) -> None:
        y, x = np.mgrid[:BOX, :BOX] - BOX // 2
        averages = {one.getObjId(): one.clone() for one in self.run_.outputAverages.iterItems()}
        self.assertEqual(sorted(averages), sorted(VIEWS))
        for number, average in averages.items():
            template = sum(h * np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * s**2)) for a, b, s, h in VIEWS[number])
            shown = ImageHandler().read(average).getData()
            self.assertGreater(correlation(shown, template), 0.85, number)
            self.assertAlmostEqual(average._udlQuality.get(), self.facts[number]["quality"], places=3)
            self.assertEqual(average.getSamplingRate(), PIXEL_SIZE)
        for one in self.run_.outputClasses.iterItems():
            self.assertEqual(one.getRepresentative().getIndex(), self.items(one.getObjId())[0].getIndex())
            self.assertAlmostEqual(one._udlQuality.get(), self.facts[one.getObjId()]["quality"], places=3)
            self.assertTrue(one.hasAlignment2D())

    def test_words(self) -> None:
        summary, count = "\n".join(self.run_.summary()), self.run_.outputParticles.getSize()
        total = 4 * COUNT - len(DISABLED)
        self.assertIn(
            f"Chose *3* of 4 classes, and *{count}* of {total} particles ({100 * count / total:.0f} %).", summary
        )
        self.assertIn("none of the outputs: 63", summary)  # three, and a class of 60
        self.assertIn(f"{count} particles in 3 of 4 2D classes", self.run_.methods()[0])
        self.assertIn("10.1016/j.jsb.2023.107940", "\n".join(self.run_.citations()))
        with open(self.extraFile(self.run_, "selection.csv"), encoding="utf-8", newline="") as file:
            self.assertEqual({int(row["class"]) for row in csv.DictReader(file)}, {*VIEWS, NOISE})

    def test_the_gallery_shows_all_classes_and_what_is_chosen(self) -> None:
        viewer = UdlSelectClassesViewer(project=self.proj)
        viewer.setProtocol(self.run_)
        (plotter,) = viewer._getVisualizeDict()["doShowClasses"]()
        gallery = plotter.getFigure().udl_gallery
        numbers = sorted({*VIEWS, NOISE})
        self.assertEqual([numbers[row] for row in np.flatnonzero(gallery.chosen)], sorted(VIEWS))
        best_first = [self.facts[numbers[row]]["quality"] for row in gallery.orders["by quality"]]
        self.assertEqual(best_first, sorted(best_first, reverse=True))
        noise = numbers.index(NOISE)
        self.assertIn(f"{NOISE}: quality {self.facts[NOISE]['quality']:.2f}, {COUNT}\nquality", gallery.caption(noise))
        shown = gallery.kinds["aligned"](np.array([numbers.index(5)]))[0]
        average = next(one.clone() for one in self.run_.outputAverages.iterItems() if one.getObjId() == 5)
        np.testing.assert_array_equal(shown, ImageHandler().read(average).getData())

    def test_classes_that_were_judged_are_not_judged_again_and_another_choice_is_made_by_continue(self) -> None:
        judged = Path(self.run_._getExtraPath("judged"))
        run = self.newRun(self.newSource(judged), maxResolution=1.0)
        self.launchProtocol(run)
        self.assertEqual(list(run.iterOutputAttributes()), [])  # nothing is that good
        self.assertIn("*Nothing is chosen* of 4 classes", run.summary()[0])
        self.assertTrue(run.hasSummaryWarnings())
        warning = run.summary()[-1]
        self.assertIn("classes named with *Classes* are taken", warning)
        self.assertIn("judged when they were made", self.logOf(run))
        self.assertFalse(self.extraFile(run, "judged/run.log").exists())
        run.maxResolution.set(-1)
        run.runMode.set(MODE_RESUME)
        self.launchProtocol(run)
        for name in ("outputParticles", "outputClasses", "outputAverages"):
            found, expected = ([item.getObjId() for item in getattr(one, name).iterItems()] for one in (run, self.run_))
            self.assertEqual(found, expected, name)
        before, after = (StackReader(str(self.extraFile(one, "averages.mrcs"))).read() for one in (self.run_, run))
        np.testing.assert_array_equal(before, after)
        self.assertFalse(run.hasSummaryWarnings())

    def test_what_the_answers_mean_to_the_engine(self) -> None:
        self.assertEqual(self.newRun()._choosingOptions(), "--min-quality 0.5")
        answers = {"minQuality": 0.8, "minParticles": 30, "maxResolution": 12.5}
        asked = "--min-quality 0.8 --min-particles 30 --max-resolution 12.5"
        self.assertEqual(self.newRun(**answers)._choosingOptions(), asked)
        run = self.newRun(chooseBy=1, chosenClasses=" 2, 5-9", diameter=120.0)
        self.assertEqual(run._choosingOptions(), "--classes 2,5,6,7,8,9")
        self.assertIn("--diameter 120", run._judgingOptions())
        self.assertEqual(self.newRun(balance="auto")._choosingOptions(), "--min-quality 0.5 --balance auto")
        self.assertEqual(self.newRun(balance="40")._choosingOptions(), "--min-quality 0.5 --balance 40")

    def test_no_view_gives_more_particles_than_were_asked_for(self) -> None:
        self.assertTrue(all(one["superclass"] >= 1 for one in self.facts.values()))
        run = self.newRun(self.newSource(Path(self.run_._getExtraPath("judged"))), balance="20")
        self.launchProtocol(run)
        facts = {one["class"]: one for one in run.readEngineSummary()["classes"]}
        for number in VIEWS:  # as they were grouped when they were judged
            self.assertEqual(facts[number]["superclass"], self.facts[number]["superclass"])
        kept: dict[int, list] = {}
        for one in run.outputClasses.iterItems():
            kept.setdefault(facts[one.getObjId()]["superclass"], []).extend(item._udlQuality.get() for item in one)
        self.assertEqual({len(own) for own in kept.values()}, {20})
        for view, own in kept.items():
            before = [
                item._udlQuality.get()
                for one in self.run_.outputClasses.iterItems()
                if facts[one.getObjId()]["superclass"] == view
                for item in one
            ]
            np.testing.assert_allclose(sorted(own), sorted(before)[-20:], atol=1e-4)
        self.assertIn("at most 20 particles are chosen", " ".join(run.summary()))

    def test_answers_that_do_not_fit_are_refused(self) -> None:
        self.assertEqual(self.newRun(chooseBy=1, chosenClasses="2,7").validate(), [])
        for answers, sentence in (
            ({"minQuality": 1.5}, "from 0 to 1"),
            ({"chooseBy": 1}, "*Classes*: nothing is given: give numbers such as 2,3,5-12."),
            ({"chooseBy": 1, "chosenClasses": "2;5"}, "'2;5' is not a whole number"),
            ({"chooseBy": 1, "chosenClasses": f"2,3,{DISABLED_CLASS}"}, "names 3, 12, and *Input classes* has no such"),
            ({"diameter": 1000.0}, "*Particle diameter*"),
            ({"balance": "few"}, "*Most particles of a view*: 'few' is not a whole number"),
        ):
            errors = self.newRun(**answers).validate()
            self.assertEqual(len(errors), 1, answers)
            self.assertIn(sentence, errors[0])
        self.assertIn("cannot be EMPTY", self.newProtocol(ProtUdlSelectClasses).validate()[0])
