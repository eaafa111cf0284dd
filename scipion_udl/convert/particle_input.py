"""What the protocols take as particles: a set, or the classes of a set, each of them a set of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Union

from pwem.objects import SetOfClasses2D, SetOfParticles

from scipion_udl.convert import set_rows

Particles = Union[SetOfParticles, SetOfClasses2D]


@dataclass
class Part:
    """Particles that are aligned with each other: a whole set (``number`` is None), or the class of that number."""

    number: int | None
    items: SetOfParticles


@dataclass
class ClassPart(Part):
    """The particles of one class."""

    number: int


def are_classes(particles: Particles) -> bool:
    """Whether the input is the classes of a 2D classification."""
    return isinstance(particles, SetOfClasses2D)


def parts(particles: Particles) -> Sequence[Part]:
    """The set itself, or its enabled classes that have particles, in the order of their numbers."""
    return class_parts(particles) if are_classes(particles) else [Part(None, particles)]


def class_parts(particles: SetOfClasses2D) -> list[ClassPart]:
    """The enabled classes of a set that have particles, in the order of their numbers."""
    found = []
    for class_item in particles.iterItems():  # fills one object again and again
        if class_item.isEnabled() and class_item.getSize():
            own = class_item.clone()
            particles._setItemMapperPath(own)
            own._mapper = None  # its connection is the set's, which may close it: a new one is made when needed
            found.append(ClassPart(own.getObjId(), own))
    return found


def info_of(particles: Particles) -> SetOfParticles:
    """The set that tells what the particles are like: pixel size, box, microscope, whether they have a CTF.

    Of classes it is the set that was classified or, where that is gone, their first class.
    """
    if not are_classes(particles):
        return particles
    return particles.getImages() or particles.getFirstItem()


def count_items(particles: Particles) -> int:
    """How many particles there are, disabled ones and those of disabled classes included."""
    if not are_classes(particles):
        return set_rows.count_items(particles)
    return sum(class_item.getSize() for class_item in particles.iterItems())


def has_alignment_2d(particles: Particles) -> bool:
    """Whether the particles carry a 2D alignment; that of classes is each class's own."""
    if not are_classes(particles):
        return particles.hasAlignment2D()
    return particles.getSize() > 0 and particles.getFirstItem().hasAlignment2D()
