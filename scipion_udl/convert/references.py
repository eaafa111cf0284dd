"""Class averages of Scipion as the references that the engine takes."""

from __future__ import annotations

from pwem.emlib.image import ImageHandler
from pwem.objects import Particle, SetOfAverages, SetOfClasses2D

from scipion_udl.convert.set_images import image_name, is_mrc
from scipion_udl.io.tables import Table, quote, write_tables


def write_references(given: SetOfAverages | SetOfClasses2D, star: str, converted: str) -> int:
    """Write a table of averages, or of the averages of classes, in the order of their set.

    given: the set; star: the table, whose images stay where they are; converted: the stack for those of a format that
    the engine does not read. Returns their number.
    """
    images = [_average(item).clone() for item in given.iterItems()]  # the set gives one object again and again
    names = []
    for number, image in enumerate(images, 1):
        if is_mrc(image.getFileName()):
            names.append(image_name(image))
        else:
            ImageHandler().convert(image, (number, converted))
            names.append(f"{number:06d}@{converted}")
    size = f"{given.getSamplingRate():.6f}"
    columns = {"rlnReferenceImage": [quote(name) for name in names], "rlnPixelSize": [size] * len(names)}
    write_tables(star, [Table("references", columns)])
    return len(names)


def _average(item: Particle) -> Particle:
    """The image of an item: a class's representative, or what it is itself."""
    return item.getRepresentative() if hasattr(item, "getRepresentative") else item
