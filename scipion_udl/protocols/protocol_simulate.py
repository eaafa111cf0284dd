"""udl - simulate particles: a view or a molecule in, particles of it whose true poses are known out."""

from __future__ import annotations

import json
import shlex

from pwem.objects import Acquisition, SetOfParticles, Volume

from scipion_udl.convert.files import has_ctf, is_phase_flipped, iter_particles
from scipion_udl.convert.particles import add_poses
from scipion_udl.convert.set_images import convert_image, image_name
from scipion_udl.io.particles import ParticleSource, open_particles
from scipion_udl.io.truth import read_truth
from scipion_udl.protocols.forms.simulate import ONE_VIEW, SINGLE, TEMPLATE, SimulateForm

STACK, TRUTH, PARAMETERS = "particles.mrcs", "truth.star", "parameters.json"
MAP_FILE, SECOND_FILE = "volume.mrc", "second.mrc"
PARTICLES_OUT, TRUTH_OUT, CLEAN_OUT = "outputParticles", "outputTruth", "outputClean"
MAP_OUT, SECOND_OUT = "outputVolume", "outputSecondVolume"


class ProtUdlSimulate(SimulateForm):
    """Makes particles of one view, each rotated and shifted by a known amount, seen through a microscope, in noise.

    They show what an alignment is worth: the true pose of every particle is known. The view is a built-in phantom, an
    image file, or an image of the project such as a class average. The file truth.star in the folder of the run holds
    the true poses for the training and the evaluation of this plugin; outputTruth holds them as a 2D alignment.

    It also makes particles of many views, to see what a 2D classification is worth: a molecule, each particle seen from
    a direction of its own, and if you like noise alone and a second molecule among them. Then truth.star holds the
    directions, too, and what each particle shows, and the molecules are given as volumes in the place of outputTruth.
    Views of a molecule from about one direction have both.

    Realistic particles are as extraction leaves them: in crowded ice, among junk, on ramps, in raw grey values.
    """

    _label = "simulate particles"

    # By name and not as an Enum, in which members of one value would be one and the same.
    _possibleOutputs = {
        PARTICLES_OUT: SetOfParticles,
        TRUTH_OUT: SetOfParticles,
        CLEAN_OUT: SetOfParticles,
        MAP_OUT: Volume,
        SECOND_OUT: Volume,
    }

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _insertAllSteps(self) -> None:
        options = self._simulateOptions()
        image = [image_name(self.inputView.get())] if self._isOfProject() else []
        self._insertFunctionStep(self.simulateStep, options, *image, needsGPU=False)
        self._insertFunctionStep(self.createOutputStep, options, *image, needsGPU=False)

    def simulateStep(self, options: str, *_dependsOn: object) -> list[str]:
        """Make the particles."""
        if self._isOfProject():
            convert_image(self.inputView.get(), self._getExtraPath(TEMPLATE))
        words = f"simulate {shlex.quote(self._getExtraPath())} {options} {self._begins(interrupted=False)}"
        self._runCommand(words, self._getExtraPath(PARAMETERS))
        return [self._getExtraPath(STACK), self._getExtraPath(TRUTH)]

    def createOutputStep(self, *_dependsOn: object) -> None:
        """Give the particles, the noise-free ones where they were made, and what they show: the same particles with
        their true alignment, or of many views the molecules."""
        particles = self._makeSet("particles", "")
        made = {PARTICLES_OUT: particles}
        if self.views.get() in (ONE_VIEW, SINGLE):
            made[TRUTH_OUT] = self._createSetOfParticles(suffix="Truth")
            made[TRUTH_OUT].copyInfo(particles)
            add_poses(particles, made[TRUTH_OUT], *self._truePoses(particles))
        if self.views.get() != ONE_VIEW:
            made[MAP_OUT] = self._makeVolume(MAP_FILE, particles)
            if self.second.get():
                made[SECOND_OUT] = self._makeVolume(SECOND_FILE, particles)
        if self.addNoise and self.writeClean:
            made[CLEAN_OUT] = self._makeSet("clean", "Clean")
        self._defineOutputs(**made)
        if self._isOfProject():
            for output in made.values():
                self._defineSourceRelation(self.inputView, output)

    def _makeVolume(self, file: str, particles: SetOfParticles) -> Volume:
        volume = Volume(self._getExtraPath(file))
        volume.setSamplingRate(particles.getSamplingRate())
        return volume

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
        if "views" not in options:
            return f"the phantom {options['phantom']}" if "phantom" in options else "the image " + options["template"]
        what = f"the phantom {options['phantom']}" if "phantom" in options else "the map " + options["volume"]
        if options["views"] == "single":
            return f"views of {what} from about one direction (within {options.get('jitter', 0):g} degrees)"
        return f"many views of {what} ({'from everywhere alike' if options['views'] == 'random' else 'uneven'})"

    @staticmethod
    def _mixtureInWords(options: dict) -> list[str]:
        """Sentences on what was mixed with the first molecule."""
        lines = []
        if options.get("second_share"):
            lines.append(f"{options['second_share']:.0%} of them show a second molecule, {options['second']}.")
        if options.get("noise_share"):
            lines.append(f"{options['noise_share']:.0%} of them are noise alone.")
        if options.get("realistic"):
            lines.append(
                f"As real ones are: {options['junk']:.0%} junk, neighbours on {options['neighbours']:.0%} of the sites "
                f"around, ramps of {options['ramp']:g} noise deviations, grey values {options['intensities']}."
            )
        return lines

    def _summary(self) -> list[str]:
        options = self.readParameters()
        if not options:
            return ["The particles are not made yet."]
        lines = [
            f"*{options['count']}* particles of {self._viewInWords(options)}, {options['box']} px at "
            f"{options['pixel_size']:g} Å/px, up to {options['shift']:g} px off the centre.",
            *self._mixtureInWords(options),
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
        made = f"{options['count']} particles of {self._viewInWords(options)} were simulated, {noise}."
        return [" ".join([made, *self._mixtureInWords(options)])]
