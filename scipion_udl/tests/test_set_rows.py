"""Sets read and written by SQL are those that Scipion's own objects read and write, item by item."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import numpy as np
import pwem.objects as emobj
from pyworkflow.object import Boolean, Float, String

from scipion_udl.convert.particle_input import parts
from scipion_udl.convert.set_rows import Column, _Table, copy_items, read_columns
from scipion_udl.io.stacks import write_stack

IDS = [3, 4, 7, 20, 21, 1000]
LABELS = ("_index", "_filename", "_acquisition._voltage", "_acquisition._amplitudeContrast", "_ctfModel._defocusU")
LABELS += ("_transform._matrix", "_xmipp_zScore", "_nobody._has")


def acquisition(voltage: float | None, magnification: float | None = 50000) -> emobj.Acquisition:
    return emobj.Acquisition(
        voltage=voltage, magnification=magnification, sphericalAberration=1.4, amplitudeContrast=0.08
    )


def rich_item(item_id: int, stack: str, own: emobj.Acquisition | None) -> emobj.Particle:
    """An item with all that programs hang on one."""
    item = emobj.Particle()
    item.setObjId(item_id)
    item.setObjLabel(f"label of {item_id}")
    item.setObjComment(f"it's {item_id}")
    item.setLocation(IDS.index(item_id) + 1, stack)
    item.setEnabled(item_id != 20)
    if own is not None:
        item.setAcquisition(own.clone())
    item.setCTF(emobj.CTFModel(defocusU=15000.0 + item_id, defocusV=14000.0, defocusAngle=30.0))
    place = emobj.Coordinate(x=item_id, y=2)
    place.setMicName("mic one.mrc")
    item.setCoordinate(place)
    item.setMicId(5)
    item.setTransform(emobj.Transform(matrix=np.diag([1.0, 1.0, 1.0, 1.0]) * item_id))
    item._xmipp_zScore = Float(0.5 * item_id)
    item._rlnGroupName = String("group 'a'")
    return item


class TestUdlSetRows(unittest.TestCase):
    """Each test has a folder of its own."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.stack = str(self.folder / "particles.mrcs")
        write_stack(self.stack, np.zeros((len(IDS), 8, 8), np.float32), 2.5)

    def emptySet(self, name: str) -> emobj.SetOfParticles:
        particles = emobj.SetOfParticles(filename=str(self.folder / name), indexes=["_classId", "_micId"])
        particles.setSamplingRate(2.5)
        particles.setAcquisition(acquisition(200.0))
        particles.setHasCTF(True)
        return particles

    def richSet(self, name: str, with_acquisition: bool = True) -> emobj.SetOfParticles:
        """A set of items that have an acquisition each, or take that of the set."""
        particles = self.emptySet(name)
        if not with_acquisition:
            particles.setAcquisition(emobj.Acquisition())
        for item_id in IDS:
            particles.append(rich_item(item_id, self.stack, acquisition(200.0) if with_acquisition else None))
        particles.setAcquisition(acquisition(200.0))
        particles.write()
        with sqlite3.connect(particles.getFileName()) as database:
            database.execute("UPDATE Objects SET creation = '2020-02-02 20:20:20'")
        return particles

    def mixedSet(self, name: str) -> emobj.SetOfParticles:
        """Item 4 has no voltage, item 21 another one. (Scipion itself mixes these up when it reads them.)"""
        particles = self.richSet(name)
        column = _Table.of(particles).columns["_acquisition._voltage"]
        with sqlite3.connect(particles.getFileName()) as database:
            database.execute(f"UPDATE Objects SET {column} = NULL WHERE id = 4")
            database.execute(f"UPDATE Objects SET {column} = 300.0 WHERE id = 21")
        return particles

    def changes(self, ids: list[int]) -> list[Column]:
        return [
            Column("_transform._matrix", [str(np.diag([2.0, 1, 1, k]).tolist()) for k in ids], emobj.Transform),
            Column("_udlScore", [k / 1000 for k in ids], Float),
            Column("_udlOutlier", [k % 2 for k in ids], Boolean),
            Column("_classId", [k + 1 for k in ids]),
        ]

    def byScipion(self) -> object:
        return mock.patch("scipion_udl.convert.set_rows._Table.of", return_value=None)

    def assertSameSets(self, first: emobj.SetOfParticles, second: emobj.SetOfParticles) -> None:
        self.assertEqual(first.getSize(), second.getSize())
        items = [[item.clone() for item in particles.iterItems()] for particles in (first, second)]
        for one, other in zip(*items):
            self.assertEqual(
                one.getObjDict(includeClass=True, includeBasic=True),
                other.getObjDict(includeClass=True, includeBasic=True),
            )
            self.assertEqual(one.isEnabled(), other.isEnabled())
        properties = [{key: s.getProperty(key) for key in s._getMapper().getPropertyKeys()} for s in (first, second)]
        self.assertEqual(*({k: v for k, v in p.items() if k != "_mapperPath"} for p in properties))

    def copies(self, sources: list, ids: list[int], columns: list[Column], **options: object) -> list:
        made = []
        for name in ("sql.sqlite", "scipion.sqlite"):
            output = self.emptySet(name)
            output.setAlignment2D()
            if made:
                with self.byScipion():
                    copy_items(sources, output, ids, columns, **options)
            else:
                copy_items(sources, output, ids, columns, **options)
            output.write()
            made.append(output)
        return made

    def test_columns_are_read_as_scipion_reads_them(self) -> None:
        for with_acquisition in (True, False):
            particles = self.richSet(f"set{with_acquisition}.sqlite", with_acquisition)
            found = read_columns(particles, LABELS)
            with self.byScipion():
                self.assertEqual(found, read_columns(particles, LABELS))
            self.assertEqual(found["id"], [3, 4, 7, 21, 1000])
            self.assertEqual(found["_acquisition._voltage"], [200] * 5)
            self.assertEqual(found["_ctfModel._defocusU"][0], 15003)
            self.assertEqual(found["_nobody._has"], [None] * 5)

    def test_a_copy_has_everything_that_scipions_copy_has(self) -> None:
        """In any order of ids, and without the items that were not asked for."""
        for with_acquisition in (True, False):
            particles = self.richSet(f"set{with_acquisition}.sqlite", with_acquisition)
            ids = [1000, 3, 4, 21]
            fast, slow = self.copies([particles], ids, self.changes(ids))
            self.assertSameSets(fast, slow)
            self.assertEqual([item.getObjId() for item in fast.iterItems()], sorted(ids))
            last = fast[1000]
            self.assertEqual((last._udlScore.get(), last._udlOutlier.get(), last.getClassId()), (1.0, False, 1001))
            self.assertEqual(last.getTransform().getMatrix()[3, 3], 1000)
            self.assertEqual((last.getObjComment(), last._rlnGroupName.get()), ("it's 1000", "group 'a'"))
            self.assertEqual(last.getObjCreation(), "2020-02-02 20:20:20")
            for name in ("sql.sqlite", "scipion.sqlite"):
                (self.folder / name).unlink()

    def test_an_item_without_acquisition_takes_that_of_its_set(self) -> None:
        particles = self.mixedSet("set.sqlite")
        voltage = "_acquisition._voltage"
        self.assertEqual(read_columns(particles, [voltage])[voltage], [200, 200, 200, 300, 200])
        output = self.emptySet("out.sqlite")
        copy_items([particles], output, IDS, [])
        self.assertEqual(read_columns(output, [voltage])[voltage], [200, 200, 200, 300, 200])

    def test_what_is_left_behind_is_not_in_the_copy(self) -> None:
        fast, slow = self.copies([self.richSet("set.sqlite")], IDS, [], without=["_transform"])
        self.assertSameSets(fast, slow)
        self.assertFalse(fast.getFirstItem().hasTransform())
        self.assertEqual(fast.getSize(), len(IDS) - 1)

    def test_items_that_are_not_on_the_disk_yet_are_copied_too(self) -> None:
        particles = self.emptySet("open.sqlite")
        for item_id in IDS:
            particles.append(rich_item(item_id, self.stack, None))
        output = self.emptySet("out.sqlite")
        copy_items([particles], output, IDS, self.changes(IDS))
        self.assertEqual(output.getSize(), len(IDS) - 1)

    def test_more_items_can_be_appended_through_scipion_afterwards(self) -> None:
        particles = self.richSet("set.sqlite")
        output = self.emptySet("out.sqlite")
        copy_items([particles], output, [3, 4], [])
        output.enableAppend()
        output.append(particles[7].clone())
        output.write()
        self.assertEqual([item.getObjId() for item in output.iterItems()], [3, 4, 7])
        self.assertEqual(output.getSize(), 3)

    def makeClasses(self) -> emobj.SetOfClasses2D:
        """Items 3, 4 | 7, 20 (disabled), 21 | none | 1000 (a disabled class)."""
        classes = emobj.SetOfClasses2D(filename=str(self.folder / "classes.sqlite"))
        for number, ids in {1: [3, 4], 2: [7, 20, 21], 5: [], 9: [1000]}.items():
            item = emobj.Class2D(objId=number)
            item.copyInfo(self.emptySet("empty.sqlite"))
            item.setEnabled(number != 9)
            classes.append(item)
            for item_id in ids:
                particle = rich_item(item_id, self.stack, acquisition(200.0))
                particle.setClassId(number)
                item.append(particle)
            classes.update(item)
        classes.write()
        return classes

    def test_classes_are_sets_too(self) -> None:
        found = parts(self.makeClasses())
        self.assertEqual([part.number for part in found], [1, 2])
        sources = [part.items for part in found]
        self.assertEqual([read_columns(source, ["_index"])["id"] for source in sources], [[3, 4], [7, 21]])
        ids = [21, 4, 3]
        fast, slow = self.copies(sources, ids, self.changes(ids))
        self.assertSameSets(fast, slow)
        self.assertEqual([item.getObjId() for item in fast.iterItems()], [3, 4, 21])
