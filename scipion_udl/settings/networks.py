"""Every network, one row each: what it is called, its class, what it sees, and how it is trained.

A new network is a class and a row here, or a row that is given to :func:`register`: the command line and the form offer
it, it is trained, written, read and used for alignment by what its row says. Classes are named by text, so that nothing
here imports torch; models/registry.py finds them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Mapping

from scipion_udl.errors import UdlError
from scipion_udl.messages import message

# What networks see of particles: an amplitude spectrum on a polar grid; one as an image; two images; or samples of the
# Fourier transform on rings, which classes are told by.
SPECTRA, IMAGES, PAIRS, RINGS = "polar spectra", "spectrum images", "pairs of images", "rings"


@dataclass(frozen=True)
class NetworkRow:
    """One network.

    name: in model cards, which files hold, so it never changes. network: its class, as "module:Class"; its arguments
    are plain numbers and words, and its attribute ``config`` has them. sees: SPECTRA, IMAGES, PAIRS or RINGS. Networks
    of SPECTRA are made of ``radii`` and ``angles``, and their ``rotations`` gives angles modulo 180 degrees. objective:
    the
    class of its loss, likewise. presets: by method ("judl", "udl"), the usual one first, the fields of
    :class:`scipion_udl.training.presets.Preset`. words: what it is, in texts on methods. option: what --network calls
    it, "" for its name, None where it is not trained by `train`; rows may share one, with other methods. help: of
    --network. label: in the form, "" where it is not offered there. published: whether the published presets are of it.
    judl_after_udl: whether JUDL goes on from a UDL model. by_design: whether the differences of UDL hold by design.
    views: whether it can learn several views, given as ``views``. format: of its card, see CARD_FORMAT.
    """

    name: str
    network: str
    sees: str
    words: str
    objective: str = ""
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    option: str | None = ""
    help: str = ""
    label: str = ""
    published: bool = False
    judl_after_udl: bool = False
    by_design: bool = False
    views: bool = False
    format: int = 1

    @property
    def word(self) -> str | None:
        """What --network calls it; None where it is not offered."""
        return self.name if self.option == "" else self.option


ROWS: dict[str, NetworkRow] = {}


def register(row: NetworkRow) -> NetworkRow:
    """Add a network.

    Parameters
    ----------
    row : NetworkRow
        What there is to know of it.

    Returns
    -------
    NetworkRow
        The same.

    Raises
    ------
    ValueError
        Where there is one of that name.
    """
    if row.name in ROWS:
        raise ValueError(f"there is a network {row.name} already")
    ROWS[row.name] = row
    return row


def offered() -> dict[str, list[NetworkRow]]:
    """The rows by what --network calls them.

    Returns
    -------
    dict of str to list of NetworkRow
        In the order of their registration; without those that it does not offer.
    """
    found: dict[str, list[NetworkRow]] = {}
    for row in ROWS.values():
        if row.word is not None:
            found.setdefault(row.word, []).append(row)
    return found


def choices() -> tuple[str, ...]:
    """What --network may be.

    Returns
    -------
    tuple of str
        Words.
    """
    return tuple(offered())


def help_text() -> str:
    """What --network says of them.

    Returns
    -------
    str
        A part of a sentence for each.
    """
    return "; ".join(f"{word}: {rows[0].help}" for word, rows in offered().items())


def in_form() -> dict[str, str]:
    """The labels of those that the form offers.

    Returns
    -------
    dict of str to str
        By what --network calls them.
    """
    return {word: rows[0].label for word, rows in offered().items() if rows[0].label}


def form_labels() -> tuple[str, ...]:
    """The labels of :func:`in_form`.

    Returns
    -------
    tuple of str
        In its order.
    """
    return tuple(in_form().values())


def form_answers() -> tuple[str, ...]:
    """What --network calls what the labels stand for.

    Returns
    -------
    tuple of str
        In the order of :func:`form_labels`.
    """
    return tuple(in_form())


def methods(word: str) -> tuple[str, ...]:
    """The methods that a network is trained by.

    Parameters
    ----------
    word : str
        What --network calls it.

    Returns
    -------
    tuple of str
        The usual one first.
    """
    return tuple(method for row in offered()[word] for method in row.presets)


def trained_by(word: str, method: str) -> NetworkRow:
    """The row of a network that is trained by a method.

    Parameters
    ----------
    word : str
        What --network calls the network.
    method : str
        The method.

    Returns
    -------
    NetworkRow
        The first of that word with this method.

    Raises
    ------
    UdlError
        Where there is none, naming the methods that there are.
    """
    for row in offered().get(word, ()):
        if method in row.presets:
            return row
    raise UdlError(message("method_of_network", network=word, methods=" or ".join(methods(word))))


# UDL stands at chance for some epochs before it finds the rotation, so that a rest there is no convergence; and without
# fresh noise in every copy it learns each particle's own noise, which turns with the particle as well.
register(
    NetworkRow(
        "polar",
        "scipion_udl.models.polar_network:PolarNetwork",
        SPECTRA,
        "an equivariant network of polar spectra",
        "scipion_udl.training.objectives:PolarObjective",
        {"judl": {"epochs": 60, "lr": 1e-3, "batch": 128, "patience": 6}},
        help="reads polar spectra, in seconds (default)",
        label="Polar network",
        by_design=True,
        views=True,
    )
)
register(
    NetworkRow(
        "polar-free",
        "scipion_udl.models.polar_network:FreeHeadNetwork",
        SPECTRA,
        "a network of polar spectra",
        "scipion_udl.training.objectives:PolarObjective",
        {
            "udl": {
                "epochs": 120,
                "lr": 2e-3,
                "batch": 64,
                "patience": 12,
                "learned": 0.5,
                "noise": 1.0,
                "rotation_range": 34.0,
                "growth": 4.0,
            }
        },
        option="polar",
    )
)
register(
    NetworkRow(
        "resnet",
        "scipion_udl.models.resnet:PairNetwork",
        IMAGES,
        "a siamese residual network of pairs of spectra",
        "scipion_udl.training.objectives:PairObjective",
        {
            "udl": {
                "epochs": 60,
                "lr": 2e-3,
                "batch": 64,
                "patience": 10,
                "learned": 0.5,
                "noise": 1.0,
                "rounds": 3,
            },
            # No fresh noise here: the mean of the others has no noise in common with a particle, and keeps it honest.
            "judl": {"epochs": 30, "lr": 3e-4, "batch": 64, "patience": 8},
        },
        help="the published network of pairs of spectra",
        label="Pair network of the paper (resnet)",
        published=True,
        judl_after_udl=True,
    )
)
register(
    NetworkRow(
        "matching",
        "scipion_udl.models.matching:MatchingNetwork",
        PAIRS,
        "a feature matching network of pairs of images",
        "scipion_udl.training.natural_images:MatchingObjective",
        {
            "udl": {
                "epochs": 30,
                "lr": 1e-3,
                "batch": 32,
                "patience": 10,
                "learned": 0.5,
                "particles": 8192,
                "decay": (1000, 0.5),
            }
        },
        help="of pairs of photographs (items 2k-1 and 2k), for align-pairs",
        # No label: it compares photographs, and nothing in a project of Scipion is one.
        published=True,
    )
)
register(
    NetworkRow(
        "classes",
        "scipion_udl.models.class_bank:ClassBank",
        RINGS,
        "a network of learned templates, one for each class",
        option=None,
        format=3,
    )
)
