"""udl - import model: a model file from elsewhere becomes an object of the project."""

from __future__ import annotations

import os
import shutil
from enum import Enum

from pwem.protocols import EMProtocol
from pyworkflow.protocol import Form

from scipion_udl.constants import MODEL, MODEL_PICTURE
from scipion_udl.errors import UdlError
from scipion_udl.objects import UdlModel
from scipion_udl.protocols.asking import ask
from scipion_udl.settings.option import Question

_MODEL_FILE = Question(
    "modelFile",
    "Model file",
    "A file model.safetensors, made by 'scipion-udl train', by 'scipion-udl align' or by a run of this "
    "plugin in another project. It is copied into the project.",
    kind="file",
)


class ProtUdlImportModel(EMProtocol):
    """Imports a trained model (model.safetensors), such as the command line or another project made it."""

    _label = "import model"

    class outputs(Enum):
        """What the protocol gives."""

        outputModel = UdlModel

    _possibleOutputs = outputs

    def _defineParams(self, form: Form) -> None:
        form.addSection(label="Input")
        ask(form, _MODEL_FILE)

    def _insertAllSteps(self) -> None:
        self._insertFunctionStep(self.importStep, self.modelFile.get(), needsGPU=False)
        self._insertFunctionStep(self.createOutputStep, self.modelFile.get(), needsGPU=False)

    def importStep(self, path: str) -> list[str]:
        """Copy the file into the run's folder."""
        copy = self._getExtraPath(MODEL)
        original = os.path.expanduser(path)
        shutil.copyfile(original, copy)
        picture = os.path.join(os.path.dirname(original), MODEL_PICTURE)
        if os.path.exists(picture):
            shutil.copyfile(picture, self._getExtraPath(MODEL_PICTURE))
        return [copy]

    def createOutputStep(self, _path: str) -> None:
        """Give the model."""
        self._defineOutputs(**{self.outputs.outputModel.name: UdlModel.fromFile(self._getExtraPath(MODEL))})

    def _validate(self) -> list[str]:
        path = os.path.expanduser(self.modelFile.get("") or "")
        if not path:
            return ["*Model file*: give a file model.safetensors."]
        if not os.path.isfile(path):
            return [f"*Model file*: {path} is not there: give a file model.safetensors."]
        try:
            UdlModel.fromFile(path)
        except UdlError as error:
            return [f"*Model file*: {error}"]
        return []

    def _summary(self) -> list[str]:
        model = getattr(self, self.outputs.outputModel.name, None)
        if model is None:
            return ["The model is not ready yet."]
        lines = [model.getSummary(), f"Imported from {self.modelFile.get()}"]
        if model.isForPairs():
            lines.append("It is for pairs of photographs (scipion-udl align-pairs), not for particles.")
        return lines
