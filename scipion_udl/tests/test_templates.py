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
        for name, word in (("udl-align_particles", "Import particles"), ("udl-align_simulated", "Simulate particles")):
            template = self.offered()[name]
            self.assertIn(word, template.description)
            template.replaceEnvVariables()
            template.parseContent()
            missing = [title for title, param in template.getParams().items() if param.validate()]
            self.assertEqual(missing, ["Particles (STAR, XMD or MRC stack)"] if name == "udl-align_particles" else [])

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
        options = {"count": 20, "box": 32, "snr": 1, "threads": 1}  # not the 4 of the template
        _, align, evaluate = self.run_(self.fromTemplate("udl-align_simulated", **options))
        self.assertEqual(align.numberOfThreads.get(), 1)
        self.assertEqual(align.outputParticles.getSize(), 20)
        figures = {row["figure"]: float(row["value"]) for row in evaluate.readFigures() if row["value"]}
        self.assertEqual(figures["particles"], 20)
        self.assertLess(figures["rotation_median_180"], 5)

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
