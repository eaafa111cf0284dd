"""The reference of the engine's modules, a page for each folder, made from their docstrings."""

from __future__ import annotations

import ast
from pathlib import Path

from site_pages.pages import save

PACKAGE = Path(__file__).resolve().parents[2] / "scipion_udl"
# Folders from the ground up, and what they are.
FOLDERS = {
    "imaging": "Numbers in, numbers out: poses, Fourier coefficients, CTF, FRC, spectra.",
    "io": "Tables and stacks of RELION, Xmipp and cryoSPARC.",
    "models": "The networks and their files.",
    "compute": "Devices, processes that share a run, threads, memory, progress.",
    "particles": "Particles prepared chunk by chunk: background, noise, polarity, extent, duplicates, outliers.",
    "training": "What networks learn, from what, and for how long.",
    "alignment": "Initial poses, half sets, refinement, averages, CTF mode, mirror images.",
    "classification": "2D classification.",
    "validation": "What an alignment is worth.",
    "simulation": "Synthetic particles with known poses.",
    "pipelines": "Methods put together: a run, its classes, what came of it.",
    "settings": "Every option, once.",
}


def write(folder: Path) -> None:
    """Write ``index.md`` and a page for each folder of the engine into ``folder``, made where it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in FOLDERS.items():
        save(folder / f"{name}.md", _page(name, text))
    rows = "\n".join(f"| [`{name}`]({name}.md) | {text} |" for name, text in FOLDERS.items())
    names = "\n".join(FOLDERS)
    save(
        folder / "index.md",
        "# The modules of the engine\n\nFor those who change the program, or need a piece of it: from the ground up. "
        "Names may change from version to version; those of the [Python interface](../api.md) stay.\n\n"
        f"| folder | |\n| --- | --- |\n{rows}\n\n```{{toctree}}\n:hidden:\n\n{names}\n```\n",
    )


def _page(name: str, text: str) -> str:
    parts = [f"# {name}\n\n{text}\n"]
    for path in sorted((PACKAGE / name).rglob("*.py")):
        if path.name == "__init__.py" or not _public(path):
            continue
        dotted = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        parts.append(f"## {dotted.split('.', 2)[2]}\n\n```{{eval-rst}}\n.. automodule:: {dotted}\n   :members:\n```\n")
    return "\n".join(parts)


def _public(path: Path) -> bool:
    """Whether a module has a function or class for others."""
    nodes = ast.parse(path.read_text(encoding="utf-8")).body
    return any(isinstance(n, (ast.FunctionDef, ast.ClassDef)) and not n.name.startswith("_") for n in nodes)
