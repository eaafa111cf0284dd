"""How large the particle is: asked for in angstrom (``--diameter``) or, in the older form, as a radius in pixels
(``--mask-radius``). Here the one becomes the other, and it is said which is in use."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from scipion_udl.constants import DIAMETER_FROM
from scipion_udl.errors import UdlError
from scipion_udl.messages import message
from scipion_udl.settings.size_and_max_shift import Size

if TYPE_CHECKING:  # it takes PyTorch, which `check --quick` has no use for, and more memory than a large table
    from scipion_udl.particles.prepared import PreparedParticles


def given_radius(settings: Size, box: int, pixel_size: float, known: bool, path: str) -> float | None:
    """The radius of the particle in pixels of the input, as ``--diameter`` or ``--mask-radius`` gives it.

    Parameters
    ----------
    settings : Size
        The diameter (A) and the mask radius (pixels of the input), None each where it is not given.
    box : int
        Pixels.
    pixel_size : float
        A.
    known : bool
        Whether the table, the header or --pixel-size says the pixel size.
    path : str
        Of the particles.

    Returns
    -------
    float or None
        None where neither is given, and it is automatic.

    Raises
    ------
    UdlError
        Where both are given, where what is given does not fit into the box, and for a diameter where the pixel size is
        not known.
    """
    diameter, radius = settings.diameter, settings.mask_radius
    if diameter is not None and radius is not None:
        raise UdlError(message("size_given_twice", diameter=diameter, radius=radius))
    size = f"the box of {path} has {box} px" + (f", {box * pixel_size:g} A" if known else "")
    if radius is not None:
        if radius > box / 2:
            raise UdlError(message("mask_radius_too_large", radius=radius, most=box / 2, size=size))
        return radius
    if diameter is None:
        return None
    if not known:
        raise UdlError(message("diameter_without_pixel_size", diameter=diameter, path=path))
    if diameter > box * pixel_size * (1 + 1e-9):
        raise UdlError(message("diameter_too_large", diameter=diameter, most=size))
    return min(diameter / (2 * pixel_size), box / 2)


def radius_in_use(particles: PreparedParticles) -> float:
    """The radius of the particle; automatic ones are known after the scan.

    Parameters
    ----------
    particles : PreparedParticles
        Of a set.

    Returns
    -------
    float
        Pixels of the input.
    """
    return particles.disc.mask_radius * particles.scale


def known_clear_radius(particles: PreparedParticles) -> float | None:
    """At what distance from the centre neighbours begin.

    Parameters
    ----------
    particles : PreparedParticles
        Of a set, after its scan.

    Returns
    -------
    float or None
        Pixels of the input; None where no neighbours show.
    """
    return particles.disc.clear_radius if math.isfinite(particles.disc.clear_radius) else None


def diameter_facts(particles: PreparedParticles) -> dict:
    """What summary.json says of the particle's size.

    Parameters
    ----------
    particles : PreparedParticles
        Of a set, after its scan.

    Returns
    -------
    dict
        ``diameter`` (A, None where the pixel size is not known), ``mask_radius`` (pixels of the input) and
        ``diameter_from`` (data, given, run or box, see DIAMETER_FROM).
    """
    radius, source = radius_in_use(particles), particles.source
    diameter = round(2 * radius * source.pixel_size, 2) if source.pixel_size_known else None
    return {"diameter": diameter, "mask_radius": round(radius, 2), "diameter_from": particles.disc.radius_from}


def size_words(radius: float, pixel_size: float, known: bool) -> str:
    """A radius as its diameter and itself: '130 A (mask radius 43 px)'.

    Parameters
    ----------
    radius : float
        Pixels.
    pixel_size : float
        A.
    known : bool
        Whether the pixel size is known; else the diameter is told in pixels.

    Returns
    -------
    str
        The words.
    """
    if not known:
        return f"{2 * radius:.3g} px (mask radius {radius:.3g} px)"
    return f"{2 * radius * pixel_size:.4g} A (mask radius {radius:.3g} px)"


def diameter_words(particles: PreparedParticles) -> str:
    """The diameter in use and where it comes from: '130 A (mask radius 43 px), found from the data'.

    Parameters
    ----------
    particles : PreparedParticles
        Of a set, after its scan.

    Returns
    -------
    str
        The words.
    """
    source = particles.source
    size = size_words(radius_in_use(particles), source.pixel_size, source.pixel_size_known)
    return f"{size}, {DIAMETER_FROM[particles.disc.radius_from]}"
