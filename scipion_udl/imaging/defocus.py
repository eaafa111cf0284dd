"""What the contrast transfer functions of particles are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scipion_udl.messages import Message


@dataclass
class Defocus:
    """What N particles' contrast transfer functions are made of, float64 (N,) each, read-only.

    defocus_u, defocus_v: angstrom of underfocus, the larger and the smaller as a rule; angle: degrees from x to the
    direction of defocus_u; phase_shift: degrees of a phase plate; b_factor: angstrom^2, the envelope exp(-B f^2 / 4);
    voltage: kV; cs: mm; amplitude_contrast: fraction; known: (N,) bool, which particles have all of that (the others:
    defocus 0; None: all); flipped: (N,) bool, which images' phases were flipped already, by the table or by the
    rule of its form, None where neither says; said: whether the table itself says it; premultiplied: (N,) bool, which
    images were multiplied by their CTF already (None: none); filled: what came of the options, for the user, None
    for nothing.
    """

    defocus_u: np.ndarray
    defocus_v: np.ndarray
    angle: np.ndarray
    phase_shift: np.ndarray
    b_factor: np.ndarray
    voltage: np.ndarray
    cs: np.ndarray
    amplitude_contrast: np.ndarray
    known: np.ndarray = None  # type: ignore[assignment]  # an array once it is made, as premultiplied
    flipped: np.ndarray | None = None
    said: bool = False
    premultiplied: np.ndarray = None  # type: ignore[assignment]
    filled: Message | None = None

    def __post_init__(self) -> None:
        n = len(self.defocus_u)
        self.known = np.ones(n, bool) if self.known is None else self.known
        self.premultiplied = np.zeros(n, bool) if self.premultiplied is None else self.premultiplied

    def rows(self, indices: np.ndarray | slice) -> Defocus:
        """That of some particles (from 0), in that order.

        Parameters
        ----------
        indices : (n,) int array or slice
            Which particles, from 0.

        Returns
        -------
        Defocus
            Of these.
        """
        columns = {name: value[indices] for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        return Defocus(**{**vars(self), **columns})
