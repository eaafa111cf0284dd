"""The figures of docs/method.md: particles made by formula, networks trained on them as anybody would.

    python -m benchmarks.method_figures --out docs/images

Takes about a minute of CPU. --model takes a pair network that was trained before (`train --network resnet`),
--matching a matching network (see benchmarks.photos), --photos a folder in the structure of MS-COCO instead of the
photographs that scikit-image ships. --only names the figures to make.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.photos import shipped_photographs
from scipion_udl import cli
from scipion_udl.imaging.fourier import to_fourier, transform
from scipion_udl.imaging.polar_spectra import SpectraSettings
from scipion_udl.imaging.poses import Poses, rotations, wrap
from scipion_udl.imaging.spectrum_images import SpectrumImageSettings
from scipion_udl.io.particles import open_particles
from scipion_udl.jobs.align_pairs import PairedImages, pair_up, true_poses
from scipion_udl.models.checkpoint import ModelCard, load_model
from scipion_udl.models.heads import circular_mean
from scipion_udl.models.matching import correlation_map, working_images
from scipion_udl.models.resnet import PairNetwork
from scipion_udl.particles.prepared import PreparedParticles
from scipion_udl.report import figures, pictures
from scipion_udl.report.figures import AMBER, BLUE, MUTED, RED, TEAL
from scipion_udl.simulation.phantoms import phantom
from scipion_udl.training.losses import reconstruction_loss

CPU = torch.device("cpu")
BOX, PIXEL_SIZE, TURN, VIEW = 64, 4.0, 40.0, "hook"
DPI = 100


@dataclass
class Workshop:
    """What the figures are made from, each made when it is first asked for.

    folder: for files that nobody keeps; threads: of the CPU; model, matching: trained networks, None to train them
    here; photos: photographs as train2017/ and val2017/, None for those of scikit-image.
    """

    folder: Path
    threads: int = 1
    model: str | None = None
    matching: str | None = None
    photos: str | None = None

    def command(self, *words: object) -> None:
        """Run a command of scipion-udl here. Raises SystemExit where it fails."""
        print("scipion-udl", *words, flush=True)
        with torch.enable_grad():  # whoever needs a network first may not want gradients of its own
            failed = cli.main([str(word) for word in words])
        if failed:
            raise SystemExit(f"scipion-udl {words[0]} failed")

    def particles(self, name: str, count: int, snr: float, seed: int) -> PreparedParticles:
        """Particles of the phantom, off centre, seen through a CTF, from a set called ``name``."""
        folder = self.folder / name
        if not folder.exists():
            self.command("simulate", folder, "--phantom", VIEW, "--count", count, "--snr", snr, "--box", BOX,
                         "--pixel-size", PIXEL_SIZE, "--shift", 5, "--seed", seed)  # fmt: skip
        return PreparedParticles(open_particles(str(folder / "particles.star")), CPU)

    def _trained(self, name: str, data: str, *options: object) -> str:
        path = self.folder / name
        self.command("train", self.folder / data / "particles.star", "-o", path, "--gpu", "none", "--threads",
                     self.threads, *options)  # fmt: skip
        return str(path / "model.safetensors")

    @cached_property
    def noisy(self) -> PreparedParticles:
        """512 particles at SNR 0.3."""
        return self.particles("noisy", 512, 0.3, 5)

    @cached_property
    def clean(self) -> PreparedParticles:
        """256 particles without noise that no network was trained on."""
        return self.particles("clean", 256, np.inf, 6)

    @cached_property
    def polar(self) -> tuple[torch.nn.Module, ModelCard]:
        """The polar network, trained by JUDL on the noisy particles."""
        _ = self.noisy
        return load_model(self._trained("polar", "noisy", "--epochs", 3), CPU)

    @cached_property
    def pair(self) -> tuple[PairNetwork, ModelCard]:
        """The pair network, narrow, trained by UDL on other particles without noise."""
        if self.model is None:
            self.particles("pair_data", 1500, np.inf, 7)
            options = ("--network", "resnet", "--method", "udl", "--epochs", 12)
            self.model = self._trained("pair", "pair_data", *options)
        network, card = load_model(self.model, CPU)
        if card.network != "resnet":
            raise SystemExit(f"--model: {self.model} is a {card.network} network, not resnet")
        return network, card

    @cached_property
    def coco(self) -> str:
        """The photographs."""
        return self.photos or str(shipped_photographs(self.folder / "photographs"))

    @cached_property
    def pairs(self) -> tuple[PairedImages, Poses]:
        """Pairs of patches of photographs that no network was trained on, and the true poses between them."""
        folder = self.folder / "val2017"
        self.command("simulate", folder, "--photos", self.coco, "--part", "val2017", "--patches", 40, "--box", BOX,
                     "--shift", 5, "--seed", 2)  # fmt: skip
        pairs = pair_up(open_particles(str(folder / "particles.star")))
        return pairs, true_poses(pairs, str(folder / "truth.star"))[0]

    @cached_property
    def matcher(self) -> tuple[torch.nn.Module, ModelCard]:
        """The matching network, narrow, trained by UDL on patches of other photographs."""
        if self.matching is None:
            self.command("simulate", self.folder / "train2017", "--photos", self.coco, "--part", "train2017",
                         "--patches", 150, "--box", BOX, "--shift", 5)  # fmt: skip
            options = ("--network", "matching", "--method", "udl", "--epochs", 8)
            self.matching = self._trained("matching", "train2017", *options)
        network, card = load_model(self.matching, CPU)
        if card.network != "matching":
            raise SystemExit(f"--matching: {self.matching} is a {card.network} network, not matching")
        return network, card


def fine_spectra(particles: PreparedParticles, settings: SpectrumImageSettings) -> torch.Tensor:
    """Spectra (N, F, F) of all particles, sampled so that they can be rotated."""
    rows = np.arange(len(particles))
    return particles.all(rows, "spectra", lambda part, values: settings.fine(values, particles.box))


# The figures.


def spectrum(shop: Workshop) -> Figure:
    """A particle, shifted, rotated, and rotated by 180 degrees more, and their log amplitude spectra."""
    off = np.array([9.0, -6.0])
    angle = np.array([0.0, 0.0, TURN, TURN + 180])
    # A particle rotated by a has the pose -a; what lies at ``off`` is brought back by the pose's shift.
    shift = np.array([[0, 0], -off, [0, 0], [0, 0]])
    images = phantom(VIEW, BOX).sample(Poses(-angle, shift))
    settings = SpectrumImageSettings(box=BOX, size=48, r_max=23)
    coefficients = to_fourier(torch.from_numpy((images - images.mean()) / images.std()))
    spectra = settings.of(coefficients, BOX)[:, 0].numpy()
    polar = SpectraSettings.for_box(BOX).of(coefficients[:1], BOX)[0]
    strongest = float(polar[:8].mean(0).argmax()) * 180 / polar.shape[-1]
    words = ("a particle", "moved", f"turned by {TURN:.0f}°", "turned by 180° more")
    figure = figures.new_figure(8.4, 4.4)
    for column, axes in enumerate(figure.subplots(2, 4).T):
        show(axes[0], images[column], words[column])
        show(axes[1], spectra[column], "spectrum")
        direction = np.radians(strongest + angle[column])
        arm = 23 * np.array([np.cos(direction), np.sin(direction)])
        for side in (-1, 1):
            ends = np.stack([0.72 * arm, arm]) * side + 24
            axes[1].plot(*ends.T, color=AMBER, lw=2)
    return figure


@torch.no_grad()
def difference(shop: Workshop) -> Figure:
    """UDL: the answer changes as the applied turns say; what is left is one bias, which g(I, I) shows."""
    network, card = shop.pair
    settings = card.inputs()
    fine = fine_spectra(shop.clean, settings)
    generator = torch.Generator().manual_seed(1)
    rotation = (torch.rand(2, len(fine), generator=generator) - 0.5) * 180
    applied = wrap((rotation[0] - rotation[1]).double().numpy(), 180)
    torch.manual_seed(2)
    fresh = PairNetwork(**card.config).eval()
    figure = figures.new_figure(10.2, 3.5)
    left, middle, right = figure.subplots(1, 3)
    for net, colour, label in ((fresh, "#aeb8c2", "before training"), (network, BLUE, "trained")):
        looks = [
            net.describe(settings.rotated(fine.roll(k, 0), part)) for k, part in ((0, rotation[0]), (1, rotation[1]))
        ]
        start = [net.describe(settings.rotated(fine.roll(k, 0))) for k in (0, 1)]
        change = wrap((net.between(*looks) - net.between(*start)).double().numpy(), 180)
        left.plot(applied, change, "o", ms=2.5, color=colour, label=label)
    left.set(title="particles: UDL holds", xlabel="a − b (deg, modulo 180)", ylabel="change of g (deg)")
    left.set(xticks=[-90, -45, 0, 45, 90], yticks=[-90, -45, 0, 45, 90])
    left.legend(loc="upper left", frameon=True, framealpha=0.85, edgecolor="none")
    pairs, true = shop.pairs
    matcher = shop.matcher[0]
    box = matcher.config["box"]
    raw, same = [], []
    for _, first, second in pairs.chunks(64):
        one, other = (matcher.describe(working_images(images, box)) for images in (first, second))
        raw.append(matcher.compare(one, other))
        same.append(matcher.compare(one, one))
    raw, same = torch.cat(raw).double(), torch.cat(same).double()
    answer = wrap(raw.numpy())
    middle.plot(true.angle, answer, "o", ms=2.5, color=BLUE)
    middle.set(title="photographs: off by a bias", xlabel="true turn (deg)", ylabel="g (deg)")
    middle.set(xticks=[-180, -90, 0, 90, 180], yticks=[-180, -90, 0, 90, 180])
    bias = float(circular_mean(same, 0, 360.0))
    around = [wrap(values - bias) for values in (raw.numpy() - true.angle, same.numpy())]
    edges = np.arange(-180, 181, 6)
    for values, colour, label in zip(around, (BLUE, AMBER), ("g − true turn", "g(I, I)")):
        right.hist(values, edges, color=colour, alpha=0.75, label=label)
    right.set(title=f"the same bias: g(I, I) = {wrap(bias):.0f}°", xlabel="off the mean of g(I, I) (deg)")
    right.set(xticks=[-180, -90, 0, 90, 180], ylabel="pairs")
    right.legend(loc="upper right")
    return figure


@torch.no_grad()
def joint(shop: Workshop) -> Figure:
    """JUDL: spectra of a batch as they came and rotated as the network says, and the mean of all."""
    network, card = shop.polar
    particles = shop.noisy
    settings = SpectrumImageSettings(box=BOX, size=32, r_max=15)
    fine = fine_spectra(particles, settings)
    look = card.inputs()
    rotations = particles.all(
        np.arange(len(particles)), "spectra", lambda part, values: network.rotations(look.of(values, particles.box))
    )
    images = particles.source.read(np.arange(5))
    came, rotated = settings.rotated(fine), settings.rotated(fine, -rotations)
    figure = figures.new_figure(9.4, 4.9)
    grid = figure.subplots(3, 6)
    for column in range(5):
        show(grid[0, column], images[column])
        show(grid[1, column], came[column, 0].numpy())
        show(grid[2, column], rotated[column, 0].numpy(), f"turned {-wrap(float(rotations[column]), 180):+.0f}°")
    show(grid[0, 5], particles.source.read(np.arange(len(particles))).mean(0), f"mean of {len(particles)}")
    for axes, spectra in ((grid[1, 5], came), (grid[2, 5], rotated)):
        show(axes, spectra.mean(0)[0].numpy(), f"mean; error {float(reconstruction_loss(spectra)):.2f}")
    for axes, words in zip(grid[:, 0], ("particles", "spectra", "spectra, aligned")):
        axes.text(-0.06, 0.5, words, rotation=90, ha="right", va="center", transform=axes.transAxes)
    return figure


@torch.no_grad()
def polar(shop: Workshop) -> Figure:
    """Polar spectra of a particle and of the same rotated, the network's template, and its logits for both."""
    network, card = shop.polar
    look = card.inputs()
    images = phantom(VIEW, BOX).sample(Poses([0.0, -TURN]))
    images = torch.from_numpy((images - images.mean()) / images.std() * 1.2)
    spectra = look.of(to_fourier(images), BOX)
    logits, rotations = network(spectra).numpy(), network.rotations(spectra).numpy()
    template = (network.template * network.radial_weight[:, None]).numpy()
    figure = figures.new_figure(9.4, 4.4)
    grid = figure.subplots(2, 2)
    extent = (0, 180, look.r_max + 0.5, look.r_min - 0.5)
    pictures = (
        ("polar spectrum of a particle", spectra[0].numpy()),
        (f"of the same, turned by {TURN:.0f}°", spectra[1].numpy()),
        ("what the network has learned: the template", template),
    )
    for axes, (title, values) in zip(grid.flat, pictures):
        axes.imshow(values, extent=extent, aspect="auto", cmap="gray")
        axes.set(title=title, xlabel="direction (deg)", ylabel="radius (1/box)", xticks=range(0, 181, 45))
        axes.grid(visible=False)
    direction = np.arange(look.angles) * 180 / look.angles
    words = ("the particle", f"turned by {TURN:.0f}°")
    for values, rotation, colour, label in zip(logits, rotations, (TEAL, BLUE), words):
        grid[1, 1].plot(direction, values, color=colour, label=f"{label}: {rotation % 180:.1f}°")
        grid[1, 1].axvline(rotation % 180, color=colour, lw=1, ls=(0, (4, 3)))
    grid[1, 1].set(title="agreement with the template", xlabel="turn (deg)", xlim=(0, 180), xticks=range(0, 181, 45))
    grid[1, 1].legend(loc="best")
    return figure


@torch.no_grad()
def mask(shop: Workshop) -> Figure:
    """What the mask module of the pair network looks at, in three particles, and in all once they are aligned."""
    network, card = shop.pair
    if network.mask is None:
        raise SystemExit("--model: that network has no mask")
    settings = card.inputs()
    fine = fine_spectra(shop.clean, settings)
    rotated = settings.rotated(fine)
    aligned = settings.rotated(fine, -network.rotations(rotated))
    weights, aligned_weights = network.mask(rotated), torch.cat([network.mask(part) for part in aligned.split(64)])
    figure = figures.new_figure(10.2, 3.9)
    grid = figure.subplots(2, 5, width_ratios=(1, 1, 1, 1, 1.3))
    for column in range(3):
        show(grid[0, column], rotated[column, 0].numpy(), "spectrum")
        shown = show_weight(grid[1, column], weights[column, 0].numpy(), "weights")
    show(grid[0, 3], aligned.mean(0)[0].numpy(), f"mean of {len(fine)}, aligned")
    show_weight(grid[1, 3], aligned_weights.mean(0)[0].numpy(), "mean of the weights")
    figure.colorbar(shown, ax=grid[:, :4], shrink=0.4, anchor=(0, 0.1), aspect=15, pad=0.02)
    inside = settings.inside().bool()
    axis = torch.arange(settings.size) - settings.size // 2
    ring = (axis[:, None] ** 2 + axis[None] ** 2).float().sqrt().round().long()
    rings = torch.arange(int(ring[inside].min()), int(ring[inside].max()) + 1)
    by_ring = [weights[:, 0, (ring == r) & inside] for r in rings]
    mean, deviation = (np.array([float(f(values)) for values in by_ring]) for f in (torch.mean, torch.std))
    grid[0, 4].plot(rings, mean, color=BLUE)
    grid[0, 4].fill_between(rings, mean - deviation, mean + deviation, color=BLUE, alpha=0.2, lw=0)
    grid[0, 4].set(title="weight by radius", xlabel="radius (1/box)", ylim=(0, 1))
    value, weight = rotated[:, 0, inside].flatten().numpy(), weights[:, 0, inside].flatten().numpy()
    edges = np.quantile(value, np.linspace(0, 1, 21))
    part = np.clip(np.searchsorted(edges, value) - 1, 0, 19)
    middle, mean = (np.array([v[part == k].mean() for k in range(20)]) for v in (value, weight))
    grid[1, 4].plot(middle, mean, "o-", ms=3, color=BLUE)
    grid[1, 4].set(title="weight by value", xlabel="log amplitude, less its ring's mean", ylim=(0, 1))
    return figure


@torch.no_grad()
def matching(shop: Workshop) -> Figure:
    """Where the features of a place in one photograph are found in the other, and the second rotated onto the first."""
    pairs, true = shop.pairs
    network = shop.matcher[0]
    step = len(pairs) // 5
    chosen = np.array([0, step, 3 * step])
    first, second = (torch.from_numpy(pairs.one.read(rows[chosen])) for rows in (pairs.first, pairs.second))
    found, size = network.angles(first, second), network.config["box"]
    maps = correlation_map(*(network.describe(working_images(images, size)) for images in (first, second)))
    rotated = transform(to_fourier(second), BOX, found)
    figure = figures.new_figure(9.4, 6.0)
    for row, axes in enumerate(figure.subplots(len(chosen), 6)):
        pose = true[chosen[[row]]]
        here, there, agreement = _clearest(maps[row].numpy(), pose, network.config["grid"])
        show(axes[0], first[row].numpy(), "first" if row == 0 else "")
        show(axes[1], second[row].numpy(), "second" if row == 0 else "")
        show(axes[5], rotated[row].numpy(), f"turned {wrap(float(found[row])):.0f}° (true {pose.angle[0]:.0f}°)")
        for k, colour in enumerate((RED, AMBER, TEAL)):
            for panel, place in ((axes[0], here[k]), (axes[1], there[k])):
                panel.plot(*place, "o", mfc="none", mec=colour, ms=9, mew=2)
            axes[2 + k].imshow(agreement[k], cmap="viridis", extent=(-0.5, BOX - 0.5, BOX - 0.5, -0.5))
            axes[2 + k].plot(*there[k], "o", mfc="none", mec=colour, ms=9, mew=2)
            axes[2 + k].set_axis_off()
            if row == 0:
                axes[2 + k].set_title("agrees with", fontsize=9, color=colour)
    return figure


def _clearest(maps: np.ndarray, pose: Poses, grid: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three places of the first image, apart from each other, whose maps (G * G, G, G) have the sharpest peak: (where
    they are, where they truly lie in the second image, (3, 2) x and y each in pixels; their maps)."""
    centre = (np.arange(grid) + 0.5) * BOX / grid - 0.5
    here = np.stack(np.meshgrid(centre, centre), -1).reshape(-1, 2)  # place k = row * grid + column
    # The pose takes p in the second image to R p + t in the first, from pixel BOX//2.
    there = (here - BOX // 2 - pose.shift) @ rotations(pose.angle)[0] + BOX // 2
    inside = (np.hypot(*(here - BOX // 2).T) < 0.4 * BOX) & (np.hypot(*(there - BOX // 2).T) < 0.4 * BOX)
    sharpness = maps.max((1, 2)) / np.maximum(maps.mean((1, 2)), 1e-6) * inside
    kept: list[int] = []
    for k in np.argsort(-sharpness):
        if len(kept) < 3 and all(np.hypot(*(here[k] - here[other])) > 0.25 * BOX for other in kept):
            kept.append(int(k))
    return here[kept], there[kept], maps[kept]


def show(axes: Axes, image: np.ndarray, title: str = "") -> None:
    """An image in grey."""
    axes.imshow(pictures.to_grey(image), cmap="gray", vmin=0, vmax=255)
    axes.set_title(title, fontsize=9, loc="center", fontweight="normal")
    axes.set_axis_off()


def show_weight(axes: Axes, weight: np.ndarray, title: str) -> object:
    """Weights from 0 to 1 in colour."""
    shown = axes.imshow(weight, cmap="viridis", vmin=0, vmax=1)
    axes.set_title(title, fontsize=9, loc="center", fontweight="normal", color=MUTED)
    axes.set_axis_off()
    return shown


FIGURES: dict[str, Callable[[Workshop], Figure]] = {
    "spectrum": spectrum,
    "difference": difference,
    "joint": joint,
    "polar": polar,
    "mask": mask,
    "matching": matching,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Make the figures, OUT/method_NAME.png. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.method_figures", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/images"), help="folder of the pictures (docs/images)")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=list(FIGURES), help="only these figures")
    parser.add_argument("--model", help="a pair network that was trained before (default: one is trained)")
    parser.add_argument("--matching", help="a matching network that was trained before (default: one is trained)")
    parser.add_argument("--photos", help="folder with train2017/ and val2017/ (default: scikit-image's photographs)")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, figures.style():
        shop = Workshop(Path(folder), args.threads, args.model, args.matching, args.photos)
        for name in args.only or FIGURES:
            picture = args.out / f"method_{name}.png"
            FIGURES[name](shop).savefig(picture, dpi=DPI, facecolor="white")
            # A palette is enough for grey and a few colours, and a third of the size.
            Image.open(picture).convert("RGB").quantize(256).save(picture, optimize=True)
            print(picture, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
