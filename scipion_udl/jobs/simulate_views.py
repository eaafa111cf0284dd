"""`scipion-udl simulate --views`: which molecules the particles show, and what is written of them."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from scipion_udl.errors import UdlError
from scipion_udl.io.maps import read_map, write_map
from scipion_udl.io.output.folder import OutputFolder
from scipion_udl.io.stacks import write_stack
from scipion_udl.messages import message
from scipion_udl.settings.commands import SimulateSettings
from scipion_udl.settings.option import given
from scipion_udl.simulation.map_molecules import MapMolecule, face_mean
from scipion_udl.simulation.phantoms import PHANTOMS
from scipion_udl.simulation.phantoms_3d import PHANTOMS_3D, molecule
from scipion_udl.simulation.views import NOISE, SECOND, Molecule, ViewSimulation

DEFAULT_PHANTOM = "boot"
_DEFAULT_BOX = 128
_DEFAULT_PIXEL_SIZE = 2.0
# How many times wider or narrower than a map the particles may be: beyond it somebody has mistaken a pixel size.
_MOST = 4
# How far off centre picks are with --realistic, in parts of the box.
_PICK_ERROR = 0.05


def prepare_views(settings: SimulateSettings, **seen: Any) -> tuple[ViewSimulation, str]:
    """The simulation that the options ask for.

    Parameters
    ----------
    settings : SimulateSettings
        The options.
    **seen : Any
        What the molecules are seen through, as :class:`Simulation` takes it.

    Returns
    -------
    ViewSimulation
        Nothing is made yet.
    str
        What its particles show, in words.

    Raises
    ------
    UdlError
        For options that do not go together, and wrong input.
    """
    if (settings.second is None) != (not settings.second_share):
        raise UdlError(message("second_needs_share"))
    first: Molecule
    if settings.volume:
        first, size = _map_molecule(settings.volume, settings.box, settings.pixel_size)
        what = f"the map {settings.volume}"
    else:
        name = settings.phantom or DEFAULT_PHANTOM
        first = _phantom(name, settings.box or _DEFAULT_BOX)
        size = settings.pixel_size or _DEFAULT_PIXEL_SIZE
        what = f"the phantom {name}"
    second = None
    if settings.second in PHANTOMS_3D or (settings.second and _is_a_word(settings.second)):
        second = _phantom(settings.second, first.box)
    elif settings.second:
        second, _ = _map_molecule(settings.second, first.box, size)
    views = given(settings.views)
    simulation = ViewSimulation(
        first,
        given(settings.count),
        settings.snr,
        size,
        shift_of(settings, first.box),
        settings.subpixel,
        seed=settings.seed,
        views=views,
        noise_share=given(settings.noise_share),
        second=second,
        second_share=given(settings.second_share),
        central=(settings.direction[0], settings.direction[1]) if settings.direction else None,
        jitter=settings.jitter or 0.0,
        **seen,
    )
    return simulation, f"{what}, {_directions(views, simulation)}"


def shift_of(settings: SimulateSettings, box: int) -> float:
    """How far particles lie off centre at most.

    Parameters
    ----------
    settings : SimulateSettings
        The options.
    box : int
        Pixels.

    Returns
    -------
    float
        Pixels: as asked for, or with --realistic a part of the box.
    """
    return max(1.0, float(round(_PICK_ERROR * box))) if settings.shift is None else settings.shift


def _directions(views: str, simulation: ViewSimulation) -> str:
    if views != "single":
        return f"{views} views"
    x, y, z = simulation.central_direction
    rot, tilt = np.degrees([np.arctan2(y, x), np.arccos(np.clip(z, -1, 1))])
    about = f", within about {simulation.jitter:g} degrees" if simulation.jitter else ""
    return f"from rot {rot:.1f} and tilt {tilt:.1f}{about}"


def _is_a_word(text: str) -> bool:
    """Whether it can only be meant as the name of a phantom."""
    return text.isidentifier() and not os.path.exists(text)


def _phantom(name: str, box: int) -> Molecule:
    if name in PHANTOMS and name not in PHANTOMS_3D:
        raise UdlError(message("phantom_of_one_view", name=name, names=", ".join(PHANTOMS_3D)))
    return molecule(name, box)


def _map_molecule(path: str, box: int | None, pixel_size: float | None) -> tuple[MapMolecule, float]:
    """A map as a molecule in particles of ``box`` pixels (None: its own), and their pixel size.

    The field of view is the map's, unless the map says its scale and ``pixel_size`` (angstrom) asks for another.
    """
    volume, own_size = read_map(path)
    box = box or len(volume)
    if not own_size:
        return MapMolecule(volume, box), pixel_size or _DEFAULT_PIXEL_SIZE
    size = pixel_size or own_size * len(volume) / box
    side = round(box * size / own_size)
    if not len(volume) <= _MOST * side <= _MOST**2 * len(volume):
        raise UdlError(
            message("map_wider_than_box", path=path, width=own_size * len(volume), box=box, size=size, field=box * size)
        )
    return MapMolecule(_in_field(volume, side), box), size


def _in_field(volume: np.ndarray, side: int) -> np.ndarray:
    """The map (D, D, D) cropped, or padded with the mean of its faces, to ``side`` about its origin."""
    old = len(volume)
    if side == old:
        return volume
    if side < old:
        first = old // 2 - side // 2
        return volume[(slice(first, first + side),) * 3]
    out = np.full((side,) * 3, face_mean(volume), np.float32)
    first = side // 2 - old // 2
    out[(slice(first, first + old),) * 3] = volume
    return out


def symmetries(settings: SimulateSettings) -> dict[str, str | None]:
    """The symmetry groups of the molecules, for parameters.json.

    Parameters
    ----------
    settings : SimulateSettings
        The options.

    Returns
    -------
    dict of str to str or None
        None of a map, which does not say.
    """

    def group(name: str) -> str | None:
        return PHANTOMS_3D[name][1] if name in PHANTOMS_3D else None

    found = {"symmetry": None if settings.volume else group(settings.phantom or DEFAULT_PHANTOM)}
    return found | ({"second_symmetry": group(settings.second)} if settings.second else {})


def write_molecules(out: OutputFolder, simulation: ViewSimulation) -> None:
    """Write volume.mrc, second.mrc where there is a second molecule, and of a single view template.mrc, which its poses
    lead to, into an open output folder.

    Parameters
    ----------
    out : OutputFolder
        The folder.
    simulation : ViewSimulation
        The simulation.
    """
    if simulation.views == "single":
        write_stack(out.scratch("template.mrc"), simulation.central_view(), simulation.pixel_size)
    write_map(out.scratch("volume.mrc"), simulation.template.volume(), simulation.pixel_size)
    if simulation.second:
        write_map(out.scratch("second.mrc"), simulation.second.volume(), simulation.pixel_size)


def mixture(simulation: ViewSimulation, second: str | None) -> str:
    """What is mixed with the first molecule, in words.

    Parameters
    ----------
    simulation : ViewSimulation
        The simulation.
    second : str or None
        Name of the second molecule.

    Returns
    -------
    str
        "" where nothing is mixed with it.
    """
    counts = np.bincount(simulation.molecule, minlength=3)
    parts = [f"{counts[SECOND]} show {second}"] * bool(second) + [f"{counts[NOISE]} are noise alone"] * bool(
        simulation.noise_share
    )
    return " and ".join(parts)
