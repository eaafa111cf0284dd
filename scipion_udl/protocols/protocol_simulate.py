"""udl - simulate particles: one view in, particles of it whose true poses are known out."""

from __future__ import annotations

import json
import os
import shlex

from pwem.objects import Acquisition, SetOfParticles
from pyworkflow.protocol import LEVEL_ADVANCED, Form, params

from scipion_udl.convert import add_poses
from scipion_udl.convert_files import has_ctf, is_phase_flipped, iter_particles
from scipion_udl.errors import UdlError
from scipion_udl.io.images import read_image
from scipion_udl.io.particles import ParticleSource, open_particles
from scipion_udl.io.truth import read_truth
from scipion_udl.protocols.protocol_base import AUTOMATIC, ProtUdlBase
from scipion_udl.set_images import convert_image, engine_image, image_name
from scipion_udl.simulate.phantoms import PHANTOMS

FROM_PHANTOM, FROM_FILE, FROM_PROJECT = 0, 1, 2
NAMES = list(PHANTOMS)
PHANTOM_BOX, PHANTOM_PIXEL_SIZE = 128, 2.0  # where the form leaves them open
STACK, TRUTH, PARAMETERS = "particles.mrcs", "truth.star", "parameters.json"
TEMPLATE = "view.mrc"
PARTICLES_OUT, TRUTH_OUT, CLEAN_OUT = "outputParticles", "outputTruth", "outputClean"


class ProtUdlSimulate(ProtUdlBase):
    """Makes particles of one view, each turned and shifted by a known amount, seen through a microscope, in noise.

    They show what an alignment is worth: the true pose of every particle is known. The view is a built-in phantom, an
    image file, or an image of the project such as a class average. The file truth.star in the folder of the run holds
    the true poses for the training and the evaluation of this plugin; outputTruth holds them as a 2D alignment.
    """

    _label = "simulate particles"

    # By name and not as an Enum, in which members of one value would be one and the same.
    _possibleOutputs = {PARTICLES_OUT: SetOfParticles, TRUTH_OUT: SetOfParticles, CLEAN_OUT: SetOfParticles}

    # -- parameters ----------------------------------------------------------------------------------------------------

    def _defineParams(self, form: Form) -> None:
        form.addSection(label="Particles")
        self._defineViewParams(form)
        self._definePoseParams(form)
        self._defineNoiseParams(form)
        self._defineSeedParam(form)
        form.addSection(label="Microscope")
        self._defineMicroscopeParams(form)

    @staticmethod
    def _defineViewParams(form: Form) -> None:
        form.addParam(
            "viewFrom",
            params.EnumParam,
            choices=["A built-in phantom", "An image file", "An image of the project"],
            default=FROM_PHANTOM,
            label="View",
            help="What the particles show. A phantom is made by formula and needs no file; an image should show one "
            "particle in the middle of its box, with little noise, since its noise would be turned with it.",
        )
        form.addParam(
            "phantom",
            params.EnumParam,
            choices=NAMES,
            default=0,
            condition=f"viewFrom == {FROM_PHANTOM}",
            label="Phantom",
            help="\n".join(f"*{name}*: {what}." for name, (_, what) in PHANTOMS.items()),
        )
        form.addParam(
            "viewFile",
            params.FileParam,
            condition=f"viewFrom == {FROM_FILE}",
            label="Image file",
            help="A square picture (png, tif, jpg) or an MRC file. 3@FILE takes the third image of a stack.",
        )
        form.addParam(
            "inputView",
            params.PointerParam,
            pointerClass="Particle",
            condition=f"viewFrom == {FROM_PROJECT}",
            allowsNull=False,
            label="Image",
            help="A single particle or average, or one image of a set: a class average, say.",
        )
        form.addParam(
            "box",
            params.IntParam,
            default=AUTOMATIC,
            label="Box (px)",
            help=f"Pixels of a side of the particles. -1 takes {PHANTOM_BOX} for a phantom and the box of the image "
            "otherwise. Another box shows the same field of view, so its pixels are larger or smaller.",
        )
        form.addParam(
            "pixelSize",
            params.FloatParam,
            default=None,
            allowsNull=True,
            condition=f"viewFrom != {FROM_PROJECT}",
            label="Pixel size (Å/px)",
            help=f"Of the particles. Leave it empty for {PHANTOM_PIXEL_SIZE:g} with a phantom, and for what an MRC "
            "file says of itself; a picture says nothing.",
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

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _insertAllSteps(self) -> None:
        options = self._simulateOptions()
        image = [image_name(self.inputView.get())] if self.viewFrom.get() == FROM_PROJECT else []
        self._insertFunctionStep(self.simulateStep, options, *image, needsGPU=False)
        self._insertFunctionStep(self.createOutputStep, options, *image, needsGPU=False)

    def _simulateOptions(self) -> str:
        """The options of the engine, but the image of a project, whose file is named when the step runs."""
        words = [*self._viewWords(), "--count", self.count.get(), "--shift", f"{self.maxShift.get():g}"]
        words += ["--seed", self.seed.get(), *(["--subpixel"] if self.subpixel else [])]
        if not self.addNoise:
            words += ["--snr", "inf"]
        else:
            words += ["--snr", f"{self.snr.get():g}", *(["--clean"] if self.writeClean else [])]
            if self.changeSsnr:
                words += ["--ssnr", f"{self.ssnrResolution.get():g}:{self.ssnrFactor.get():g}"]
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
            words += ["--template", self._viewFile()]
        else:
            words += ["--phantom", NAMES[self.phantom.get()]]
        return words + (["--pixel-size", f"{size:.6g}"] if size else [])

    def _viewFile(self) -> str:
        return os.path.expanduser((self.viewFile.get() or "").strip())

    def simulateStep(self, options: str, *_dependsOn: object) -> list[str]:
        """Make the particles."""
        if self.viewFrom.get() == FROM_PROJECT:
            convert_image(self.inputView.get(), self._getExtraPath(TEMPLATE))
        out = self._getExtraPath()
        self._runCommand(f"simulate {shlex.quote(out)} {options} --overwrite", self._getExtraPath(PARAMETERS))
        return [self._getExtraPath(STACK), self._getExtraPath(TRUTH)]

    def createOutputStep(self, *_dependsOn: object) -> None:
        """Give the particles, the same with their true alignment, and the noise-free ones where they were made."""
        particles = self._makeSet("particles", "")
        truth = self._createSetOfParticles(suffix="Truth")
        truth.copyInfo(particles)
        add_poses(particles, truth, *self._truePoses(particles))
        made = {PARTICLES_OUT: particles, TRUTH_OUT: truth}
        if self.addNoise and self.writeClean:
            made[CLEAN_OUT] = self._makeSet("clean", "Clean")
        self._defineOutputs(**made)
        if self.viewFrom.get() == FROM_PROJECT:
            for output in made.values():
                self._defineSourceRelation(self.inputView, output)

    def _makeSet(self, stack: str, suffix: str) -> SetOfParticles:
        """The set of a stack that the engine made here: images, microscope, CTF."""
        source = open_particles(self._getExtraPath(f"{stack}.star"))
        acquisition = Acquisition(magnification=50000.0, voltage=300.0, sphericalAberration=2.7, amplitudeContrast=0.07)
        particles = self._createSetOfParticles(suffix=suffix)
        particles.setSamplingRate(source.pixel_size)
        particles.setHasCTF(has_ctf(source))
        particles.setIsPhaseFlipped(has_ctf(source) and is_phase_flipped(source))
        for particle in iter_particles(source, self._stacks(source, stack), acquisition, alignment=False):
            if particles.getSize() == 0:
                particles.setAcquisition(particle.getAcquisition().clone())
            particles.append(particle)
        return particles

    def _stacks(self, source: ParticleSource, stack: str) -> dict[str, str]:
        return {path: self._getExtraPath(f"{stack}.mrcs") for path, _ in source.locations()}

    def _truePoses(self, particles: SetOfParticles) -> tuple:
        """Ids and true poses of the particles, joined by the image they name."""
        names, poses = read_truth(self._getExtraPath(TRUTH))
        row_of = {name: row for row, name in enumerate(names)}
        own = open_particles(self._getExtraPath("particles.star")).names
        ids = [item.getObjId() for item in particles.iterItems()]
        return ids, poses[[row_of[name] for name in own]]

    # -- information ---------------------------------------------------------------------------------------------------

    def _validate(self) -> list[str]:
        errors = self._validateEngine()
        box, view_errors = self._viewBox()
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
        if not self._viewFile():
            return box, ["*Image file* is empty: give a picture or an MRC file."]
        try:
            image, own_size = read_image(self._viewFile())
        except UdlError as error:
            return box, [str(error)]
        if not own_size and not self.pixelSize.get():
            return box, [f"*Pixel size* is needed: {self._viewFile()} does not say it."]
        return (box if box > 0 else len(image)), []

    def readParameters(self) -> dict:
        """All options that the particles were made with; {} where they are not made yet."""
        try:
            with open(self._getExtraPath(PARAMETERS), encoding="utf-8") as file:
                return json.load(file)["options"]
        except (OSError, ValueError, KeyError):
            return {}

    def getTruthFile(self) -> str:
        """The true poses as the engine's `train --truth` and `evaluate --truth` take them, relative to the project."""
        return self._getExtraPath(TRUTH)

    def _viewInWords(self, options: dict) -> str:
        return f"the phantom {options['phantom']}" if "phantom" in options else "the image " + options["template"]

    def _summary(self) -> list[str]:
        options = self.readParameters()
        if not options:
            return ["The particles are not made yet."]
        lines = [
            f"*{options['count']}* particles of {self._viewInWords(options)}, {options['box']} px at "
            f"{options['pixel_size']:g} Å/px, up to {options['shift']:g} px off the centre.",
            "Without noise." if options["snr"] == "inf" else f"SNR *{options['snr']:g}*.",
        ]
        if "ssnr" in options:
            resolution, factor = map(float, options["ssnr"].split(":"))
            lines.append(f"Coarser than {resolution:g} Å the noise has {factor:g} times the power.")
        if options.get("no_ctf"):
            lines.append("Without CTF.")
        else:
            low, high = options["defocus"]
            flipped = "not flipped" if options.get("signed") else "flipped"
            lines.append(f"CTF of {low:g} to {high:g} µm defocus at {options['voltage']:g} kV, phases {flipped}.")
        return [*lines, f"Random seed {options['seed']}.", f"True poses: {self.getTruthFile()}"]

    def _methods(self) -> list[str]:
        options = self.readParameters()
        if not options:
            return []
        noise = "without noise" if options["snr"] == "inf" else f"with Gaussian noise at an SNR of {options['snr']:g}"
        return [f"{options['count']} particles of {self._viewInWords(options)} were simulated, {noise}."]
