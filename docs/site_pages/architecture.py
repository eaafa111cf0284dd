"""The picture of the architecture, drawn from the imports: python docs/site_pages/architecture.py FILE.svg

Every folder of the package stands on its layer of importlinter.toml; an arc is the imports of one folder by another, as
thick as they are many. All arcs lead down, or `make lint` fails.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import grimp
import matplotlib
import tomllib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path as Curve

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "scipion_udl"
GROUND = ("settings", "values", "constants", "errors")
ENGINE, SCIPION, GREY, INK = "#21618c", "#148f77", "#f6f8fa", "#1c2833"
_ABOUT = {
    "viewers": "Analyze results",
    "wizards": "wizards",
    "ccpem": "jobs of CCP-EM's pipeliner",
    "protocols": "forms and runs",
    "convert": "sets to tables and back",
    "objects": "UdlModel",
    "plugin": "the plugin",
    "engine_env": "the engine's environment",
    "cli": "the command line",
    "jobs": "a command's work",
    "api": "import scipion_udl",
    "results": "tables, averages, summary",
    "report": "report.html",
    "pipelines": "methods put together",
    "classification": "2D classification",
    "simulation": "synthetic particles",
    "validation": "what it is worth",
    "alignment": "poses and averages",
    "training": "what networks learn",
    "particles": "particles prepared",
    "compute": "devices, processes",
    "models": "the networks",
    "io": "tables and stacks",
    "imaging": "numbers in, numbers out",
    "settings": "every option, once",
    "values": "kinds of values",
    "constants": "names both sides share",
    "errors": "errors for the user",
    "messages": "warnings as codes",
}


def layers(name: str) -> list[list[str]]:
    """The layers of a contract of importlinter.toml, from the top: the folders or modules that stand on each."""
    told = tomllib.loads((ROOT / "importlinter.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    lines = next(contract["layers"] for contract in told if contract["id"] == name)
    return [[part.strip().removeprefix(f"{PACKAGE}.") for part in line.replace("|", ":").split(":")] for line in lines]


def rows() -> tuple[list[str], list[str], list[str]]:
    """The folders from top to bottom: of the Scipion side, of the engine, and the ground that both stand on."""
    scipion, engine = ([one for layer in layers(name) for one in layer] for name in ("scipion-layers", "engine-layers"))
    ground = [one for one in engine if one in scipion]
    return [s for s in scipion if s not in ground], [e for e in engine if e not in ground], ground


def imports() -> Counter[tuple[str, str]]:
    """How many imports there are of one folder by another."""
    graph = grimp.build_graph(PACKAGE, include_external_packages=False, cache_dir=None)
    found: Counter[tuple[str, str]] = Counter()
    for module in graph.modules:
        if _is_test(module):
            continue
        for imported in graph.find_modules_directly_imported_by(module):
            source, target = _folder(module), _folder(imported)
            if source and target and source != target:
                found[source, target] += 1
    return found


def _is_test(module: str) -> bool:
    return module.startswith(f"{PACKAGE}.tests")


def _folder(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def size(name: str) -> tuple[int, int]:
    """How many modules and lines of code a folder has."""
    path = ROOT / PACKAGE / name
    files = [p for p in path.rglob("*.py") if p.name != "__init__.py"] if path.is_dir() else [path.with_suffix(".py")]
    return len(files), sum(len(p.read_text(encoding="utf-8").splitlines()) for p in files)


def draw(path: Path) -> None:
    """Write the picture to ``path``."""
    parts, found = rows(), imports()
    with matplotlib.rc_context({"svg.hashsalt": "architecture", "font.family": "sans-serif", "svg.fonttype": "none"}):
        figure = Figure(figsize=(9.0, 10.5))
        axes = figure.add_axes((0, 0, 1, 1))
        height, places = 0.0, {}
        for part, title in zip(parts, ("Scipion side: no torch", "Engine: no Scipion", "Ground: both, Python 3.8")):
            axes.text(-2.05, -height + 0.1, title, fontsize=9.5, color="#5d6d7e", va="bottom", style="italic")
            height += 0.65
            for name in part:
                places[name] = -height
                height += 1.0
            height += 0.45
        for (source, target), count in sorted(found.items(), key=lambda item: item[1]):
            if source in places and target in places:
                _arc(axes, places[source], places[target], count, source in parts[0])
        for part, colour in zip(parts, (SCIPION, ENGINE, "#5d6d7e")):
            for name in part:
                _box(axes, name, places[name], colour)
        axes.set_xlim(-7.0, 7.0)
        axes.set_ylim(-height, 0.8)
        axes.axis("off")
        figure.savefig(path, format="svg", metadata={"Date": None})


def _box(axes: Axes, name: str, y: float, colour: str) -> None:
    axes.add_patch(
        FancyBboxPatch(
            (-2.0, y - 0.38), 4.0, 0.76, boxstyle="round,pad=0,rounding_size=0.12", fc=GREY, ec=colour, zorder=3
        )
    )
    count, lines = size(name)
    axes.text(-1.85, y + 0.02, name, fontsize=10.5, weight="bold", color=INK, va="center", zorder=4)
    axes.text(1.88, y + 0.13, _ABOUT.get(name, ""), fontsize=7.5, color=INK, ha="right", va="center", zorder=4)
    about = f"{count} modules, {lines} lines" if count > 1 else f"{lines} lines"
    axes.text(1.88, y - 0.17, about, fontsize=6.5, color="#5d6d7e", ha="right", va="center", zorder=4)


def _arc(axes: Axes, source: float, target: float, count: int, scipion: bool) -> None:
    side, colour = (-1, SCIPION) if scipion else (1, ENGINE)
    reach = side * (2.0 + 0.32 * (source - target) ** 0.9 + 0.25)
    curve = Curve(
        [(side * 2.0, source - 0.1), (reach, source - 0.1), (reach, target + 0.1), (side * 2.0, target + 0.1)],
        [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4],
    )
    width = 0.5 + 0.55 * count**0.5
    axes.add_patch(PathPatch(curve, fc="none", ec=colour, lw=width, alpha=0.35, zorder=1))
    axes.plot(side * 2.0, target + 0.1, marker="<" if side > 0 else ">", color=colour, ms=3.5, alpha=0.8, zorder=2)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
