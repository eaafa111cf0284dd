"""By what particles are known again that count in averages already, whatever name a table gives them: where they lie,
and what their images show. Each takes a number of 8 bytes a particle."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from scipion_udl.errors import UdlError
from scipion_udl.io.source import Source
from scipion_udl.messages import message

NUMBER = 8  # bytes


def digest(*parts: bytes) -> int:
    """A number of 64 bits, signed, that tells some bytes from all others.

    Parameters
    ----------
    *parts : bytes
        The bytes, in pieces; where they are cut makes no difference.

    Returns
    -------
    int
        The number.
    """
    found = hashlib.blake2b(digest_size=NUMBER)
    for part in parts:
        found.update(part)
    return int.from_bytes(found.digest(), "big", signed=True)


def image_digests(images: np.ndarray) -> np.ndarray:
    """Numbers of images, equal where every pixel is.

    Parameters
    ----------
    images : (n, D, D) float32 array
        The images.

    Returns
    -------
    (n,) int64 array
        The numbers.
    """
    return np.array([digest(image) for image in np.ascontiguousarray(images)], np.int64)


def place_digests(source: Source) -> np.ndarray:
    """Numbers of where particles lie: the file that a name leads to, links followed, and the item in it.

    Parameters
    ----------
    source : Source
        Of N particles.

    Returns
    -------
    (N,) int64 array
        The numbers.
    """
    return np.array([digest(f"{item}@{file}".encode(errors="surrogateescape")) for file, item in source.locations()])


@dataclass
class Known:
    """places, images: numbers, int64, each once, of particles that count already; of constant images no image."""

    places: np.ndarray
    images: np.ndarray

    @classmethod
    def of(cls, source: Source, images: np.ndarray, blank: np.ndarray) -> Known:
        """The particles of a source.

        Parameters
        ----------
        source : Source
            Of N particles.
        images : (N,) int64 array
            Their :func:`image_digests`.
        blank : (N,) bool array
            Which are constant.

        Returns
        -------
        Known
            Their numbers.
        """
        return cls(np.unique(place_digests(source)), np.unique(images[~blank]))

    @classmethod
    def unpacked(cls, fields: dict[str, str]) -> Known:
        """What :meth:`packed` gave.

        Parameters
        ----------
        fields : dict of str to str
            The texts of ``places`` and ``images``.

        Returns
        -------
        Known
            The numbers.

        Raises
        ------
        ValueError, KeyError, TypeError
            Where it is damaged.
        """
        found = [
            np.frombuffer(base64.b64decode(fields[name], validate=True), np.dtype(">i8")).astype(np.int64)
            for name in ("places", "images")
        ]
        if not len(found[0]):
            raise ValueError
        return cls(*found)

    def packed(self) -> dict[str, Any]:
        """The numbers as texts for JSON.

        Returns
        -------
        dict of str to str
            ``places`` and ``images``, base64.
        """
        fields = {"places": self.places, "images": self.images}
        return {name: base64.b64encode(numbers.astype(">i8").tobytes()).decode() for name, numbers in fields.items()}

    def and_those_of(self, other: Known) -> Known:
        """These particles and others.

        Parameters
        ----------
        other : Known
            The others.

        Returns
        -------
        Known
            Both, each number once.
        """
        return Known(np.union1d(self.places, other.places), np.union1d(self.images, other.images))

    def refuse_places(self, source: Source, whose: str) -> None:
        """Refuse particles that lie where one of these does, under whatever name; it needs no image.

        Parameters
        ----------
        source : Source
            The particles.
        whose : str
            Whom these particles belong to, for the message.

        Raises
        ------
        UdlError
            Where there is such a particle; names the first and how many more.
        """
        _refuse(source, np.isin(place_digests(source), self.places), f"among the particles of {whose} already")

    def refuse_images(self, source: Source, images: np.ndarray, blank: np.ndarray, whose: str) -> None:
        """Refuse particles that have the very image of one of these.

        Parameters
        ----------
        source : Source
            Of N particles.
        images : (N,) int64 array
            Their :func:`image_digests`.
        blank : (N,) bool array
            Which are constant: these are let pass.
        whose : str
            Whom these particles belong to, for the message.

        Raises
        ------
        UdlError
            Where there is such a particle; names the first and how many more.
        """
        again = np.isin(images, self.images) & ~blank
        _refuse(source, again, f"among the particles of {whose} already (the same image, from another file)")


def _refuse(source: Source, again: np.ndarray, where: str) -> None:
    rows = np.flatnonzero(again).tolist()
    if not len(rows):
        return
    more = f" and {len(rows) - 1} more are" if len(rows) > 1 else " is"
    raise UdlError(
        message(
            "particle_known_already",
            path=source.path,
            item=rows[0] + 1,
            name=source.names[rows[0]],
            more=more,
            where=where,
        )
    )
