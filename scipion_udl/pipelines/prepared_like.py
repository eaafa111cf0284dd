"""Particles that come later are prepared as those of the run were that they come to."""

from __future__ import annotations

import torch

from scipion_udl.alignment.ctf_state import WORDS, words_of
from scipion_udl.errors import UdlError
from scipion_udl.imaging.ctf import ParticleCtf
from scipion_udl.messages import message
from scipion_udl.particles.known import Known
from scipion_udl.pipelines.run import Run


def scan_new(run: Run, known: dict[str, Known], noise: torch.Tensor, loud_limit: float) -> None:
    """The first look through particles that are to count beside others, as :meth:`Run.scan`.

    Parameters
    ----------
    run : Run
        With the particles that come.
    known : dict of str to Known
        Those that are there already, by whose they are.
    noise : (rings,) tensor
        Power of their noise per ring.
    loud_limit : float
        Above what loudness particles are outliers.

    Raises
    ------
    UdlError
        Where one is among them, by where it lies (before anything is read) or by its image.
    """
    for whose, those in known.items():
        those.refuse_places(run.source, whose)
    run.scan(noise, loud_limit)
    found = run.particles.statistics
    for whose, those in known.items():
        those.refuse_images(run.source, found.images, found.blank, whose)


def use_ctf_of(run: Run, mode: str, levels: dict[int, torch.Tensor], share: float) -> None:
    """Take the CTF as the run did that particles are joined to.

    Where that run believed its table, the table of those that come is believed.

    Parameters
    ----------
    run : Run
        With the particles that come.
    mode : str
        How the earlier run took it.
    levels : dict of int to tensor
        What it is relative to, per ring, by box in pixels.
    share : float
        What part of its images was multiplied before.

    Raises
    ------
    UdlError
        Where the user asks for another mode, or the table cannot say what is needed.
    """
    asked = run.settings.ctf
    if asked not in ("auto", mode):
        how = "as its table says" if mode == "table" else mode
        raise UdlError(message("joined_ctf_differs", value=asked, run=run.settings.join, how=how))
    defocus = run.read_defocus()
    if mode == "none":
        if defocus is not None:
            run.say("The defocus of the particles is not made use of, as in the run that they are joined to")
        return
    if defocus is None:
        raise UdlError(message("joined_without_defocus", run=run.settings.join, path=run.settings.input))
    reason = "as in the run that the particles were joined to"
    if mode == "table" and defocus.flipped is not None:
        reason = "as the table says"
    elif mode == "table":
        mode = "flipped"  # as Xmipp does as a rule
        run.warn(message("joined_flips_unknown", path=run.settings.input))
    elif defocus.said and defocus.flipped is not None and (defocus.flipped[defocus.known] != (mode == "flipped")).any():
        run.warn(message("joined_flips_contradicted", path=run.settings.input, run=run.settings.join, how=WORDS[mode]))
    box = run.source.box
    contrast = ParticleCtf(defocus, box * run.source.pixel_size, mode, levels, share, box)
    run.particles.contrast = contrast
    run.notes.append(message("ctf_taken", how=words_of(contrast), reason=reason))
