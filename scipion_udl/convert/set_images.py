"""Images of Scipion's items: what the engine is told of them, and those of a format that it does not read."""

from __future__ import annotations

import os

from pwem.emlib.image import ImageHandler
from pwem.objects import Particle

MRC_ENDINGS = (".mrc", ".mrcs", ".map", ".st")  # what the engine reads


def image_of_item(item: Particle) -> tuple[int, str]:
    """What tells the image of an item from all others, whichever set it is in."""
    index, name = item.getLocation()
    return index or 1, os.path.realpath(plain_name(name))


def is_mrc(name: str) -> bool:
    """Whether the engine reads a file of this name; any other is converted first."""
    return plain_name(name).lower().endswith(MRC_ENDINGS)


def plain_name(name: str) -> str:
    """An image's file name without what tells Xmipp the kind of file."""
    for suffix in (":mrcs", ":mrc"):
        if name.endswith(suffix):
            return name[: -len(suffix)]
    return name


def image_name(item: Particle) -> str:
    """The image of an item as N@FILE, the file as the item names it: relative to the project, so that this may move."""
    index, name = item.getLocation()
    return f"{index or 1:06d}@{plain_name(name)}"


def engine_image(item: Particle, converted: str) -> str:
    """A single image as the engine is told it: N@FILE, or, of a format that it does not read, the path ``converted``.

    :func:`convert_image` writes that file.
    """
    return image_name(item) if is_mrc(item.getFileName()) else converted


def convert_image(item: Particle, converted: str) -> None:
    """Write a single image to the path of an MRC file, where the engine does not read the one that it is in."""
    if not is_mrc(item.getFileName()):
        ImageHandler().convert(item, converted)
