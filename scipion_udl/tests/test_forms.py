"""The forms of the protocols and viewers open on a (virtual) screen and show their parameters."""

from __future__ import annotations

import json
import subprocess
import sys
import unittest

from pyworkflow.tests import BaseTest, setupTestProject

from scipion_udl.tests import on_screen

# Opens the wizards of 'udl - align 2D' one after the other, chooses the second image and presses Select.
SHOW_WIZARDS = """
import json, os, sys
import tkinter
import numpy as np
import pwem.objects as emobj
import pyworkflow as pw
import pyworkflow.gui.project  # first, or Scipion's own modules import each other in a circle
from pyworkflow.gui.dialog import RESULT_YES
from pyworkflow.gui.form import FormWindow
from pyworkflow.project import Manager

domain = pw.Config.getDomain()
protocols = domain.getProtocols()
domain.getViewers(), domain.getWizards()
from scipion_udl.io.stacks import write_stack
from scipion_udl.tests.scipion_helpers import make_set, particles_at, random_poses
project = Manager().createProject("TestUdlWizards" + str(os.getpid()))
os.chdir(project.path)
stack = os.path.abspath("particles.mrcs")
write_stack(stack, particles_at(random_poses(4), 64), 2.5)
particles = make_set("particles.sqlite", stack, [3, 5, 7, 8])
averages = emobj.SetOfAverages(filename="averages.sqlite")
averages.copyInfo(particles)
classes = emobj.SetOfClasses2D(filename="classes.sqlite")
for item in particles.iterItems():
    averages.append(item.clone())
    average = emobj.Class2D(objId=item.getObjId())
    average.copyInfo(particles)
    average.setRepresentative(item.clone())
    classes.append(average)
averages.write(), classes.write()
source = project.newProtocol(protocols["ProtUdlSimulate"])
project.saveProtocol(source)
source._defineOutputs(outputParticles=particles, outputAverages=averages)
classes.setImages(pw.object.Pointer(source, extended="outputParticles"))
source._defineOutputs(outputClasses=classes)
protocol = project.newProtocol(protocols["ProtUdlAlign2D"])
protocol.inputReference.set(source)
protocol.inputReference.setExtended("outputAverages")
protocol.inputParticles.set(source)
window = FormWindow("Protocol Run", protocol, lambda *a, **k: None, None)
window.root.deiconify()
found = {"shown": []}

def press():
    tops = [child for child in window.root.winfo_children() if isinstance(child, tkinter.Toplevel)]
    if not tops or not tops[-1].winfo_viewable():  # that of the diameter asks the engine first
        window.root.after(500, press)
        return
    top = tops[-1]
    top._itemSelected(top.provider.getObjects()[1])
    top.update()
    found["shown"].append([item.getObjId() for item in top.provider.getObjects()])
    top._handleResult(RESULT_YES)

for output, names in (("outputParticles", ("diameter", "maxShift", "finest", "referenceItem")),
                      ("outputClasses", ("diameter",))):
    protocol.inputParticles.setExtended(output)
    protocol.diameter.set(-1)
    for name in names:
        window.root.after(1000, press)
        window.wizards[name]().show(window)
        found.setdefault(name, []).append(getattr(protocol, name).get())
from scipion_udl import Plugin
from scipion_udl.engine_env import engine_diameter
found["automatic"] = engine_diameter(Plugin.getEngineProgram(), stack)[0]
found["torch"] = "torch" in sys.modules
print(json.dumps(found))
sys.stdout.flush()
os._exit(0)  # destroying the window hangs
"""


@unittest.skipUnless(on_screen.can_show(), "xvfb-run is not installed")
class TestUdlForms(BaseTest):
    """Each form, opened under Xvfb; all in one process, which takes some seconds to start."""

    def runScript(self, script: str) -> dict:
        command = ["xvfb-run", "-a", "-s", "-noreset -screen 0 1400x900x24", sys.executable, "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        found = json.loads(done.stdout.strip().splitlines()[-1])
        self.assertFalse(found["torch"], "a form imported torch")
        return found

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
            *("inputParticles", "modelFrom", "inputModel", "diameter", "maxShift", "contrast", "doMirror", "finest"),
            *("alignmentOfInput", "inputReference", "referenceItem", "doRefine", "ctfTreatment"),
            *("writeStack", "leaveOut", "scoreThreshold", "method", "epochs", "learningRate", "seed"),
        )
        self.assertEqual(found["wizards"], ["diameter", "finest", "maxShift", "referenceItem"])

    def test_align_2d_streaming(self) -> None:
        found = self.checkProtocol(
            "ProtUdlAlign2DStreaming",
            *("inputParticles", "modelFrom", "firstBatch", "batchSize", "diameter", "maxShift", "contrast", "finest"),
            *("inputReference", "ctfTreatment", "method", "seed", "streamingSleepOnWait", "binThreads"),
        )
        self.assertEqual(found["wizards"], ["diameter", "finest", "maxShift", "referenceItem"])

    def test_classify_2d(self) -> None:
        asked = ("inputParticles", "numberOfClasses", "modelFrom", "inputModel", "diameter", "maxShift", "contrast")
        asked += ("finest", "ctfTreatment", "teach", "starts", "doRefine", "seed")
        given = ("inputReferences", "referencesAre", "keepAlignment")
        for name, more in (("ProtUdlClassify2D", given), ("ProtUdlClassify2DStreaming", ("firstBatch", "batchSize"))):
            wizards = self.checkProtocol(name, *asked, *more)["wizards"]
            self.assertEqual(wizards, ["diameter", "finest", "maxShift", "numberOfClasses"])

    def test_select_classes(self) -> None:
        asked = ("inputClasses", "chooseBy", "minQuality", "chosenClasses", "minParticles", "maxResolution", "diameter")
        found = self.checkProtocol("ProtUdlSelectClasses", *asked, "maxShift", "finest", "ctfTreatment", "seed")
        self.assertEqual(found["wizards"], ["diameter", "finest", "maxShift"])

    def test_compare_classes(self) -> None:
        self.checkProtocol("ProtUdlCompareClasses", "inputClasses", "agreement", "leastInCommon")

    def test_wizards_show_the_particles_and_fill_the_form(self) -> None:
        found = self.runScript(SHOW_WIZARDS)
        self.assertEqual(found["shown"], [[3, 5, 7, 8]] * 5)  # the last time, representatives of classes
        # Each begins at what a run takes where nobody says otherwise: 1.5 x 6.4 + 4 px; 29 Fourier pixels of 160 A.
        self.assertEqual((found["maxShift"], found["finest"]), ([13.6], [5.5]))
        self.assertGreater(found["automatic"], 40)
        self.assertAlmostEqual(found["diameter"][0], found["automatic"], delta=0.1)
        self.assertEqual(found["diameter"][1], 64 * 2.5)  # classes without particles: nothing is known but the box
        self.assertEqual(found["referenceItem"], [5])

    def test_train(self) -> None:
        found = self.checkProtocol(
            "ProtUdlTrain",
            *("inputParticles", "inputModel", "truthFile", "diameter", "network", "recipe", "method"),
            *("epochs", "learningRate", "joint", "head", "widths", "hidden", "inputSize", "seed"),
        )
        self.assertIn("diameter", found["wizards"])

    def test_evaluate(self) -> None:
        found = self.checkProtocol(
            "ProtUdlEvaluate",
            *("inputParticles", "truthFrom", "truthFile", "truthParticles", "inputReference", "symmetry", "doPairs"),
            "diameter",
        )
        self.assertIn("diameter", found["wizards"])

    def test_export_particles(self) -> None:
        self.checkProtocol("ProtUdlExportParticles", "inputParticles", "fileForm")

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
            *("views", "molecule", "mapFile", "noiseShare", "second", "secondFile", "secondShare"),
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
        classify = self.openForm("UdlClassify2DViewer")
        buttons = ["Classes", "Frc", "Histograms", "Particles", "Report", "Set", "Training"]
        self.assertEqual([name for name in classify["shown"] if name.startswith("do")], [f"doShow{b}" for b in buttons])
        evaluate, train = self.openForm("UdlEvaluateViewer"), self.openForm("UdlTrainViewer")
        self.assertLessEqual({"doShowFigure", "doShowTable"}, set(evaluate["shown"]))
        self.assertLessEqual({"doShowTraining", "doShowModel"}, set(train["shown"]))
        compare = self.openForm("UdlCompareClassesViewer")
        self.assertLessEqual({"doShowReport", "doShowFigure", "doShowSet"}, set(compare["shown"]))
        for found in (align, classify, compare, evaluate, train):
            self.assertTrue(all(found["helps"][name] for name in found["shown"]))
