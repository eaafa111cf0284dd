"""The part of the command `check` that looks at images: each is read once, a bounded piece at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from scipion_udl.compute.progress import Progress
from scipion_udl.constants import DIAMETER_FROM, SMALLEST_BOX
from scipion_udl.errors import UdlError
from scipion_udl.imaging.defocus import Defocus
from scipion_udl.io.particles import ParticleSource
from scipion_udl.jobs.diagnostics import Diagnostics
from scipion_udl.messages import message
from scipion_udl.particles.background import Background, Uneven, steepness
from scipion_udl.particles.diameter import size_words
from scipion_udl.particles.duplicates import copies
from scipion_udl.particles.extent import extent_of
from scipion_udl.particles.polarity import DARK, UNKNOWN, RadialProfile
from scipion_udl.particles.polarity_groups import GroupProfiles
from scipion_udl.particles.polarity_mixture import HELD
from scipion_udl.particles.scan import DISC, LARGEST, too_large
from scipion_udl.validation.heterogeneity import FEW, worth_of_mean

CHUNK_BYTES = 2 << 20  # of images held at a time


@dataclass
class ImageFacts:
    """What one look through the images of N particles found; there may be millions, so little is kept of each.

    mean, std: of the background, float32 (N,), NaN where the image was not read; blank: constant, or not read, bool
    (N,). profile: of all images that are not blank and of the set's box, and by stack and optics group in groups;
    uneven: the ramps and hot pixels of those that are not blank; large: those with values beyond LARGEST, from 0.
    """

    mean: np.ndarray
    std: np.ndarray
    blank: np.ndarray
    profile: RadialProfile
    groups: GroupProfiles
    uneven: Uneven = field(default_factory=Uneven)
    large: list[int] = field(default_factory=list)


def check_images(
    source: ParticleSource,
    diagnostics: Diagnostics,
    expected: str = "auto",
    mask_radius: float | None = None,
    defocus: Defocus | None = None,
) -> None:
    """Read every image once, a bounded piece at a time: NaN and inf, constant images, contrast, scale, copies.

    Parameters
    ----------
    source : ParticleSource
        The set; of its table the optics groups alone are used.
    diagnostics : Findings
        Told of all.
    expected : str, optional
        "auto", "bright" or "dark".
    mask_radius : float, optional
        Of the particle, pixels; None where it is unknown.
    defocus : Defocus, optional
        Of some of the particles; None where it is unknown.
    """
    facts = look_through(source, diagnostics, mask_radius)
    read = np.isfinite(facts.mean)
    if not read.any():  # why, was told
        return
    flat = np.flatnonzero(facts.blank & read)
    diagnostics.fact("pixel values", "all finite")
    for row in sorted(facts.large):
        diagnostics.error("pixel values", too_large(source, row))
    diagnostics.fact("constant images", "none")
    if len(flat) and len(flat) == read.sum():
        diagnostics.error("constant images", message("check_all_constant"))
    else:
        for row in flat:
            diagnostics.warn("constant images", message("image_constant", item=row + 1, name=source.names[row]))
    _check_polarity(source, facts, diagnostics, expected, (defocus, mask_radius))
    usual = read & ~facts.blank
    usual[facts.large] = False  # which are errors: theirs is no scale
    _check_scale(facts.std[usual], diagnostics)
    _check_background(facts, diagnostics)
    _check_copies(source, facts, diagnostics)


def look_through(source: ParticleSource, diagnostics: Diagnostics, mask_radius: float | None = None) -> ImageFacts:
    """Go once over the images that can be read, stack by stack, a bounded piece at a time.

    Parameters
    ----------
    source : ParticleSource
        The set.
    diagnostics : Findings
        Told of images with NaN or inf.
    mask_radius : float, optional
        Of the particle, pixels; None where it is unknown.

    Returns
    -------
    ImageFacts
        Of all images; NaN where one cannot be read.
    """
    n = len(source)
    profile = RadialProfile(source.box)
    chosen = np.zeros(n, bool)
    chosen[np.linspace(0, n - 1, min(n, HELD)).astype(int)] = True
    groups = GroupProfiles(source, len(profile.radii), chosen)
    mean, std = (np.full(n, np.nan, np.float32) for _ in range(2))
    facts = ImageFacts(mean, std, np.ones(n, bool), profile, groups)
    progress, done = Progress(), 0
    for number, reader in enumerate(source.stacks):
        if min(reader.shape) < SMALLEST_BOX:  # which was told, and there is no background to measure
            continue
        rows = _rows_of(source, number)
        side = min(reader.shape)
        background = Background(side, mask_radius or DISC * side)
        step = max(1, CHUNK_BYTES // (4 * reader.shape[0] * reader.shape[1]))
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            images = np.empty((len(part), *reader.shape), np.float32)
            try:
                reader.read_into(images, np.arange(len(part)), source.item[part], diagnostics.error)
            except UdlError as error:  # the file went away, or its disk is broken: the next one may be fine
                diagnostics.error("files", error.message)
                break
            source.apply_sign(images, part)
            with np.errstate(invalid="ignore"):  # of infinities of both signs: it is no number, as it is to be
                good = np.isfinite(images.sum((1, 2), dtype=np.float64))
            _measure(facts, part[good], torch.from_numpy(images[good]), background)
            done += len(part)
            progress.show("reading", done, n)
    progress.clear()
    return facts


def _rows_of(source: ParticleSource, number: int) -> np.ndarray:
    """The particles (from 0) whose images can be read from one of the stacks, in the order of the file."""
    rows = np.flatnonzero((source.stack == number) & (source.item < source.stacks[number].whole))
    rows = rows.astype(source.item.dtype)  # in half the memory, as a rule
    item = source.item[rows]
    return rows[np.argsort(item, kind="stable")] if (item[1:] < item[:-1]).any() else rows


def _measure(facts: ImageFacts, rows: np.ndarray, images: torch.Tensor, background: Background) -> None:
    """Facts of images (n, rows, columns); of those that are not square the middle square counts."""
    if not len(rows):
        return
    side = background.box
    top, left = (images.shape[1] - side) // 2, (images.shape[2] - side) // 2
    squares = images[:, top : top + side, left : left + side]
    levels = background.measure(squares)
    normal, hot = background.levelled(squares, levels.mean, levels.slope, levels.std)
    facts.mean[rows], slope, facts.std[rows], flat, _ = levels.numpy()
    facts.blank[rows] = flat
    facts.uneven.add(steepness(slope, facts.std[rows], side).astype(np.float32)[~flat], hot.numpy()[~flat])
    peak = images.abs().amax((1, 2))
    facts.large += rows[(peak > LARGEST).numpy()].tolist()
    if images.shape[1:] == (facts.profile.box, facts.profile.box):
        used = ~levels.flat & (peak <= LARGEST)
        facts.groups.add(rows[used.numpy()], facts.profile.add(normal[used]))


def _check_polarity(
    source: ParticleSource,
    facts: ImageFacts,
    diagnostics: Diagnostics,
    expected: str,
    known: tuple[Defocus | None, float | None],
) -> None:
    """Whether particles are bright or dark on their background, in the whole set, stack by stack, optics group by
    optics group, and one by one; and how far they reach, where nobody says it. known: defocus and radius."""
    if not facts.profile.count:
        return
    defocus, radius = known
    ctfs = facts.profile.mean_ctfs(source.pixel_size if source.pixel_size_known else None, defocus)
    if radius is None:
        extent = extent_of(facts.profile, ctfs)
        size = size_words(extent.radius, source.pixel_size, source.pixel_size_known)
        diagnostics.fact("diameter", f"{size}, {DIAMETER_FROM['data' if extent.found else 'box']}")
    found = facts.profile.decide(ctfs, radius).word
    diagnostics.fact("contrast", "cannot be told" if found == UNKNOWN else f"{found} particles")
    if expected != "auto" and found not in (expected, UNKNOWN):
        diagnostics.warn("contrast", message("contrast_unexpected", found=found, expected=expected))
    elif expected == "auto" and found == DARK:
        diagnostics.warn(
            "contrast",
            message("contrast_dark"),
        )
    opposite = facts.groups.opposite(facts.profile, ctfs, radius)
    if opposite:
        diagnostics.warn("contrast", opposite)


def _check_scale(std: np.ndarray, diagnostics: Diagnostics) -> None:
    if len(std) < 2:
        return
    worth = worth_of_mean(std)
    spread = float(np.quantile(std, 0.99) / np.median(std))
    diagnostics.fact("scale", f"noise within a factor of {spread:.3g} (99 % of the images)")
    if worth < FEW:
        diagnostics.warn(
            "scale",
            message("check_noise_differs", spread=spread, worth=worth),
        )


def _check_background(facts: ImageFacts, diagnostics: Diagnostics) -> None:
    """Ramps and hot pixels, which every run takes off; other programs may not."""
    diagnostics.fact("background", "even, no pixels that stick out")
    found = facts.uneven.words()
    if found:
        diagnostics.note("background", message("check_background", what=found))


def _check_copies(source: ParticleSource, facts: ImageFacts, diagnostics: Diagnostics) -> None:
    """Images that are the same in every pixel though they have different names."""
    diagnostics.fact("copies", "none")
    one_box = np.array([reader.shape == source.stacks[0].shape for reader in source.stacks])
    rows, first = copies(source, facts.mean, facts.std, facts.blank | ~one_box[source.stack])
    for row, of in zip(rows.tolist(), first.tolist()):
        if source.names[row] != source.names[of]:  # else the table names it twice, which was told
            diagnostics.warn(
                "copies",
                message("image_again", item=row + 1, name=source.names[row], other=of + 1, other_name=source.names[of]),
            )
