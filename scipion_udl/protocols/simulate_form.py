"""The form of 'udl - simulate particles', and what its answers mean to the engine."""

from __future__ import annotations

import os
import shlex

from pyworkflow.protocol import LEVEL_ADVANCED, Form, params

from scipion_udl.constants import MOST_JITTER, PHANTOM_MOLECULES, PHANTOM_VIEWS
from scipion_udl.convert.set_images import engine_image
from scipion_udl.errors import UdlError
from scipion_udl.io.images import read_image
from scipion_udl.io.maps import open_map
from scipion_udl.protocols.protocol_base import AUTOMATIC
from scipion_udl.protocols.realism_form import RealismForm

FROM_PHANTOM, FROM_FILE, FROM_PROJECT = 0, 1, 2
ONE_VIEW = 0
VIEWS_OPTIONS = [None, "random", "uneven", "single"]  # of the engine, in the order of the form's choices
SINGLE = VIEWS_OPTIONS.index("single")
NAMES, MOLECULES = list(PHANTOM_VIEWS), list(PHANTOM_MOLECULES)
MAP = len(MOLECULES)  # the choice behind the last of them
PHANTOM_BOX, PHANTOM_PIXEL_SIZE = 128, 2.0  # where the form leaves them open
TEMPLATE = "view.mrc"

_ONE, _MANY = f"views == {ONE_VIEW}", f"views != {ONE_VIEW}"


class SimulateForm(RealismForm):
    """What 'udl - simulate particles' asks, and the options and checks that follow from the answers."""

    _label = None

    # -- parameters ----------------------------------------------------------------------------------------------------

    def _defineParams(self, form: Form) -> None:
        form.addSection(label="Particles")
        form.addParam(
            "views",
            params.EnumParam,
            choices=[
                "One view",
                "Many views, from everywhere alike",
                "Many views, most from three directions",
                "Views of a molecule from about one direction",
            ],
            default=ONE_VIEW,
            label="Particles show",
            help="One view: what 'udl - align 2D' aligns. Many views: a molecule in three dimensions, each particle "
            "seen from a direction of its own, as in a set that is still to be classified. Most from three directions, "
            "as at an air-water interface: four in five particles lie near one of them. From about one direction: as "
            "the particles of one class are.",
        )
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

    @staticmethod
    def _defineViewParams(form: Form) -> None:
        form.addParam(
            "viewFrom",
            params.EnumParam,
            choices=["A built-in phantom", "An image file", "An image of the project"],
            default=FROM_PHANTOM,
            condition=_ONE,
            label="View",
            help="What the particles show. A phantom is made by formula and needs no file; an image should show one "
            "particle in the middle of its box, with little noise, since its noise would be turned with it.",
        )
        form.addParam(
            "phantom",
            params.EnumParam,
            choices=NAMES,
            default=0,
            condition=f"{_ONE} and viewFrom == {FROM_PHANTOM}",
            label="Phantom",
            help="\n".join(f"*{name}*: {what}." for name, what in PHANTOM_VIEWS.items()),
        )
        form.addParam(
            "viewFile",
            params.FileParam,
            condition=f"{_ONE} and viewFrom == {FROM_FILE}",
            label="Image file",
            help="A square picture (png, tif, jpg) or an MRC file. 3@FILE takes the third image of a stack.",
        )
        form.addParam(
            "inputView",
            params.PointerParam,
            pointerClass="Particle",
            condition=f"{_ONE} and viewFrom == {FROM_PROJECT}",
            allowsNull=False,
            label="Image",
            help="A single particle or average, or one image of a set: a class average, say.",
        )

    @staticmethod
    def _defineMoleculeParams(form: Form) -> None:
        form.addParam(
            "molecule",
            params.EnumParam,
            choices=[*MOLECULES, "A map file"],
            default=0,
            condition=_MANY,
            label="Molecule",
            help="The first are made by formula and need no file.\n"
            + "\n".join(f"*{name}* ({group}): {what}." for name, (group, what) in PHANTOM_MOLECULES.items()),
        )
        form.addParam(
            "mapFile",
            params.FileParam,
            condition=f"{_MANY} and molecule == {MAP}",
            label="Map file",
            help="The density of a molecule: an MRC file of a cube, with the molecule in its middle and little noise.",
        )

        form.addParam(
            "jitter",
            params.FloatParam,
            default=5.0,
            condition=f"views == {SINGLE}",
            validators=[params.Range(0, MOST_JITTER, f"must be from 0 to {MOST_JITTER:g}")],
            label="Spread of the views (degrees)",
            help="How far the views lie off the one direction, which is drawn from the random seed: the standard "
            "deviation along either axis across it. Classes of real particles have some 5 degrees.",
        )

    @staticmethod
    def _defineSizeParams(form: Form) -> None:
        form.addParam(
            "box",
            params.IntParam,
            default=AUTOMATIC,
            label="Box (px)",
            help=f"Pixels of a side of the particles. -1 takes {PHANTOM_BOX} for a phantom and the box of the image or "
            "map otherwise. Another box shows the same field of view, so its pixels are larger or smaller.",
        )
        form.addParam(
            "pixelSize",
            params.FloatParam,
            default=None,
            allowsNull=True,
            condition=f"{_MANY} or viewFrom != {FROM_PROJECT}",
            label="Pixel size (Å/px)",
            help=f"Of the particles. Leave it empty for {PHANTOM_PIXEL_SIZE:g} with a phantom, and for what an MRC "
            "file says of itself; a picture says nothing. A map whose file tells its pixel size keeps its size in Å.",
        )

    @staticmethod
    def _defineMixtureParams(form: Form) -> None:
        group = form.addGroup("Mixed with", condition=_MANY)
        group.addParam(
            "noiseShare",
            params.FloatParam,
            default=0.0,
            condition=f"{_MANY} and addNoise",
            validators=[params.Range(0, 1, "must be from 0 to 1")],
            label="Share of noise alone",
            help="How large a part of the particles, 0 to 1, holds noise and nothing else, as false picks do.",
        )
        group.addParam(
            "second",
            params.EnumParam,
            choices=["None", *MOLECULES, "A map file"],
            default=0,
            condition=_MANY,
            label="Second molecule",
            help="Another molecule among the first, as an impurity or a complex that fell apart.",
        )
        group.addParam(
            "secondFile",
            params.FileParam,
            condition=f"{_MANY} and second == {MAP + 1}",
            label="Second map file",
            help="As *Map file*. It is shown in the same pixel size as the first.",
        )
        group.addParam(
            "secondShare",
            params.FloatParam,
            default=0.2,
            condition=f"{_MANY} and second != 0",
            validators=[params.Range(0, 1, "must be from 0 to 1")],
            label="Share of the second molecule",
            help="How large a part of the particles, 0 to 1, shows it.",
        )

    @staticmethod
    def _definePoseParams(form: Form) -> None:
        form.addParam(
            "count",
            params.IntParam,
            default=1000,
            validators=[params.Positive],
            label="Number of particles",
            help="Each is turned by any angle, all angles being equally likely.",
        )
        form.addParam(
            "maxShift",
            params.FloatParam,
            default=10.0,
            validators=[params.GE(0, "must be 0 or more")],
            label="Largest shift (px)",
            help="How far the particles lie off the centre of their box at most, in x and in y.",
        )
        form.addParam(
            "subpixel",
            params.BooleanParam,
            default=False,
            expertLevel=LEVEL_ADVANCED,
            label="Shifts by parts of a pixel?",
            help="No: by whole pixels. Yes: by any amount, as in real particles.",
        )

    def _defineNoiseParams(self, form: Form) -> None:
        group = form.addGroup("Noise")
        group.addParam(
            "addNoise",
            params.BooleanParam,
            default=True,
            label="Add noise?",
            help="Gaussian noise, the same at all frequencies (white).",
        )
        group.addParam(
            "snr",
            params.FloatParam,
            default=0.1,
            condition="addNoise",
            validators=[params.GT(0, "must be above 0")],
            label="SNR",
            help="Signal-to-noise ratio: the variance of the particle without noise, as the microscope shows it and "
            "over the whole box, divided by that of the noise. 0.1 is ten times as much noise as particle.",
        )
        group.addParam(
            "writeClean",
            params.BooleanParam,
            default=False,
            expertLevel=LEVEL_ADVANCED,
            condition="addNoise",
            label="Without noise, too?",
            help="Yes: gives the same particles before the noise as outputClean.",
        )
        self._defineSsnrParams(group)

    @staticmethod
    def _defineSsnrParams(group: Form) -> None:
        group.addParam(
            "changeSsnr",
            params.BooleanParam,
            default=False,
            expertLevel=LEVEL_ADVANCED,
            condition="addNoise",
            label="More noise at low frequencies?",
            help="As ice and carbon make it. The SNR remains that of the white noise.",
        )
        group.addParam(
            "ssnrResolution",
            params.FloatParam,
            default=10.0,
            expertLevel=LEVEL_ADVANCED,
            condition="addNoise and changeSsnr",
            label="Coarser than (Å)",
            help="There is more noise in what is coarser than this.",
        )
        group.addParam(
            "ssnrFactor",
            params.FloatParam,
            default=4.0,
            expertLevel=LEVEL_ADVANCED,
            condition="addNoise and changeSsnr",
            validators=[params.GT(0, "must be above 0")],
            label="Times the power",
            help="The power of the noise there is multiplied by this, so the spectral SNR is divided by it.",
        )

    @staticmethod
    def _defineMicroscopeParams(form: Form) -> None:
        form.addParam(
            "applyCtf",
            params.BooleanParam,
            default=True,
            label="Apply a CTF?",
            help="The contrast transfer function of a microscope, of another defocus for each particle.",
        )
        for name, label, default, help_ in (
            ("defocusMin", "Smallest defocus (µm)", 0.5, "Underfocus; the defocus of a particle lies between the two."),
            ("defocusMax", "Largest defocus (µm)", 2.0, "Underfocus; the defocus of a particle lies between the two."),
        ):
            form.addParam(name, params.FloatParam, default=default, condition="applyCtf", label=label, help=help_)
        form.addParam(
            "flipPhases",
            params.BooleanParam,
            default=True,
            condition="applyCtf",
            label="Phases flipped?",
            help="Yes: the particles are as if their phases had been flipped, the CTF is positive everywhere. No: as "
            "the microscope leaves them.",
        )
        for name, label, default, help_ in (
            ("voltage", "Voltage (kV)", 300.0, "Of the microscope."),
            ("sphericalAberration", "Spherical aberration (mm)", 2.7, "Cs of the objective lens."),
            ("amplitudeContrast", "Amplitude contrast", 0.07, "The share of amplitude contrast, 0.07 to 0.1 in ice."),
            ("bFactor", "B factor (Å²)", 50.0, "How fast the contrast falls towards fine detail: exp(-B / 4 d²)."),
        ):
            form.addParam(
                name,
                params.FloatParam,
                default=default,
                condition="applyCtf",
                expertLevel=LEVEL_ADVANCED,
                label=label,
                help=help_,
            )

    # -- options of the engine -----------------------------------------------------------------------------------------

    def _simulateOptions(self) -> str:
        """The options of the engine, but the image of a project, whose file is named when the step runs."""
        shown = self._viewWords() if self.views.get() == ONE_VIEW else self._moleculeWords()
        words = [*shown, "--count", self.count.get(), "--shift", f"{self.maxShift.get():g}"]
        words += ["--seed", self.seed.get(), *(["--subpixel"] if self.subpixel else [])]
        if not self.addNoise:
            words += ["--snr", "inf"]
        else:
            words += ["--snr", f"{self.snr.get():g}", *(["--clean"] if self.writeClean else [])]
            if self.changeSsnr:
                words += ["--ssnr", f"{self.ssnrResolution.get():g}:{self.ssnrFactor.get():g}"]
        words += self._realismWords()
        if not self.applyCtf:
            return shlex.join(map(str, [*words, "--no-ctf"]))
        words += ["--defocus", f"{self.defocusMin.get():g}", f"{self.defocusMax.get():g}"]
        words += ["--voltage", f"{self.voltage.get():g}", "--cs", f"{self.sphericalAberration.get():g}"]
        words += ["--amplitude-contrast", f"{self.amplitudeContrast.get():g}", "--b-factor", f"{self.bFactor.get():g}"]
        return shlex.join(map(str, [*words, *([] if self.flipPhases else ["--signed"])]))

    def _viewWords(self) -> list:
        """What is simulated, in which box and with which pixel size."""
        box, size = self.box.get(), self.pixelSize.get()
        words = ["--box", box] if box > 0 else []
        if self.viewFrom.get() == FROM_PROJECT:
            image = self.inputView.get()
            size = image.getSamplingRate() * image.getXDim() / (box if box > 0 else image.getXDim())
            words += ["--template", engine_image(image, self._getExtraPath(TEMPLATE))]
        elif self.viewFrom.get() == FROM_FILE:
            words += ["--template", self._fileOf("viewFile")]
        else:
            words += ["--phantom", NAMES[self.phantom.get()]]
        return words + (["--pixel-size", f"{size:.6g}"] if size else [])

    def _moleculeWords(self) -> list:
        """Which molecules are simulated, in which shares, box and pixel size."""
        box, size, kind = self.box.get(), self.pixelSize.get(), self.molecule.get()
        words = ["--views", VIEWS_OPTIONS[self.views.get()]]
        words += ["--jitter", f"{self.jitter.get():g}"] if self.views.get() == SINGLE else []
        words += ["--volume", self._fileOf("mapFile")] if kind == MAP else ["--phantom", MOLECULES[kind]]
        words += ["--box", box] if box > 0 else []
        words += ["--pixel-size", f"{size:.6g}"] if size else []
        if self.addNoise and self.noiseShare.get():
            words += ["--noise-share", f"{self.noiseShare.get():g}"]
        if self.second.get():
            which = self.second.get() - 1
            words += ["--second", self._fileOf("secondFile") if which == MAP else MOLECULES[which]]
            words += ["--second-share", f"{self.secondShare.get():g}"]
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
        box, errors = self.box.get(), []
        own_box = PHANTOM_BOX
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
