"""The plugin's face and the engine's environment: what is installed, what is found, what is never imported."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from pwem import Domain
from pyworkflow.utils import parseBibTex

from scipion_udl import Plugin, bibtex, engine_env
from scipion_udl.constants import __version__
from scipion_udl.errors import UdlError
from scipion_udl.plugin import UDL_ENV_ACTIVATION, UDL_PYTHON


def run_python(code: str) -> str:
    """What another Python of this kind prints; raises where it fails."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


class TestUdlPlugin(unittest.TestCase):
    """The module as Scipion and the engine see it."""

    @classmethod
    def setUpClass(cls) -> None:
        Domain.getPlugins()

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def withVariables(self, **values: str) -> object:
        return mock.patch.dict(Plugin._vars, values)

    def test_the_face_needs_no_scipion(self) -> None:
        code = (
            "import sys; sys.modules['pwem'] = sys.modules['pyworkflow'] = sys.modules['torch'] = None\n"
            "import scipion_udl; print(scipion_udl.__version__, scipion_udl._logo, *scipion_udl._references)"
        )
        self.assertEqual(run_python(code), f"{__version__} udl_logo.png Chen2023 Chen2022")

    def test_scipions_side_never_imports_torch(self) -> None:
        code = (
            "import sys, scipion_udl.tests, pyworkflow as pw\n"
            "domain = pw.Config.getDomain(); domain.getPlugins(), domain.getProtocols(), domain.getObjects()\n"
            "domain.getViewers(), domain.getWizards()\n"
            "print(*sorted(n for n in domain.getProtocols() if 'Udl' in n), 'torch' in sys.modules)"
        )
        names = (
            "ProtUdlAlign2D ProtUdlAlign2DStreaming ProtUdlBase ProtUdlClassify2D ProtUdlClassify2DStreaming "
            "ProtUdlCompareClasses ProtUdlEvaluate ProtUdlExportParticles ProtUdlImportModel ProtUdlImportParticles "
            "ProtUdlSelectClasses ProtUdlSimulate ProtUdlTrain"
        )
        self.assertEqual(run_python(code).splitlines()[-1], f"{names} False")

    def test_protocols_bring_no_heavy_package_into_scipions_start(self) -> None:
        code = (
            "import sys, scipion_udl.tests, pwem, pwem.objects, pwem.protocols, pwem.emlib.image\n"
            "there = set(sys.modules)\n"
            "import scipion_udl.plugin, scipion_udl.protocols, scipion_udl.objects\n"
            "new = {name.partition('.')[0] for name in set(sys.modules) - there}\n"
            "print(*sorted(new & {'torch', 'matplotlib', 'scipy', 'PIL', 'tkinter'}), 'scipion_udl' in new)"
        )
        self.assertEqual(run_python(code).splitlines()[-1], "True")

    def test_menus_show_the_plugin_as_udl(self) -> None:
        protocols = Domain.getProtocols()
        self.assertEqual(protocols["ProtUdlAlign2D"].getClassLabel(), "udl - align 2D")
        self.assertTrue(os.path.exists(protocols["ProtUdlAlign2D"].getPluginLogoPath()))

    def test_both_papers_are_cited(self) -> None:
        papers = parseBibTex(bibtex.__doc__)
        self.assertIn("10.1016/j.jsb.2023.107940", papers["Chen2023"]["doi"])
        self.assertIn("2205.11829", papers["Chen2022"]["url"])

    def test_the_engine_does_not_see_scipions_python_path(self) -> None:
        with mock.patch.dict(os.environ, {"PYTHONPATH": "/somewhere", "UDL_TEST": "stays"}):
            environment = Plugin.getEnviron()
        self.assertNotIn("PYTHONPATH", environment)
        self.assertEqual(environment["UDL_TEST"], "stays")
        self.assertEqual(environment.getPrepend(), "")

    def test_an_activation_command_comes_before_python(self) -> None:
        environment = self.folder / "bin"
        environment.mkdir()
        (environment / "python").symlink_to(sys.executable)
        with self.withVariables(**{UDL_ENV_ACTIVATION: f"export PATH={environment}:$PATH;"}):
            program = Plugin.getEngineProgram()
            self.assertEqual(program, f"export PATH={environment}:$PATH && python -m scipion_udl.cli")
            self.assertEqual(Plugin.validateInstallation(), [])
            code = f"{Plugin.getEnginePython()} -c 'import sys; print(sys.executable)'"
        found = subprocess.run(code, shell=True, check=True, capture_output=True, text=True).stdout
        self.assertTrue(found.startswith(str(environment)))

    def test_a_missing_engine_is_told_with_what_to_do(self) -> None:
        with self.withVariables(**{UDL_ENV_ACTIVATION: "", UDL_PYTHON: "/nowhere/bin/python"}):
            errors = " ".join(Plugin.validateInstallation())
        self.assertIn("/nowhere/bin/python is not there", errors)
        self.assertIn("installb udl", errors)

    def fakePython(self, name: str, *lines: str) -> str:
        path = self.folder / name
        path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
        path.chmod(0o755)
        return str(path)

    def test_an_engine_of_another_version_is_refused(self) -> None:
        answer = {"version": "0.0.1", "python": [3, 11], "torch": True}
        python = self.fakePython("python", f"echo '{json.dumps(answer)}'")
        self.assertIn(f"is version 0.0.1, the plugin is {__version__}", engine_env.engine_problem(python))

    def test_a_python_that_cannot_run_the_engine_is_refused(self) -> None:
        answer = {"version": __version__, "python": [3, 8], "torch": False}
        old = self.fakePython("old", f"echo '{json.dumps(answer)}'")
        self.assertIn("needs Python 3.11", engine_env.engine_problem(old))
        broken = self.fakePython("broken", "echo 'no such version' >&2", "exit 127")
        self.assertIn("(no such version)", engine_env.engine_problem(broken))

    def test_an_engine_that_answers_something_else_is_refused(self) -> None:
        answers = ["[1, 2]", "{}", "3", "null", '"ready"', '{"version": 1, "python": [3, 12], "torch": true}']
        for number, answer in enumerate(answers):
            python = self.fakePython(f"other{number}", f"echo '{answer}'")
            told = engine_env.engine_problem(python)
            self.assertIn("its answer cannot be understood", told)
            self.assertIn("set UDL_PYTHON", told)
            self.assertEqual(engine_env.engine_gpus(python)[0], [])
            self.assertIn("cannot be understood", engine_env.engine_gpus(python)[1])

    def test_gpus_are_asked_of_the_engine(self) -> None:
        python = self.fakePython("gpus", "echo 'a warning'", """echo '{"gpus": ["A100", "T4"]}'""")
        self.assertEqual(engine_env.engine_gpus(python), (["A100", "T4"], ""))


class TestUdlEngineEnvironment(unittest.TestCase):
    """How the engine's own environment is made."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def test_conda_makes_it_where_there_is_conda(self) -> None:
        (create, made), (install, installed) = engine_env.install_commands('eval "$(conda shell.posix hook)" &&')
        self.assertTrue(create.startswith('eval "$(conda shell.posix hook)" && conda create -y -p ./env python=3.'))
        self.assertEqual((made, installed), (["env/bin/python"], ["engine.json"]))
        self.assertLess(install.index("install torch"), install.index("install ./source"))
        self.assertTrue(engine_env.install_commands("")[0][0].startswith("conda create"))

    def test_venv_takes_the_first_python_that_runs(self) -> None:
        """python3.12 is a shim that fails; python3.11 can do all, and says by whom it was asked."""
        works = f'if [ "$1" = -m ]; then echo "$0 $@" > {self.folder}/asked; fi; exit 0'
        for name, body in (("python3.12", "exit 127"), ("python3.11", works)):
            (self.folder / name).write_text(f"#!/bin/sh\n{body}\n")
            (self.folder / name).chmod(0o755)
        path = {"PATH": f"{self.folder}:/usr/bin:/bin", "HOME": str(self.folder)}
        with mock.patch.dict(os.environ, path), mock.patch.object(sys, "executable", str(self.folder / "python3.12")):
            create = engine_env.install_commands(None)[0][0]
        subprocess.run(create, shell=True, cwd=self.folder, check=True)
        self.assertEqual((self.folder / "asked").read_text().strip(), f"{self.folder}/python3.11 -m venv env")

    def test_no_python_that_fits_is_told(self) -> None:
        (self.folder / "shim").write_text("#!/bin/sh\nexit 127\n")
        (self.folder / "shim").chmod(0o755)
        create = engine_env.install_commands(None, wanted=str(self.folder / "shim"))[0][0]
        done = subprocess.run(create, shell=True, cwd=self.folder, capture_output=True, text=True, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("set UDL_ENGINE_PYTHON", done.stdout)
        with self.assertRaisesRegex(UdlError, "no program"):
            engine_env.candidate_pythons("/nowhere/python")

    def test_the_source_of_the_engine_is_that_of_the_plugin(self) -> None:
        source = self.folder / "source"
        engine_env.write_source(str(source))
        project = (source / "pyproject.toml").read_text()
        self.assertIn(f'version = "{__version__}"', project)
        for package in ("torch", "safetensors", "numpy", "emtable"):
            self.assertIn(f'"{package}', project)
        self.assertNotIn("scipion-em>", project)
        here = Path(engine_env.__file__).parent
        copied = {path.relative_to(source / "scipion_udl") for path in (source / "scipion_udl").rglob("*.py")}
        expected = {path.relative_to(here) for path in here.rglob("*.py") if "tests" not in path.parts}
        self.assertEqual(copied, expected)
