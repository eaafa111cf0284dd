"""Alignments that go to the plugins of RELION, Xmipp and cryoSPARC and come back, checked on images by the programs.

The plugins are of the versions that ``make neighbours`` installs, in a folder that only these tests see. What is wrong
in them is claimed here too: where such a test fails, docs/neighbours.md is out of date.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np
import pwem.objects as emobj
from pwem.constants import ALIGN_2D, ALIGN_NONE

from scipion_udl.convert.classes import add_classes
from scipion_udl.convert.particles import Results, add_results, export_particles
from scipion_udl.convert.scipion_sign import poses_of
from scipion_udl.imaging.poses import Poses
from scipion_udl.io.aligned import write_aligned
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import write_stack
from scipion_udl.tests.program_helpers import HAS_RELION, relion_aligned, worst_correlation, xmipp_aligned
from scipion_udl.tests.scipion_helpers import make_set, particles_at, view

FOLDER = Path(sys.prefix) / "neighbours"
THERE = (FOLDER / "cryosparc2").is_dir() or all(map(importlib.util.find_spec, ("relion", "xmipp3", "cryosparc2")))
TURN, SHIFT = [35.0, -100.0, 152.0], [[4.0, -2.5], [-3.0, 1.0], [1.5, 3.0]]
CASES = {
    "turn": Poses(TURN),
    "shift": Poses([0.0] * 3, SHIFT),
    "both": Poses(TURN, SHIFT),
    "mirror": Poses(TURN, SHIFT, [True, False, True]),
}
IDS = [3, 4, 9]  # of the items
CLASSES = {2: [0, 2], 5: [1]}  # number of a class: rows of its particles
BOXES = (64, 63)
RIGHT, WRONG = 0.998, 0.9  # correlations with the view: half a pixel off gives 0.994
needs_relion = unittest.skipUnless(HAS_RELION, "RELION is not installed")


def template(box: int) -> np.ndarray:
    """The view (box, box) that aligned particles show."""
    y, x = np.mgrid[:box, :box] - box // 2
    return view(x, y)


def results_of(poses: Poses) -> Results:
    """What the engine would have found."""
    n = len(poses)
    return Results(np.array(IDS), poses, np.linspace(0.2, 0.4, n), np.zeros(n, bool), np.zeros(n, bool))


@unittest.skipUnless(THERE, "the plugins of RELION and Xmipp are not installed (make neighbours)")
class TestUdlNeighbours(unittest.TestCase):
    """Sets of ours in the hands of other plugins, and theirs in ours."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = Path(tempfile.mkdtemp())
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        for box in BOXES:
            for name, poses in CASES.items():
                cls.makeCase(cls.folder / f"{name}{box}", poses, box)
        for name in ("both", "mirror"):
            cls.makeClasses(cls.folder / f"{name}64", CASES[name])
        cls.makeStars(cls.folder / "star")
        path = os.pathsep.join([str(FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [sys.executable, "-m", "scipion_udl.tests.neighbour_worker", str(cls.folder)]
        done = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    @classmethod
    def makeCase(cls, folder: Path, poses: Poses, box: int) -> None:
        """A set as the protocols give it, and the STAR as RELION means it."""
        folder.mkdir()
        stack = str(folder / "particles.mrcs")
        write_stack(stack, particles_at(poses, box), 2.5)
        plain = make_set(folder / "plain.sqlite", stack, IDS, box=box)
        particles = emobj.SetOfParticles(filename=str(folder / "set.sqlite"))
        particles.copyInfo(plain)
        add_results(plain, particles, results_of(poses))
        particles.write()
        if not poses.mirror.any():
            star = str(folder / "aligned.star")
            write_aligned(open_particles(stack), poses, np.ones(3), np.zeros(3, bool), star=star)

    @classmethod
    def makeClasses(cls, folder: Path, poses: Poses) -> None:
        """Two classes of the particles, with averages, as the protocols give them."""
        stack = str(folder / "particles.mrcs")
        plain = emobj.SetOfParticles(filename=str(folder / "plain.sqlite"))
        plain.loadAllProperties()
        given = emobj.SetOfClasses2D(filename=str(folder / "given.sqlite"))
        given.setImages(plain)
        for number, rows in CLASSES.items():
            item = emobj.Class2D(objId=number)
            item.copyInfo(plain)
            given.append(item)
            for particle in plain.iterItems():
                if particle.getObjId() in [IDS[row] for row in rows]:
                    particle.setClassId(number)
                    item.append(particle)
            given.update(item)
        given.write()
        averages = {number: emobj.Particle(location=(1, stack)) for number in CLASSES}
        classes = emobj.SetOfClasses2D(filename=str(folder / "classes.sqlite"))
        classes.setImages(plain)
        add_classes(given, classes, results_of(poses), averages)
        classes.write()

    @classmethod
    def makeStars(cls, folder: Path) -> None:
        """STAR files for Scipion's own import, which wants relative names."""
        folder.mkdir()
        for name, angles in (("first_angle_is_zero", [0.0, 90.0]), ("first_angle_is_not_zero", [90.0, 0.0])):
            poses = Poses(angles)
            write_stack(str(folder / f"{name}.mrcs"), particles_at(poses, 64), 2.5)
            path = folder / f"{name}.star"
            write_aligned(open_particles(str(folder / f"{name}.mrcs")), poses, np.ones(2), np.zeros(2, bool), str(path))
            if name != "first_angle_is_not_zero":
                shutil.copy(path, folder / "absolute_names.star")
            path.write_text(path.read_text().replace(f"{folder}/", ""))

    def cases(self, *names: str) -> list:
        """Folder, poses and box of each case."""
        return [(self.folder / f"{name}{box}", CASES[name], box) for name in names for box in BOXES]

    def setIn(self, folder: Path, name: str, kind: type = emobj.SetOfParticles) -> emobj.EMSet:
        particles = kind(filename=str(folder / name))
        particles.loadAllProperties()
        return particles

    def assertPoses(self, found: Poses, expected: Poses) -> None:
        np.testing.assert_allclose(Poses(found.angle - expected.angle).angle, 0, atol=1e-3)
        np.testing.assert_allclose(found.shift, expected.shift, atol=1e-3)
        np.testing.assert_array_equal(found.mirror, expected.mirror)

    # Xmipp

    def test_xmipp_writes_what_xmipp_applies(self) -> None:
        for folder, _, box in self.cases(*CASES):
            with self.subTest(case=folder.name):
                self.assertGreater(worst_correlation(xmipp_aligned(folder / "xmipp.xmd"), template(box)), RIGHT)

    def test_an_alignment_comes_back_from_xmipp_as_it_was(self) -> None:
        for folder, poses, _ in self.cases(*CASES):
            with self.subTest(case=folder.name):
                back = self.setIn(folder, "from_xmipp.sqlite")
                self.assertEqual([item.getObjId() for item in back.iterItems()], IDS)
                self.assertPoses(poses_of(back), poses)
                self.assertPoses(open_particles(str(folder / "xmipp.xmd")).poses(), poses)

    def test_classes_come_back_from_xmipp_as_they_were(self) -> None:
        back = self.setIn(self.folder / "both64", "from_xmipp_classes.sqlite", emobj.SetOfClasses2D)
        for item in back.iterItems():
            self.assertPoses(poses_of(item), CASES["both"][np.array(CLASSES[item.getObjId()])])

    def test_xmipps_table_of_classes_has_the_angle_where_xmipp_does_not_look(self) -> None:
        for number, rows in CLASSES.items():
            images = xmipp_aligned(self.folder / "both64" / "xmipp_classes.xmd", f"class{number:06d}_images")
            self.assertEqual(len(images), len(rows))
            self.assertLess(worst_correlation(images, template(64)), WRONG)

    def test_xmipps_plugin_writes_no_classes_with_mirrors(self) -> None:
        self.assertIn("negative", (self.folder / "mirror64" / "xmipp_classes.error").read_text())

    def test_classes_are_exported_with_their_numbers_and_right(self) -> None:
        out = self.folder / "both64" / "export_classes"
        out.mkdir()
        export_particles(self.setIn(self.folder / "both64", "classes.sqlite", emobj.SetOfClasses2D), str(out))
        self.assertGreater(worst_correlation(xmipp_aligned(out / "aligned.xmd"), template(64)), RIGHT)
        star, xmd = (open_particles(str(out / name)).table for name in ("aligned.star", "aligned.xmd"))
        found = dict(zip(xmd.texts("itemId"), xmd.texts("ref")))
        self.assertEqual(found, {"3": "2", "9": "2", "4": "5"})
        self.assertEqual(star.texts("rlnClassNumber"), xmd.texts("ref"))

    # RELION

    @needs_relion
    def test_the_plugin_of_relion_writes_turns_alone_and_shifts_alone_right(self) -> None:
        for folder, _, box in self.cases("turn", "shift"):
            with self.subTest(case=folder.name):
                self.assertGreater(worst_correlation(relion_aligned(folder / "relion.star"), template(box)), RIGHT)

    @needs_relion
    def test_the_plugin_of_relion_writes_turned_and_shifted_particles_wrong(self) -> None:
        for folder, _, box in self.cases("both", "mirror"):
            with self.subTest(case=folder.name):
                self.assertLess(worst_correlation(relion_aligned(folder / "relion.star"), template(box)), WRONG)

    def test_the_plugin_of_relion_reads_turned_shifts_wrong(self) -> None:
        for folder, poses, _ in self.cases("turn", "shift"):
            self.assertPoses(poses_of(self.setIn(folder, "from_relion.sqlite")), poses)
        for folder, poses, _ in self.cases("both"):
            found = poses_of(self.setIn(folder, "from_relion.sqlite"))
            np.testing.assert_allclose(Poses(found.angle - poses.angle).angle, 0, atol=1e-3)
            self.assertGreater(np.hypot(*(found.shift - poses.shift).T).min(), 1.0)
            # The length stays, and our own import of the same file is right.
            np.testing.assert_allclose(np.hypot(*found.shift.T), np.hypot(*poses.shift.T), atol=1e-3)
            self.assertPoses(open_particles(str(folder / "aligned.star")).poses(), poses)

    # cryoSPARC

    @needs_relion
    def test_the_plugin_of_cryosparc_writes_turned_and_shifted_particles_wrong(self) -> None:
        for name, right in (("turn", True), ("shift", True), ("both", False)):
            for folder, _, box in self.cases(name)[:1]:  # RELION converts this form of even boxes alone
                with self.subTest(case=folder.name):
                    found = worst_correlation(relion_aligned(folder / "cryosparc.star"), template(box))
                    (self.assertGreater if right else self.assertLess)(found, RIGHT if right else WRONG)

    def test_the_plugin_of_cryosparc_reads_turned_shifts_wrong(self) -> None:
        for folder, poses, _ in self.cases("turn", "shift"):
            self.assertPoses(poses_of(self.setIn(folder, "from_cryosparc.sqlite")), poses)
        for folder, poses, _ in self.cases("both"):
            found = poses_of(self.setIn(folder, "from_cryosparc.sqlite"))
            np.testing.assert_allclose(Poses(found.angle - poses.angle).angle, 0, atol=1e-3)
            self.assertGreater(np.hypot(*(found.shift - poses.shift).T).min(), 1.0)
            np.testing.assert_allclose(np.hypot(*found.shift.T), np.hypot(*poses.shift.T), atol=1e-3)

    def test_its_import_looks_at_the_first_row_alone(self) -> None:
        found = json.loads((self.folder / "imported.json").read_text())
        self.assertEqual(found["first_angle_is_zero"], ALIGN_NONE)
        self.assertEqual(found["first_angle_is_not_zero"], ALIGN_2D)
        self.assertIn("cannot be an absolute path", found["absolute_names"])

    # the way round

    @needs_relion
    def test_an_export_is_what_both_programs_apply(self) -> None:
        for folder, poses, box in self.cases(*CASES):
            with self.subTest(case=folder.name):
                out = folder / "export"
                out.mkdir()
                count, warnings = export_particles(self.setIn(folder, "set.sqlite"), str(out))
                self.assertEqual(count, 3)
                self.assertGreater(worst_correlation(xmipp_aligned(out / "aligned.xmd"), template(box)), RIGHT)
                if poses.mirror.any():
                    self.assertIn("2 particles are mirrored", warnings[0])
                    self.assertEqual(sorted(path.name for path in out.iterdir()), ["aligned.xmd"])
                else:
                    self.assertEqual(warnings, [])
                    self.assertGreater(worst_correlation(relion_aligned(out / "aligned.star"), template(box)), RIGHT)

    @needs_relion
    def test_particles_aligned_by_relion_are_right_once_they_are_exported_and_come_back(self) -> None:
        """Xmipp's set through our export, RELION's STAR through our import: neither loses a pixel."""
        folder = self.folder / "both64"
        out = folder / "again"
        out.mkdir()
        export_particles(self.setIn(folder, "from_xmipp.sqlite"), str(out), xmd=False)
        self.assertGreater(worst_correlation(relion_aligned(out / "aligned.star"), template(64)), RIGHT)
        self.assertPoses(open_particles(str(out / "aligned.star")).poses(), CASES["both"])
