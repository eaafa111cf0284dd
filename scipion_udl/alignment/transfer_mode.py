"""What the images carry of their contrast transfer: settled by the table, by the user, or by the images themselves.

A table gives the defocus; whether phases were flipped it may leave unsaid, or say wrongly. The images tell: under each
mode two halves of a bounded subset make an average each, and the evidence of a particle is taken given the average of
the half that it is not in. The right mode predicts unseen particles best. Noise has variance 1 under all of them, so
that their evidences can be compared.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from scipion_udl.alignment.ctf import MODES, ContrastTransfer
from scipion_udl.alignment.fourier import Band, ShiftMaps, transform
from scipion_udl.alignment.initial import BranchSolver
from scipion_udl.alignment.prepare import PreparedParticles
from scipion_udl.alignment.refinement import shift_reach
from scipion_udl.io.defocus import Defocus

SUBSET = 256  # particles that are asked, at most
FEWEST = 32  # fewer tell nothing
ROUNDS = 4
LOW = 16  # Fourier pixels of the working box: the common start is low-passed there
PEAK = 0.9  # of the highest mean transfer: from this ring on modes differ
GAIN_SPREAD = 0.5  # standard deviation of how strong particles are, beside what the transfer says of it
CLEAR = 4.0  # standard errors by which one mode must fit better than another
CLEAR_TOTAL = 10.0  # nats, of all particles that were asked

WORDS = {
    "flipped": "phase-flipped particles: the absolute value of the CTF",
    "signed": "particles as the microscope left them: the signed CTF",
    "none": "not taken into account",
}


class TransferChoice:
    """How the particles' contrast transfer is taken, and why.

    prepared: the particles, whose ``contrast`` this sets; defocus: what their table gives, None without; asked: "auto"
    or one of MODES; guess: the mode until the images have told, where neither the user nor the table says; log, warn:
    told a sentence. ``mode`` is the one in use, ``reason`` why.
    """

    def __init__(
        self,
        prepared: PreparedParticles,
        defocus: Defocus | None,
        asked: str,
        guess: str,
        log: Callable[[str], None],
        warn: Callable[[str], None],
    ) -> None:
        self.prepared, self.log, self.warn = prepared, log, warn
        self.asks_images = asked == "auto" and defocus is not None and not defocus.premultiplied
        self.said = None
        if defocus is None:
            self.mode, self.reason = "none", "no defocus in the input"
        elif asked != "auto":
            self.mode, self.reason = asked, "as was asked for"
        elif defocus.premultiplied:
            self.mode, self.reason = "none", "the table says that the images were multiplied by their CTF already"
        elif defocus.flipped is not None:
            self.said = self.mode = "flipped" if defocus.flipped else "signed"
            self.reason = "as the table says"
        else:
            self.mode, self.reason = guess, "the table does not say"
        if defocus is not None:
            field = prepared.source.box * prepared.source.pixel_size
            prepared.contrast = ContrastTransfer(defocus, field, self.mode)

    def note(self) -> str | None:
        """The sentence for log, summary and report; None where the input has no defocus."""
        if self.prepared.contrast is None:
            return None
        return f"Contrast transfer: {WORDS[self.mode]} ({self.reason})."

    def undecided(self, count: int) -> bool:
        """Whether so many particles may yet settle how the transfer is to be taken in all others."""
        return self.asks_images and count >= FEWEST

    def settle(
        self,
        prepared: PreparedParticles,
        indices: np.ndarray,
        angles: np.ndarray,
        start: torch.Tensor,
        band: Band,
        reach: float,
    ) -> bool:
        """Ask the images, once, where that is to be done. Returns whether the mode has changed.

        prepared: all particles, or a part of them; indices, angles: some of these and their pose angles, degrees
        (modulo 180 will do); start: a weighted average (band) of them; reach: how far off centre they lie, working
        pixels.
        """
        if not self.undecided(len(indices)):
            return False
        self.asks_images = False
        few = slice(0, SUBSET)
        evidence = mode_evidence(prepared, indices[few], angles[few], start, band, reach)
        best = max(evidence, key=lambda mode: float(evidence[mode].sum()))
        mean = ", ".join(f"{mode} {float(values.mean()):.2f}" for mode, values in evidence.items())
        self.log(f"Contrast transfer, evidence a particle of {len(indices[few])} (nats): {mean}")
        clear = best != self.mode and is_clear(evidence[best] - evidence[self.mode])
        if self.said:
            if clear:
                self.warn(_contradiction(self.said, best))
            return False
        others = [mode for mode in MODES if mode != best]
        if all(is_clear(evidence[best] - evidence[other]) for other in others):
            self.reason = "as the images tell"
        elif clear:
            self.reason = "the images tell no more clearly"
        else:
            self.reason = "neither the table nor the images tell clearly"
        if not clear:
            return False
        if best == "none":
            self.warn(
                "The defocus values do not fit the images: they are aligned without contrast transfer. Check that the "
                "table belongs to them, or say with --ctf how it is to be taken."
            )
        self.mode = best
        return True


def _contradiction(said: str, best: str) -> str:
    says = "phase-flipped" if said == "flipped" else "not phase-flipped"
    if best == "none":
        return (
            f"The table says that the particles are {says}, but its defocus values do not fit the images: check that "
            "they belong together, or align without contrast transfer (--ctf none)."
        )
    look = "phase-flipped" if best == "flipped" else "not phase-flipped"
    return f"The table says that the particles are {says}, but they look {look}: if so, give --ctf {best}."


def is_clear(gain: torch.Tensor) -> bool:
    """Whether evidence that particles gain, (n,) nats, speaks clearly for it."""
    total = float(gain.double().sum())
    return total > CLEAR_TOTAL and total > CLEAR * float(gain.double().std()) * len(gain) ** 0.5


def mode_evidence(
    prepared: PreparedParticles, indices: np.ndarray, angles: np.ndarray, start: torch.Tensor, band: Band, reach: float
) -> dict[str, torch.Tensor]:
    """Log evidence (n,), nats, of each of a few particles under every mode; arguments as of
    :meth:`TransferChoice.settle`.

    Rings inside of the first peak of the transfer are taken alike by all modes: there it hardly tells flipped from
    signed, and what the images have of it rests on more than defocus (high-pass filters, normalisation).
    """
    signed = prepared.contrast.with_mode("signed")
    level = signed.level(prepared.box, band.device)[: band.k_max + 1]
    peak = int((level > PEAK * level.max()).nonzero()[0])
    angle = dict(zip(indices.tolist(), angles.tolist()))

    def turned(part: np.ndarray, coefficients: torch.Tensor) -> torch.Tensor:
        own = torch.tensor([angle[k] for k in part.tolist()], device=band.device)
        return band.of_images(transform(coefficients, band.box, own))

    particles = prepared.all(indices, "contrast transfer", turned)
    over = np.zeros(len(indices), bool) if prepared.mirrored is None else prepared.mirrored[indices]
    transfers = signed.evaluate(indices, band.box, band.device, np.where(over, -angles, angles))
    transfers = band.crop(prepared.in_hand(indices, transfers))
    plain = torch.where(band.radius < peak, transfers.abs(), band.disc)
    modes = {"flipped": transfers.abs(), "signed": transfers, "none": plain}
    low = start * (band.radius < LOW)
    maps = ShiftMaps(band, shift_reach(reach))
    return {m: _evidence(band, maps, prepared.mask, particles * t, t.square(), low) for m, t in modes.items()}


def _evidence(
    band: Band, maps: ShiftMaps, mask: torch.Tensor, particles: torch.Tensor, squares: torch.Tensor, start: torch.Tensor
) -> torch.Tensor:
    """Log evidence (n,) of particles (n, band), times their transfer (squares: it squared), given the average of the
    half that they are not in; both begin at ``start``."""
    power = band.ring_means(squares)
    halves = [torch.arange(number, len(particles), 2, device=band.device) for number in (0, 1)]
    solvers = [BranchSolver(band, maps, mask, particles[half], power[half]) for half in halves]
    runs = [solver.run(start, ROUNDS, "contrast transfer") for solver in solvers]
    averages = [run.average * band.spread(run.weight) for run in runs]
    evidence = torch.zeros(len(particles), device=band.device)
    for half, solver, average in zip(halves, solvers, averages[::-1]):
        strength = power[half] @ band.ring_sums(average.abs().square()).float()
        prior = maps.prior - torch.logsumexp(maps.prior.flatten(), 0)
        for part in torch.arange(len(half), device=band.device).split(64):
            own = solver.particles[part]
            match = maps.correlate(torch.stack([own, own.conj()], 1), average)
            logs = _over_gains(match, strength[part, None, None, None]) + prior
            evidence[half[part]] = torch.logsumexp(logs.flatten(1), 1) - float(np.log(2))
    return evidence


def _over_gains(match: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """Log likelihood of a match, over that of noise alone, integrated over how strong the particle may be."""
    inverse = 1 / (2 * GAIN_SPREAD**2)
    whole = strength + inverse
    return (match + inverse).square() / whole - inverse - 0.5 * torch.log(whole / inverse)
