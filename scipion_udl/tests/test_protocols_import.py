"""Importing particles and models into a project."""

from __future__ import annotations

import bz2
import json
import struct
from pathlib import Path

import mrcfile
import numpy as np
from pwem.emlib.image import ImageHandler
from pyworkflow.tests import setupTestOutput, setupTestProject

from scipion_udl.convert import poses_of  # as scripts of users have it
from scipion_udl.imaging.poses import Poses
from scipion_udl.io.aligned import write_aligned
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import write_stack
from scipion_udl.protocols import ProtUdlImportModel, ProtUdlImportParticles
from scipion_udl.tests.scipion_helpers import RunTest, correlation, particles_at, random_poses, view

BOX = 64


class TestUdlImportParticles(RunTest):
    """Every form of particle file, with what it says of its particles."""

    @classmethod
    def setUpClass(cls) -> None:
        setupTestProject(cls)
        setupTestOutput(cls)
        cls.folder = Path(cls.getOutputPath()).absolute()
        cls.poses = random_poses(7)
        cls.images = particles_at(cls.poses, BOX)
        cls.stack = str(cls.folder / "particles.mrcs")
        write_stack(cls.stack, cls.images, 2.5)

    def errorsOf(self, path: object, **options: object) -> str:
        return "\n".join(self.newProtocol(ProtUdlImportParticles, filePath=str(path), **options).validate())

    def writeText(self, name: str, *lines: str) -> Path:
        path = self.folder / name
        path.write_text("\n".join([*lines, ""]))
        return path

    def checkImages(self, particles: object, images: np.ndarray) -> None:
        found = [ImageHandler().read(item).getData() for item in particles.iterItems()]
        np.testing.assert_allclose(found, images, atol=1e-5)

    def classed(self, classes: list[object], *more: str) -> Path:
        """A table of the 7 particles with these classes (and rlnRandomSubset 1 or 2), with their alignment."""
        psi, x, y = self._oldRelion()
        labels = ("ImageName", "AnglePsi", "OriginX", "OriginY", "ClassNumber", "RandomSubset", *more)
        rows = (
            f"{k + 1:06d}@{self.stack} {psi[k]:.6f} {x[k]:.6f} {y[k]:.6f} {classes[k]} {1 + k % 2}" for k in range(7)
        )
        return self.writeText("classes.star", "data_", "loop_", *(f"_rln{label}" for label in labels), *rows)

    def test_classes_come_along_as_numbers_and_as_classes(self) -> None:
        run = self.importFile(self.classed([2, 1, 2, 5, 1, 2, 5]))
        items = [item.clone() for item in run.outputParticles.iterItems()]
        self.assertEqual([item.getClassId() for item in items], [2, 1, 2, 5, 1, 2, 5])
        self.assertEqual([item._rlnRandomSubset.get() for item in items], [1, 2, 1, 2, 1, 2, 1])
        found = {one.getObjId(): sorted(one.getIdSet()) for one in run.outputClasses.iterItems()}
        self.assertEqual(found, {1: [2, 5], 2: [1, 3, 6], 5: [4, 7]})
        self.assertTrue(all(one.hasAlignment2D() for one in run.outputClasses.iterItems()))
        self.assertIn("of 3 classes", "\n".join(run.summary()))

    def test_particles_without_a_class_are_told_and_in_none(self) -> None:
        run = self.importFile(self.classed([2, "-999", 2, 1, 1, 2, "-999"]))
        self.assertEqual({one.getObjId(): one.getSize() for one in run.outputClasses.iterItems()}, {1: 2, 2: 3})
        self.assertIn("no class for 2 of 7 particles (the first: row 2)", "\n".join(run.summary()))

    def test_one_class_makes_no_classes(self) -> None:
        run = self.importFile(self.classed([3] * 7))
        self.assertEqual({item.getClassId() for item in run.outputParticles.iterItems()}, {3})
        self.assertFalse(hasattr(run, "outputClasses"))

    def test_classes_of_an_xmd_come_along(self) -> None:
        rows = (f"{k + 1:06d}@{self.stack} {1 + k % 3} 2.5" for k in range(7))
        labels = ("_image", "_ref", "_samplingRate")
        path = self.writeText("ref.xmd", "# XMIPP_STAR_1 *", "data_noname", "loop_", *labels, *rows)
        self.assertEqual(self.importFile(path).outputClasses.getSize(), 3)

    def test_classes_of_a_cs_come_along_also_from_the_passthrough_file_beside_it(self) -> None:
        """cryoSPARC counts classes from 0."""
        job = self.folder / "J5"
        job.mkdir()
        images = np.zeros(7, [("uid", "<u8"), ("blob/path", "S200"), ("blob/idx", "<u4"), ("blob/psize_A", "<f4")])
        images["uid"], images["blob/path"] = np.arange(7) + 100, self.stack.encode()
        images["blob/idx"], images["blob/psize_A"] = np.arange(7), 2.5
        classes = np.zeros(6, [("uid", "<u8"), ("alignments2D/class", "<u4"), ("alignments2D/pose", "<f4")])
        classes["uid"], classes["alignments2D/class"] = [106, 105, 103, 102, 101, 100], [0, 4, 4, 0, 0, 4]
        for name, rows in (("particles", images), ("passthrough_particles", classes)):
            with open(job / f"J5_{name}.cs", "wb") as file:
                np.save(file, rows, allow_pickle=False)
        run = self.importFile(job / "J5_particles.cs")
        self.assertEqual(
            {one.getObjId(): sorted(one.getIdSet()) for one in run.outputClasses.iterItems()},
            {1: [2, 3, 7], 5: [1, 4, 6]},
        )
        self.assertIn("no class for 1 of 7 particles (the first: row 5)", "\n".join(run.summary()))

    def test_images_of_data_sign_minus_one_and_unsigned_bytes_are_brought_as_they_count(self) -> None:
        """Scipion has no word for either: what it reads is what the engine reads."""
        sign = np.array([1, -1, 1, 1, -1, 1, -1], np.float32)
        write_stack(str(self.folder / "signs.mrcs"), self.images * sign[:, None, None], 2.5)
        array = np.zeros(7, [("blob/path", "S20"), ("blob/idx", "<u4"), ("blob/psize_A", "<f4"), ("blob/sign", "<f4")])
        array["blob/path"], array["blob/idx"], array["blob/psize_A"] = b"signs.mrcs", np.arange(7), 2.5
        array["blob/sign"] = sign
        with open(self.folder / "signs.cs", "wb") as file:
            np.save(file, array, allow_pickle=False)
        self.checkImages(self.importFile(self.folder / "signs.cs").outputParticles, self.images)
        grey = np.round(128 + 100 * self.images / np.abs(self.images).max())
        with mrcfile.new(self.folder / "bytes.mrcs", grey.astype(np.uint8).view(np.int8)) as mrc:
            mrc.voxel_size, mrc.header.dmin, mrc.header.dmax = 2.5, 0, 255
        self.checkImages(self.importFile(self.folder / "bytes.mrcs").outputParticles, grey)

    def test_a_stack(self) -> None:
        particles = self.importFile(self.stack).outputParticles
        self.assertSetSize(particles, 7)
        self.assertAlmostEqual(particles.getSamplingRate(), 2.5, places=5)
        self.assertFalse(particles.hasAlignment())
        self.assertFalse(particles.hasCTF())
        self.assertEqual(particles.getAcquisition().getVoltage(), 300)
        self.checkImages(particles, self.images)

    def test_tables_of_every_form_give_the_same_alignment(self) -> None:
        score = np.linspace(0.2, 0.8, 7)
        star31, xmd, cs = (self.folder / f"aligned.{ending}" for ending in ("star", "xmd", "cs"))
        write_aligned(open_particles(self.stack), self.poses, score, score > 0.7, str(star31), str(xmd), cs=str(cs))
        psi, x, y = self._oldRelion()
        star30 = self.writeText(
            "old.star",
            *("data_", "loop_", "_rlnImageName #1", "_rlnAnglePsi #2", "_rlnOriginX #3", "_rlnOriginY #4"),
            *(f"{k + 1:06d}@{self.stack} {psi[k]:.6f} {x[k]:.6f} {y[k]:.6f}" for k in range(7)),
        )
        for path in (star31, star30, xmd, cs):
            with self.subTest(form=path.name):
                particles = self.importFile(path).outputParticles
                self.assertTrue(particles.hasAlignment2D())
                found = poses_of(particles)
                np.testing.assert_allclose(found.angle, self.poses.angle, atol=1e-4)
                np.testing.assert_allclose(found.shift, self.poses.shift, atol=1e-4)
                if path not in (star30, cs):
                    scores = [item._udlScore.get() for item in particles.iterItems()]
                    np.testing.assert_allclose(scores, score, atol=1e-5)
        self.checkOnTheView(particles)

    def _oldRelion(self) -> tuple:
        """RELION shifts before it turns, so its origins are the shifts rotated back."""
        a = np.radians(self.poses.angle)
        x, y = self.poses.shift.T
        return self.poses.angle, np.cos(a) * x + np.sin(a) * y, -np.sin(a) * x + np.cos(a) * y

    def checkOnTheView(self, particles: object) -> None:
        """Scipion's own program brings the particles onto the view by the alignment they came with."""
        y, x = np.mgrid[:BOX, :BOX] - BOX // 2
        for item in particles.iterItems():
            flat = item.getTransform().getMatrix()[np.ix_([0, 1, 3], [0, 1, 3])]
            index, name = item.getLocation()
            output = str(self.folder / "out.mrc")
            ImageHandler.applyTransform(f"{index}@{name}", output, flat, (BOX, BOX))
            self.assertGreater(correlation(ImageHandler().read(output).getData(), view(x, y)), 0.97)

    def test_a_first_angle_of_zero_loses_no_alignment(self) -> None:
        poses = Poses(np.array([0.0, 90.0]), np.zeros((2, 2)))
        stack, star = str(self.folder / "two.mrcs"), str(self.folder / "zero.star")
        write_stack(stack, particles_at(poses, BOX), 2.5)
        write_aligned(open_particles(stack), poses, np.ones(2), np.zeros(2, bool), star)
        particles = self.importFile(star).outputParticles
        self.assertTrue(particles.hasAlignment2D())
        np.testing.assert_allclose(poses_of(particles).angle, [0, 90], atol=1e-6)

    def test_mirrored_particles_of_xmipp(self) -> None:
        poses = random_poses(7, seed=3, mirrored=True)
        stack, xmd = str(self.folder / "mirrored.mrcs"), str(self.folder / "mirrored.xmd")
        write_stack(stack, particles_at(poses, BOX), 2.5)
        write_aligned(open_particles(stack), poses, np.ones(7), np.zeros(7, bool), xmd=xmd)
        self.checkOnTheView(self.importFile(xmd).outputParticles)

    def test_alignment_can_be_left_aside(self) -> None:
        star = str(self.folder / "left.star")
        write_aligned(open_particles(self.stack), self.poses, np.ones(7), np.zeros(7, bool), star)
        self.assertFalse(self.importFile(star, alignment=2).outputParticles.hasAlignment())

    def test_projection_directions_are_not_taken_for_a_2d_alignment(self) -> None:
        star = self.writeText(
            "directions.star",
            *("data_", "loop_", "_rlnImageName", "_rlnAngleRot", "_rlnAngleTilt", "_rlnAnglePsi", "_rlnImagePixelSize"),
            *(f"{k + 1}@{self.stack} 10 20 30 2.5" for k in range(7)),
        )
        self.assertIn("projection directions", self.errorsOf(star))
        particles = self.importFile(star, alignment=1).outputParticles
        self.assertTrue(particles.hasAlignment2D())
        np.testing.assert_allclose(poses_of(particles).angle, 30, atol=1e-6)

    def test_phases_that_were_flipped_in_some_optics_groups_alone_are_refused(self) -> None:
        """A set has one answer for all of its particles."""
        lines = (
            *("data_optics", "loop_", "_rlnOpticsGroup", "_rlnImagePixelSize", "_rlnCtfDataArePhaseFlipped"),
            *("1 3.5 1", "2 3.5 0", "", "data_particles", "loop_", "_rlnImageName", "_rlnOpticsGroup"),
        )
        rows = [f"{k + 1}@{self.stack} {1 + k % 2}" for k in range(7)]
        star = self.writeText("mixed.star", *lines, *rows)
        self.assertIn("import each kind (optics group) by itself", self.errorsOf(star))
        star = self.writeText("one.star", *lines, *rows[::2])  # the other group lists no particle
        self.assertTrue(self.importFile(star).outputParticles.isPhaseFlipped())

    def test_ctf_microscope_and_coordinates_of_relion(self) -> None:
        star = self.writeText(
            "ctf.star",
            *("data_optics", "loop_", "_rlnOpticsGroup", "_rlnVoltage", "_rlnSphericalAberration"),
            *("_rlnAmplitudeContrast", "_rlnImagePixelSize", "_rlnCtfDataArePhaseFlipped"),
            *("1 200 1.4 0.08 3.5 1", "", "data_particles", "loop_", "_rlnImageName", "_rlnOpticsGroup"),
            *("_rlnDefocusU", "_rlnDefocusV", "_rlnDefocusAngle", "_rlnPhaseShift"),
            *("_rlnCoordinateX", "_rlnCoordinateY", "_rlnMicrographName"),
            *(f"{k + 1}@{self.stack} 1 {15000 + k} 14000 40 90 {100 + k} {200 + k} mic{k % 2}.mrc" for k in range(7)),
        )
        particles = self.importFile(star).outputParticles
        self.assertAlmostEqual(particles.getSamplingRate(), 3.5)
        self.assertTrue(particles.hasCTF())
        self.assertTrue(particles.isPhaseFlipped())
        self.assertEqual(particles.getAcquisition().getVoltage(), 200)
        for k, item in enumerate(particles.iterItems()):
            ctf, place = item.getCTF(), item.getCoordinate()
            self.assertEqual(ctf.getDefocus(), (15000 + k, 14000, 40))
            self.assertEqual(ctf.getPhaseShift(), 90)
            self.assertEqual(place.getPosition(), (100 + k, 200 + k))
            self.assertEqual((place.getMicName(), item.getMicId()), (f"mic{k % 2}.mrc", k % 2 + 1))
            self.assertEqual(item.getAcquisition().getAmplitudeContrast(), 0.08)

    def test_ctf_and_disabled_particles_of_xmipp(self) -> None:
        xmd = self.writeText(
            "disabled.xmd",
            *("# XMIPP_STAR_1 *", "data_noname", "loop_", "_image", "_enabled", "_samplingRate", "_ctfVoltage"),
            *("_ctfSphericalAberration", "_ctfQ0", "_ctfDefocusU", "_ctfDefocusV", "_ctfDefocusAngle"),
            *(f"{k + 1}@{self.stack} {-1 if k == 2 else 1} 2.5 120 2 0.1 {20000 + k} 19000 10" for k in range(7)),
        )
        particles = self.importFile(xmd).outputParticles
        self.assertEqual([item.isEnabled() for item in particles.iterItems()], [k != 2 for k in range(7)])
        self.assertEqual(particles.getFirstItem().getCTF().getDefocus(), (20000, 19000, 10))
        self.assertEqual(particles.getAcquisition().getVoltage(), 120)

    def test_stacks_that_scipion_does_not_read_by_itself(self) -> None:
        packed = self.folder / "packed.mrcs.bz2"
        packed.write_bytes(bz2.compress(Path(self.stack).read_bytes()))
        swapped = self.folder / "swapped.mrcs"
        with mrcfile.open(self.stack) as mrc:
            header = np.array(mrc.header).reshape(1).astype(mrc.header.dtype.newbyteorder(">"))
        header["machst"][0] = (0x11, 0x11, 0, 0)
        swapped.write_bytes(header.tobytes() + self.images.astype(">f4").tobytes())
        misnamed = self.folder / "stack.mrc"
        misnamed.write_bytes(Path(self.stack).read_bytes())
        for path in (packed, swapped, misnamed):
            with self.subTest(file=path.name):
                self.checkImages(self.importFile(path).outputParticles, self.images)

    def test_copies_stay_when_the_files_go(self) -> None:
        stack = self.folder / "goes.mrcs"
        stack.write_bytes(Path(self.stack).read_bytes())
        particles = self.importFile(stack, copyFiles=True).outputParticles
        stack.unlink()
        self.checkImages(particles, self.images)

    def test_stacks_of_one_name_in_two_folders_stay_apart(self) -> None:
        for name, images in (("one", self.images[:2]), ("two", self.images[2:4])):
            (self.folder / name).mkdir()
            write_stack(str(self.folder / name / "stack.mrcs"), images, 2.5)
        star = self.writeText(
            "two.star",
            *("data_", "loop_", "_rlnImageName"),
            *(f"{k}@{name}/stack.mrcs" for name in ("one", "two") for k in (1, 2)),
        )
        self.checkImages(self.importFile(star).outputParticles, self.images[:4])

    def test_a_name_that_the_image_library_cannot_read_is_changed(self) -> None:
        stack = self.folder / "at 50% of %d.mrcs"
        write_stack(str(stack), self.images, 2.5)
        self.checkImages(self.importFile(stack).outputParticles, self.images)

    def test_an_unknown_pixel_size_is_asked_for(self) -> None:
        stack = str(self.folder / "unknown.mrcs")
        with mrcfile.new(stack) as mrc:
            mrc.set_data(self.images)
            mrc.set_image_stack()
        self.assertIn("*Pixel size* is needed", self.errorsOf(stack))
        (warning,) = self.newProtocol(ProtUdlImportParticles, filePath=stack).warnings()
        self.assertIn("*Pixel size*", warning)
        self.assertNotIn("--", warning)
        self.assertAlmostEqual(self.importFile(stack, samplingRate=1.7).outputParticles.getSamplingRate(), 1.7)

    def test_bad_files_are_one_sentence(self) -> None:
        cut = self.folder / "cut.mrcs"
        cut.write_bytes(Path(self.stack).read_bytes()[:-100])
        self.assertIn("truncated", self.errorsOf(cut))
        self.assertIn("not there", self.errorsOf(self.folder / "nowhere.star"))
        self.assertIn("no table", self.errorsOf(self.writeText("empty.star")))
        self.assertIn("is empty", self.errorsOf(""))


def write_model(path: Path, **card: object) -> Path:
    """A file with the card of a model and no weights: what an import looks at."""
    known = {"method": "judl", "network": "polar", "box": 64, "pixel_size": 2.5, "training": {"particles": 300}}
    text = json.dumps({"__metadata__": {"udl": json.dumps({**known, **card})}}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    return path


class TestUdlImportModel(RunTest):
    """Model files and what is none."""

    @classmethod
    def setUpClass(cls) -> None:
        setupTestProject(cls)
        setupTestOutput(cls)
        cls.folder = Path(cls.getOutputPath()).absolute()

    def test_the_model_keeps_what_its_card_says(self) -> None:
        path = write_model(self.folder / "model.safetensors")
        protocol = self.launchProtocol(self.newProtocol(ProtUdlImportModel, modelFile=str(path)))
        path.unlink()
        model = protocol.outputModel
        self.assertTrue(Path(self.proj.getPath(model.getFileName())).exists())
        self.assertEqual((model.getMethod(), model.getBox(), model.getSamplingRate()), ("judl", 64, 2.5))
        self.assertIn("300 particles", "\n".join(protocol.summary()))
        self.assertEqual(model.misfit(64, 2.5), "")
        self.assertEqual(model.misfit(128, 1.25), "")  # the same field of view, binned less
        self.assertIn("160 Å across", model.misfit(64, 5.0))

    def test_a_model_for_photographs_says_so(self) -> None:
        path = write_model(self.folder / "photos.safetensors", network="matching", method="udl")
        protocol = self.launchProtocol(self.newProtocol(ProtUdlImportModel, modelFile=str(path)))
        self.assertTrue(protocol.outputModel.isForPairs())
        self.assertIn("not for particles", protocol.summary()[-1])

    def test_other_files_are_refused(self) -> None:
        text, bare = self.folder / "notes.txt", self.folder / "other.safetensors"
        text.write_text("not a model, though long enough to look like one")
        bare.write_bytes(struct.pack("<Q", 2) + b"{}")
        for path, what in ((text, "no safetensors"), (bare, "no card"), (self.folder / "nowhere", "not there")):
            with self.subTest(file=path.name):
                errors = self.newProtocol(ProtUdlImportModel, modelFile=str(path)).validate()
                self.assertEqual(len(errors), 1)
                self.assertIn(what, errors[0])
