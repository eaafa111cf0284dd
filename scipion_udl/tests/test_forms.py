"""The forms of the protocols and viewers open on a (virtual) screen and show their parameters."""

from __future__ import annotations

import unittest

from pyworkflow.tests import BaseTest, setupTestProject

from scipion_udl.tests import on_screen


@unittest.skipUnless(on_screen.can_show(), "xvfb-run is not installed")
class TestUdlForms(BaseTest):
    """Each form, opened under Xvfb; all in one process, which takes some seconds to start."""

    @classmethod
    def setUpClass(cls) -> None:
        setupTestProject(cls)
        cls.found = on_screen.show("forms", cls.proj.getShortName())

    def openForm(self, name: str) -> dict:
        found = self.found[name]
        self.assertEqual(found["cut"], [], "texts are cut off")
        return found

    def test_forms_import_no_torch(self) -> None:
        self.assertFalse(self.found["torch"])

    def test_a_text_without_room_would_be_seen(self) -> None:
        self.assertEqual(self.found["too narrow"], ["a text that has not the room it needs"])

    def checkProtocol(self, name: str, *parameters: str) -> dict:
        found = self.openForm(name)
        for parameter in parameters:
            self.assertIn(parameter, found["shown"])
            self.assertTrue(found["helps"][parameter], f"{parameter} has no help")
        return found

    def test_align_2d(self) -> None:
        found = self.checkProtocol(
            "ProtUdlAlign2D",
            *("inputParticles", "modelFrom", "inputModel", "maxShift", "maskRadius", "inputReference", "doRefine"),
            *("method", "epochs", "learningRate", "seed"),
        )
        self.assertIn("maskRadius", found["wizards"])

    def test_train(self) -> None:
        found = self.checkProtocol(
            "ProtUdlTrain",
            *("inputParticles", "inputModel", "truthFile", "maskRadius", "network", "recipe", "method"),
            *("epochs", "learningRate", "joint", "head", "widths", "hidden", "inputSize", "seed"),
        )
        self.assertIn("maskRadius", found["wizards"])

    def test_evaluate(self) -> None:
        found = self.checkProtocol(
            "ProtUdlEvaluate",
            *("inputParticles", "truthFrom", "truthFile", "truthParticles", "inputReference", "symmetry", "doPairs"),
            "maskRadius",
        )
        self.assertIn("maskRadius", found["wizards"])

    def test_import_model(self) -> None:
        self.checkProtocol("ProtUdlImportModel", "modelFile")

    def test_import_particles(self) -> None:
        self.checkProtocol(
            "ProtUdlImportParticles",
            *("filePath", "samplingRate", "alignment", "copyFiles"),
            *("voltage", "sphericalAberration", "amplitudeContrast", "magnification", "isPhaseFlipped"),
        )

    def test_simulate(self) -> None:
        found = self.checkProtocol(
            "ProtUdlSimulate",
            *("viewFrom", "phantom", "viewFile", "inputView", "box", "pixelSize", "count", "maxShift", "subpixel"),
            *("addNoise", "snr", "writeClean", "changeSsnr", "ssnrResolution", "ssnrFactor", "seed"),
            *("applyCtf", "defocusMin", "defocusMax", "flipPhases"),
            *("voltage", "sphericalAberration", "amplitudeContrast", "bFactor"),
        )
        self.assertTrue(all(found["helps"][name] for name in found["shown"] if name in found["helps"]), found["helps"])

    def test_viewers(self) -> None:
        align = self.openForm("UdlAlign2DViewer")
        buttons = ["Averages", "Classes", "Frc", "Histograms", "Particles", "Report", "Set", "Training"]
        self.assertEqual([name for name in align["shown"] if name.startswith("do")], [f"doShow{b}" for b in buttons])
        evaluate, train = self.openForm("UdlEvaluateViewer"), self.openForm("UdlTrainViewer")
        self.assertLessEqual({"doShowFigure", "doShowTable"}, set(evaluate["shown"]))
        self.assertLessEqual({"doShowTraining", "doShowModel"}, set(train["shown"]))
        for found in (align, evaluate, train):
            self.assertTrue(all(found["helps"][name] for name in found["shown"]))
