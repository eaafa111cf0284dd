"""`scipion-udl simulate --photos`: pairs of copies cut from photographs, as a folder of files."""

from __future__ import annotations

import os
import sys

import numpy as np

from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import Poses
from scipion_udl.io.output.folder import OutputFolder
from scipion_udl.io.stacks import StackWriter
from scipion_udl.io.tables import quote, write_tables
from scipion_udl.io.truth import truth_table
from scipion_udl.jobs.simulate import particle_tables
from scipion_udl.messages import message
from scipion_udl.settings.commands import SimulateSettings
from scipion_udl.settings.option import given
from scipion_udl.simulation.ctf import CtfSettings
from scipion_udl.simulation.parameters import settled, write_parameters
from scipion_udl.simulation.photos import Noise, PhotoPairs, find_photographs

_DEFAULT_BOX = 128


def simulate_photos(settings: SimulateSettings) -> None:
    """Do `scipion-udl simulate OUT --photos FOLDER`: particles.mrcs, particles.star and truth.star of pairs.

    Items 2k-1 and 2k are two copies of patch k, which is udlClass in truth.star; udlPhotograph is the file it is from.

    Parameters
    ----------
    settings : SimulateSettings
        The options; --count is the most particles that are written.

    Raises
    ------
    UdlError
        For options that do not go together, and wrong input.
    """
    settings = settled(settings)
    OutputFolder(settings.output, settings.overwrite).check()
    if settings.count is not None and settings.count < 2:
        raise UdlError(message("one_photograph_copy"))
    pairs = PhotoPairs(
        find_photographs(given(settings.photos), settings.part),
        settings.box or _DEFAULT_BOX,
        given(settings.patches),
        given(settings.shift),
        settings.subpixel,
        given(settings.flat),
        Noise(given(settings.noise), settings.snr, given(settings.share)),
        settings.seed,
    )
    folder = OutputFolder(settings.output, settings.overwrite, command="simulate")
    folder.spare(pairs.files)
    with folder as out:
        pixel_size = settings.pixel_size or 1.0
        count = write_pairs(out, pairs, pixel_size, settings.count, progress=True)
        chosen: dict[str, object] = {"count": count, "box": pairs.box, "pixel_size": pixel_size}
        write_parameters(out.scratch("parameters.json"), settings, None, **chosen)
    print(_summary(settings, pairs, count))


def write_pairs(
    out: OutputFolder, pairs: PhotoPairs, pixel_size: float, count: int | None = None, progress: bool = False
) -> int:
    """Write the pairs into an open output folder.

    Parameters
    ----------
    out : OutputFolder
        The folder.
    pairs : PhotoPairs
        What is written.
    pixel_size : float
        Angstrom.
    count : int, optional
        At most so many particles.
    progress : bool, optional
        Whether to draw a bar on stderr.

    Returns
    -------
    int
        The number of particles, two a pair.

    Raises
    ------
    UdlError
        Where no photograph gives a patch.
    """
    from tqdm import tqdm

    most = 2 * len(pairs.files) * pairs.patches
    most = most if count is None else min(most, count // 2 * 2)
    poses: list[Poses] = []
    photographs: list[str] = []
    bar = tqdm(total=most, desc="simulate", unit="particle", file=sys.stderr, disable=not progress)
    with bar, StackWriter(out.scratch("particles.mrcs"), most, pairs.box, pixel_size) as writer:
        for pair in pairs:
            writer.write(pair.images)
            poses.append(pair.poses)
            photographs += [quote(os.path.basename(pair.photograph))] * 2
            bar.update(2)
            if 2 * len(poses) == most:
                break
        if not poses:
            raise UdlError(_nothing(pairs))
        writer.end_here()
    path = os.path.abspath(out.final("particles.mrcs"))
    names = [f"{k + 1:06d}@{path}" for k in range(2 * len(poses))]
    write_tables(out.scratch("particles.star"), particle_tables(names, pairs.box, pixel_size, CtfSettings(), None))
    together = Poses(np.concatenate([p.angle for p in poses]), np.concatenate([p.shift for p in poses]))
    truth = truth_table(names, together)
    truth.set("udlClass", [str(k // 2 + 1) for k in range(len(names))])
    truth.set("udlPhotograph", photographs)
    write_tables(out.scratch("truth.star"), [truth])
    return len(names)


def _nothing(pairs: PhotoPairs) -> str:
    side, reasons = 2 * pairs.half_side + 1, pairs.rejected
    if reasons["broken"] == len(pairs.files):
        return message("no_photograph_readable", files=len(pairs.files), broken=pairs.broken)
    unread = f"{reasons['broken']} cannot be read (the first: {pairs.broken}), " if pairs.broken else ""
    return message(
        "no_photograph_fits",
        files=len(pairs.files),
        unread=unread,
        small=reasons["small"],
        side=side,
        box=pairs.box,
        max_shift=pairs.max_shift,
        flat_ones=reasons["flat"],
        flat=pairs.flat,
    )


def _summary(settings: SimulateSettings, pairs: PhotoPairs, count: int) -> str:
    lines = [
        f"{count // 2} patches of photographs in {settings.photos}, two copies of each, {pairs.box} px",
        f"turned by any angle, off centre by up to {pairs.max_shift:g} px; {pairs.noise}; seed {pairs.seed}",
        f"particles.mrcs, particles.star and truth.star are in {settings.output}: items 2k-1 and 2k are a pair",
    ]
    if settings.count and settings.count == count + 1:
        lines.insert(1, f"{count} particles of the {settings.count} asked for: there are two in a pair")
    words = {
        "broken": f"they cannot be read; the first: {pairs.broken}",
        "small": "too small for this box and shift",
        "flat": f"flat (deviation below {pairs.flat:g} grey levels)",
    }
    lines[1:1] = [f"{number} photographs left out: {words[why]}" for why, number in sorted(pairs.rejected.items())]
    return "\n".join(lines)
