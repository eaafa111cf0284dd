"""Sets to tables and back: signs, ids, disabled items, formats. Claims on signs are checked with Scipion's programs."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import unittest
from contextlib import closing
from pathlib import Path

import numpy as np
from pwem.emlib.image import ImageHandler
from pwem.objects import Class2D, CTFModel, SetOfAverages, SetOfClasses2D, SetOfParticles, Transform

from scipion_udl.convert.classes import average_image, fill_averages, update_averages
from scipion_udl.convert.particles import (
    ITEM_ID,
    add_results,
    check_complete,
    read_ids,
    read_results,
    write_alignment,
    write_particles,
    write_truth,
)
from scipion_udl.convert.scipion_sign import poses_of, transform_matrices
from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import Poses
from scipion_udl.io.aligned import write_aligned
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import write_stack
from scipion_udl.tests.scipion_helpers import correlation, make_set, particles_at, random_poses, view
from scipion_udl.validation.pose_errors import join, located_truth


class TestUdlConvert(unittest.TestCase):
    """Each test has a folder of its own."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.stack = str(self.folder / "particles.mrcs")

    def newSet(self, poses: Poses, ids: list, **options: object) -> SetOfParticles:
        box = options.get("box", 64)
        write_stack(self.stack, particles_at(poses, box), 2.5)
        return make_set(self.folder / f"set{len(list(self.folder.iterdir()))}.sqlite", self.stack, ids, **options)

    def emptySet(self) -> SetOfParticles:
        return SetOfParticles(filename=str(self.folder / f"out{len(list(self.folder.iterdir()))}.sqlite"))

    def runFakeEngine(self, star: str, poses: Poses, score: np.ndarray, order: np.ndarray) -> str:
        """What the engine does with a table: results in other rows than those of the input."""
        source = open_particles(star)
        aligned = str(self.folder / "aligned.star")
        write_aligned(source, poses, score, score < 0.2, star=aligned)
        text = Path(aligned).read_text().splitlines()
        first = next(k for k, line in enumerate(text) if "@" in line)
        rows = text[first : first + len(order)]
        Path(aligned).write_text("\n".join(text[:first] + [rows[k] for k in order] + [""]))
        return aligned

    def test_a_transform_brings_the_particle_onto_the_view(self) -> None:
        cases = {
            "turn": ([35.0], [[0, 0]], [False]),
            "shift": ([0.0], [[4, -2.5]], [False]),
            "turn and shift": ([-110.0], [[3, 5]], [False]),
            "mirror": ([35.0], [[4, -2.5]], [True]),
        }
        for box in (64, 63):
            y, x = np.mgrid[:box, :box] - box // 2
            for name, (angle, shift, mirror) in cases.items():
                poses = Poses(angle, shift, mirror)
                write_stack(self.stack, particles_at(poses, box), 1.0)
                whole = Transform(matrix=transform_matrices(poses)[0]).getMatrix()
                flat = whole[np.ix_([0, 1, 3], [0, 1, 3])]
                found = {}
                for kind, matrix in (("applied", flat), ("undone", np.linalg.inv(flat))):
                    output = str(self.folder / "out.mrc")
                    ImageHandler.applyTransform(f"1@{self.stack}", output, matrix, (box, box))
                    found[kind] = correlation(ImageHandler().read(output).getData(), view(x, y))
                with self.subTest(box=box, case=name):
                    # Scipion takes the nearest pixel here, which costs up to 0.02.
                    self.assertGreater(found["applied"], 0.975)
                    self.assertLess(found["undone"], 0.95)

    def test_poses_survive_the_way_through_a_set(self) -> None:
        poses = random_poses(5, mirrored=True)
        particles = self.newSet(poses, [1, 2, 3, 4, 5])
        found = {k + 1: matrix for k, matrix in enumerate(transform_matrices(poses))}
        output = self.emptySet()
        output.copyInfo(particles)
        output.copyItems(
            particles, updateItemCallback=lambda item, _: item.setTransform(Transform(matrix=found[item.getObjId()]))
        )
        back = poses_of(output)
        np.testing.assert_allclose(back.angle, poses.angle, atol=1e-9)
        np.testing.assert_allclose(back.shift, poses.shift, atol=1e-9)
        np.testing.assert_array_equal(back.mirror, poses.mirror)

    def test_a_3d_alignment_that_is_said_to_be_2d_is_not_started_from(self) -> None:
        tilted, scaled, unknown = np.eye(4), np.diag([2.0, 2, 1, 1]), np.eye(4)
        tilted[:3, :3] = [[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]]
        unknown[0, 3] = np.nan
        for number, matrix in enumerate((np.eye(4), tilted, scaled, unknown)):
            particles = self.newSet(random_poses(3), [1, 2, 3])
            output = self.emptySet()
            output.copyInfo(particles)
            output.setAlignment2D()
            found = [Transform(matrix=given) for given in (np.eye(4), np.eye(4), matrix)]
            output.copyItems(
                particles, updateItemCallback=lambda i, _, found=found: i.setTransform(found[i.getObjId() - 1])
            )
            output.write()
            arguments = output, str(self.folder / "start.star"), "unused.mrcs", True
            if not number:
                self.assertEqual(write_particles(*arguments), 3)
                continue
            with self.assertRaisesRegex(UdlError, r"of 1 particles is no rotation and shift .*the first has id 3"):
                write_particles(*arguments)

    def test_particles_of_which_some_have_no_ctf_are_told(self) -> None:
        particles = self.newSet(random_poses(3), [1, 2, 3])
        output = self.emptySet()
        output.copyInfo(particles)
        output.setHasCTF(True)
        output.copyItems(particles, updateItemCallback=lambda i, _: i.setCTF(CTFModel(defocusU=9000 + i.getObjId())))
        output.write()
        output.close()
        with closing(sqlite3.connect(output.getFileName())) as database:
            query = "SELECT column_name FROM Classes WHERE label_property = '_ctfModel._defocusU'"
            (column,) = database.execute(query).fetchone()
            database.execute(f"UPDATE Objects SET {column} = NULL WHERE id = 2")
            database.commit()
        with self.assertLogs("scipion_udl.convert.particles", "WARNING") as log:
            write_particles(output, str(self.folder / "some.star"), "unused.mrcs")
        self.assertIn("1 of 3 particles have no CTF", log.output[0])

    def test_a_project_can_be_moved_with_its_tables(self) -> None:
        """Images that the set names relative to the project are found from the table, wherever both are."""
        project, images = self.folder / "project", particles_at(random_poses(3), 64)
        (project / "Runs" / "one").mkdir(parents=True)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(project)
        write_stack("Runs/particles.mrcs", images, 2.5)
        particles = make_set("set.sqlite", "Runs/particles.mrcs", [1, 2, 3])
        write_particles(particles, "Runs/one/particles.star", "unused.mrcs")
        write_particles(particles, "Runs/one/anywhere.star", "unused.mrcs", absolute=True)
        particles.close()
        self.assertIn(f"@{os.getcwd()}/Runs/particles.mrcs", Path("Runs/one/anywhere.star").read_text())
        project.rename(self.folder / "moved")
        os.chdir(self.folder)
        found = open_particles("moved/Runs/one/particles.star").read(np.arange(3))
        np.testing.assert_array_equal(found, images)

    def test_results_find_their_items_over_gaps_disabled_items_and_mixed_rows(self) -> None:
        ids = [3, 4, 7, 20, 21, 1000]
        particles = self.newSet(random_poses(6), ids, disabled=(7, 1000))
        star = str(self.folder / "particles.star")
        self.assertEqual(write_particles(particles, star, "unused.mrcs"), 4)
        self.assertEqual(read_ids(star).tolist(), [3, 4, 20, 21])
        score = np.array([0.1, 0.2, 0.3, 0.4])
        poses = random_poses(4, seed=1)
        results = read_results(self.runFakeEngine(star, poses, score, np.array([2, 0, 3, 1])))
        self.assertEqual(results.ids.tolist(), [20, 3, 21, 4])
        output = self.emptySet()
        output.copyInfo(particles)
        add_results(particles, output, results)
        output.write()
        self.assertTrue(output.hasAlignment2D())
        self.assertEqual(output.getSize(), 4)
        items = {item.getObjId(): item.clone() for item in output}
        self.assertEqual(sorted(items), [3, 4, 20, 21])
        for row, item_id in enumerate([3, 4, 20, 21]):
            self.assertAlmostEqual(items[item_id]._udlScore.get(), score[row], places=5)
            self.assertEqual(items[item_id]._udlAmbiguous.get(), score[row] < 0.2)
            self.assertEqual(items[item_id].getLocation(), (ids.index(item_id) + 1, self.stack))
            matrix = items[item_id].getTransform().getMatrix()
            np.testing.assert_allclose(matrix, transform_matrices(poses)[row], atol=1e-5)

    def test_an_item_without_result_is_an_error_that_names_it(self) -> None:
        particles = self.newSet(random_poses(3), [1, 2, 5])
        star = str(self.folder / "particles.star")
        write_particles(particles, star, "unused.mrcs")
        results = read_results(self.runFakeEngine(star, random_poses(3), np.ones(3), np.array([0, 1])))
        with self.assertRaisesRegex(UdlError, "id 5"):
            check_complete(particles, results)

    def test_the_table_says_what_the_set_knows(self) -> None:
        particles = self.newSet(random_poses(2), [1, 2])
        star = str(self.folder / "particles.star")
        write_particles(particles, star, "unused.mrcs")
        source = open_particles(star)
        self.assertEqual((len(source), source.box, source.pixel_size, source.pixel_size_known), (2, 64, 2.5, True))
        self.assertEqual(source.names, [f"{k:06d}@{self.stack}" for k in (1, 2)])
        self.assertEqual(source.tables[0].texts("rlnVoltage"), ["200.000000"])
        self.assertEqual(source.tables[0].texts("rlnAmplitudeContrast"), ["0.080000"])
        self.assertEqual(source.table.texts(ITEM_ID), ["1", "2"])
        self.assertNotIn("rlnDefocusU", source.table)

    def test_ctf_comes_along_where_the_set_has_it(self) -> None:
        particles = self.newSet(random_poses(3), [1, 2, 3])
        with_ctf = self.emptySet()
        with_ctf.copyInfo(particles)
        with_ctf.setHasCTF(True)

        def add(item: object, _row: object) -> None:
            item.setCTF(CTFModel(defocusU=15000.0 + item.getObjId(), defocusV=14000.0, defocusAngle=30.0))

        with_ctf.copyItems(particles, updateItemCallback=add)
        star = str(self.folder / "particles.star")
        write_particles(with_ctf, star, "unused.mrcs")
        table = open_particles(star).table
        np.testing.assert_allclose(table.numbers("rlnDefocusU"), [15001, 15002, 15003])
        np.testing.assert_allclose(table.numbers("rlnDefocusAngle"), 30)

    def test_images_of_other_formats_are_converted(self) -> None:
        poses = random_poses(3)
        images = particles_at(poses, 32)
        write_stack(self.stack, images, 2.5)
        spider = str(self.folder / "particles.stk")
        handler = ImageHandler()
        for k in (1, 2, 3):
            handler.convert((k, self.stack), (k, spider))
        particles = make_set(self.folder / "spider.sqlite", spider, [1, 2, 3], disabled=(2,), box=32)
        star, converted = str(self.folder / "particles.star"), str(self.folder / "converted.mrcs")
        write_particles(particles, star, converted)
        source = open_particles(star)
        np.testing.assert_allclose(source.read([0, 1]), images[[0, 2]], atol=1e-6)
        self.assertEqual(read_ids(star).tolist(), [1, 3])

    def alignedSet(
        self, name: str, stack: str, ids: list, images: list, poses: Poses, **options: object
    ) -> SetOfParticles:
        """A set of these images (from 1) of a stack, each with its pose."""
        plain = make_set(self.folder / f"{name}_plain.sqlite", stack, ids, box=32, **options)
        matrices = transform_matrices(poses)
        particles = SetOfParticles(filename=str(self.folder / f"{name}.sqlite"))
        particles.copyInfo(plain)
        particles.setAlignment2D()
        for k, item in enumerate(plain.iterItems()):
            item.setLocation(images[k], stack)
            item.setTransform(Transform(matrix=matrices[k]))
            particles.append(item)
        particles.write()
        return particles

    def test_an_alignment_to_start_from_reaches_the_engine_with_the_right_signs(self) -> None:
        poses = random_poses(4)
        write_stack(self.stack, particles_at(poses, 32), 2.5)
        particles = self.alignedSet("start", self.stack, [5, 6, 7, 8], [1, 2, 3, 4], poses, disabled=(6,))
        star = str(self.folder / "in.star")
        write_particles(particles, star, "unused.mrcs", start=True)
        found = open_particles(star).poses()
        expected = transform_matrices(poses[np.array([0, 2, 3])])
        np.testing.assert_allclose(transform_matrices(found), expected, atol=1e-5)
        write_particles(particles, star, "unused.mrcs")
        self.assertIsNone(open_particles(star).poses())

    def test_a_mirrored_alignment_is_not_started_from(self) -> None:
        poses = Poses([10.0, 20.0], mirror=[False, True])
        write_stack(self.stack, particles_at(poses, 32), 2.5)
        particles = self.alignedSet("start", self.stack, [5, 6], [1, 2], poses)
        with self.assertRaisesRegex(UdlError, "1 particles are mirrored .* id 6"):
            write_particles(particles, str(self.folder / "in.star"), "unused.mrcs", start=True)

    def test_mirrored_results_find_their_items_by_the_image(self) -> None:
        """The engine's XMD, which alone can say that a particle is mirrored, has no ids."""
        poses = random_poses(3, mirrored=True)
        particles = self.newSet(poses, [2, 30, 31])
        star, xmd = str(self.folder / "in.star"), str(self.folder / "aligned.xmd")
        write_particles(particles, star, "unused.mrcs")
        write_aligned(open_particles(star), poses, np.array([0.1, 0.2, 0.3]), np.zeros(3, bool), xmd=xmd)
        results = read_results(xmd, star)
        self.assertEqual(results.ids.tolist(), [2, 30, 31])
        np.testing.assert_allclose(transform_matrices(results.poses), transform_matrices(poses), atol=1e-5)
        with self.assertRaisesRegex(UdlError, "which items"):
            read_results(xmd)

    def test_averages_of_classes_that_are_opened_later_join_those_that_are_there(self) -> None:
        particles = self.newSet(random_poses(3), [1, 2, 3])
        averages = SetOfAverages(filename=str(self.folder / "averages.sqlite"))
        first = {k: average_image("first.mrcs", 2.5, {"image": k, "resolution": None}) for k in (1, 2)}
        fill_averages(averages, particles, first)
        averages.write()
        averages.close()
        averages = SetOfAverages(filename=averages.getFileName())
        averages.loadAllProperties()
        later = {k: average_image("later.mrcs", 2.5, {"image": k, "resolution": 9.0}) for k in (1, 2, 3)}
        update_averages(averages, later)
        averages.write()
        found = {item.getObjId(): item.getLocation() for item in averages.iterItems()}
        self.assertEqual(found, {k: (k, "later.mrcs") for k in (1, 2, 3)})
        self.assertEqual(averages.getSize(), 3)

    def test_classes_that_share_a_particle_are_refused(self) -> None:
        write_stack(self.stack, particles_at(random_poses(3), 32), 2.5)
        particles = make_set(self.folder / "all.sqlite", self.stack, [1, 2, 3], box=32)
        classes = SetOfClasses2D(filename=str(self.folder / "classes.sqlite"))
        for number, ids in ((4, (1, 2)), (6, (2, 3))):
            item = Class2D(objId=number)
            item.copyInfo(particles)
            classes.append(item)
            for item_id in ids:
                item.append(particles[item_id])
            classes.update(item)
        classes.write()
        with self.assertRaisesRegex(UdlError, "id 2 is in the classes 4 and 6"):
            write_particles(classes, str(self.folder / "in.star"), "unused.mrcs")

    def test_truths_find_their_particles_by_the_image_in_any_format(self) -> None:
        poses = random_poses(4, mirrored=True)
        write_stack(self.stack, particles_at(poses, 32), 2.5)
        spider = str(self.folder / "particles.stk")
        for k in range(1, 5):
            ImageHandler().convert((k, self.stack), (k, spider))
        for stack in (self.stack, spider):
            found = self.alignedSet("found", stack, [5, 6, 7, 8], [1, 2, 3, 4], random_poses(4, 1), disabled=(6,))
            order = [3, 1, 0]  # images 4, 2 and 1: the third has no truth, and the second is disabled
            truth = self.alignedSet("truth", stack, [1, 2, 3], [4, 2, 1], poses[np.array(order)])
            names = [str(self.folder / name) for name in ("in.star", "converted.mrcs", "in.xmd", "truth.star")]
            self.assertEqual(write_alignment(found, *names[:3]), 3)
            self.assertEqual(write_truth(found, truth, names[0], names[3]), 2)
            images, true = located_truth(names[3])
            rows, true_rows = join(open_particles(names[2]).locations(), images)
            self.assertEqual(rows.tolist(), [0, 2])
            expected = transform_matrices(poses[np.array([0, 3])])
            np.testing.assert_allclose(transform_matrices(true[true_rows]), expected, atol=1e-5)
            for path in self.folder.glob("*.sqlite"):
                path.unlink()

    def test_a_truth_of_other_images_is_an_error(self) -> None:
        poses = random_poses(2)
        write_stack(self.stack, particles_at(poses, 32), 2.5)
        other = str(self.folder / "other.mrcs")
        shutil.copyfile(self.stack, other)
        found = self.alignedSet("found", self.stack, [1, 2], [1, 2], poses)
        truth = self.alignedSet("truth", other, [1, 2], [1, 2], poses)
        star = str(self.folder / "in.star")
        write_particles(found, star, str(self.folder / "c.mrcs"))
        with self.assertRaisesRegex(UdlError, "no image in common"):
            write_truth(found, truth, star, str(self.folder / "truth.star"))

    def test_a_particle_without_alignment_is_named(self) -> None:
        poses = random_poses(2)
        plain = self.newSet(poses, [4, 9], box=32)
        with self.assertRaisesRegex(UdlError, "id 4 has no alignment"):
            write_alignment(plain, *(str(self.folder / name) for name in ("in.star", "c.mrcs", "in.xmd")))

    def test_a_folder_with_spaces_is_no_obstacle(self) -> None:
        folder = self.folder / "my particles"
        folder.mkdir()
        self.stack = str(folder / "first set.mrcs")
        particles = self.newSet(random_poses(2), [1, 2])
        star = str(folder / "particles.star")
        write_particles(particles, star, "unused.mrcs")
        self.assertEqual(open_particles(star).read([0, 1]).shape, (2, 64, 64))

    def test_a_set_without_enabled_items_is_an_error(self) -> None:
        particles = self.newSet(random_poses(2), [1, 2], disabled=(1, 2))
        with self.assertRaisesRegex(UdlError, "no enabled particles"):
            write_particles(particles, str(self.folder / "particles.star"), "unused.mrcs")

    def test_a_set_whose_file_is_gone_is_told_and_not_made_anew(self) -> None:
        particles = self.newSet(random_poses(2), [1, 2])
        particles.close()
        os.remove(particles.getFileName())
        again = SetOfParticles(filename=particles.getFileName())
        os.path.exists(again.getFileName()) and os.remove(again.getFileName())
        with self.assertRaisesRegex(UdlError, "sqlite, is not there any more: run the protocol that made it again"):
            write_particles(again, str(self.folder / "particles.star"), "unused.mrcs")
        self.assertFalse(os.path.exists(particles.getFileName()))

    def test_particles_that_a_joined_set_has_twice_are_told_by_their_ids(self) -> None:
        particles = self.newSet(random_poses(4), [3, 5, 8, 13])
        with closing(sqlite3.connect(particles.getFileName())) as database:
            columns = dict(database.execute("SELECT label_property, column_name FROM Classes").fetchall())
            index = columns["_index"]
            database.execute(f"UPDATE Objects SET {index} = 1 WHERE id IN (8, 13)")
            database.commit()
        star = self.folder / "particles.star"
        with self.assertRaisesRegex(UdlError, r"ids 3 and 8 .* 1@.*particles.mrcs, and so have 1 others"):
            write_particles(SetOfParticles(filename=particles.getFileName()), str(star), "unused.mrcs")
        self.assertFalse(star.exists())
