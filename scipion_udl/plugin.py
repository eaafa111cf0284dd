"""The plugin as Scipion sees it: its variables, its binaries, and how the protocols reach the engine."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from typing import Any

import pwem
import pyworkflow as pw
from pyworkflow import VarTypes
from pyworkflow.utils import Environ

from scipion_udl import engine_env
from scipion_udl.constants import UDL_PYTHON, __version__

UDL_HOME = "UDL_HOME"
UDL_ENV_ACTIVATION = "UDL_ENV_ACTIVATION"
UDL_ENGINE_PYTHON = "UDL_ENGINE_PYTHON"
UDL_TORCH = "UDL_TORCH"

NAME = "udl"


class Plugin(pwem.Plugin):
    """Variables, binaries and engine of the udl plugin."""

    _homeVar = UDL_HOME
    _supportedVersions = [__version__]
    _url = "https://pypi.org/project/scipion-em-udl"

    def __init__(self) -> None:
        super().__init__()
        # Scipion takes both from the module of the class, which is not the plugin's; the name shows in menus.
        self._name = NAME
        self._path = os.path.dirname(os.path.abspath(__file__))

    @classmethod
    def _defineVariables(cls) -> None:
        cls._defineEmVar(
            UDL_HOME,
            f"{NAME}-{__version__}",
            description="Folder where 'scipion3 installb udl' makes the engine's environment.",
            var_type=VarTypes.FOLDER,
        )
        default = sys.executable if engine_env.this_python_fits() else cls.getHome(engine_env.ENV_PYTHON)
        cls._defineVar(
            UDL_PYTHON,
            default,
            description="Python that runs the engine: the one of Scipion where that is new enough and has torch, "
            "else the one in UDL_HOME.",
            var_type=VarTypes.PATH,
        )
        cls._defineVar(
            UDL_ENV_ACTIVATION,
            "",
            description="Command that makes 'python' the one of an environment with the engine, such as "
            "'conda activate my-udl' or 'module load udl'. Leave it empty to use UDL_PYTHON.",
        )
        cls._defineVar(
            UDL_ENGINE_PYTHON,
            "",
            description="Python (3.11 or later) out of which 'scipion3 installb udl' makes the engine's environment. "
            "Leave it empty to use conda, or the first Python that fits where there is no conda.",
            var_type=VarTypes.PATH,
        )
        cls._defineVar(
            UDL_TORCH,
            "torch",
            description="What 'scipion3 installb udl' asks pip for, to choose a build of torch: for example "
            "'torch --index-url https://download.pytorch.org/whl/cu126'.",
        )

    @classmethod
    def getEnginePython(cls) -> str:
        """The engine's Python as shell text: a path, or the command that activates an environment and 'python'."""
        activation = cls.getVar(UDL_ENV_ACTIVATION, "").strip().rstrip("&; ")
        if not activation:
            return shlex.quote(cls.getVar(UDL_PYTHON))
        conda = cls.getCondaActivationCmd().strip() if activation.startswith("conda ") else ""
        return f"{conda} {activation} && python".strip()

    @classmethod
    def getEngineProgram(cls) -> str:
        """The engine's command line up to its subcommand, as shell text."""
        return f"{cls.getEnginePython()} -m scipion_udl.cli"

    @classmethod
    def getEnviron(cls) -> Environ:
        """The environment of the engine: Scipion's, without what is meant for Scipion's Python alone."""
        return Environ(engine_env.engine_environment())

    @classmethod
    def validateInstallation(cls) -> list[str]:
        """A sentence where the engine's Python is not there. Quick: the protocol tree asks it of every protocol."""
        python = cls.getVar(UDL_PYTHON)
        if cls.getVar(UDL_ENV_ACTIVATION, "").strip() or shutil.which(python):
            return []
        return [
            f"The engine of udl is not installed: {python} is not there.",
            "Run 'scipion3 installb udl', or set UDL_PYTHON to a Python 3.11 or later that has the package with its "
            "engine: pip install 'scipion-em-udl[engine]'.",
        ]

    @classmethod
    def defineBinaries(cls, env: Any) -> None:
        """Tell Scipion how to make the engine's own environment in UDL_HOME.

        It is made when the plugin is installed, unless the variables say that the engine is elsewhere.
        """
        wanted = cls.getVar(UDL_ENGINE_PYTHON, "")
        activation = pw.Config.CONDA_ACTIVATION_CMD or ""
        has_conda = bool(activation.strip()) or shutil.which("conda") is not None
        conda = activation if has_conda and not wanted else None
        is_own = cls.getVar(UDL_PYTHON) == cls.getHome(engine_env.ENV_PYTHON)
        env.addPackage(
            NAME,
            version=__version__,
            tar="void.tgz",
            commands=engine_env.install_commands(conda, wanted, cls.getVar(UDL_TORCH)),
            default=is_own and not cls.getVar(UDL_ENV_ACTIVATION, "").strip(),
        )
