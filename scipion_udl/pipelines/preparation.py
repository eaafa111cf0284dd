"""How the particles of a run were prepared, which is how those are prepared that come later: noise, discs, loudness and
CTF are the run's. Both kinds of runs, alignments and classifications, leave it in their file of JSON and read it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

import torch

from scipion_udl.alignment.ctf_state import WORDS, words_of
from scipion_udl.errors import UdlError
from scipion_udl.imaging.ctf import MODES, ParticleCtf
from scipion_udl.messages import message
from scipion_udl.particles.diameter import known_clear_radius, radius_in_use, size_words
from scipion_udl.particles.known import Known
from scipion_udl.particles.outliers import known_limit
from scipion_udl.particles.prepared import DISC
from scipion_udl.pipelines.run import Run

SAME_RADIUS = 0.01  # pixels between two radii that are the same


def preparation_facts(run: Run, boxes: Iterable[int]) -> dict[str, Any]:
    """What a run leaves of how its particles were prepared, by its names in a file of JSON.

    Parameters
    ----------
    run : Run
        With the particles, scanned.
    boxes : iterable of int
        Pixels; the CTF's levels of these are told.

    Returns
    -------
    dict
        What :meth:`Preparation.of` reads, but for the particles.
    """
    particles, found = run.particles, run.particles.statistics
    ctfs = particles.ctfs
    mode, levels, premultiplied = "none", {}, 0.0
    if ctfs is not None and ctfs.mode != "none":
        mode, premultiplied = ctfs.mode, ctfs.share
        levels = {str(box): ctfs.level(box).tolist() for box in sorted(set(boxes))}
    return {
        "noise": found.noise.tolist(),
        "mask_radius": radius_in_use(particles),
        "clear_radius": known_clear_radius(particles),
        "ctf": mode,
        "levels": levels,
        "premultiplied": premultiplied,
        "loud_limit": known_limit(found.loud_limit),
        "low_ring": particles.low_ring,
    }


def known_of(run: Run) -> Known:
    """By what the particles of a run are known again.

    Parameters
    ----------
    run : Run
        With the particles, scanned.

    Returns
    -------
    Known
        Their places and images.
    """
    found = run.particles.statistics
    return Known.of(run.source, found.images, found.blank)


@dataclass(frozen=True)
class Preparation:
    """How the particles of a run were prepared.

    noise: power per ring (box//2 + 1,); mask_radius, clear_radius: of the particle, and at which neighbours begin,
    infinity where none showed, pixels; loud_limit: above what loudness particles are outliers; ctf: how the CTF is
    taken, levels: what it is relative to, per ring, by box in pixels; premultiplied: what part of the images was
    multiplied by it before; known: by what the particles are known again; low_ring: Fourier ring within which
    nothing is compared, 0 for none.
    """

    noise: torch.Tensor
    mask_radius: float
    clear_radius: float
    loud_limit: float
    ctf: str
    levels: dict[int, torch.Tensor]
    premultiplied: float
    known: Known
    low_ring: int = 0

    @classmethod
    def of(cls, facts: dict[str, Any], box: int) -> Preparation:
        """What a run has left of it.

        Parameters
        ----------
        facts : dict
            As :func:`preparation_facts` gives them, and :meth:`.Known.packed`.
        box : int
            Of its particles, pixels.

        Returns
        -------
        Preparation
            Checked; runs of before 0.1.0 do not tell the radius, which was DISC of the box where nobody gave one.

        Raises
        ------
        ValueError
            Where one of the facts cannot be, or its like where it is of another kind.
        """
        noise = torch.tensor(facts["noise"], dtype=torch.float32)
        clear, loud = (inf if facts.get(n) is None else float(facts[n]) for n in ("clear_radius", "loud_limit"))
        levels = {int(of): torch.tensor(level, dtype=torch.float64) for of, level in facts["levels"].items()}
        found = cls(
            noise,
            float(facts.get("mask_radius", DISC * box)),
            clear,
            loud,
            facts["ctf"],
            levels,
            float(facts.get("premultiplied", 0.0)),
            Known.unpacked(facts),
            int(facts.get("low_ring", 0)),
        )
        if found.ctf not in MODES or bool(levels) != (found.ctf != "none"):
            raise ValueError("CTF")
        if not 0 <= found.low_ring <= box // 2:
            raise ValueError("low ring")
        if not (found.mask_radius > 0 and clear > 0):
            raise ValueError("radius")
        if noise.shape != (box // 2 + 1,) or not 0 < float(noise.max()) < inf:
            raise ValueError("other rings")
        return found

    def take_radius(self, run: Run, folder: str) -> None:
        """Take the discs of the run.

        Parameters
        ----------
        run : Run
            With the particles that come; its discs are changed.
        folder : str
            The earlier run's.

        Raises
        ------
        UdlError
            Where the user asks for another radius.
        """
        source, radius, disc = run.source, self.mask_radius, run.particles.disc
        if run.given_radius is not None and abs(run.given_radius - radius) > SAME_RADIUS:
            asked = run.settings.option("mask_radius" if run.settings.diameter is None else "diameter").flag
            own = size_words(radius, source.pixel_size, source.pixel_size_known)
            raise UdlError(message("joined_option_differs", asked=asked, folder=folder, own=own))
        disc.mask_radius, disc.radius_from = radius / run.particles.scale, "run"
        disc.clear_radius = self.clear_radius

    def scan(self, run: Run, known: Mapping[str, Known]) -> None:
        """The first look through particles that are to count beside others, as :meth:`Run.scan`.

        Parameters
        ----------
        run : Run
            With the particles that come.
        known : mapping of str to Known
            Those that are there already, by whose they are.

        Raises
        ------
        UdlError
            Where one is among them, by where it lies (before anything is read) or by its image.
        """
        for whose, those in known.items():
            those.refuse_places(run.source, whose)
        run.particles.low_ring = self.low_ring
        run.scan(self.noise, self.loud_limit)
        found = run.particles.statistics
        for whose, those in known.items():
            those.refuse_images(run.source, found.images, found.blank, whose)

    def use_ctf(self, run: Run) -> None:
        """Take the CTF as the run did that particles are joined to.

        Where that run believed its table, the table of those that come is believed.

        Parameters
        ----------
        run : Run
            With the particles that come.

        Raises
        ------
        UdlError
            Where the user asks for another mode, or the table cannot say what is needed.
        """
        asked, mode = run.settings.ctf, self.ctf
        if asked not in ("auto", mode):
            how = "as its table says" if mode == "table" else mode
            raise UdlError(message("joined_ctf_differs", value=asked, run=run.settings.append_to, how=how))
        defocus = run.read_defocus()
        if mode == "none":
            if defocus is not None:
                run.say("The defocus of the particles is not made use of, as in the run that they are joined to")
            return
        if defocus is None:
            raise UdlError(message("joined_without_defocus", run=run.settings.append_to, path=run.settings.input))
        reason = "as in the run that the particles were joined to"
        if mode == "table" and defocus.flipped is not None:
            reason = "as the table says"
        elif mode == "table":
            mode = "flipped"  # as Xmipp does as a rule
            run.warn(message("joined_flips_unknown", path=run.settings.input))
        elif (
            defocus.said
            and defocus.flipped is not None
            and (defocus.flipped[defocus.known] != (mode == "flipped")).any()
        ):
            run.warn(
                message(
                    "joined_flips_contradicted", path=run.settings.input, run=run.settings.append_to, how=WORDS[mode]
                )
            )
        box = run.source.box
        ctfs = ParticleCtf(defocus, box * run.source.pixel_size, mode, self.levels, self.premultiplied, box)
        run.particles.ctfs = ctfs
        run.notes.append(message("ctf_taken", how=words_of(ctfs), reason=reason))
