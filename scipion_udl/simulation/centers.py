"""A folder of templates, one numbered sub-folder each: FOLDER/<n>/ori.png for n = 1, 2, ... (or from 0)"""

from __future__ import annotations

import os
from collections.abc import Sequence

from scipion_udl.errors import UdlError
from scipion_udl.messages import message
from scipion_udl.settings.commands import SimulateSettings
from scipion_udl.settings.option import given

TEMPLATE = "ori.png"


def find_centers(folder: str) -> dict[int, str]:
    """The templates of a folder, one numbered sub-folder each.

    Sub-folders whose names are no numbers are left alone.

    Parameters
    ----------
    folder : str

    Returns
    -------
    dict of int to str
        Path by number, in the order of the numbers.

    Raises
    ------
    UdlError
        Where the folder is not there, holds no numbered folder, or one of them holds no ori.png or has the number of
        another.
    """
    if not os.path.isdir(folder):
        raise UdlError(message("no_template_folder", folder=folder, template=TEMPLATE))
    numbers = [name for name in os.listdir(folder) if name.isdecimal() and os.path.isdir(os.path.join(folder, name))]
    found: dict[int, str] = {}
    for name in sorted(numbers, key=lambda text: (int(text), text)):
        path = os.path.join(folder, name, TEMPLATE)
        if not os.path.isfile(path):
            raise UdlError(message("template_missing", path=path, number=name))
        if int(name) in found:
            raise UdlError(message("template_twice", folder=folder, number=int(name)))
        found[int(name)] = path
    if not found:
        raise UdlError(message("no_templates", folder=folder, template=TEMPLATE))
    return found


def each_center(settings: SimulateSettings) -> list[SimulateSettings]:
    """The options of one simulation for each template of the folder --centers.

    Number n goes to OUT/<n>, with the seed K + n, so that no two sets share poses or noise, and with its own pixel size
    where --pixel-sizes gives one.

    Parameters
    ----------
    settings : SimulateSettings
        With ``centers``.

    Returns
    -------
    list of SimulateSettings

    Raises
    ------
    UdlError
        For pixel sizes of numbers that are not there, templates that lack one where no --pixel-size stands in, and what
        :func:`find_centers` raises.
    """
    folder = given(settings.centers)
    templates = find_centers(folder)
    sizes = _pixel_sizes(settings.pixel_sizes or [], templates, folder)
    if sizes and not settings.pixel_size and len(sizes) < len(templates):
        missing = next(number for number in templates if number not in sizes)
        raise UdlError(message("pixel_sizes_missing", templates=templates[missing], missing=missing))
    return [
        settings.but(
            centers=None,
            pixel_sizes=None,
            template=path,
            output=os.path.join(settings.output, str(number)),
            seed=settings.seed + number,
            pixel_size=sizes.get(number, settings.pixel_size),
        )
        for number, path in templates.items()
    ]


def _pixel_sizes(pairs: Sequence[tuple[int, float]], templates: dict[int, str], folder: str) -> dict[int, float]:
    for number, _ in pairs:
        if number not in templates:
            raise UdlError(message("pixel_sizes_of_none", number=number, folder=folder))
    return dict(pairs)
