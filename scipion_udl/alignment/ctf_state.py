"""What the images carry of their CTF: as the table says, or the user; the images are asked as a check.

A table gives the defocus, and whether the phases of each image were flipped, or the image multiplied by its CTF.
That stands. The images are asked all the same, once they lie in register: by each way to take them two halves of some
particles of each class make an average each, and the evidence of a particle is taken given the average of the half that
it is not in. The right way predicts unseen particles best. What counts is the sum over all classes that show something;
what lies outside of the particle's disc has no say. Noise has variance 1 by every way, so that evidences can be
compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch

from scipion_udl.alignment.accumulators import Sums
from scipion_udl.alignment.wiener import WienerFilter
from scipion_udl.compute.distributed import ProcessGroup
from scipion_udl.compute.log import Say
from scipion_udl.imaging.band import Band
from scipion_udl.imaging.ctf import ParticleCtf
from scipion_udl.imaging.defocus import Defocus
from scipion_udl.imaging.fourier import transform
from scipion_udl.imaging.poses import Poses, mirrored_first
from scipion_udl.messages import Message, message
from scipion_udl.particles.coarser import coarser
from scipion_udl.particles.prepared import PreparedParticles

TOTAL, EACH = 512, 48  # particles that are asked: of all classes together, and of each class where there are many
FEWEST = 8  # in either half of a class; fewer tell nothing
BAND = 40  # Fourier pixels of the working box
STEP = 64  # particles at a time
GAIN_SPREAD = 0.5  # standard deviation of how strong particles are, beside what the CTF says of it
CLEAR = 4.0  # standard errors by which one mode must fit better than another
CLEAR_TOTAL = 10.0  # nats, of all particles that were asked

WORDS = {
    "flipped": "phase-flipped particles: the absolute value of the CTF",
    "signed": "particles as the microscope left them: the signed CTF",
    "premultiplied": "particles that were multiplied by their CTF: its square",
    "none": "not taken into account",
}


def words_of(ctfs: ParticleCtf | None) -> str:
    """How CTF is taken, for the user.

    Parameters
    ----------
    ctfs : ParticleCtf or None
        Of the particles, None where it is not known.

    Returns
    -------
    str
        One way, or how many particles each way.
    """
    if ctfs is None or ctfs.mode == "none":
        return WORDS["none"]
    known = ctfs.defocus.known
    multiplied = ctfs.premultiplied & known
    counts = {
        "flipped": int((ctfs.flipped & known & ~multiplied).sum()),
        "signed": int((~ctfs.flipped & known & ~multiplied).sum()),
        "premultiplied": int(multiplied.sum()),
    }
    used = [kind for kind, count in counts.items() if count]
    if len(used) == 1:
        return WORDS[used[0]]
    return "by particle; " + "; ".join(f"{counts[kind]} {WORDS[kind]}" for kind in used)


class CtfState:
    """How the particles' CTF is taken, and why.

    prepared: the particles, whose ``ctfs`` this sets; defocus: what their table gives, None without; asked: "auto",
    "flipped", "signed" or "none"; fallback: "flipped" or "signed", where neither the user nor the table says, nor the
    rule of its form; log, warn: told a sentence. ``mode`` is the one in use (of :class:`ParticleCtf`), ``reason``
    why.
    """

    def __init__(
        self,
        prepared: PreparedParticles,
        defocus: Defocus | None,
        asked: str,
        fallback: str,
        log: Say,
        warn: Callable[[Message], None],
    ) -> None:
        self.prepared, self.log, self.warn = prepared, log, warn
        self.asks_images = asked == "auto" and defocus is not None
        self.said = defocus is not None and defocus.said
        self._heard: dict[str, dict[str, torch.Tensor]] = {}
        if defocus is None:
            self.mode, self.reason = "none", "no defocus in the input"
        elif asked != "auto":
            self.mode, self.reason = asked, "as was asked for"
        elif defocus.flipped is not None:
            self.mode = "table"
            self.reason = "as the table says" if defocus.said else "the table says nothing of flipped phases"
        else:
            self.mode, self.reason = fallback, "the table does not say"
        self._ways: list[str] = []
        if defocus is not None:
            box = prepared.source.box
            prepared.ctfs = ParticleCtf(defocus, box * prepared.source.pixel_size, self.mode, box=box)
            self._ways = _ways(prepared.ctfs)

    def note(self) -> Message | None:
        """The sentence for log, summary and report.

        Returns
        -------
        Message or None
            None where the input has no defocus.
        """
        if self.prepared.ctfs is None:
            return None
        return message("ctf_taken", how=words_of(self.prepared.ctfs), reason=self.reason)

    def hear(
        self, name: str, prepared: PreparedParticles, indices: np.ndarray, poses: Poses, half: np.ndarray | None = None
    ) -> None:
        """Ask particles of one view, where the images are to be asked, and keep what they tell for :meth:`settle`.

        Parameters
        ----------
        name : str
            Of their class.
        prepared : PreparedParticles
            All particles, or a part of them.
        indices : (n,) int array
            Which of these, in an order that does not hang on theirs.
        poses : Poses
            n of them; shifts in pixels of the input.
        half : (n,) int array, optional
            0 or 1, such that poses of either half do not know the other; None for any.

        Raises
        ------
        ValueError
            Where the particles have no CTF.
        """
        if not self.asks_images:
            return
        if prepared.ctfs is None:
            raise ValueError("particles without a CTF cannot tell how it is to be taken")
        asked = np.flatnonzero(prepared.counted[indices] & _can_tell(prepared.ctfs)[indices])
        asked = asked[: max(EACH, TOTAL * len(indices) // max(len(self.prepared), 1))]
        half = np.arange(len(asked)) % 2 if half is None else half[asked]
        if min((half == number).sum() for number in (0, 1)) < FEWEST:
            return
        given = prepared, indices[asked], poses[asked], half, self._ways
        self._heard[name] = prepared.group.on_rank0(lambda: mode_evidence(*given))

    def gather(self, group: ProcessGroup) -> None:
        """Make known to all processes what each has heard of classes of its own.

        Parameters
        ----------
        group : ProcessGroup
            Those of the run.
        """
        if self.asks_images:
            self._heard = {name: told for heard in group.gather_all(self._heard) for name, told in heard.items()}

    def settle(self, names: Iterable[str]) -> bool:
        """Judge, once, by what the particles of some classes told, all together.

        Where the table says, or the rule of its form, its word stands, and the user is told what speaks clearly against
        it; where neither does, what the images tell clearly is done.

        Parameters
        ----------
        names : iterable of str
            The classes.

        Returns
        -------
        bool
            Whether the mode has changed.
        """
        if not self.asks_images:
            return False
        self.asks_images = False
        told = [self._heard[name] for name in names if name in self._heard]
        self._heard = {}
        if not told:
            return False
        evidence = {mode: torch.cat([one[mode] for one in told]) for mode in told[0]}
        best = max(evidence, key=lambda mode: float(evidence[mode].sum()))
        mean = ", ".join(f"{_NAMES[mode]} {float(values.mean()):.2f}" for mode, values in evidence.items())
        self.log(f"CTF, log evidence a particle of {len(evidence[best])} (nats): {mean}", detail=True)
        own = next(iter(evidence))
        clear = best != own and is_clear(evidence[best] - evidence[own])
        if self.mode == "table":
            if clear:
                self.warn(_contradiction(own, best))
            elif not self.said:
                self._doubt(evidence)
            return False
        return self._follow(evidence, best, clear)

    def _doubt(self, evidence: dict[str, torch.Tensor]) -> None:
        """Warn where nobody says whether phases were flipped, the images show something, and do not tell either."""
        if is_clear(evidence["signed"]) and not is_clear(evidence["signed"] - evidence["flipped"]):
            self.warn(message("flips_not_clear"))

    def _follow(self, evidence: dict[str, torch.Tensor], best: str, clear: bool) -> bool:
        """Do what the images tell, where they do; whether the mode has changed."""
        if all(is_clear(evidence[best] - evidence[other]) for other in evidence if other != best):
            self.reason = "as the images tell"
        elif clear:
            self.reason = "the images tell no more clearly"
        else:
            self.reason = "neither the table nor the images tell clearly"
            if is_clear(evidence[best]):
                other = "signed" if self.mode == "flipped" else "flipped"
                self.warn(message("flips_unknown", words=_LOOKS[self.mode], choice=other))
        if not clear:
            return False
        if best == "none":
            self.warn(message("defocus_does_not_fit"))
        self.mode = best
        return True


_LOOKS = {"flipped": "phase-flipped", "signed": "not phase-flipped"}
_NAMES = {way: way for way in ("flipped", "signed", "none", "contrary")} | {"table": "as the table says"}


def _contradiction(own: str, best: str) -> Message:
    """The warning that images speak for ``best`` against the table, which says ``own``."""
    mixed = "which particles are phase-flipped"
    says = f"that the particles are {_LOOKS[own]}" if own in _LOOKS else mixed
    if best == "none":
        return message("defocus_contradicted", says=says)
    if best == "contrary":
        return message("flips_exchanged", says=mixed)
    return message("flips_contradicted", says=says, seen=_LOOKS[best], way=best)


def is_clear(gain: torch.Tensor) -> bool:
    """Whether evidence that particles gain speaks clearly.

    Parameters
    ----------
    gain : (n,) tensor
        Of each particle, nats.

    Returns
    -------
    bool
        True where it does.
    """
    total = float(gain.double().sum())
    return total > CLEAR_TOTAL and total > CLEAR * float(gain.double().std()) * len(gain) ** 0.5


def _can_tell(ctfs: ParticleCtf) -> np.ndarray:
    """Which particles (N,) bool can tell how they are to be taken: those with a defocus whose CTF has a sign."""
    return ctfs.defocus.known & ~ctfs.premultiplied


def _ways(ctfs: ParticleCtf) -> list[str]:
    """The ways to take the particles of a set, the one in use first: all flipped, none flipped; where the table says
    different things of them, also as it says, and each the other way about."""
    flipped = ctfs.flipped[_can_tell(ctfs)]
    if flipped.all():
        return ["flipped", "signed", "none"]
    if not flipped.any():
        return ["signed", "flipped", "none"]
    return ["table", "flipped", "signed", "contrary", "none"]


def mode_evidence(
    prepared: PreparedParticles, indices: np.ndarray, poses: Poses, half: np.ndarray, ways: Sequence[str]
) -> dict[str, torch.Tensor]:
    """Log evidence of each of a few particles, by each way to take them.

    Rings inside of the first peak of the CTF are taken alike by all ways: there it hardly tells flipped from
    signed, and what the images have of it rests on more than defocus (high-pass filters, normalisation).

    Parameters
    ----------
    prepared, indices, poses, half
        As :meth:`CtfState.hear` takes them.
    ways : sequence of str
        Of "table", "contrary", "flipped", "signed" and "none".

    Returns
    -------
    dict of str to (n,) tensor
        By way, nats.

    Raises
    ------
    ValueError
        Where the particles have no CTF.
    """
    prepared = coarser(prepared, BAND)
    ctfs, mask = prepared.ctfs, prepared.disc.mask
    if ctfs is None:
        raise ValueError("particles without a CTF are evidence of no way to take it")
    band = Band(prepared.box, min(BAND, prepared.k_max), prepared.device)
    poses = mirrored_first(poses)
    particles = _in_register(prepared, band, indices, poses)
    over = np.zeros(len(indices), bool) if prepared.mirrored is None else prepared.mirrored[indices]
    signed = ctfs.with_mode("signed")
    rotated = torch.empty(len(indices), *band.disc.shape, device=band.device)
    for part in np.array_split(np.arange(len(indices)), -(-len(indices) // STEP)):
        rotation = np.where(over, -poses.angle, poses.angle)[part]
        values = signed.evaluate(indices[part], band.box, band.device, rotation)
        rotated[part] = band.crop(prepared.apply_mirror(indices[part], values))
    members = [torch.from_numpy(np.flatnonzero(half == number)).to(band.device) for number in (0, 1)]
    own = torch.from_numpy(ctfs.flipped[indices]).to(band.device)[:, None, None]
    flips = {"table": own, "contrary": ~own, "flipped": torch.ones_like(own), "signed": torch.zeros_like(own)}
    inner = band.radius < signed.peak(prepared.box, band.device)
    found = {}
    for way in ways:
        other = band.disc if way == "none" else rotated
        taken = torch.where(inner if way == "none" else flips[way], rotated.abs(), other)
        found[way] = _evidence(band, mask, particles, taken, members)
    return found


def _in_register(prepared: PreparedParticles, band: Band, indices: np.ndarray, poses: Poses) -> torch.Tensor:
    """Particles ``indices`` (n,) with their poses applied, as bands, without what lies outside of the disc."""
    place = np.zeros(len(prepared), np.int64)
    place[indices] = np.arange(len(indices))
    mask, outside = prepared.disc.mask, 1 - prepared.disc.mask

    def posed(part: np.ndarray, coefficients: torch.Tensor) -> torch.Tensor:
        rows = place[part]
        rotation, move = poses.angle[rows], poses.shift[rows] / prepared.scale
        rotation, move = (torch.from_numpy(values).to(band.device) for values in (rotation, move))
        images = transform(coefficients, band.box, rotation, move)
        level = (images * outside).sum((-2, -1), keepdim=True) / outside.sum().clamp(min=1e-6)
        return band.of_images((images - level) * mask)

    return prepared.all(indices, "CTF", posed)


def _evidence(
    band: Band, mask: torch.Tensor, particles: torch.Tensor, ctfs: torch.Tensor, members: list[torch.Tensor]
) -> torch.Tensor:
    """Log evidence (n,) of particles (n, band) in register, with these transfers, given the average of the half that
    they are not in; members: which are in either half."""
    power = band.ring_means(ctfs.square())
    sums = [Sums((particles[m] * ctfs[m]).sum(0), power[m].double().sum(0), len(m)) for m in members]
    averages = [band.masked(half.mean(band), mask) for half in sums]
    weight = band.spread(WienerFilter(band, averages).weight(1))
    evidence = torch.zeros(len(particles), device=band.device)
    for member, average in zip(members, averages[::-1]):
        for part in member.split(STEP):
            expected = band.masked(ctfs[part] * (average * weight), mask)
            match = band.dot(particles[part], expected)
            evidence[part] = _over_gains(match, band.dot(expected, expected))
    return evidence


def _over_gains(match: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """Log likelihood of a match, over that of noise alone, integrated over how strong the particle may be."""
    inverse = 1 / (2 * GAIN_SPREAD**2)
    whole = strength + inverse
    return (match + inverse).square() / whole - inverse - 0.5 * torch.log(whole / inverse)
