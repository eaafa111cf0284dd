"""What real particles have and clean simulations lack: how much of each a simulation gets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from scipion_udl.constants import (
    INTENSITIES,
    JUNK_KINDS,
    NORMALISED,
    PER_MICROGRAPH,
    RAW,
    REALISTIC_EFFECTS,
    SPACING,
)
from scipion_udl.errors import UdlError
from scipion_udl.messages import message
from scipion_udl.settings.commands import SimulateSettings


@dataclass(frozen=True)
class Effects:
    """How much of each effect; 0 is none of it.

    per_micrograph: particles of a micrograph, which share its defocus, ice and grey values. defocus_error: standard
    deviation, in angstrom, of the defocus in the table about the true one, the same in all directions. astigmatism:
    standard deviation, in angstrom, of DefocusU - DefocusV (its absolute value; the table has it right). thickness:
    standard deviations of the logarithm of the particles' contrast, from micrograph to micrograph and from particle to
    particle in one. structural: the share of the noise's variance that is structure of the ice and passes the CTF; the
    rest is white shot noise. neighbours: the share of the sites around a particle that hold another molecule; spacing:
    the distance of sites in particle diameters, 1 or more. junk: share of the picks that show no (single) particle, of
    ``junk_kinds`` alike often. ramp: root mean square height of a linear ramp, of a direction of its own in each image,
    from the centre to the edge in noise deviations. hot_pixels: mean number in an image. tail: share of the picks that
    lie farther off centre than all others. intensities: "normalised", noise of mean 0 and variance 1 and the ramps on
    top, or "raw": as counts, with a gain and an offset of each micrograph.
    """

    per_micrograph: int = PER_MICROGRAPH
    defocus_error: float = 0.0
    astigmatism: float = 0.0
    thickness: tuple[float, float] = (0.0, 0.0)
    structural: float = 0.0
    neighbours: float = 0.0
    spacing: float = SPACING
    junk: float = 0.0
    junk_kinds: tuple[str, ...] = JUNK_KINDS
    ramp: float = 0.0
    hot_pixels: float = 0.0
    tail: float = 0.0
    intensities: str = NORMALISED

    def check(self, ctf: bool, noise: bool) -> None:
        """Refuse values that make no images.

        Parameters
        ----------
        ctf, noise : bool
            Whether the particles have a CTF, and noise.

        Raises
        ------
        UdlError
            For a share outside 0 to 1, an unknown name or too small a number, and for effects of a CTF or of noise
            where there is none; names the option or the value.
        """
        for name in ("structural", "neighbours", "junk", "tail"):
            if not 0 <= getattr(self, name) <= 1:
                raise UdlError(
                    message("not_a_share", name=SimulateSettings.option(name).flag, value=getattr(self, name))
                )
        if self.spacing < 1:
            raise UdlError(message("spacing_too_small", spacing=self.spacing))
        if self.per_micrograph < 1:
            raise UdlError(message("no_particle_per_micrograph", count=self.per_micrograph))
        if wrong := [kind for kind in self.junk_kinds if kind not in JUNK_KINDS]:
            raise UdlError(message("no_such_junk", kind=wrong[0], known=", ".join(JUNK_KINDS)))
        if not self.junk_kinds:
            raise UdlError(message("no_junk_kinds", known=", ".join(JUNK_KINDS)))
        if self.intensities not in INTENSITIES:
            raise UdlError(message("no_such_intensities", intensities=self.intensities, known=" or ".join(INTENSITIES)))
        for name in ("defocus_error", "astigmatism", "structural"):
            if getattr(self, name) and not ctf:
                raise UdlError(message("effect_of_ctf", option=SimulateSettings.option(name).flag))
        if self.structural and not noise:
            raise UdlError(message("structural_without_noise"))

    def words(self) -> list[str]:
        """What the effects make, in words, for the summary.

        Returns
        -------
        list of str
        """
        between, within = self.thickness
        said = [
            (self.neighbours, f"neighbours on {self.neighbours:.0%} of the sites, {self.spacing:g} diameters apart"),
            (self.structural, f"{self.structural:.0%} of the noise is structure of the ice, which passes the CTF"),
            (self.astigmatism, f"astigmatism of about {self.astigmatism:g} A"),
            (self.defocus_error, f"the table's defocus is wrong by about {self.defocus_error:g} A"),
            (between or within, f"contrast varies by {between:.0%} among micrographs and {within:.0%} within"),
            (self.ramp, f"ramps of about {self.ramp:g} noise deviations"),
            (self.hot_pixels, f"{self.hot_pixels:g} hot pixels an image"),
            (self.tail, f"{self.tail:.0%} of the picks lie far off centre"),
            (self.intensities == RAW, "grey values are not normalised"),
        ]
        return [words for there, words in said if there]


# `--realistic`: what many sets have, after Topaz or template picking in crowded ice, before any cleaning.
REALISTIC = Effects(**REALISTIC_EFFECTS)
OPTIONS = tuple(field.name for field in fields(Effects))
_OF_THE_CTF = ("defocus_error", "astigmatism", "structural")


def usual_effects(settings: SimulateSettings) -> dict[str, Any]:
    """With --realistic, values for the options of effects that were not given: those of :data:`REALISTIC`.

    Those of a CTF, and of noise, are left away where the particles have none.

    Parameters
    ----------
    settings : SimulateSettings

    Returns
    -------
    dict of str to value
        By name; empty without --realistic.

    Raises
    ------
    UdlError
        For an option that says how something is that is not there; names both options.
    """
    for option, needs in (("spacing", "neighbours"), ("junk_kinds", "junk")):
        if getattr(settings, option) is not None and not (settings.realistic or getattr(settings, needs)):
            raise UdlError(
                message("effect_says_how", option=settings.option(option).flag, needs=settings.option(needs).flag)
            )
    found: dict[str, Any] = {}
    if not settings.realistic:
        return found
    for name in OPTIONS:
        there = not (settings.no_ctf and name in _OF_THE_CTF) and not (
            settings.snr == float("inf") and name == "structural"
        )
        if getattr(settings, name) is None and there:
            value = getattr(REALISTIC, name)
            found[name] = list(value) if isinstance(value, tuple) else value
    return found


def effects_of(settings: SimulateSettings) -> Effects | None:
    """The effects that the options ask for.

    Parameters
    ----------
    settings : SimulateSettings

    Returns
    -------
    Effects or None
        None where none was given.
    """
    given: dict[str, Any] = {}
    for name in OPTIONS:
        value = getattr(settings, name)
        if value is not None:
            given[name] = tuple(value) if isinstance(value, list) else value
    return Effects(**given) if given else None


def given_options(settings: SimulateSettings, names: Iterable[str] = ("realistic", *OPTIONS)) -> list[str]:
    """Those of the options of effects that were given, as they are written on the command line.

    Parameters
    ----------
    settings : SimulateSettings
    names : iterable of str, optional
        The fields to look at, by default all of effects and ``realistic``.

    Returns
    -------
    list of str
    """
    return [settings.option(name).flag for name in names if getattr(settings, name) not in (None, False)]
