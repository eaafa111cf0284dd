"""Classifications of the same particles, made by hand, against each other, and what all of them agree on."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pwem.objects as emobj
from pyworkflow.object import Float, Pointer
from pyworkflow.protocol import MODE_RESUME, STATUS_FINISHED
from pyworkflow.tests import setupTestOutput, setupTestProject

from scipion_udl.convert.scipion_sign import transform_matrices
from scipion_udl.imaging.poses import Poses
from scipion_udl.io.stacks import StackReader, write_stack
from scipion_udl.protocols import ProtUdlCompareClasses, ProtUdlSimulate
from scipion_udl.tests.scipion_helpers import RunTest, write_spider
from scipion_udl.viewers import UdlCompareClassesViewer
from scipion_udl.viewers.base import BrowserView

DRAWN = True

BOX, COUNT, PIXEL_SIZE, FIRST_ID = 16, 60, 3.0, 101
# The class of each particle: three of 20, the same under other numbers but for four particles, and but for two others.
FIRST = np.repeat([2, 5, 9], 20)
SECOND = np.repeat([4, 1, 3], 20)
SECOND[:4] = 1
THIRD = np.repeat([1, 2, 3], 20)
THIRD[[0, 25]] = [2, 3]  # of particle 0 it says what the second says
ALL = np.arange(COUNT)


def rand_of_pairs(one: np.ndarray, other: np.ndarray) -> float:
    """The adjusted Rand index, counted pair by pair."""
    a = b = c = d = 0
    for k, m in combinations(range(len(one)), 2):
        here, there = one[k] == one[m], other[k] == other[m]
        a, b, c, d = a + (here and there), b + (here and not there), c + (there and not here), d + (not (here or there))
    return 2 * (a * d - b * c) / ((a + b) * (b + d) + (a + c) * (c + d))


class TestUdlCompareClasses(RunTest):
    """60 particles: particle k has the id 101 + k."""

    @classmethod
    def setUpClass(cls) -> None:
        setupTestProject(cls)
        setupTestOutput(cls)
        cls.folder = Path(cls.getOutputPath()).absolute()
        random = np.random.default_rng(3)
        cls.images = random.normal(size=(COUNT, BOX, BOX)).astype(np.float32)
        cls.poses = Poses(
            random.uniform(-180, 180, COUNT), random.uniform(-2, 2, (COUNT, 2)), random.random(COUNT) < 0.5
        )
        cls.stack = str(cls.folder / "particles.mrcs")
        write_stack(cls.stack, cls.images, PIXEL_SIZE)
        cls.averages = str(cls.folder / "averages.mrcs")
        write_stack(cls.averages, random.normal(size=(9, BOX, BOX)).astype(np.float32), PIXEL_SIZE)
        cls.first = cls.newSource(FIRST, "first", disabled=(7,))
        cls.second, cls.third = cls.newSource(SECOND, "second"), cls.newSource(THIRD, "third")
        cls.run_ = cls.launchProtocol(cls.newRun(cls.first, cls.second))

    @classmethod
    def newSource(cls, label: np.ndarray, name: str, disabled: tuple = (), stack: str = "") -> ProtUdlSimulate:
        """A run of another program that gives particles and the classes ``label`` (COUNT,) of them; disabled: particles
        that the user has taken out."""
        source = cls.newProtocol(ProtUdlSimulate)
        source.setObjLabel(name)
        cls.proj.saveProtocol(source)
        source.makePathsAndClean()
        particles = source._createSetOfParticles()
        particles.setSamplingRate(PIXEL_SIZE)
        particles.setAcquisition(
            emobj.Acquisition(magnification=50000, voltage=300, sphericalAberration=2.7, amplitudeContrast=0.1)
        )
        items = []
        for k, matrix in enumerate(transform_matrices(cls.poses)):
            item = emobj.Particle(location=(k + 1, stack or cls.stack), objId=FIRST_ID + k)
            item.setEnabled(k not in disabled)
            item.setClassId(int(label[k]))
            item.setTransform(emobj.Transform(matrix))
            item._theirs = Float(k + 0.5)  # what another program hangs on it
            items.append(item)
            particles.append(item)
        source._defineOutputs(outputParticles=particles)
        classes = source._createSetOfClasses2D(Pointer(source, extended="outputParticles"))
        for number in np.unique(label).tolist():
            one = emobj.Class2D(objId=number)
            one.copyInfo(particles)
            one.setAlignment2D()
            one.setRepresentative(emobj.Particle(location=(number, cls.averages)))
            classes.append(one)
            for k in np.flatnonzero(label == number):
                one.append(items[k])
            classes.update(one)
        source._defineOutputs(outputClasses=classes)
        source.setStatus(STATUS_FINISHED)
        cls.proj._storeProtocol(source)
        return source

    @classmethod
    def newRun(cls, *sources: ProtUdlSimulate, **answers: object) -> ProtUdlCompareClasses:
        run = cls.newProtocol(ProtUdlCompareClasses, **answers)
        for source in sources:
            run.inputClasses.append(Pointer(source, extended="outputClasses"))
        return run

    @staticmethod
    def members(run: ProtUdlCompareClasses) -> dict[int, list[emobj.Particle]]:
        """The particles of each class of the output, as it is on the disk, by its number."""
        output = emobj.SetOfClasses2D(filename=run.outputConsensus.getFileName())
        return {one.getObjId(): [item.clone() for item in one] for one in output.iterItems()}

    def test_the_output_has_the_classes_of_the_first_with_what_both_put_together(self) -> None:
        found = self.members(self.run_)
        kept = [k for k in range(COUNT) if k not in (0, 1, 2, 3, 7)]
        expected = {number: [FIRST_ID + k for k in kept if FIRST[k] == number] for number in (2, 5, 9)}
        self.assertEqual({number: [item.getObjId() for item in items] for number, items in found.items()}, expected)
        matrices = transform_matrices(self.poses)
        for number, items in found.items():
            for item in items:
                k = item.getObjId() - FIRST_ID
                np.testing.assert_allclose(item.getTransform().getMatrix(), matrices[k])
                self.assertEqual((item.getLocation()[0], item._theirs.get()), (k + 1, k + 0.5))
                self.assertEqual((item.getClassId(), item._udlConsensusShare.get()), (number, 1.0))
        again = {one.getObjId(): one._udlComesAgain.get() for one in self.run_.outputConsensus.iterItems()}
        self.assertAlmostEqual(again[2], 15 / 19, places=3)  # one is disabled
        self.assertEqual((again[5], again[9]), (1.0, 1.0))
        for one in self.run_.outputConsensus.iterItems():
            self.assertTrue(one.hasAlignment2D())
            self.assertEqual(one.getRepresentative().getIndex(), one.getObjId())

    def test_agreement_is_that_of_the_pairs_of_particles(self) -> None:
        (pair,) = self.run_.readEngineSummary()["pairs"]
        there = ALL != 7
        self.assertEqual(pair["particles"], COUNT - 1)
        self.assertAlmostEqual(pair["adjusted_rand"], rand_of_pairs(FIRST[there], SECOND[there]), places=4)
        summary = "\n".join(self.run_.summary())
        self.assertIn("Set 1: *first.outputClasses*, 59 particles in 3 classes.", summary)
        self.assertIn("Set 2: *second.outputClasses*, 60 particles in 3 classes.", summary)
        self.assertIn(f"Sets 1 and 2: adjusted Rand index *{pair['adjusted_rand']:.2f}*, 93 % of 59 particles", summary)
        self.assertIn("*93 %* come again together: 79 % of class 2 to 100 % of class 5.", summary)
        self.assertIn("*55* of 59 particles of set 1 (93 %) have the same class in all sets.", summary)
        self.assertIn("none of the outputs: 1", summary)
        self.assertNotIn("WARNINGS", summary)
        self.assertIn(f"index is {pair['adjusted_rand']:.2f}, and 55 particles", self.run_.methods()[0])

    def test_of_three_sets_most_decide_or_all_and_continue_takes_the_other_choice(self) -> None:
        run = self.launchProtocol(self.newRun(self.first, self.second, self.third))
        found = self.members(run)
        share = {
            item.getObjId() - FIRST_ID: item._udlConsensusShare.get() for items in found.values() for item in items
        }
        # 0 is outvoted, so its alignment is in the frame of another class; 7 is disabled.
        self.assertEqual(sorted(share), [k for k in range(COUNT) if k not in (0, 7)])
        self.assertEqual([k for k, part in share.items() if part < 1], [1, 2, 3, 25])
        self.assertAlmostEqual(share[1], 2 / 3, places=3)
        before = self.extraFile(run, "compare.star").stat().st_mtime_ns
        run.agreement.set(1)
        run.runMode.set(MODE_RESUME)
        self.launchProtocol(run)
        kept = {item.getObjId() - FIRST_ID for items in self.members(run).values() for item in items}
        self.assertEqual(kept, {k for k in share if share[k] == 1})
        self.assertEqual(self.extraFile(run, "compare.star").stat().st_mtime_ns, before)
        self.assertIn("Sets 2 and 3: adjusted Rand index", "\n".join(run.summary()))

    def test_images_that_the_engine_does_not_read_are_converted_once_and_known_again(self) -> None:
        stack = write_spider(self.folder / "particles.stk", self.images)
        run = self.newRun(*(self.newSource(one, "spider", stack=stack) for one in (FIRST, SECOND)))
        self.launchProtocol(run)
        (pair,) = run.readEngineSummary()["pairs"]
        self.assertAlmostEqual(pair["adjusted_rand"], rand_of_pairs(FIRST, SECOND), places=4)
        stacks = [
            path for path in self.extraFile(run, "runs").glob("*.mrcs") if not path.name.endswith("_classes.mrcs")
        ]
        (only,) = stacks
        np.testing.assert_allclose(StackReader(str(only)).read(), self.images, atol=1e-5)

    def test_the_engine_shows_the_averages_of_the_sets(self) -> None:
        (path,) = self.extraFile(self.run_, "runs").glob("2_*_classes.mrcs")
        shown, given = StackReader(str(path)).read(), StackReader(self.averages).read()
        np.testing.assert_array_equal(shown[[0, 2, 3]], given[[0, 2, 3]])
        page = self.extraFile(self.run_, "report.html").read_text("utf-8")
        self.assertGreaterEqual(page.count("<img"), 6)

    def test_sets_of_other_particles_are_an_error_that_names_them(self) -> None:
        other = str(self.folder / "other.mrcs")
        write_stack(other, self.images, PIXEL_SIZE)
        run = self.newRun(self.first, self.newSource(FIRST, "of others", stack=other))
        self.launchToFail(run)
        self.assertIn(
            "Set 2 ('of others.outputClasses') has no particle in common with Set 1 ('first.outputClasses')",
            run.getErrorMessage(),
        )

    def test_classes_that_agree_by_chance_are_warned_of_by_their_names(self) -> None:
        run = self.newRun(self.first, self.newSource(np.tile([1, 2, 3], 20), "dealt"))
        self.launchProtocol(run)
        self.assertTrue(run.hasSummaryWarnings())
        self.assertIn(
            "classes of Set 1 ('first.outputClasses') and Set 2 ('dealt.outputClasses') agree hardly", run.summary()[-1]
        )

    def test_the_viewer_shows_figure_and_report(self) -> None:
        viewer = UdlCompareClassesViewer(project=self.proj)
        viewer.setProtocol(self.run_)
        show = viewer._getVisualizeDict()
        (plotter,) = show["doShowFigure"]()
        (axes,) = plotter.getFigure().axes
        self.assertGreater(np.std(axes.images[0].get_array()), 10)
        self.assertEqual(len(show["doShowSet"]()), 1)
        (report,) = show["doShowReport"]()
        self.assertIsInstance(report, BrowserView)
        self.assertTrue(report.url.endswith("report.html"))

    def test_answers_that_do_not_fit_are_refused(self) -> None:
        self.assertEqual(self.newRun(self.first, self.second).validate(), [])
        for run, sentence in (
            (self.newRun(), "cannot be EMPTY"),
            (self.newRun(self.first), "*Input classes* is one set alone"),
            (self.newRun(self.first, self.second, self.first), "Set 3 of *Input classes* is given twice"),
            (self.newRun(self.first, self.second, leastInCommon=1.5), "from 0 to 1"),
        ):
            errors = run.validate()
            self.assertEqual(len(errors), 1, sentence)
            self.assertIn(sentence, errors[0])
