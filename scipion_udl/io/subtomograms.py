"""Tables of subtomograms, which look like those of particle images, and which nothing here takes."""

from __future__ import annotations

from collections.abc import Sequence

from scipion_udl.errors import UdlError
from scipion_udl.io.tables import Table
from scipion_udl.messages import message

_STACKS = "rlnTomoSubTomosAre2DStacks"
_SIGNS = ("rlnTomoName", "rlnTomoParticleName", "rlnTomoParticleId", "rlnTomoVisibleFrames", "rlnCtfImage")
_SETS = ("rlnTomoParticlesFile", "rlnTomoTomogramsFile")
ADVICE = "particle images are needed, such as an extraction from micrographs or a projection of each subtomogram gives"


def refuse_subtomograms(path: str, tables: Sequence[Table]) -> None:
    """Refuse a STAR that lists subtomograms: volumes, or stacks of the tilts of each particle.

    Told by what RELION 3, 4 and 5 and Warp write of them; a table that names single images (NUMBER@FILE) lists images,
    whatever else it says.

    Parameters
    ----------
    path : str
        Of the STAR.
    tables : sequence of Table
        All of it.

    Raises
    ------
    UdlError
        For subtomograms; says what tells it, and what is needed instead.
    """
    if any(label in table for table in tables for label in _SETS):
        raise UdlError(message("subtomogram_files", path=path, advice=ADVICE))
    particles = next((table for table in tables if "rlnImageName" in table and len(table)), None)
    if particles is None:
        if any("rlnTomoName" in table for table in tables):
            raise UdlError(message("tomogram_places", path=path, advice=ADVICE))
        return
    if any("@" in name for name in particles.texts("rlnImageName")[:1]):
        return
    kind = _kind(tables, particles)
    if kind:
        raise UdlError(message("subtomograms", path=path, kind=kind, advice=ADVICE))


def _kind(tables: Sequence[Table], particles: Table) -> str | None:
    if any(_STACKS in table and "1" in table.texts(_STACKS) for table in tables):
        return f"2D stacks of tilts, as {_STACKS} says"
    if any("rlnImageDimensionality" in t and set(t.texts("rlnImageDimensionality")) == {"3"} for t in tables):
        return "volumes, as rlnImageDimensionality says"
    sign = next((label for label in _SIGNS if label in particles), None)
    return f"by the column _{sign}" if sign else None
