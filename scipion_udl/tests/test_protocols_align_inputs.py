"""Particles that were downsampled, that are mirrored, or that are aligned already: geometry against the truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pwem.emlib.image import ImageHandler
from pwem.objects import SetOfParticles, Transform
from pwem.protocols import ProtAlignmentAssign
from pyworkflow.protocol import STATUS_FINISHED
from pyworkflow.tests import setupTestOutput, setupTestProject

from scipion_udl.convert.scipion_sign import poses_of, transform_matrices
from scipion_udl.imaging.poses import Poses, compose, invert, pose_errors
from scipion_udl.io.stacks import write_stack
from scipion_udl.protocols import ProtUdlAlign2D, ProtUdlImportParticles
from scipion_udl.protocols.forms.align_2d import START
from scipion_udl.tests.scipion_helpers import RunTest, correlation, particles_at, random_poses

BOX, COUNT, PIXEL_SIZE, NOISE, SHIFT = 64, 140, 2.0, 0.7, 3.0
FLAT = np.ix_([0, 1, 3], [0, 1, 3])


def binned(images: np.ndarray) -> np.ndarray:
    """Images (N, D, D) at half the size, by their inner Fourier coefficients; the origin stays at pixel D // 2."""
    size = images.shape[-1]
    spectra = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(images, axes=(1, 2))), axes=(1, 2))
    inner = slice(size // 4, size // 4 + size // 2)
    small = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(spectra[:, inner, inner], axes=(1, 2))), axes=(1, 2))
    return (small.real / 4).astype(np.float32)


class TestUdlAlign2DInputs(RunTest):
    """What is peculiar about the input is not lost on the way."""

    @classmethod
    def setUpClass(cls) -> None:
        setupTestProject(cls)
        setupTestOutput(cls)
        cls.folder = Path(cls.getOutputPath()).absolute()

    def noisy(self, poses: Poses) -> np.ndarray:
        noise = np.random.default_rng(5).normal(scale=NOISE, size=(len(poses), BOX, BOX))
        return (particles_at(poses, BOX) + noise).astype(np.float32)

    def importImages(self, name: str, images: np.ndarray, pixel_size: float) -> ProtUdlImportParticles:
        path = self.folder / name
        write_stack(str(path), images, pixel_size)
        return self.importFile(path)

    def align(self, source: object, **options: object) -> ProtUdlAlign2D:
        run = self.newProtocol(ProtUdlAlign2D, numberOfThreads=1, epochs=2, maxShift=SHIFT + 1, **options)
        run.inputParticles.set(source)
        run.inputParticles.setExtended("outputParticles")
        self.assertEqual(run.validate(), [])
        return self.launchProtocol(run)

    def meanOfApplied(self, particles: SetOfParticles) -> np.ndarray:
        """The mean of a set's images as Scipion itself applies their alignment."""
        total, output = np.zeros((BOX, BOX)), str(self.folder / "one.mrc")
        for item in particles.iterItems():
            flat = item.getTransform().getMatrix()[FLAT]
            ImageHandler.applyTransform("%d@%s" % item.getLocation(), output, flat, (BOX, BOX))  # noqa: UP031
            total += ImageHandler().read(output).getData()
        return total / particles.getSize()

    def test_shifts_fit_the_unbinned_particles(self) -> None:
        """Particles are aligned at half the size, and pwem assigns the alignment to those of full size."""
        truth = random_poses(COUNT, reach=SHIFT)
        images = self.noisy(truth)
        full = self.importImages("full.mrcs", images, PIXEL_SIZE)
        half = self.importImages("half.mrcs", binned(images), 2 * PIXEL_SIZE)
        aligned = self.align(half)
        assign = self.newProtocol(ProtAlignmentAssign)
        assign.inputParticles.set(full)
        assign.inputParticles.setExtended("outputParticles")
        assign.inputAlignment.set(aligned)
        assign.inputAlignment.setExtended("outputParticles")
        self.launchProtocol(assign)
        particles = assign.outputParticles
        self.assertEqual((particles.getSize(), particles.getSamplingRate()), (COUNT, PIXEL_SIZE))
        errors = pose_errors(poses_of(particles), truth)
        self.assertLess(np.median(np.abs(errors.rotation)), 2.0)
        self.assertLess(np.sqrt(np.mean(errors.shift**2)), 0.7)
        expected = particles_at(invert(errors.common), BOX)[0]
        self.assertGreater(correlation(self.meanOfApplied(particles), expected), 0.97)

    def test_mirrored_particles_are_found_and_mirrored_back(self) -> None:
        truth = random_poses(COUNT, mirrored=True, reach=SHIFT)
        aligned = self.align(self.importImages("mirrored.mrcs", self.noisy(truth), PIXEL_SIZE), doMirror=True)
        found = poses_of(aligned.outputParticles)
        # The average may be the view, or its mirror image: nobody can tell.
        flip = Poses([0.0], mirror=[np.mean(found.mirror == truth.mirror) < 0.5])
        truth = compose(flip, truth)
        right = found.mirror == truth.mirror
        self.assertGreater(np.mean(right), 0.97)
        errors = pose_errors(found[right], truth[right])
        self.assertLess(np.median(np.abs(errors.rotation)), 2.0)
        expected = particles_at(invert(compose(errors.common, flip)), BOX)[0]
        self.assertGreater(correlation(self.meanOfApplied(aligned.outputParticles), expected), 0.95)

    def test_an_alignment_can_be_started_from(self) -> None:
        """The result keeps the orientation of the input, which without it would be arbitrary, and is better."""
        truth = random_poses(COUNT, seed=3, reach=SHIFT)
        source = self.importImages("start.mrcs", self.noisy(truth), PIXEL_SIZE)
        random = np.random.default_rng(7)
        rough = Poses(truth.angle + random.normal(scale=5, size=COUNT), truth.shift + random.normal(size=(COUNT, 2)))
        self.giveAlignment(source, rough)
        aligned = self.align(source, alignmentOfInput=START)
        errors = pose_errors(poses_of(aligned.outputParticles), truth)
        self.assertLess(abs(errors.common.angle[0]), 2.0)
        self.assertLess(np.abs(errors.common.shift).max(), 1.0)
        self.assertLess(np.median(np.abs(errors.rotation)), 2.0)
        self.assertIn("Started from the poses of the input", "\n".join(aligned.summary()))
        self.assertNotIn("particles.star", "\n".join(aligned.summary()))
        self.assertFalse(aligned.hasAttribute("outputModel"))
        self.assertIn("an alignment that they had", aligned.methods()[0])

    def giveAlignment(self, source: ProtUdlImportParticles, poses: Poses) -> None:
        """Replace the output of a run by the same particles with an alignment."""
        plain, matrices = source.outputParticles, transform_matrices(poses)
        particles = source._createSetOfParticles("Aligned")
        particles.copyInfo(plain)
        particles.setAlignment2D()
        for k, item in enumerate(plain.iterItems()):
            item.setTransform(Transform(matrix=matrices[k]))
            particles.append(item)
        source._defineOutputs(outputParticles=particles)
        source.setStatus(STATUS_FINISHED)
        self.proj._storeProtocol(source)
