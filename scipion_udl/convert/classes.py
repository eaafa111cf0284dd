"""2D classes in Scipion's sets: those that came in and were aligned, and those that particles were sorted into."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from pwem.objects import Class2D, EMObject, Particle, SetOfAverages, SetOfClasses2D, SetOfParticles
from pyworkflow.object import Boolean, Float, Integer

from scipion_udl.convert.particle_input import class_parts, info_of
from scipion_udl.convert.particles import ITEM_ID, QUALITY, Results, results_of
from scipion_udl.convert.set_rows import ID, Column, append_items, copy_items, read_columns
from scipion_udl.errors import UdlError
from scipion_udl.io import dialects
from scipion_udl.io.tables import read_tables
from scipion_udl.messages import message

_CLASS_ID = "_classId"


def read_classified(path: str, particles: str | None = None) -> tuple[Results, np.ndarray]:
    """The engine's results, and the number of the class of each, int64 (N,).

    path, particles: as :func:`scipion_udl.convert.particles.read_results` takes them. Raises UdlError as that, and
    where the file tells no classes.
    """
    results, numbers = read_with_classes(path, particles)
    if numbers is None:
        raise UdlError(message("result_without_classes", path=path))
    return results, numbers


def read_with_classes(path: str, particles: str | None = None) -> tuple[Results, np.ndarray | None]:
    """The engine's results, and the number of the class of each, int64 (N,); None where the file tells no classes.

    path, particles: as :func:`scipion_udl.convert.particles.read_results` takes them. Raises UdlError as that.
    """
    tables = read_tables(path)
    table, form = dialects.find_particles(path, tables)
    label = dialects.CLASS_LABEL[form]
    numbers = table.numbers(label).astype(np.int64) if label in table else None
    return results_of(path, tables, particles), numbers


def average_image(path: str, pixel_size: float, facts: Mapping) -> Particle:
    """An average with its resolution. path: of its stack; facts: what the engine says of it, ``image`` (from 1) and
    ``resolution`` (angstrom, or None); without ``image`` it is the first."""
    average = Particle()
    average.setLocation(facts.get("image", 1), path)
    average.setSamplingRate(pixel_size)
    resolution = facts.get("resolution")
    average._udlResolution = Float(resolution)
    if resolution:
        average.setObjComment(f"Resolution {resolution:.1f} A (FRC of two halves at 0.143)")
    return average


def fill_averages(
    output: SetOfAverages,
    particles: SetOfParticles,
    images: Mapping[int, Particle],
    classes: Mapping[int, Mapping] | None = None,
) -> None:
    """Fill a set of averages with ``images``: number of a class -> its average, whose id is that number.

    particles: whose averages they are; classes: number -> what the engine says of a class that it has made itself.
    """
    output.setSamplingRate(particles.getSamplingRate())
    output.setAcquisition(particles.getAcquisition())
    for number, image in images.items():
        output.append(_average_item(number, image, classes))


def update_averages(
    output: SetOfAverages, images: Mapping[int, Particle], classes: Mapping[int, Mapping] | None = None
) -> None:
    """Put ``images`` in the place of those that :func:`fill_averages` filled a set with, and add those of classes that
    are new; classes: as there."""
    there = output.getIdSet()
    for number, image in images.items():
        item = _average_item(number, image, classes)
        item.setAcquisition(output.getAcquisition())  # as the set gives it to those that are added: one row has all
        if number in there:
            output.update(item)
        else:
            output.append(item)


def _average_item(number: int, image: Particle, classes: Mapping[int, Mapping] | None) -> Particle:
    item = image.clone()
    item.setObjId(number)
    if classes is not None:
        describe(item, classes[number])
    return item


def add_classes(
    particles: SetOfClasses2D, output: SetOfClasses2D, results: Results, averages: dict[int, Particle]
) -> None:
    """Fill ``output`` with the classes of ``particles``, whose items carry their results.

    averages: number of a class -> its new representative. A class without results is left out.
    """
    for part in class_parts(particles):
        own = results[np.isin(results.ids, read_columns(part.items, ())[ID])]
        if not len(own):
            continue
        new = Class2D(objId=part.number)
        new.copyInfo(part.items)
        new.setAlignment2D()
        new.setRepresentative(averages[part.number])
        output.append(new)
        copy_items([part.items], new, own.ids, own.columns())
        output.update(new)


def sort_by_class_id(output: SetOfClasses2D) -> None:
    """Fill ``output`` with the images of its set by the class id that each of them has. Those whose class is not known
    (0) and disabled ones are in none. A class is represented by its first image: an average of it nobody has yet."""
    first: dict[int, Particle] = {}
    for item in output.getImages().iterItems():
        if item.getClassId() not in first:
            first[item.getClassId()] = item.clone()

    def describe_class(one: Class2D) -> None:
        one.setRepresentative(first[one.getObjId()])  # at once: the first class settles the columns of all

    output.classifyItems(updateClassCallback=describe_class)
    output.write()


# -- classes that particles were sorted into ---------------------------------------------------------------------------


def describe(item: EMObject, facts: Mapping) -> None:
    """Give a class, or its average, what the engine says of it: whether it is flagged as junk, its quality from 0 to 1,
    the number of the class whose mirror image it is (None where there is none), its place in an order in which
    neighbours look alike, and the number of the superclass of all classes that show its view."""
    item._udlFlagged = Boolean(bool(facts.get("flagged")))
    item._udlQuality = Float(facts.get("quality"))
    item._udlMirrorOf = Integer(facts.get("mirror_of"))
    item._udlView = Integer(facts.get("view"))
    item._udlSuperclass = Integer(facts.get("superclass"))


def add_sorted(
    particles: SetOfParticles,
    output: SetOfClasses2D,
    results: Results,
    numbers: np.ndarray,
    classes: Mapping[int, Mapping],
    images: Mapping[int, Particle],
) -> None:
    """Add the items of ``particles`` that have results to their classes in ``output``.

    A class that ``output`` has gets the items that it lacks, and another representative and facts; one that it lacks is
    made. numbers (N,): the class of each result; classes: number of a class -> what the engine says of it; images:
    number of a class -> its representative.
    """
    there = output.getIdSet() if output.getSize() else set()
    for part in class_parts(output) if there else ():
        own = results[numbers == part.number]
        own = own[~np.isin(own.ids, read_columns(part.items, ())[ID])]
        if len(own):
            append_items(particles, part.items, own.ids, _columns(own, part.number))
        part.items.setRepresentative(images[part.number])
        describe(part.items, classes[part.number])
        output.update(part.items)
        output.write(properties=False)  # commits, so that the file is free
    for number, facts in classes.items():
        if number in there:
            continue
        own = results[numbers == number]
        new = Class2D(objId=number)
        new.copyInfo(particles)
        new.setStreamState(new.STREAM_CLOSED)
        new.setAlignment2D()
        new.setRepresentative(images[number])
        describe(new, facts)
        output.append(new)
        copy_items([particles], new, own.ids, _columns(own, number))
        output.update(new)


def _columns(results: Results, number: int) -> list[Column]:
    """What is new of the items of a class; the quality of those that came later nobody knows."""
    quality = [None] * len(results) if results.quality is None else results.quality.tolist()
    return [*results.columns(), Column(_CLASS_ID, [number] * len(results)), Column(QUALITY, quality, Float)]


# -- classes that were chosen ------------------------------------------------------------------------------------------


def read_chosen(path: str) -> tuple[np.ndarray, np.ndarray]:
    """The ids, int64 (N,), and the quality, 0 to 1 (N,), of the particles that the engine has chosen. path: of its
    selected.star."""
    table, _ = dialects.find_particles(path, read_tables(path))
    return table.numbers(ITEM_ID).astype(np.int64), table.numbers(dialects.QUALITY_LABEL)


def add_chosen_particles(classes: SetOfClasses2D, output: SetOfParticles, ids: np.ndarray, quality: np.ndarray) -> None:
    """Fill an empty set with those items of ``classes`` that ``ids`` (N,) names, as they are there, with their quality
    (N,)."""
    parts = class_parts(classes)
    output.copyInfo(info_of(classes))
    output.setAlignment(parts[0].items.getAlignment())
    copy_items([part.items for part in parts], output, ids, [Column(QUALITY, quality.tolist(), Float)])


def add_chosen_classes(
    classes: SetOfClasses2D,
    output: SetOfClasses2D,
    ids: np.ndarray,
    quality: np.ndarray,
    facts: Mapping[int, Mapping],
    images: Mapping[int, Particle],
) -> None:
    """Fill an empty set with those of ``classes`` that have chosen items, with these alone.

    ids, quality (N,): of the chosen items; facts: number of a class -> what the engine says of it; images: number of a
    class -> its average, which represents it where nothing does in ``classes``.
    """

    def describe_class(new: Class2D, number: int) -> None:
        if not new.hasRepresentative():
            new.setRepresentative(images[number])
        new._udlQuality = Float(facts[number]["quality"])

    add_parts(classes, output, ids, Column(QUALITY, quality.tolist(), Float), describe_class)


def add_parts(
    classes: SetOfClasses2D,
    output: SetOfClasses2D,
    ids: np.ndarray,
    column: Column,
    describe_class: Callable[[Class2D, int], None],
) -> None:
    """Fill an empty set with those of ``classes`` that have items among ``ids`` (N,), with these alone, as they are.

    column: what is new of the items, a value for each of ``ids``; describe_class: gives a new class, whose number it is
    told, what is new of it, before it is stored.
    """
    for part in class_parts(classes):
        own = np.flatnonzero(np.isin(ids, read_columns(part.items, ())[ID]))
        if not len(own):
            continue
        new = Class2D(objId=part.number)
        new.copyInfo(part.items)
        new.setStreamState(new.STREAM_CLOSED)
        describe_class(new, part.number)
        output.append(new)
        copy_items([part.items], new, ids[own], [replace(column, values=[column.values[row] for row in own])])
        output.update(new)
