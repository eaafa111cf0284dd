"""The workflow templates: the real command offers them, fills them in, and what comes of it runs."""

from __future__ import annotations

import os
import subprocess
import sys
import unittest
from pathlib import Path

import pyworkflow as pw
from pyworkflow.project import Manager
from pyworkflow.template import TemplateList
from pyworkflow.tests import setupTestOutput

from scipion_udl.io.particles import open_particles
from scipion_udl.io.tables import read_tables
from scipion_udl.tests import on_screen
from scipion_udl.tests.scipion_helpers import RunTest, simulate

PROJECT = "TestUdlTemplates"


class TestUdlTemplates(RunTest):
    """Each template, from the list to the end of its last run."""

    @classmethod
    def setUpClass(cls) -> None:
        pw.Config.getDomain().getPlugins()
        setupTestOutput(cls)
        cls.folder = Path(cls.getOutputPath()).absolute()

    def offered(self) -> dict:
        found = TemplateList()
        found.addPluginTemplates()
        return {template.getObjId(): template for template in found.templates}

    def test_scipion_offers_them_with_a_description(self) -> None:
        asked = ["Particles (STAR, XMD or MRC stack)"]
        for name, word, expected in (
            ("udl-align_particles", "Import particles", asked),
            ("udl-align_simulated", "Simulate particles", []),
            ("udl-good_particles", "choose the good classes", asked),
        ):
            template = self.offered()[name]
            self.assertIn(word, template.description)
            template.replaceEnvVariables()
            template.parseContent()
            missing = [title for title, param in template.getParams().items() if param.validate()]
            self.assertEqual(missing, expected)

    def fromTemplate(self, name: str, **values: object) -> list:
        """The protocols of a project that `scipion template` makes, in their order."""
        project = f"{PROJECT}_{name.replace('-', '_')}"
        if Manager().hasProject(project):
            Manager().deleteProject(project)
        words = [f"{key}={value}" for key, value in {"project_name": project, **values}.items()]
        command = ["xvfb-run", "-a", "-s", "-noreset -screen 0 1280x1024x24", sys.executable, "-m", "scipion"]
        command += ["template", name, *words]
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # it starts "python"
        done = subprocess.run(
            [*command, "--nogui", "--noschedule"],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, "PATH": path},
        )
        self.assertTrue(Manager().hasProject(project), done.stdout + done.stderr)
        type(self).proj = Manager().loadProject(project)
        os.chdir(self.proj.path)
        return sorted(self.proj.getRuns(), key=lambda run: run.getObjId())

    def run_(self, protocols: list) -> list:
        for protocol in protocols:
            self.launchProtocol(protocol)
        return protocols

    @unittest.skipUnless(on_screen.can_show(), "xvfb-run is not installed")
    def test_simulated_particles_end_with_their_errors(self) -> None:
        options = {"count": 8, "box": 32, "snr": 4, "threads": 1}  # not the 4 of the template
        _, align, evaluate = self.run_(self.fromTemplate("udl-align_simulated", **options))
        self.assertEqual(align.numberOfThreads.get(), 1)
        self.assertEqual(align.outputParticles.getSize(), 8)
        figures = {row["figure"]: float(row["value"]) for row in evaluate.readFigures() if row["value"]}
        self.assertEqual(figures["particles"], 8)
        self.assertLess(figures["rotation_median_180"], 5)

    @unittest.skipUnless(on_screen.can_show(), "xvfb-run is not installed")
    def test_from_picked_particles_to_good_ones_without_a_click(self) -> None:
        words = {
            "phantom": "crane",
            "views": "uneven",
            "count": 240,
            "box": 40,
            "pixel_size": 4.8,
            "snr": 0.3,
            "seed": 3,
        }
        star = simulate(self.folder / "picked", **words, realistic=True, junk=0.35)
        runs = self.fromTemplate("udl-good_particles", particles=star, classes=4, quality=0.6, threads=1)
        for one, name in zip(runs[1:], ("outputParticles", "outputClasses", "outputClasses", "outputClasses")):
            pointer = getattr(one, "inputClasses" if one is runs[2] else "inputParticles")
            self.assertEqual(pointer.getExtended(), name)
        runs[1].starts.set(1)
        runs[3].epochs.set(1), runs[3].doRefine.set(False)  # the alignment itself is not what is looked at
        _, classify, select, align, export = self.run_(runs)
        self.assertIn("judged when they were made", self.logOf(select))
        self.assertEqual((select.minQuality.get(), classify.numberOfClasses.get()), (0.6, 4))
        self.assertEqual(classify.outputClasses.getSize(), len(classify.readEngineSummary()["classes"]))
        truth = read_tables(str(star.parent / "truth.star"))[0]
        good = {k for k, kind in enumerate(truth.texts("udlJunk"), 1) if kind == "none"}
        chosen = {item.getObjId() for item in select.outputParticles.iterItems()}
        self.assertGreater(len(chosen & good) / len(good), 0.9)
        self.assertGreater(len(chosen & good) / len(chosen), 0.9)
        self.assertEqual({item.getObjId() for item in align.outputParticles.iterItems()}, chosen)
        table = open_particles(self.proj.getPath(export._getExtraPath("aligned.star"))).table
        self.assertEqual(set(map(int, table.texts("udlItemId"))), chosen)
        classes = [one.getObjId() for one in select.outputClasses.iterItems()]
        self.assertEqual(set(map(int, table.texts("rlnClassNumber"))), set(classes))

    @unittest.skipUnless(on_screen.can_show(), "xvfb-run is not installed")
    def test_particles_of_a_file_come_in_and_are_connected(self) -> None:
        star = simulate(self.folder / "file", phantom="hook", count=20, box=32, pixel_size=3.0, snr=0.5, shift=2)
        load, align, evaluate = self.fromTemplate("udl-align_particles", particles=star, shift=3, threads=1)
        self.assertEqual(load.filePath.get(), str(star))
        self.assertEqual(align.maxShift.get(), 3)
        self.assertEqual(align.inputParticles.getObjValue().getObjId(), load.getObjId())
        self.run_([load])
        for protocol in (align, evaluate):
            self.assertTrue(protocol.inputParticles.hasExtended())
        self.assertEqual(align.inputParticles.get().getSize(), 20)
        self.assertEqual(align.validate(), [])
