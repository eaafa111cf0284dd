"""Sets joined of parts of opposite polarity: which stacks or optics groups show bright particles, and which dark ones.

Two imports of one project, or two projects, are joined in one table, and in one of them the grey values are inverted.
Aligned together, particles of one view look like two. What is told of a whole set (polarity.py) tells nothing then,
for the mean profile of both vanishes; so the profiles are summed stack by stack and optics group by optics group, and
where these do not tell, images are asked one by one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
import torch

from scipion_udl.compute.distributed import ProcessGroup
from scipion_udl.errors import UdlError
from scipion_udl.io import dialects
from scipion_udl.io.source import Source
from scipion_udl.messages import Message, message
from scipion_udl.particles.polarity import BRIGHT, DARK, RadialProfile
from scipion_udl.particles.polarity_mixture import HeldProfiles, both_polarities

_NAMED = 3  # parts that a sentence names
_INVERT = "Invert the images of one kind, for together they cannot be aligned."


class GroupProfiles:
    """Sums of the rotational profiles of images, by stack and by optics group of their particles.

    source: of N particles; rings: of a profile; chosen: (N,) bool, those that are asked one by one, where stacks and
    groups do not tell (polarity_mixture.py).
    """

    def __init__(self, source: Source, rings: int, chosen: np.ndarray, device: torch.device | str = "cpu") -> None:
        self._source, self._held = source, HeldProfiles(chosen, rings, device)
        groupings = {"stack": (source.stack, [os.path.basename(path) for path in source.stack_names])}
        if len({*groupings["stack"][1]}) < len(source.stack_names):  # of one name in several folders
            groupings["stack"] = (source.stack, source.stack_names)
        groupings["optics group"] = _optics_groups(source)
        several = {kind: found for kind, found in groupings.items() if len(found[1]) > 1}
        self._of = {kind: (torch.from_numpy(of).to(device), names) for kind, (of, names) in several.items()}
        self._counts = {kind: _zeros(device, len(names)) for kind, (_, names) in self._of.items()}
        self._sums = {kind: _zeros(device, len(names), rings) for kind, (_, names) in self._of.items()}

    def add(self, rows: np.ndarray, profiles: torch.Tensor) -> None:
        """Take in the profiles of particles.

        Parameters
        ----------
        rows : (n,) int array
            The particles, from 0.
        profiles : (n, rings) float64 tensor
            Theirs.
        """
        places = torch.from_numpy(np.asarray(rows, np.int64)).to(profiles.device)
        for kind, (of, _) in self._of.items():
            self._counts[kind].index_add_(0, of[places], torch.ones_like(profiles[:, 0]))
            self._sums[kind].index_add_(0, of[places], profiles)
        self._held.add(np.asarray(rows, np.int64), profiles)

    def add_up(self, group: ProcessGroup) -> None:
        """Put the sums over the processes of a run in the place of this one's; collective.

        Parameters
        ----------
        group : ProcessGroup
            The processes.
        """
        for kind in self._of:
            self._counts[kind], self._sums[kind] = group.total(self._counts[kind]), group.total(self._sums[kind])
        self._held.values, self._held.seen = group.total(self._held.values), group.total(self._held.seen)

    def opposite(
        self, profile: RadialProfile, ctfs: Mapping[str, np.ndarray], radius: float | None = None
    ) -> Message | None:
        """The sentence on parts of opposite polarity; of stacks and optics groups it names those that are fewer.

        Parameters
        ----------
        profile : RadialProfile
            Of the same images all together.
        ctfs, radius
            As :meth:`RadialProfile.decide` takes them.

        Returns
        -------
        Message or None
            None where none was seen.
        """
        for kind in sorted(self._of, key=lambda kind: len(self._of[kind][1])):
            counts, sums = self._counts[kind].cpu().numpy(), self._sums[kind].cpu().numpy()
            words = profile.decide_parts(counts, sums, ctfs, radius)
            bright, dark = (
                [name for name, word in zip(self._of[kind][1], words) if word == side] for side in (BRIGHT, DARK)
            )
            if bright and dark:
                return _sentence(kind, bright, dark)
        return self._mixed(profile, ctfs, radius)

    def _mixed(self, profile: RadialProfile, ctfs: Mapping[str, np.ndarray], radius: float | None) -> Message | None:
        rows, held = self._held.images()
        bright = both_polarities(profile, held, ctfs, radius)
        if bright is None:
            return None
        few = rows[bright] if bright.mean() < 0.5 else rows[~bright]
        first = int(few[0])
        return message(
            "polarities_of_images",
            bright=bright.mean(),
            dark=1 - bright.mean(),
            which=BRIGHT if bright.mean() < 0.5 else DARK,
            item=self._source.numbers[first],
            name=self._source.names[first],
            invert=_INVERT,
        )


def _zeros(device: torch.device | str, *shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.float64, device=device)


def _optics_groups(source: Source) -> tuple[np.ndarray, list[str]]:
    """The optics group of each particle, from 0, and what the groups are called."""
    optics = None if source.table is None else dialects.optics_table(source.tables)
    one = np.broadcast_to(np.int64(0), len(source)), ["1"]
    if source.table is None or optics is None:
        return one
    try:
        rows = dialects.optics_rows(source.table, optics)
    except UdlError:  # which who reads the microscope tells
        return one
    used = np.flatnonzero(np.bincount(rows))
    names = [optics.texts("rlnOpticsGroup")[row] for row in used]
    return np.searchsorted(used, rows) if len(used) > 1 else one[0], names


def _sentence(kind: str, bright: list[str], dark: list[str]) -> Message:
    few, names = (BRIGHT, bright) if len(bright) < len(dark) else (DARK, dark)
    named = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
    return message(
        "polarities_of_groups",
        bright=_counted(kind, len(bright)),
        dark=_counted(kind, len(dark)),
        few=few,
        named=named,
        invert=_INVERT,
    )


def _counted(kind: str, count: int) -> str:
    return f"{count} {kind}s show" if count > 1 else f"one {kind} shows"
