"""Segments of filaments in a run: what the table says of their tubes, and what the options do."""

from __future__ import annotations

import numpy as np

from scipion_udl.errors import UdlError
from scipion_udl.imaging.filaments import PSI_RANGE, Filaments
from scipion_udl.io.tables import UNKNOWN_NUMBERS, Table, number
from scipion_udl.messages import message
from scipion_udl.pipelines.run import Run

PSI, FLIP, TUBE, MICROGRAPH = "rlnAnglePsiPrior", "rlnAnglePsiFlipRatio", "rlnHelicalTubeID", "rlnMicrographName"
_ALONE = ("by_class", "mirror", "start_poses", "reference", "model", "no_refine", "append_to")
_OF_FILAMENTS = ("tube_diameter", "rise", "psi_range")


def take_filaments(run: Run) -> None:
    """Have the run's particles aligned as segments of filaments, where that is asked for.

    Parameters
    ----------
    run : Run
        With settings and particles, which are not scanned yet.

    Raises
    ------
    UdlError
        Where the table has no priors, or an option does not go with filaments or with what is no filament.
    """
    settings, source = run.settings, run.source
    if not settings.helix:
        for name in _OF_FILAMENTS:
            if getattr(settings, name) is not None:
                raise UdlError(message("filaments_not_asked_for", option=settings.option(name).flag))
        if source.table is not None and PSI in source.table:
            run.note(message("filaments_not_told", path=source.path))
        return
    for name in _ALONE:
        if getattr(settings, name):
            raise UdlError(message("not_for_filaments", option=settings.option(name).flag))
    if source.table is None or PSI not in source.table:
        raise UdlError(message("filaments_without_priors", path=source.path))
    size = source.pixel_size
    rise = None if settings.rise is None else settings.rise / size
    tube = None if settings.tube_diameter is None else settings.tube_diameter / size
    for name, value in (("rise", rise), ("tube_diameter", tube)):
        if value is not None and not 2 <= value <= source.box:
            flag, given = settings.option(name).flag, getattr(settings, name)
            raise UdlError(
                message("length_of_filaments", option=flag, value=given, least=2 * size, most=source.box * size)
            )
    reach = PSI_RANGE if settings.psi_range is None else settings.psi_range
    run.particles.filaments = Filaments(_priors(source.table, source.path), _tubes(source.table), rise, reach)
    if tube is not None:
        run.particles.disc.tube_radius = tube / 2 / run.particles.scale
    if rise is None:
        run.note(message("filaments_without_rise"))


def _priors(table: Table, path: str) -> np.ndarray:
    """Psi priors (N,), degrees; raises UdlError for a row without one."""
    psi = np.array([number(text) for text in table.texts(PSI)])
    wrong = np.flatnonzero(~np.isfinite(psi) | np.isin(psi, UNKNOWN_NUMBERS))
    if len(wrong):
        raise UdlError(message("filament_without_prior", path=path, row=wrong[0] + 1, count=len(wrong)))
    return psi


def _tubes(table: Table) -> np.ndarray:
    """Numbers (N,) of what lies the same way round: the segments of a tube, and all whose polarity is known."""
    rows = len(table.texts(PSI))
    if TUBE in table:
        picture = table.texts(MICROGRAPH) if MICROGRAPH in table else [""] * rows
        keys = [f"{tube} {name}" for tube, name in zip(table.texts(TUBE), picture)]
    else:
        keys = [str(row) for row in range(rows)]
    if FLIP in table:
        keys = ["known" if number(text) == 0 else key for text, key in zip(table.texts(FLIP), keys)]
    return np.unique(keys, return_inverse=True)[1].astype(np.int64)
