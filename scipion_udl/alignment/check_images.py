"""The part of the command `check` that looks at images: each is read once, a bounded piece at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from scipion_udl.alignment.findings import Findings
from scipion_udl.compute.progress import Progress
from scipion_udl.constants import DIAMETER_FROM, SMALLEST_BOX
from scipion_udl.errors import UdlError
from scipion_udl.io.particles import ParticleSource
from scipion_udl.particles.background import Background, background_words, steepness
from scipion_udl.particles.diameter import size_words
from scipion_udl.particles.duplicates import originals
from scipion_udl.particles.extent import extent_of
from scipion_udl.particles.polarity import DARK, UNKNOWN, RadialProfile, sampled_defocus
from scipion_udl.particles.polarity_groups import GroupProfiles
from scipion_udl.particles.polarity_mixture import HELD
from scipion_udl.particles.scan import DISC, LARGEST, too_large
from scipion_udl.validation.heterogeneity import FEW, worth_of_mean

CHUNK_BYTES = 2 << 20  # of images held at a time


@dataclass
class ImageFacts:
    """What one look through the images found, per particle, float32 (N,).

    mean, std: of the background, NaN where the image was not read; blank: constant, or not read; peak: the largest
    value, its sign left out; steep: rise of the ramp in the background from centre to edge, in deviations of the noise;
    hot: pixels that stick out. profile: of all images that are not blank and of the set's box, and by stack and optics
    group in groups.
    """

    mean: np.ndarray
    std: np.ndarray
    peak: np.ndarray
    steep: np.ndarray
    hot: np.ndarray
    blank: np.ndarray
    profile: RadialProfile
    groups: GroupProfiles


def check_images(
    source: ParticleSource, findings: Findings, expected: str = "auto", mask_radius: float | None = None
) -> None:
    """Read every image once: NaN and inf, constant images, contrast, scale, copies; a bounded piece at a time."""
    facts = look_through(source, findings, mask_radius)
    read = np.isfinite(facts.mean)
    if not read.any():  # why, was told
        return
    flat = np.flatnonzero(facts.blank & read)
    findings.fact("pixel values", "all finite")
    for row in np.flatnonzero(facts.peak > LARGEST):
        findings.error("pixel values", too_large(source, row))
    findings.fact("constant images", "none")
    if len(flat) and len(flat) == read.sum():
        findings.error("constant images", "all images are constant: there is nothing to align")
    else:
        for row in flat:
            findings.warn(
                "constant images", f"item {row + 1} ({source.names[row]}): it will be kept with pose 0 and score 0"
            )
    _check_polarity(source, facts, findings, expected, mask_radius)
    _check_scale(facts.std[read & ~facts.blank], findings)
    _check_background(facts, read & ~facts.blank, findings)
    _check_copies(source, facts, findings)


def look_through(source: ParticleSource, findings: Findings, mask_radius: float | None = None) -> ImageFacts:
    """One pass over the images that can be read, stack by stack, a bounded piece at a time."""
    n = len(source)
    profile = RadialProfile(source.box)
    chosen = np.zeros(n, bool)
    chosen[np.linspace(0, n - 1, min(n, HELD)).astype(int)] = True
    groups = GroupProfiles(source, len(profile.radii), chosen)
    facts = ImageFacts(
        *(np.full(n, value, np.float32) for value in (np.nan, np.nan, 0, 0, 0)), np.ones(n, bool), profile, groups
    )
    progress, done = Progress(), 0
    for number, reader in enumerate(source.stacks):
        if min(reader.shape) < SMALLEST_BOX:  # which was told, and there is no background to measure
            continue
        rows = np.flatnonzero((source.stack == number) & (source.item < reader.whole))
        item = source.item[rows]
        if (item[1:] < item[:-1]).any():
            rows = rows[np.argsort(item, kind="stable")]
        del item
        side = min(reader.shape)
        background = Background(side, mask_radius or DISC * side)
        step = max(1, CHUNK_BYTES // (4 * reader.shape[0] * reader.shape[1]))
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            images = np.empty((len(part), *reader.shape), np.float32)
            try:
                reader.read_into(images, np.arange(len(part)), source.item[part], findings.error)
            except UdlError as error:  # the file went away, or its disk is broken: the next one may be fine
                findings.error("files", str(error))
                break
            source.apply_sign(images, part)
            with np.errstate(invalid="ignore"):  # of infinities of both signs: it is no number, as it is to be
                good = np.isfinite(images.sum((1, 2), dtype=np.float64))
            _measure(facts, part[good], torch.from_numpy(images[good]), background)
            done += len(part)
            progress.show("reading", done, n)
    progress.clear()
    return facts


def _measure(facts: ImageFacts, rows: np.ndarray, images: torch.Tensor, background: Background) -> None:
    """Facts of images (n, rows, columns); of those that are not square the middle square counts."""
    if not len(rows):
        return
    side = background.box
    top, left = (images.shape[1] - side) // 2, (images.shape[2] - side) // 2
    squares = images[:, top : top + side, left : left + side]
    levels = background.measure(squares)
    normal, hot = background.levelled(squares, levels.mean, levels.slope, levels.std)
    facts.mean[rows], slope, facts.std[rows], facts.blank[rows], _ = levels.numpy()
    facts.steep[rows], facts.hot[rows] = steepness(slope, facts.std[rows], side), hot.numpy()
    peak = images.abs().amax((1, 2))
    facts.peak[rows] = peak.numpy()
    if images.shape[1:] == (facts.profile.box, facts.profile.box):
        used = ~levels.flat & (peak <= LARGEST)
        facts.groups.add(rows[used.numpy()], facts.profile.add(normal[used]))


def _check_polarity(
    source: ParticleSource, facts: ImageFacts, findings: Findings, expected: str, mask_radius: float | None
) -> None:
    """Whether particles are bright or dark on their background, in the whole set, stack by stack, optics group by
    optics group, and one by one; and how far they reach, where nobody says it."""
    if not facts.profile.count:
        return
    model = (source.pixel_size if source.pixel_size_known else None, sampled_defocus(source), mask_radius)
    if mask_radius is None:
        extent = extent_of(facts.profile, *model[:2])
        size = size_words(extent.radius, source.pixel_size, source.pixel_size_known)
        findings.fact("diameter", f"{size}, {DIAMETER_FROM['data' if extent.found else 'box']}")
    found = facts.profile.decide(*model).word
    findings.fact("contrast", "cannot be told" if found == UNKNOWN else f"{found} particles")
    if expected != "auto" and found not in (expected, UNKNOWN):
        findings.warn(
            "contrast", f"the particles look {found}, not {expected}: invert the images, or say so to other programs"
        )
    elif expected == "auto" and found == DARK:
        findings.warn(
            "contrast",
            "the particles look dark on a bright ground: the alignment takes them as they are, but Xmipp and RELION "
            "expect bright ones (say --contrast dark where it is meant so)",
        )
    opposite = facts.groups.opposite(facts.profile, *model)
    if opposite:
        findings.warn("contrast", opposite)


def _check_scale(std: np.ndarray, findings: Findings) -> None:
    if len(std) < 2:
        return
    worth = worth_of_mean(std)
    spread = float(np.quantile(std, 0.99) / np.median(std))
    findings.fact("scale", f"noise within a factor of {spread:.3g} (99 % of the images)")
    if worth < FEW:
        findings.warn(
            "scale",
            f"the noise of the images differs by a factor of {spread:.3g} and more, so that their plain mean is worth "
            f"{worth:.0%} of them: normalise the particles",
        )


def _check_background(facts: ImageFacts, seen: np.ndarray, findings: Findings) -> None:
    """Ramps and hot pixels, which every run takes off; other programs may not."""
    findings.fact("background", "even, no pixels that stick out")
    found = background_words(facts.steep[seen], facts.hot[seen].astype(np.int64))
    if found:
        findings.note("background", f"{found}; other programs may not: normalise the particles for them")


def _check_copies(source: ParticleSource, facts: ImageFacts, findings: Findings) -> None:
    """Images that are the same in every pixel though they have different names."""
    findings.fact("copies", "none")
    one_box = np.array([reader.shape == source.stacks[0].shape for reader in source.stacks])
    first = originals(source, facts.mean, facts.std, facts.blank | ~one_box[source.stack])
    for row in np.flatnonzero(first != np.arange(len(source))):
        if source.names[row] != source.names[first[row]]:  # else the table names it twice, which was told
            findings.warn(
                "copies",
                f"item {row + 1} ({source.names[row]}) is item {first[row] + 1} ({source.names[first[row]]}) again: "
                "the noise of a copy agrees with itself, which looks like signal",
            )
