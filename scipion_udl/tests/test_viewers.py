"""What 'Analyze results' shows: images, curves and words, off screen; and the same windows on a virtual screen."""

from __future__ import annotations

import csv
import shutil
import unittest
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pwem.objects as emobj
from matplotlib.backend_bases import MouseEvent
from pwem.viewers.mdviewer.viewer import MDView
from pyworkflow.tests import BaseTest, setupTestProject
from pyworkflow.viewer import MessageView

from scipion_udl.imaging.poses import Poses, to_matrices
from scipion_udl.io.stacks import StackReader, write_stack
from scipion_udl.protocols import ProtUdlAlign2D, ProtUdlClassify2D, ProtUdlEvaluate, ProtUdlImportModel, ProtUdlTrain
from scipion_udl.report import figures
from scipion_udl.tests import on_screen
from scipion_udl.tests.scipion_helpers import BOX, COUNT, ProjectTest, correlation, particles_at, random_poses
from scipion_udl.viewers import (
    UdlAlign2DViewer,
    UdlClassesViewer,
    UdlClassify2DViewer,
    UdlEvaluateViewer,
    UdlModelViewer,
    UdlTrainViewer,
)
from scipion_udl.viewers import base as viewers_base
from scipion_udl.viewers.classes import read_classes
from scipion_udl.viewers.gallery import Gallery
from scipion_udl.viewers.particles import apply_pose

DRAWN = True

# As training.csv has them: text, with nothing where there is no number.
ROWS = [{"epoch": "1", "stage": "template", "loss": "0.5", "validation": "", "true_error": ""}] + [
    {"epoch": str(k), "stage": "network", "loss": f"{1 / k}", "validation": f"{2 / k}", "true_error": f"{30 / k}"}
    for k in (1, 2, 3)
]


def push(button: object) -> None:
    """Click on a button of a figure, as a mouse does."""
    canvas = button.ax.figure.canvas
    x, y = button.ax.transAxes.transform((0.5, 0.5))
    for name in ("button_press_event", "button_release_event"):
        canvas.callbacks.process(name, MouseEvent(name, canvas, x, y, 1))


def drawn(gallery: Gallery) -> list[np.ndarray]:
    """The images that a gallery shows, in its order."""
    return [np.asarray(cell.images[0].get_array()) for cell in gallery.cells if cell.images]


class TestApplyPose(unittest.TestCase):
    """Poses are applied to images as the convention says."""

    def test_particles_come_onto_the_view(self) -> None:
        for box in (64, 65):
            poses = random_poses(4, seed=box, mirrored=True)
            view = particles_at(Poses.identity(1), box)[0]
            inner = np.hypot(*(np.mgrid[:box, :box] - box // 2)) < 22  # nothing comes in from outside there
            for image, matrix in zip(particles_at(poses, box), to_matrices(poses)):
                found = apply_pose(image, matrix)
                self.assertGreater(correlation(found[inner], view[inner]), 0.9995)
                self.assertLess(correlation(image[inner], view[inner]), 0.9)


class TestGallery(unittest.TestCase):
    """Pages, orders, kinds and the one grey scale."""

    def gallery(self, **options: object) -> Gallery:
        images = np.random.default_rng(1).normal(size=(30, 16, 16)) + np.arange(30)[:, None, None]
        self.read: list[int] = []

        def reader(rows: np.ndarray) -> np.ndarray:
            self.read += list(rows)
            return images[rows]

        kinds = {"raw": reader, "twice": lambda rows: 2 * images[rows]}
        orders = {"up": np.arange(30), "down": np.arange(30)[::-1]}
        return Gallery("Images", kinds, orders, lambda row: f"no. {row}", shape=(2, 5), **options)

    def test_only_the_page_that_is_shown_is_read(self) -> None:
        gallery = self.gallery()
        self.assertEqual(self.read, list(range(10)))
        self.assertEqual(gallery.where.get_text(), "1 to 10 of 30")
        push(gallery.forth)
        self.assertEqual(self.read[10:], list(range(10, 20)))
        push(gallery.forth)
        push(gallery.forth)  # there is no fourth page
        self.assertEqual(gallery.where.get_text(), "21 to 30 of 30")
        push(gallery.back)
        self.assertEqual(gallery.where.get_text(), "11 to 20 of 30")

    def test_orders_and_kinds(self) -> None:
        gallery = self.gallery()
        gallery.choices[1].set_active(1)
        self.assertEqual([cell.texts[0].get_text() for cell in gallery.cells][:2], ["no. 29", "no. 28"])
        before = drawn(gallery)
        gallery.choices[0].set_active(1)
        np.testing.assert_allclose(drawn(gallery), 2 * np.array(before))

    def test_one_stretch_holds_for_all_images_and_kinds(self) -> None:
        gallery = self.gallery()
        first = {cell.images[0].get_clim() for cell in gallery.cells}
        gallery.choices[0].set_active(1)
        self.assertEqual({cell.images[0].get_clim() for cell in gallery.cells}, first)
        self.assertEqual(len(first), 1)
        gallery.stretch.set_val((25, 75))
        ((low, high),) = {cell.images[0].get_clim() for cell in gallery.cells}
        pixels = np.concatenate([np.ravel(images) for images in gallery.page.values()])
        np.testing.assert_allclose([low, high], np.percentile(pixels, [25, 75]))

    def test_the_low_pass_takes_fine_detail_away_and_leaves_the_mean(self) -> None:
        gallery = self.gallery(pixel_size=2.0)
        raw = drawn(gallery)
        gallery.finest.set_val(16.0)
        smooth = drawn(gallery)
        self.assertLess(np.std(smooth[0]), 0.6 * np.std(raw[0]))
        np.testing.assert_allclose(np.mean(smooth[0]), np.mean(raw[0]), rtol=1e-5)

    def test_images_that_cannot_be_read_are_told(self) -> None:
        def broken(_rows: np.ndarray) -> np.ndarray:
            raise OSError("the disk is gone")

        gallery = Gallery("Images", {"raw": broken}, {"up": np.arange(3)}, str)
        self.assertIn("the disk is gone", gallery.note.get_text())
        self.assertEqual(drawn(gallery), [])


class TestUdlTrainViewer(BaseTest):
    """What the viewer of a training draws from the file of its epochs."""

    @classmethod
    def setUpClass(cls) -> None:
        setupTestProject(cls)

    def panels(self, rows: list[dict]) -> list:
        viewer = UdlTrainViewer(project=self.proj)
        viewer.protocol = SimpleNamespace(readTraining=lambda: rows)
        (plotter,) = viewer._show_training()
        return plotter.getFigure().axes

    def test_the_true_error_is_drawn_beside_the_loss_on_its_own_axis(self) -> None:
        template, network, error = self.panels(ROWS)
        self.assertEqual((template.get_title(loc="left"), network.get_title(loc="left")), ("template", "network"))
        self.assertIn("true error", error.get_ylabel())
        (curve,) = error.get_lines()
        np.testing.assert_allclose(np.array(curve.get_xydata()), [[1, 30], [2, 15], [3, 10]])
        self.assertEqual(len(network.get_lines()), 2)
        self.assertEqual(error.get_position().bounds, network.get_position().bounds)

    def test_without_a_truth_there_is_no_second_axis(self) -> None:
        rows = [{key: value for key, value in row.items() if key != "true_error"} for row in ROWS]
        self.assertEqual(len(self.panels(rows)), 2)

    def test_buttons_that_have_nothing_to_show_say_why(self) -> None:
        for kind, protocol in (
            (UdlAlign2DViewer, ProtUdlAlign2D),
            (UdlClassify2DViewer, ProtUdlClassify2D),
            (UdlTrainViewer, ProtUdlTrain),
            (UdlEvaluateViewer, ProtUdlEvaluate),
        ):
            viewer = kind(project=self.proj)
            viewer.setProtocol(self.proj.newProtocol(protocol))
            for name, make in viewer._getVisualizeDict().items():
                (view,) = make(name)
                self.assertIsInstance(view, MessageView, name)
                self.assertRegex(view.getMessage(), r"no |not ", name)


class TestUdlViewers(ProjectTest):
    """The viewers of runs: the alignment of particles, their evaluation, and the model."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.align = cls.launchProtocol(cls.newRun(ProtUdlAlign2D, epochs=2, maxShift=4))
        truth = str(cls.star.parent / "truth.star")
        cls.evaluate = cls.launchProtocol(cls.newRun(ProtUdlEvaluate, cls.align, truthFrom=1, truthFile=truth))

    def viewer(self, kind: type = UdlAlign2DViewer, run: object = None) -> object:
        viewer = kind(project=self.proj)
        viewer.setProtocol(run or self.align)
        return viewer

    def press(self, button: str, **options: object) -> object:
        viewer = self.viewer()
        for name, value in options.items():
            setattr(viewer, name, SimpleNamespace(get=lambda value=value: value))
        (view,) = viewer._getVisualizeDict()[button](button)
        return view

    def gallery(self, button: str, **options: object) -> Gallery:
        return self.press(button, **options).getFigure().udl_gallery

    def test_scipion_finds_them(self) -> None:
        find = self.proj.getDomain().findViewers
        for thing, viewer in (
            (self.align, UdlAlign2DViewer),
            (self.evaluate, UdlEvaluateViewer),
            (self.align.outputModel, UdlModelViewer),
        ):
            self.assertIn(viewer, find(thing, "tkinter"))
        self.assertIs(find(self.align, "tkinter")[0], UdlAlign2DViewer)

    def test_averages_stand_side_by_side_in_one_grey_scale(self) -> None:
        gallery = self.gallery("doShowAverages")
        before, after = drawn(gallery)
        files = [StackReader(str(self.extraFile(self.align, f"average{end}.mrcs"))) for end in ("_before", "")]
        np.testing.assert_array_equal([before, after], [file.read()[0] for file in files])
        self.assertGreater(after.std(), 1.3 * before.std())  # in register: more contrast
        self.assertEqual(len({cell.images[0].get_clim() for cell in gallery.cells}), 1)

    def test_particles_stand_by_score_and_lie_in_register(self) -> None:
        gallery = self.gallery("doShowParticles")
        rows = gallery.orders["Worst first"]
        scores = [float(gallery.caption(row).split(",")[0]) for row in rows]
        self.assertEqual(len(rows), COUNT)
        self.assertEqual(scores, sorted(scores))
        gallery.choose_order("Best first")
        gallery.finest.set_val(0)
        average = StackReader(str(self.extraFile(self.align, "average.mrcs"))).read()[0]
        aligned = np.mean(drawn(gallery), axis=0)
        gallery.choose_kind("as they came")
        came = np.mean(drawn(gallery), axis=0)
        self.assertGreater(correlation(aligned, average), 0.9)
        self.assertLess(correlation(came, average), 0.7)

    def test_particles_of_all_batches_are_shown_while_more_come(self) -> None:
        run = self.proj.newProtocol(ProtUdlAlign2D)
        self.proj.saveProtocol(run)
        run.makePathsAndClean()
        for number in (1, 2):
            folder = self.extraFile(run, f"batch_{number:04d}")
            folder.mkdir()
            for name in ("particles.star", "aligned.star"):
                shutil.copy(str(self.extraFile(self.align, name)), str(folder))
        found = self.viewer(run=run)._particles()
        self.assertEqual(len(found.results), 2 * COUNT)
        rows = np.array([3, COUNT + 3])
        np.testing.assert_array_equal(*found.as_they_came(rows))
        np.testing.assert_array_equal(*found.aligned(rows))
        self.assertEqual(found.results.score[3], found.results.score[COUNT + 3])

    def test_the_frc_carries_the_resolution_of_the_summary(self) -> None:
        (axes,) = self.press("doShowFrc").getFigure().axes
        resolution = self.align.readEngineSummary()["resolution"]
        self.assertIn(f"{resolution:.3g} Å", [text.get_text() for text in axes.texts])
        curve = axes.get_lines()[2].get_xydata()
        self.assertGreater(curve[:4, 1].min(), 0.9)
        self.assertAlmostEqual(curve[-1, 0], 0.5 / 3.0, delta=0.01)  # 1 / (2 pixels)

    def test_histograms_count_all_particles(self) -> None:
        angles, shifts, scores = self.press("doShowHistograms").getFigure().axes
        self.assertAlmostEqual(sum(bar.get_height() for bar in angles.patches), COUNT)
        self.assertEqual(len(shifts.collections[0].get_offsets()), COUNT)
        self.assertAlmostEqual(sum(bar.get_height() for bar in scores.patches), COUNT, delta=1e-6)

    def test_the_report_opens_in_the_browser(self) -> None:
        with mock.patch("webbrowser.open_new_tab") as opened:
            self.press("doShowReport").show()
        self.assertIn(f"{COUNT}", Path(opened.call_args[0][0][len("file://") :]).read_text(encoding="utf-8"))

    def test_sets_open_with_xmipp_where_it_is_installed_and_without_it(self) -> None:
        self.assertIsInstance(self.press("doShowSet"), MDView)
        with mock.patch.object(viewers_base, "has_xmipp_viewer", lambda: True):
            view = self.press("doShowSet")
        self.assertEqual(type(view).__name__, "ObjectView")

    def test_a_model_shows_its_card_and_what_it_has_learned(self) -> None:
        (plotter,) = UdlModelViewer(project=self.proj)._visualize(self.align.outputModel)
        text, picture = plotter.getFigure().axes
        words = " ".join(found.get_text() for found in text.texts)
        for part in ("JUDL", f"{COUNT} particles", f"{BOX} px at 3 Å/px", f"{3 * BOX} Å across"):
            self.assertIn(part, words)
        self.assertGreater(np.asarray(picture.images[0].get_array()).std(), 20)  # it is no empty picture
        shutil.move(str(self.extraFile(self.align, "model.png")), str(self.folder / "away.png"))
        (plotter,) = UdlModelViewer(project=self.proj)._visualize(self.align.outputModel)
        shutil.move(str(self.folder / "away.png"), str(self.extraFile(self.align, "model.png")))
        self.assertIn("no picture", plotter.getFigure().axes[1].texts[0].get_text())

    def test_an_imported_model_brings_its_picture(self) -> None:
        path = self.extraFile(self.align, "model.safetensors")
        model = self.launchProtocol(self.newProtocol(ProtUdlImportModel, modelFile=str(path))).outputModel
        self.assertEqual(Path(model.getPicture()).read_bytes(), (path.parent / "model.png").read_bytes())
        self.assertNotEqual(Path(model.getPicture()).resolve(), path.parent / "model.png")

    def test_an_evaluation_shows_its_figure_and_its_table(self) -> None:
        views = self.viewer(UdlEvaluateViewer, self.evaluate)._getVisualizeDict()
        (figure,), (table,) = views["doShowFigure"](), views["doShowTable"]()
        self.assertGreater(np.asarray(figure.getFigure().axes[0].images[0].get_array()).std(), 10)
        self.assertIn("mean absolute rotation error, full circle", table.getMessage())

    @unittest.skipUnless(on_screen.can_show(), "xvfb-run is not installed")
    def test_on_a_screen(self) -> None:
        """Each button of each viewer opens its window, each wizard its dialog, and no text is cut off."""
        found = on_screen.show("runs", self.proj.getShortName())
        self.assertFalse(found.pop("torch"))
        align = found["ProtUdlAlign2D"]
        self.assertEqual(align["views"]["doShowAverages"]["axes"], 2 + 4)  # images; paging and sliders
        self.assertGreater(align["views"]["doShowParticles"]["axes"], 18)
        self.assertIn("one average", " ".join(align["views"]["doShowClasses"]["texts"]))
        self.assertEqual(found["ProtUdlEvaluate"]["views"]["doShowTable"]["dialog"], "Evaluation")
        self.assertLessEqual({"diameter", "maxShift", "finest"}, set(align["wizards"]))
        for name, run in found.items():
            self.assertEqual(run["form"]["cut"] + run.get("viewer", {}).get("cut", []), [], name)
            for parameter, dialog in run["wizards"].items():
                needs_more = parameter == "referenceItem"  # there is no set of references to choose from
                self.assertIn("OK" if needs_more else "Select", dialog["texts"], parameter)
                self.assertEqual(dialog["cut"], [], parameter)
            for button, view in run.get("views", {}).items():
                self.assertTrue(view.get("dialog") or view["axes"], button)

    @unittest.skipUnless(on_screen.can_show(), "xvfb-run is not installed")
    def test_the_project_opens_in_scipions_window(self) -> None:
        found = on_screen.show("window", self.proj.getShortName())
        self.assertIn(self.proj.getShortName(), found["title"])
        self.assertLessEqual({"ProtUdlAlign2D", "ProtUdlEvaluate"}, set(found["runs"]))
        self.assertTrue(any("align 2D" in text for text in found["protocols"]), found["protocols"])
        self.assertTrue(any("Resolution of the average" in text for text in found["texts"]), found["texts"])


class TestUdlClassGallery(BaseTest):
    """The class gallery, from the files of a run on classes."""

    @classmethod
    def setUpClass(cls) -> None:
        setupTestProject(cls)
        run = cls.proj.newProtocol(ProtUdlAlign2D)
        cls.proj.saveProtocol(run)
        run.makePathsAndClean()
        cls.run_, cls.folder = run, Path(cls.proj.getPath(run._getExtraPath()))
        cls.images = np.random.default_rng(2).normal(size=(3, 16, 16)).astype(np.float32)
        write_stack(str(cls.folder / "averages.mrcs"), cls.images, 2.0)
        write_stack(str(cls.folder / "averages_before.mrcs"), cls.images / 2, 2.0)
        names = ["class", "particles", "resolution", "score_mean", "ambiguous", "outliers", "signal_found", "note"]
        rows = [(2, 40, 9.5, 0.6, 0, 1, 1, ""), (5, 300, 7.25, 0.4, 3, 2, 1, ""), (7, 90, "", 0.5, 9, 0, 0, "noise")]
        with open(cls.folder / "classes.csv", "w", newline="") as file:
            csv.writer(file).writerows([names, *rows])
        rings = np.arange(1, 9)
        with open(cls.folder / "frc.csv", "w", newline="") as file:
            curves = [(k, r / 32, 32 / r, 1 - r / 10 - k / 100) for k in (2, 5, 7) for r in rings]
            csv.writer(file).writerows([("class", "frequency", "resolution", "frc"), *curves])

    def viewer(self) -> UdlAlign2DViewer:
        viewer = UdlAlign2DViewer(project=self.proj)
        viewer.setProtocol(self.run_)
        return viewer

    def test_classes_by_size_resolution_and_score(self) -> None:
        (plotter,) = self.viewer()._getVisualizeDict()["doShowClasses"]()
        gallery = plotter.getFigure().udl_gallery
        captions = [cell.texts[0].get_text() for cell in gallery.cells]
        self.assertEqual(captions, ["5: 300, 7.2 Å", "7: 90, no resolution", "2: 40, 9.5 Å"])
        np.testing.assert_allclose(drawn(gallery), self.images[[1, 2, 0]])
        for order, rows in (("by resolution", [1, 0, 2]), ("by score", [0, 2, 1]), ("by number", [0, 1, 2])):
            gallery.choose_order(order)
            np.testing.assert_allclose(drawn(gallery), self.images[rows])
        gallery.choose_kind("as they came")
        np.testing.assert_allclose(drawn(gallery), self.images / 2)

    def test_averages_stand_in_pairs(self) -> None:
        (plotter,) = self.viewer()._getVisualizeDict()["doShowAverages"]()
        gallery = plotter.getFigure().udl_gallery
        np.testing.assert_allclose(drawn(gallery)[::2], self.images / 2)
        np.testing.assert_allclose(drawn(gallery)[1::2], self.images)
        self.assertEqual(gallery.caption(3), "aligned, class 5")

    def test_the_frc_of_all_classes_or_of_one(self) -> None:
        viewer = self.viewer()
        (plotter,) = viewer._getVisualizeDict()["doShowFrc"]()
        (axes,) = plotter.getFigure().axes
        words = [text.get_text() for text in axes.get_legend().get_texts()]
        self.assertEqual(words, ["none claimed: 1 class", "resolution claimed: 2 classes"])
        self.assertEqual(axes.get_title("left") + axes.get_title(), "FRC of two halves of 3 classes")
        labels = {text.get_text(): text.xy for text in axes.texts if hasattr(text, "xy")}
        self.assertEqual(set(labels), {"5", "2"})  # of those that claim a resolution, each on its curve
        for number, (x, y) in labels.items():
            self.assertAlmostEqual(y, 1 - round(32 * x) / 10 - int(number) / 100)
        drawn_dark = [line.get_color() for line in axes.get_lines() if len(line.get_xdata()) == 8]
        self.assertEqual(drawn_dark.count(figures.INK), 2)
        viewer.classNumber.set(2)
        (plotter,) = viewer._getVisualizeDict()["doShowFrc"]()
        (axes,) = plotter.getFigure().axes
        self.assertIn("9.5 Å", [text.get_text() for text in axes.texts])
        viewer.classNumber.set(3)
        (view,) = viewer._getVisualizeDict()["doShowFrc"]()
        self.assertIn("class 3", view.getMessage())

    def test_the_frc_of_flagged_classes_is_left_out_unless_one_is_asked_for(self) -> None:
        rows = [{**row, "flagged": "1" if row["class"] == "7" else "0"} for row in read_classes(str(self.folder))]
        viewer = self.viewer()
        with mock.patch("scipion_udl.viewers.alignment.read_classes", return_value=rows):
            (plotter,) = viewer._getVisualizeDict()["doShowFrc"]()
            (axes,) = plotter.getFigure().axes
            title = axes.get_title("left") + axes.get_title()
            self.assertEqual(title, "FRC of two halves of 2 classes; 1 class flagged as junk left out")
            self.assertEqual(
                [text.get_text() for text in axes.get_legend().get_texts()], ["resolution claimed: 2 classes"]
            )
            viewer.classNumber.set(7)
            (plotter,) = viewer._getVisualizeDict()["doShowFrc"]()
            self.assertIn(
                "of class 7", "".join(plotter.getFigure().axes[0].get_title(where) for where in ("left", "center"))
            )

    def test_it_opens_for_the_set_of_classes_too_but_not_for_those_of_others(self) -> None:
        own = emobj.SetOfClasses2D(filename=self.run_._getPath("classes2D.sqlite"))
        other = emobj.SetOfClasses2D(filename=self.proj.getTmpPath("classes2D.sqlite"))
        find = self.proj.getDomain().findViewers
        self.assertIn(UdlClassesViewer, find(own, "tkinter"))
        self.assertNotIn(UdlClassesViewer, find(other, "tkinter"))
        (plotter,) = UdlClassesViewer(project=self.proj)._visualize(own)
        np.testing.assert_allclose(drawn(plotter.getFigure().udl_gallery), self.images[[1, 2, 0]])
