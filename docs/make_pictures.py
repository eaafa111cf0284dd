"""Makes the pictures of README.md and docs/ out of the folder that an alignment wrote.

    python docs/make_pictures.py RUN [docs/images]
    python docs/make_pictures.py --formats [docs/images]        only those of the conventions and of the molecules that
                                                                `simulate --views` knows, which need no run

RUN is the output folder of ``scipion-udl align`` (or of the demo's alignment); of ``scipion-udl align --by-class``, as
``python -m benchmarks.classes`` leaves it in OUT/aligned, the picture of the classes is made; of ``compare`` that of a
comparison. Pictures of reports need Chromium; without it they are left as they are.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from PIL import Image

from scipion_udl.imaging.poses import Poses, to_relion
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import StackReader
from scipion_udl.report import figures, pictures
from scipion_udl.simulation.phantoms import phantom
from scipion_udl.simulation.phantoms_3d import PHANTOMS_3D, molecule

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def before_after(run: Path, picture: Path) -> None:
    """Nine particles as they came, the mean of all before, the mean of all after the alignment."""
    source = open_particles(str(run / "aligned.star"))
    particles = source.read(np.arange(min(9, len(source))))
    before, after = (StackReader(str(run / name)).read()[0] for name in ("average_before.mrcs", "average.mrcs"))
    with figures.style():
        figure = figures.new_figure(10.2, 3.75)
        left, middle, right = figure.subfigures(1, 3)
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
        tiles = left.subplots(3, 3)
        for axes, image in zip(tiles.flat, particles):
            _show(axes, image)
        for axes in list(tiles.flat)[len(particles) :]:
            axes.set_axis_off()
        left.suptitle(f"{min(9, len(source))} of {len(source)} particles", fontsize=11)
        for part, image, title in ((middle, before, "average before"), (right, after, "average after")):
            axes = part.subplots()
            _show(axes, image)
            part.suptitle(title, fontsize=11)
            if source.pixel_size_known:
                _scale_bar(axes, len(image), source.pixel_size)
        figure.savefig(picture, dpi=110, facecolor="white")
    Image.open(picture).convert("L").save(picture, optimize=True)
    print(picture)


def _show(axes: Axes, image: np.ndarray) -> None:
    axes.imshow(pictures.to_grey(image), cmap="gray", interpolation="bicubic", vmin=0, vmax=255)
    axes.set_axis_off()


def _scale_bar(axes: Axes, box: int, pixel_size: float) -> None:
    length = pictures.nice_length(box * pixel_size / 3.5)
    x, y = 0.05 * box, 0.95 * box
    axes.plot([x, x + length / pixel_size], [y, y], color="white", lw=3, solid_capstyle="butt")
    axes.text(x + length / pixel_size / 2, y - 0.02 * box, f"{length:g} Å", color="white", ha="center", va="bottom")


def formats(picture: Path, box: int = 96) -> None:
    """One particle brought into register twice: rotated, then shifted; and shifted, then rotated."""
    pose = Poses([35.0], [[15.0, -9.0]])
    psi, origin = to_relion(pose)
    (x, y), (ox, oy) = pose.shift[0], origin[0]
    minus = "\N{MINUS SIGN}"
    numbers = {"x": x, "y": y, "ox": ox, "oy": oy}
    numbers = {name: f"{value:.1f}".replace("-", minus) for name, value in numbers.items()}
    ways = {
        "Scipion: the matrix [R | t]\nXmipp: anglePsi = {minus}35, shiftX = {x}, shiftY = {y}": (
            "turned by 35°, clockwise",
            Poses([0.0], pose.shift),
            "then shifted by ({x}, {y}) px",
        ),
        "RELION: rlnAnglePsi = 35, rlnOriginX = {ox}, rlnOriginY = {oy}\n"
        "cryoSPARC: pose = 0.611 rad, shift = ({ox}, {oy})": (
            "shifted by ({ox}, {oy}) px",
            Poses(psi),
            "then turned by 35°, clockwise",
        ),
    }
    view = phantom("hook", box)
    with figures.style():
        figure = figures.new_figure(9.0, 6.6)
        for part, (title, (first, left, then)) in zip(figure.subfigures(2, 1, hspace=0.04), ways.items()):
            part.suptitle(title.format(minus=minus, **numbers), fontsize=11)
            steps = ((pose, "the particle"), (left, first), (Poses.identity(1), then))
            for axes, (still_to_do, caption) in zip(part.subplots(1, 3), steps):
                _show(axes, view.sample(still_to_do)[0])
                _mark_centre(axes, box)
                axes.set_title(caption.format(**numbers), fontsize=10)
        figure.savefig(picture, dpi=100, facecolor="white")
    Image.open(picture).convert("P", palette=Image.Palette.ADAPTIVE, colors=64).save(picture, optimize=True)
    print(picture)


def molecules(picture: Path, views: int = 8, box: int = 128) -> None:
    """The built-in molecules of `simulate --views`, a row each, from directions all over one half of the sphere."""
    rotation, height = np.pi * (1 + 5**0.5) * np.arange(views), (np.arange(views) + 0.5) / views
    flat = np.sqrt(1 - height**2)
    directions = np.stack([flat * np.cos(rotation), flat * np.sin(rotation), height], -1)
    with figures.style():
        figure = figures.new_figure(1.05 * views, 1.05 * len(PHANTOMS_3D))
        figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.01, hspace=0.01)
        for name, row in zip(PHANTOMS_3D, figure.subplots(len(PHANTOMS_3D), views)):
            for axes, image in zip(row, molecule(name, box).project(directions, Poses.identity(views))):
                _show(axes, image)
            row[0].set_title(name, fontsize=10, loc="left")
        figure.savefig(picture, dpi=100, facecolor="white")
    Image.open(picture).convert("L").save(picture, optimize=True)
    print(picture)


def _mark_centre(axes: Axes, box: int) -> None:
    """A cross at the origin, the pixel D//2, and the axes: x to the right, y down."""
    axes.plot([box // 2], [box // 2], "+", color="#ffb000", ms=14, mew=1.5)
    for dx, dy, name in ((14, 0, "x"), (0, 14, "y")):
        start = (6, 6)
        axes.annotate("", (start[0] + dx, start[1] + dy), start, arrowprops={"arrowstyle": "->", "color": "#ffb000"})
        axes.text(start[0] + 1.25 * dx, start[1] + 1.25 * dy, name, color="#ffb000", ha="center", va="center")


def screenshot(run: Path, picture: Path, width: int = 1180, height: int = 1300) -> None:
    """The top of the report as a browser shows it."""
    browser = next((found for found in map(shutil.which, BROWSERS) if found), None)
    if browser is None:
        print(f"{picture}: not made, there is no Chromium here")
        return
    with tempfile.TemporaryDirectory() as profile:
        shot = Path(profile) / "shot.png"
        flags = ["--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
        flags += ["--no-sandbox"] if os.geteuid() == 0 else []
        command = [browser, *flags, "--hide-scrollbars", f"--user-data-dir={profile}/profile"]
        command += [f"--window-size={width},{height}", f"--screenshot={shot}", (run / "report.html").resolve().as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        Image.open(shot).convert("RGB").save(picture, optimize=True)
    print(picture)


def main() -> None:
    """Make all pictures."""
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    run, images = Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) == 3 else Path(__file__).parent / "images")
    images.mkdir(parents=True, exist_ok=True)
    formats(images / "formats.png")
    molecules(images / "molecules.png")
    if sys.argv[1] == "--formats":
        return
    if (run / "compare.csv").exists():
        screenshot(run, images / "compared.png", height=2280)
        return
    if (run / "averages.mrcs").exists():
        screenshot(run, images / "classes.png", height=1480)
        return
    before_after(run, images / "before_after.png")
    screenshot(run, images / "report.png")


if __name__ == "__main__":
    main()
