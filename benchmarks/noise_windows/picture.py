"""The template that picked windows of noise, and what programs average of them, side by side.

    python -m benchmarks.noise_windows.picture OUT/white_hook_1000_of_20000_48_seed11 docs/images/noise_picks.png

of a set that ``python -m benchmarks.noise_picks --out OUT --relion`` leaves.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from PIL import Image
from scipy import fft

from benchmarks.noise_windows.figures import LOW_PASS, likeness
from scipion_udl.io.stacks import StackReader
from scipion_udl.report import figures

MOST = 4


def averages(folder: Path) -> dict[str, np.ndarray]:
    """Images (n, D, D) by what they are: the template, RELION's class averages, those of `classify`, the average of
    `align`; of each those that are most like the template, which come first."""
    template = StackReader(str(folder / "template.mrc")).read()
    found = {}
    for run in sorted(folder.glob("relion_*/")):
        last = sorted(run.glob("run_it*_classes.mrcs"))[-1]
        found["RELION"] = StackReader(str(last)).read()
    found["classify"] = StackReader(str(folder / "classify" / "averages_weighted.mrcs")).read()
    found["align"] = StackReader(str(folder / "align" / "average_weighted.mrcs")).read()
    shows = folder.name.split("_")[1]
    best = {name: images[np.argsort(-likeness(images, shows))[:MOST]] for name, images in found.items()}
    return {"template": template} | best


def draw(picture: Path, rows: dict[str, np.ndarray]) -> None:
    """Save the averages in a line, with what they are above."""
    with figures.style():
        figure = figures.new_figure(0.95 * sum(map(len, rows.values())), 1.3)
        widths = [len(images) for images in rows.values()]
        for part, (name, images) in zip(figure.subfigures(1, len(rows), width_ratios=widths), rows.items()):
            part.suptitle(name, fontsize=8)
            for axes, image in zip(np.atleast_1d(part.subplots(1, len(images))), images):
                _show(axes, image)
        figure.savefig(picture, dpi=110, facecolor="white")
    Image.open(picture).convert("L").save(picture, optimize=True)


def _show(axes: Axes, image: np.ndarray) -> None:
    """An image (D, D), low-passed to the ring that averages are compared with the template up to."""
    box = len(image)
    ring = np.hypot(fft.fftfreq(box, 1 / box)[:, None], np.arange(box // 2 + 1))
    smooth = fft.irfft2(fft.rfft2(image) * np.exp(-((ring / (box / LOW_PASS)) ** 4)), s=image.shape)
    axes.imshow(smooth, cmap="gray", interpolation="bicubic", vmin=smooth.min(), vmax=smooth.max())
    axes.set_axis_off()


def main(argv: list[str] | None = None) -> None:
    """Draw the averages of finished runs."""
    name = "python -m benchmarks.noise_windows.picture"
    parser = argparse.ArgumentParser(prog=name, description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="of the set, in the folder of benchmarks.noise_picks")
    parser.add_argument("picture", type=Path, help="PNG file")
    args = parser.parse_args(argv)
    draw(args.picture, averages(args.folder))
    print(args.picture)


if __name__ == "__main__":
    main()
