"""The largest classes of `scipion-udl classify` beside those of RELION on the same particles, and what they are of.

    python -m benchmarks.many_views.gallery OUT/crane_0.1 2000 25 docs/images/views_classes.png

of the runs that ``python -m benchmarks.views --out OUT --only crane:0.1 --relion 2000 25`` leaves. Under each average
stands the noise-free projection of the molecule along the axis of the class, rotated and shifted as the average is.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from PIL import Image

from benchmarks.many_views import programs
from benchmarks.many_views.particles import Truth, first_of
from benchmarks.many_views.programs import Result
from benchmarks.many_views.resolution import TrueView, true_views
from benchmarks.many_views.spread import Classes
from scipion_udl.io.particles import open_particles
from scipion_udl.report import figures
from scipion_udl.validation.reference_match import soft_circle

MOST = 12
SHOWN = 0.40  # radius of the circle that grey values are chosen by, share of the box


def draw(picture: Path, rows: dict[str, list[TrueView]], pixel_size: float) -> None:
    """Save a picture: for each program, by its name, a line of averages and a line of true projections."""
    columns = max(map(len, rows.values()))
    with figures.style():
        figure = figures.new_figure(0.95 * columns, 2.25 * len(rows))
        figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.01, hspace=0.01)
        for part, (name, views) in zip(figure.subfigures(len(rows), 1, squeeze=False).flat, rows.items()):
            part.suptitle(f"{name}: its largest classes, and the molecule along their axes", fontsize=10)
            tiles = part.subplots(2, columns, squeeze=False)
            for axes in tiles.flat:
                axes.set_axis_off()
            for (upper, lower), view in zip(tiles.T, views):
                _show(upper, view.average)
                _show(lower, view.projection)
                reach = f"{pixel_size / view.frequency:.0f} Å" if view.frequency else "no"
                upper.set_title(f"{view.members}, {reach}", fontsize=7, loc="center", fontweight="normal", pad=2)
        figure.savefig(picture, dpi=110, facecolor="white")
    Image.open(picture).convert("L").save(picture, optimize=True)


def _show(axes: Axes, image: np.ndarray) -> None:
    """An image (D, D), its greys those of what lies in the middle."""
    inside = soft_circle(len(image), SHOWN) > 0.5
    low, high = np.percentile(image[inside], [0.5, 99.8])
    axes.imshow(image, cmap="gray", interpolation="bicubic", vmin=low, vmax=max(high, low + 1e-12))


def of_results(results: list[Result], truth: Truth, most: int = MOST) -> dict[str, list[TrueView]]:
    """The largest classes of each result, by its program."""
    return {one.program: true_views(Classes.read(one.table, truth), one.averages, most) for one in results}


def main(argv: list[str] | None = None) -> None:
    """Draw the classes of finished runs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_views.gallery", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="of the set, in the folder of benchmarks.views")
    parser.add_argument("count", type=int, metavar="N", help="particles")
    parser.add_argument("classes", type=int, metavar="K", help="classes")
    parser.add_argument("picture", type=Path, help="PNG file")
    parser.add_argument("--most", type=int, default=MOST, help=f"classes of each ({MOST})")
    args = parser.parse_args(argv)
    table = first_of(args.folder.resolve() / "particles.star", args.count)
    results = [programs.classify_result(table, args.classes), programs.relion_result(table, args.classes)]
    rows = of_results(results, Truth.read(args.folder.resolve()), args.most)
    draw(args.picture, rows, open_particles(str(table)).pixel_size)
    print(args.picture)


if __name__ == "__main__":
    main()
