"""Pairs of images cut from photographs: the same patch twice, each time rotated and shifted by a known amount.

For `simulate --photos`: natural images as the matching network is trained and tested on (Chen, Feng, Shen 2023, who
took MS-COCO). Two copies are read from one photograph around one place, from a region large enough that neither shows
anything but photograph: no fill marks the turn. They are square; the network masks them by a disc of its own, since
two copies of different rotation do not share their corners.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import Poses, rotations
from scipion_udl.io.images import read_picture
from scipion_udl.messages import message
from scipion_udl.simulation.templates import grid

PARTS = ("train2017", "val2017")  # the folders of MS-COCO
NOISES = ("none", "gaussian", "salt-pepper")
FLAT = 10.0  # grey levels (of 256): the standard deviation below which a patch shows nothing to align
MOST_SNR = 1e12  # of finite ones
_PICTURES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp")
_TRIES = 10  # places looked at in a photograph, per patch, before it counts as flat
_MARGIN = 3  # pixels that splines need around what they read


def find_photographs(folder: str, part: str | None = None) -> list[str]:
    """The photographs in a folder.

    Parameters
    ----------
    folder : str
    part : str, optional
        A subfolder of it; by default the folder's own photographs are meant, or, where it holds none but one of PARTS,
        those of that part.

    Returns
    -------
    list of str
        Paths, sorted by name.

    Raises
    ------
    UdlError
        Where there is no folder, no photograph, or both parts and no word on which.
    """
    if not os.path.isdir(folder):
        raise UdlError(message("photographs_no_folder", folder=folder))
    if part is None and not _pictures(folder):
        there = [name for name in PARTS if os.path.isdir(os.path.join(folder, name))]
        if len(there) > 1:
            raise UdlError(message("photographs_parts", folder=folder, there=" and ".join(there)))
        part = there[0] if there else None
    place = os.path.join(folder, part) if part else folder
    files = _pictures(place) if os.path.isdir(place) else []
    if not files:
        raise UdlError(message("no_photographs", folder=place, kinds=", ".join(_PICTURES)))
    return files


def _pictures(folder: str) -> list[str]:
    names = sorted(name for name in os.listdir(folder) if name.lower().endswith(_PICTURES))
    return [os.path.join(folder, name) for name in names]


@dataclass(frozen=True)
class Noise:
    """What is added to a pair of copies.

    kind: one of NOISES; snr: of "gaussian", variance of the copies over that of the noise; share: of "salt-pepper",
    the pixels (0 to 1) that become the brightest or the darkest value of their pair. Raises UdlError for others.
    """

    kind: str = "none"
    snr: float = 1.0
    share: float = 0.1

    def __post_init__(self) -> None:
        if self.kind not in NOISES:
            raise UdlError(message("no_such_noise", kind=self.kind, known=", ".join(NOISES)))
        if not self.snr > 0 or not 0 <= self.share <= 1:
            raise UdlError(message("noise_out_of_range", snr=self.snr, share=self.share))
        if self.kind == "gaussian" and MOST_SNR < self.snr < np.inf:
            raise UdlError(message("snr_too_large", snr=self.snr, most=MOST_SNR))

    def add(self, images: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Add the noise to images of variance 1.

        Parameters
        ----------
        images : (n, D, D) array
        random : Generator

        Returns
        -------
        (n, D, D) float32 array
            With Gaussian noise, of variance 1, the images have a variance of SNR.
        """
        if self.kind == "gaussian" and not np.isinf(self.snr):
            return images * np.float32(np.sqrt(self.snr)) + random.standard_normal(images.shape, np.float32)
        if self.kind == "salt-pepper":
            drawn = random.random(images.shape)
            images = np.where(drawn < self.share / 2, images.min(), images)
            images = np.where(drawn > 1 - self.share / 2, images.max(), images)
        return images.astype(np.float32)

    def __str__(self) -> str:
        if self.kind == "gaussian":
            return f"Gaussian noise, SNR {self.snr:g}"
        return f"salt-and-pepper noise in {self.share:.0%} of the pixels" if self.kind == "salt-pepper" else "no noise"


@dataclass
class PatchPair:
    """Two copies of a patch. images: float32 (2, box, box); poses: (2,), each takes its copy to the patch;
    photograph: its file."""

    images: np.ndarray
    poses: Poses
    photograph: str


@dataclass
class PhotoPairs:
    """Pairs of copies from photographs, drawn from the seed and the number of the photograph alone.

    files: the photographs; box: pixels of the copies; patches: how many from each photograph; max_shift: the patch's
    middle lies up to this many pixels off the middle of a copy in x and in y, by whole pixels unless ``subpixel``;
    flat: standard deviation in grey levels (of 256) below which a patch is not taken; noise: see :class:`Noise`.
    ``rejected`` counts, once pairs were made, the photographs that are "small" (the region does not fit), "flat"
    (no place of :data:`_TRIES` looked at was not) or "broken" (they cannot be read; ``broken`` is what is wrong with
    the first). Raises UdlError for values that make no pairs.
    """

    files: list[str]
    box: int
    patches: int = 1
    max_shift: float = 10.0
    subpixel: bool = False
    flat: float = FLAT
    noise: Noise = field(default_factory=Noise)
    seed: int = 1

    def __post_init__(self) -> None:
        if self.box < 8:
            raise UdlError(message("patch_box_too_small", box=self.box))
        if not 0 <= self.max_shift < self.box / 2:
            raise UdlError(message("patch_shifts_too_large", max_shift=self.max_shift, box=self.box))
        self.rejected: Counter[str] = Counter()
        self.broken = ""
        self._grid = grid(self.box)
        axis = np.arange(-self.half_side, self.half_side + 1)
        self._disc = np.hypot(*np.meshgrid(axis, axis)) <= self.box / 2

    @property
    def half_side(self) -> int:
        """Pixels from a patch's middle to the farthest pixel that a copy in any pose may read."""
        return int(np.ceil(np.sqrt(2) * (self.box / 2 + self.max_shift))) + _MARGIN

    def __iter__(self) -> Iterator[PatchPair]:
        self.rejected.clear()
        self.broken = ""
        for number, path in enumerate(self.files):
            try:
                photograph = _grey_levels(read_picture(path))
            except UdlError as error:
                self.broken = self.broken or str(error)
                self.rejected["broken"] += 1
                continue
            if min(photograph.shape) < 2 * self.half_side + 1:
                self.rejected["small"] += 1
                continue
            random = np.random.default_rng([self.seed, number])
            regions = self._regions(photograph, random)
            if not regions:
                self.rejected["flat"] += 1
            for k, region in enumerate(regions):
                # noise has chance of its own, so that a set with and one without show the same patches
                noise = np.random.default_rng([self.seed, number, 1 + k])
                yield self._pair(region, random, noise, path)

    def _regions(self, photograph: np.ndarray, random: np.random.Generator) -> list[np.ndarray]:
        """Regions (2 reach + 1 pixels of a side) around places that are not flat."""
        side, found = 2 * self.half_side + 1, []
        for _ in range(_TRIES * self.patches):
            top, left = (int(random.integers(size - side + 1)) for size in photograph.shape)
            region = photograph[top : top + side, left : left + side]
            if region[self._disc].std() >= self.flat:
                found.append(region)
            if len(found) == self.patches:
                break
        return found

    def _pair(
        self, region: np.ndarray, random: np.random.Generator, noise: np.random.Generator, path: str
    ) -> PatchPair:
        angle = random.uniform(-180, 180, 2)
        off = random.uniform(-self.max_shift, self.max_shift, (2, 2))
        if not self.subpixel:
            off = random.integers(-int(self.max_shift), int(self.max_shift) + 1, (2, 2)).astype(np.float64)
        # the patch's middle lies at ``off`` in the copy; the pose brings it back: R off + t = 0
        poses = Poses(angle, -np.einsum("nij,nj->ni", rotations(angle), off))
        spline = ndimage.spline_filter(region, order=3)
        images = np.stack([self._copy(spline, poses[[k]]) for k in range(2)])
        images = (images - images.mean()) / max(float(images.std()), 1e-6)
        return PatchPair(self.noise.add(images, noise), poses, path)

    def _copy(self, spline: np.ndarray, pose: Poses) -> np.ndarray:
        """What the pose takes to the patch: copy(p) = region(R p + t), p from the middle."""
        x, y = rotations(pose.angle)[0] @ self._grid.reshape(2, -1) + pose.shift.T + self.half_side
        values = ndimage.map_coordinates(spline, np.stack([y, x]), order=3, prefilter=False, mode="mirror")
        return values.reshape(self.box, self.box)


def _grey_levels(picture: np.ndarray) -> np.ndarray:
    """A grey picture in levels of 256, whether it was stored with 8 or 16 bits or as parts of 1."""
    top = float(picture.max())
    return picture / 257.0 if top > 255 else picture * 255.0 if 0 < top <= 1 else picture
