"""Simulating particles in a project: what they show, what the set says of them, and where their true poses are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from pwem.emlib.image import ImageHandler
from pwem.protocols import ProtImportParticles
from pyworkflow.tests import setupTestOutput, setupTestProject

from scipion_udl.convert.particles import write_particles
from scipion_udl.convert.scipion_sign import poses_of
from scipion_udl.imaging.poses import pose_errors
from scipion_udl.io.maps import read_map, write_map
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import write_stack
from scipion_udl.io.truth import read_truth, read_views
from scipion_udl.protocols import ProtUdlSimulate
from scipion_udl.protocols.forms.simulate import MAP, MOLECULES
from scipion_udl.simulation.phantoms import phantom
from scipion_udl.simulation.phantoms_3d import molecule
from scipion_udl.tests.scipion_helpers import RunTest, correlation, view
from scipion_udl.validation.pose_errors import join, located_truth

BOX = 64


class TestUdlSimulate(RunTest):
    """The protocol, with the real engine."""

    @classmethod
    def setUpClass(cls) -> None:
        setupTestProject(cls)
        setupTestOutput(cls)
        cls.folder = Path(cls.getOutputPath()).absolute()

    def newRun(self, **options: object) -> ProtUdlSimulate:
        return self.newProtocol(ProtUdlSimulate, **{"count": 6, "maxShift": 4, **options})

    def errorsOf(self, **options: object) -> str:
        return "\n".join(self.newRun(**options).validate())

    def images(self, particles: object) -> np.ndarray:
        return np.array([ImageHandler().read(item).getData() for item in particles.iterItems()])

    def aligned(self, particles: object) -> np.ndarray:
        """The mean of the particles after Scipion's own program applied their alignment."""
        out = []
        for item in particles.iterItems():
            flat = item.getTransform().getMatrix()[np.ix_([0, 1, 3], [0, 1, 3])]
            index, name = item.getLocation()
            output = str(self.folder / "out.mrc")
            box = particles.getXDim()
            ImageHandler.applyTransform(f"{index}@{name}", output, flat, (box, box))
            out.append(ImageHandler().read(output).getData())
        return np.mean(out, axis=0)

    def test_a_phantom_with_ctf_and_noise(self) -> None:
        run = self.launchProtocol(
            self.newRun(phantom=1, box=BOX, pixelSize=3.0, snr=0.5, defocusMin=1.0, defocusMax=1.5, voltage=200)
        )
        particles = run.outputParticles
        self.assertSetSize(particles, 6)
        self.assertEqual(particles.getXDim(), BOX)
        self.assertAlmostEqual(particles.getSamplingRate(), 3.0, places=5)
        self.assertFalse(particles.hasAlignment())
        self.assertTrue(particles.hasCTF())
        self.assertTrue(particles.isPhaseFlipped())
        self.assertEqual(particles.getAcquisition().getVoltage(), 200)
        self.assertAlmostEqual(particles.getAcquisition().getAmplitudeContrast(), 0.07)
        defocus = [item.getCTF().getDefocusU() for item in particles.iterItems()]
        self.assertGreaterEqual(min(defocus), 10000)
        self.assertLessEqual(max(defocus), 15000)
        self.assertEqual(len(set(defocus)), 6)
        self.assertAlmostEqual(float(self.images(particles).var()), 1.5, delta=0.06)
        summary = "\n".join(run.summary())
        for words in ("*6* particles of the phantom clamp, 64 px at 3 Å/px", "SNR *0.5*", "1 to 1.5 µm", "truth.star"):
            self.assertIn(words, summary)
        self.assertIn("clamp", run.methods()[0])

    def test_the_true_alignment_brings_the_particles_onto_the_view(self) -> None:
        run = self.launchProtocol(self.newRun(box=BOX, count=12, addNoise=False, applyCtf=False, subpixel=True))
        self.assertFalse(run.outputParticles.hasCTF())
        self.assertFalse(run.outputParticles.hasAlignment())
        self.assertTrue(run.outputTruth.hasAlignment2D())
        expected = phantom("hook", BOX).image()
        before = self.images(run.outputParticles).mean(0)
        self.assertGreater(correlation(self.aligned(run.outputTruth), expected), 0.97)
        self.assertLess(correlation(before, expected), 0.9)
        _, truth = read_truth(self.proj.getPath(run.getTruthFile()))
        self.assertLess(np.abs(pose_errors(poses_of(run.outputTruth), truth).rotation).max(), 1e-4)
        # a later run of the engine on the set finds its images in the file of true poses
        star = str(self.folder / "again.star")
        write_particles(run.outputParticles, star, str(self.folder / "again.mrcs"))
        images, _ = located_truth(self.proj.getPath(run.getTruthFile()))
        self.assertEqual(len(join(open_particles(star).locations(), images)[0]), 12)
        self.assertIn("Without noise.", run.summary())

    def test_an_image_of_the_project_also_of_another_program(self) -> None:
        y, x = np.mgrid[:BOX, :BOX] - BOX // 2
        stack = str(self.folder / "average.mrcs")
        write_stack(stack, np.stack([x + 0.0, view(x, y)]), 2.5)
        spider = str(self.folder / "average.stk")
        for k in (1, 2):
            ImageHandler().convert((k, stack), (k, spider))
        for name, box in ((stack, BOX), (spider, BOX // 2)):
            with self.subTest(stack=name):
                imported = self.newProtocol(ProtImportParticles, filesPath=name, samplingRate=2.5, voltage=300)
                self.launchProtocol(imported)
                run = self.newRun(viewFrom=2, box=box, addNoise=False, applyCtf=False, count=12)
                run.inputView.set(imported)
                run.inputView.setExtended("outputParticles.2")
                particles = self.launchProtocol(run).outputTruth
                self.assertAlmostEqual(particles.getSamplingRate(), 2.5 * BOX / box, places=4)
                scale = BOX // box
                y, x = scale * (np.mgrid[:box, :box] - box // 2)
                self.assertGreater(correlation(self.aligned(particles), view(x, y)), 0.97)

    def test_a_picture_and_the_noise_free_stack(self) -> None:
        picture = self.folder / "view.png"
        image = phantom("hook", BOX).image()
        Image.fromarray((200 * image / image.max()).clip(0, 255).astype(np.uint8)).save(picture)
        self.assertIn("*Pixel size* is needed", self.errorsOf(viewFrom=1, viewFile=str(picture)))
        run = self.launchProtocol(
            self.newRun(viewFrom=1, viewFile=str(picture), pixelSize=2.0, writeClean=True, changeSsnr=True, snr=0.5)
        )
        noise = self.images(run.outputParticles) - self.images(run.outputClean)
        power = (np.abs(np.fft.rfft2(noise)) ** 2).mean(0) / BOX**2
        radius = np.hypot(np.fft.fftfreq(BOX)[:, None], np.fft.rfftfreq(BOX)[None]) / 2.0
        self.assertAlmostEqual(float(power[radius < 1 / 10].mean()), 4.0, delta=0.5)
        self.assertAlmostEqual(float(power[radius > 1 / 9].mean()), 1.0, delta=0.1)
        self.assertIn("Coarser than 10 Å the noise has 4 times the power.", run.summary())

    def test_realistic_views_of_a_molecule_from_about_one_direction(self) -> None:
        shown = {"views": 3, "jitter": 4.0, "box": BOX, "pixelSize": 4.0, "count": 30, "seed": 3}
        run = self.launchProtocol(self.newRun(**shown, realistic=True, junk=0.4, neighbours=0.9, ramp=0.7))
        particles = run.outputParticles
        self.assertSetSize(particles, 30)
        self.assertTrue(run.outputTruth.hasAlignment2D())
        self.assertEqual(run.outputVolume.getSamplingRate(), 4.0)
        options = run.readParameters()
        for name, value in {"junk": 0.4, "neighbours": 0.9, "ramp": 0.7, "intensities": "raw", "jitter": 4.0}.items():
            self.assertEqual(options[name], value)
        _, kinds, direction = read_views(self.proj.getPath(run.getTruthFile()))
        self.assertGreater((kinds == 0).sum(), 5)
        axis = direction[kinds == 1].mean(0)
        self.assertGreater(np.linalg.norm(axis), np.cos(np.radians(12)))
        # as counts: the background is nowhere near 0, and particles of a micrograph share its defocus
        self.assertGreater(float(np.median(self.images(particles))), 30)
        defocus = {item.getCTF().getDefocusU() for item in particles.iterItems()}
        self.assertEqual(len(defocus), 1)
        self.assertIn("As real ones are: 40% junk", "\n".join(run.summary()))
        self.assertNotIn("--realistic", self.newRun()._simulateOptions())
        bare = self.newRun(realistic=True, applyCtf=False)._simulateOptions()
        self.assertNotIn("--structural", bare)

    def test_many_views_with_noise_and_a_second_molecule(self) -> None:
        path = str(self.folder / "anvil.mrc")
        write_map(path, molecule("anvil", BOX).volume(), 4.0)
        mixture = {"noiseShare": 0.3, "second": MAP + 1, "secondFile": path, "secondShare": 0.3}
        shown = {"views": 1, "molecule": MOLECULES.index("tetramer"), "box": BOX, "pixelSize": 4.0}
        run = self.launchProtocol(self.newRun(**shown, **mixture, count=30, snr=0.5, seed=4))
        particles = run.outputParticles
        self.assertSetSize(particles, 30)
        self.assertAlmostEqual(particles.getSamplingRate(), 4.0, places=5)
        self.assertFalse(particles.hasAlignment())
        self.assertFalse(hasattr(run, "outputTruth"))
        _, shown, direction = read_views(self.proj.getPath(run.getTruthFile()))
        self.assertEqual(set(shown), {0, 1, 2})
        self.assertTrue(np.allclose(np.linalg.norm(direction, axis=1), shown > 0))
        # what shows nothing is less varied: noise of variance 1, the others by the SNR more
        variance = self.images(particles).var(axis=(1, 2))
        self.assertAlmostEqual(float(variance[shown == 0].mean()), 1.0, delta=0.05)
        self.assertAlmostEqual(float(variance[shown > 0].mean()), 1.5, delta=0.05)
        for volume, name in ((run.outputVolume, "tetramer"), (run.outputSecondVolume, "anvil")):
            self.assertAlmostEqual(volume.getSamplingRate(), 4.0)
            seen, _ = read_map(self.proj.getPath(volume.getFileName()))
            self.assertGreater(correlation(seen, molecule(name, BOX).volume()), 0.999)
        summary = "\n".join(run.summary())
        for words in ("many views of the phantom tetramer", "30% of them show a second", "30% of them are noise"):
            self.assertIn(words, summary)
        self.assertIn("many views", run.methods()[0])

    def test_a_map_file_seen_unevenly(self) -> None:
        path = str(self.folder / "boot.mrc")
        write_map(path, molecule("boot", BOX).volume(), 4.0)
        run = self.launchProtocol(self.newRun(views=2, molecule=MAP, mapFile=path, addNoise=False, applyCtf=False))
        self.assertAlmostEqual(run.outputParticles.getSamplingRate(), 4.0, places=5)
        _, _, direction = read_views(self.proj.getPath(run.getTruthFile()))
        poses = read_truth(self.proj.getPath(run.getTruthFile()))[1]
        expected = molecule("boot", BOX).project(direction, poses)
        for image, seen in zip(self.images(run.outputParticles), expected):
            self.assertGreater(correlation(image, seen), 0.998)
        self.assertIn(f"the map {path}", "\n".join(run.summary()))

    def test_molecules_that_are_not_there_are_told_before_the_run(self) -> None:
        self.assertEqual(self.errorsOf(views=1), "")
        self.assertIn("*Map file* is empty", self.errorsOf(views=1, molecule=MAP))
        self.assertIn("none.mrc is not there", self.errorsOf(views=1, molecule=MAP, mapFile="none.mrc"))
        self.assertIn("*Second map file* is empty", self.errorsOf(views=1, second=MAP + 1))
        self.assertIn("is 0: give more", self.errorsOf(views=1, second=1, secondShare=0.0))
        self.assertIn("above 1 together", self.errorsOf(views=1, second=1, secondShare=0.6, noiseShare=0.5))
        self.assertIn("*Largest shift* is 70 px", self.errorsOf(views=1, maxShift=70))
        flat = str(self.folder / "flat.mrc")
        write_map(flat, np.zeros((16, 16, 20)), 4.0)
        self.assertIn("20 x 16 x 16 voxels", self.errorsOf(views=1, molecule=MAP, mapFile=flat))

    def test_wrong_values_are_told_before_the_run(self) -> None:
        self.assertIn("*Largest shift* is 40 px", self.errorsOf(box=64, maxShift=40))
        self.assertIn("the smaller one first", self.errorsOf(defocusMin=2.0, defocusMax=1.0))
        self.assertIn("*Image file* is empty", self.errorsOf(viewFrom=1))
        self.assertIn("missing.png is not there", self.errorsOf(viewFrom=1, viewFile="missing.png"))
        self.assertIn("too small", self.errorsOf(box=4))
        self.assertTrue(self.errorsOf(snr=0.0))

    def test_the_engines_sentence_reaches_the_run_in_the_words_of_the_form(self) -> None:
        run = self.newRun(box=BOX, pixelSize=8.0, changeSsnr=True)  # finer than such pixels can hold
        self.launchToFail(run)
        self.assertIn("*More noise at low frequencies*", run.getErrorMessage())
        self.assertNotIn("--", run.getErrorMessage())
