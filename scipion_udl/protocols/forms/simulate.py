"""The form of 'udl - simulate particles', and what its answers mean to the engine."""

from __future__ import annotations

import os
import shlex

from pyworkflow.protocol import Form

from scipion_udl.constants import NORMALISED, PHANTOM_MOLECULES, RAW
from scipion_udl.convert.set_images import engine_image
from scipion_udl.errors import UdlError
from scipion_udl.io.images import read_image
from scipion_udl.io.maps import open_map
from scipion_udl.protocols.asking import ask
from scipion_udl.protocols.protocol_base import ProtUdlBase
from scipion_udl.settings.commands import SimulateSettings
from scipion_udl.settings.option import Question
from scipion_udl.values import POSITIVE

FROM_PHANTOM, FROM_FILE, FROM_PROJECT = 0, 1, 2
ONE_VIEW = 0
SINGLE = SimulateSettings.question("views").answers.index("single")
MOLECULES = list(PHANTOM_MOLECULES)
MAP = len(MOLECULES)  # the choice behind the last of them
PHANTOM_BOX, PHANTOM_PIXEL_SIZE = 128, 2.0  # where the form leaves them open
TEMPLATE = "view.mrc"

_ONE, _MANY = f"views == {ONE_VIEW}", f"views != {ONE_VIEW}"
_EFFECTS = ("neighbours", "junk", "ramp", "structural")  # options of the engine
_MICROSCOPE = ("voltage", "cs", "amplitude_contrast", "b_factor")  # options of the engine
_VIEW_FROM = Question(
    "viewFrom",
    "View",
    "What the particles show. A phantom is made by formula and needs no file; an image should show one "
    "particle in the middle of its box, with little noise, since its noise would be rotated with it.",
    kind="choice",
    default=FROM_PHANTOM,
    choices=("A built-in phantom", "An image file", "An image of the project"),
    condition=_ONE,
)
_VIEW = Question(
    "inputView",
    "Image",
    "A single particle or average, or one image of a set: a class average, say.",
    kind="object",
    of="Particle",
    condition=f"{_ONE} and viewFrom == {FROM_PROJECT}",
)
_MOLECULE = Question(
    "molecule",
    "Molecule",
    "The first are made by formula and need no file.\n"
    + "\n".join(f"*{name}* ({group}): {what}." for name, (group, what) in PHANTOM_MOLECULES.items()),
    kind="choice",
    default=0,
    choices=(*MOLECULES, "A map file"),
    condition=_MANY,
)
_PIXEL_SIZE = Question(
    "pixelSize",
    "Pixel size",
    f"Of the particles. Leave it empty for {PHANTOM_PIXEL_SIZE:g} with a phantom, and for what an MRC "
    "file says of itself; a picture says nothing. A map whose file tells its pixel size keeps its size in Å.",
    kind="number",
    unit="A/px",
    may_be_empty=True,
    condition=f"{_MANY} or viewFrom != {FROM_PROJECT}",
)
_SECOND = Question(
    "second",
    "Second molecule",
    "Another molecule among the first, as an impurity or a complex that fell apart.",
    kind="choice",
    default=0,
    choices=("None", *MOLECULES, "A map file"),
    condition=_MANY,
)
_SECOND_FILE = Question(
    "secondFile",
    "Second map file",
    "As *Map file*. It is shown in the same pixel size as the first.",
    kind="file",
    condition=f"{_MANY} and second == {MAP + 1}",
)
_ADD_NOISE = Question(
    "addNoise", "Add noise?", "Gaussian noise, the same at all frequencies (white).", kind="yes", default=True
)
_SSNR_RESOLUTION = Question(
    "ssnrResolution",
    "Coarser than",
    "There is more noise in what is coarser than this.",
    kind="number",
    default=10.0,
    unit="A",
    condition="addNoise and changeSsnr",
    advanced=True,
)
_SSNR_FACTOR = Question(
    "ssnrFactor",
    "Times the power",
    "The power of the noise there is multiplied by this, so the spectral SNR is divided by it.",
    kind="number",
    default=4.0,
    limits=POSITIVE,
    condition="addNoise and changeSsnr",
    advanced=True,
)
_DEFOCUS = tuple(
    Question(
        name,
        label,
        "Underfocus; the defocus of a particle lies between the two.",
        kind="number",
        default=default,
        unit="micrometers",
        condition="applyCtf",
    )
    for name, label, default in (("defocusMin", "Smallest defocus", 0.5), ("defocusMax", "Largest defocus", 2.0))
)


class RealismForm(ProtUdlBase):
    """Whether particles are as extraction leaves them, and how much so. applyCtf and addNoise are the form's."""

    _label: str | None = None
    _settings = SimulateSettings

    def _defineRealismParams(self, form: Form) -> None:
        for name in ("realistic", *_EFFECTS, "intensities"):
            self._ask(form, name)

    def _realismWords(self) -> list[str]:
        """The engine's options: all of what real particles have, and of the main effects how much."""
        if not self.realistic:
            return []
        raw = self._option("intensities", RAW if self.raw else NORMALISED)
        of_both = self.applyCtf and self.addNoise  # structure of the ice is noise that passes the CTF
        words = self._words("realistic") + raw + self._words(*(_EFFECTS if of_both else _EFFECTS[:-1]))
        return words


class SimulateForm(RealismForm):
    """What 'udl - simulate particles' asks, and the options and checks that follow from the answers."""

    _label: str | None = None

    # -- parameters ----------------------------------------------------------------------------------------------------

    def _defineParams(self, form: Form) -> None:
        form.addSection(label="Particles")
        self._ask(form, "views")
        self._defineViewParams(form)
        self._defineMoleculeParams(form)
        self._defineSizeParams(form)
        self._definePoseParams(form)
        self._defineNoiseParams(form)
        self._defineMixtureParams(form)
        self._defineSeedParam(form)
        form.addSection(label="Microscope")
        self._defineMicroscopeParams(form)
        form.addSection(label="As real ones are")
        self._defineRealismParams(form)

    def _defineViewParams(self, form: Form) -> None:
        ask(form, _VIEW_FROM)
        self._ask(form, "phantom", condition=f"{_ONE} and viewFrom == {FROM_PHANTOM}")
        self._ask(form, "template", condition=f"{_ONE} and viewFrom == {FROM_FILE}")
        ask(form, _VIEW)

    def _defineMoleculeParams(self, form: Form) -> None:
        ask(form, _MOLECULE)
        self._ask(form, "volume", condition=f"{_MANY} and molecule == {MAP}")
        self._ask(form, "jitter", condition=f"views == {SINGLE}")

    def _defineSizeParams(self, form: Form) -> None:
        self._ask(form, "box")
        ask(form, _PIXEL_SIZE)

    def _defineMixtureParams(self, form: Form) -> None:
        group = form.addGroup("Mixed with", condition=_MANY)
        self._ask(group, "noise_share", condition=f"{_MANY} and addNoise")
        ask(group, _SECOND)
        ask(group, _SECOND_FILE)
        self._ask(group, "second_share", condition=f"{_MANY} and second != 0")

    def _definePoseParams(self, form: Form) -> None:
        for name in ("count", "shift", "subpixel"):
            self._ask(form, name)

    def _defineNoiseParams(self, form: Form) -> None:
        group = form.addGroup("Noise")
        ask(group, _ADD_NOISE)
        for name in ("snr", "clean", "ssnr"):
            self._ask(group, name)
        ask(group, _SSNR_RESOLUTION)
        ask(group, _SSNR_FACTOR)

    def _defineMicroscopeParams(self, form: Form) -> None:
        self._ask(form, "no_ctf")
        for question in _DEFOCUS:
            ask(form, question)
        for name in ("signed", *_MICROSCOPE):
            self._ask(form, name)

    # -- options of the engine -----------------------------------------------------------------------------------------

    def _simulateOptions(self) -> str:
        """The options of the engine, but the image of a project, whose file is named when the step runs."""
        words = self._viewWords() if self.views.get() == ONE_VIEW else self._moleculeWords()
        words += self._words("count", "shift", "seed", "subpixel")
        if not self.addNoise:
            words += self._option("snr", "inf")
        else:
            words += self._words("snr", "clean")
            if self.changeSsnr:
                words += self._option("ssnr", f"{self.ssnrResolution.get():g}:{self.ssnrFactor.get():g}")
        words += self._realismWords()
        if not self.applyCtf:
            return shlex.join(words + self._words("no_ctf"))
        words += self._option("defocus", (self.defocusMin.get(), self.defocusMax.get()))
        return shlex.join(words + self._words(*_MICROSCOPE, "signed"))

    def _viewWords(self) -> list[str]:
        """What is simulated, in which box and with which pixel size."""
        box, size = self.box.get(), self.pixelSize.get()
        words = self._words("box")
        if self.viewFrom.get() == FROM_PROJECT:
            image = self.inputView.get()
            size = image.getSamplingRate() * image.getXDim() / (box if box > 0 else image.getXDim())
            words += self._option("template", engine_image(image, self._getExtraPath(TEMPLATE)))
        elif self.viewFrom.get() == FROM_FILE:
            words += self._option("template", self._fileOf("viewFile"))
        else:
            words += self._words("phantom")
        return words + self._option("pixel_size", size or None)

    def _moleculeWords(self) -> list[str]:
        """Which molecules are simulated, in which shares, box and pixel size."""
        kind, which = self.molecule.get(), self.second.get() - 1
        words = self._words("views", *(["jitter"] if self.views.get() == SINGLE else []))
        words += (
            self._option("volume", self._fileOf("mapFile")) if kind == MAP else self._option("phantom", MOLECULES[kind])
        )
        words += self._words("box") + self._option("pixel_size", self.pixelSize.get() or None)
        if self.addNoise and self.noiseShare.get():
            words += self._words("noise_share")
        if which >= 0:
            words += self._option("second", self._fileOf("secondFile") if which == MAP else MOLECULES[which])
            words += self._words("second_share")
        return words

    def _isOfProject(self) -> bool:
        """Whether the particles show an image of the project."""
        return self.views.get() == ONE_VIEW and self.viewFrom.get() == FROM_PROJECT

    def _fileOf(self, name: str) -> str:
        """The path that a parameter for a file holds; "" for none."""
        return os.path.expanduser((getattr(self, name).get() or "").strip())

    # -- checks --------------------------------------------------------------------------------------------------------

    def _validate(self) -> list[str]:
        errors = self._validateEngine()
        box, view_errors = self._viewBox() if self.views.get() == ONE_VIEW else self._moleculeBox()
        if view_errors:
            return errors + view_errors
        if box < 8:
            errors.append(f"*Box* is {box} px, which is too small for particles: give 8 or more.")
        elif self.maxShift.get() >= box / 2:
            shift = self.maxShift.get()
            errors.append(f"*Largest shift* is {shift:g} px, half of the box of {box} px or more: give less.")
        if self.applyCtf and not 0 < self.defocusMin.get() <= self.defocusMax.get():
            errors.append("*Smallest defocus* and *Largest defocus* must be above 0, the smaller one first.")
        return errors

    def _viewBox(self) -> tuple[int, list[str]]:
        """The box of the particles, and sentences where there is no view to simulate."""
        box = self.box.get()
        if self.viewFrom.get() == FROM_PHANTOM:
            return (box if box > 0 else PHANTOM_BOX), []
        if self.viewFrom.get() == FROM_PROJECT:
            return (box if box > 0 else self.inputView.get().getXDim()), []
        if not self._fileOf("viewFile"):
            return box, ["*Image file* is empty: give a picture or an MRC file."]
        try:
            image, own_size = read_image(self._fileOf("viewFile"))
        except UdlError as error:
            return box, [str(error)]
        if not own_size and not self.pixelSize.get():
            return box, [f"*Pixel size* is needed: {self._fileOf('viewFile')} does not say it."]
        return (box if box > 0 else len(image)), []

    def _moleculeBox(self) -> tuple[int, list[str]]:
        """The box of the particles, and sentences where there are no molecules to simulate or no such mixture."""
        box, own_box = self.box.get(), PHANTOM_BOX
        errors: list[str] = []
        if self.molecule.get() == MAP:
            own_box, own_size, errors = self._mapOf("mapFile", "*Map file*")
            if not errors and not own_size and not self.pixelSize.get():
                errors.append(f"*Pixel size* is needed: {self._fileOf('mapFile')} does not say it.")
        if self.second.get() - 1 == MAP:
            errors += self._mapOf("secondFile", "*Second map file*")[2]
        if self.second.get() and not self.secondShare.get():
            errors.append("*Share of the second molecule* is 0: give more, or *None* as *Second molecule*.")
        noise = self.noiseShare.get() if self.addNoise else 0
        if self.second.get() and noise + self.secondShare.get() > 1:
            errors.append("*Share of noise alone* and *Share of the second molecule* are above 1 together: give less.")
        return (box if box > 0 else own_box), errors

    def _mapOf(self, name: str, label: str) -> tuple[int, float | None, list[str]]:
        """Voxels a side and pixel size of the map that a parameter names, and sentences where there is none."""
        if not self._fileOf(name):
            return 0, None, [f"{label} is empty: give an MRC file of a cube."]
        try:
            reader = open_map(self._fileOf(name))
        except UdlError as error:
            return 0, None, [str(error)]
        return reader.count, reader.pixel_size, []
