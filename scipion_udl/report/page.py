"""report.html: one self-contained page that tells a microscopist what an alignment did and how far to trust it.

What the page says and how stands in page.html.j2, its look in style.css; this module says what there is to show.
Nothing is fetched when the page is opened: style, figures and images are inside it. The template escapes all text,
wherever it comes from. The numbers come from the run; the page computes nothing but pictures.
"""

from __future__ import annotations

import datetime
import os
from functools import lru_cache
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup

from scipion_udl.constants import DIAMETER_FROM
from scipion_udl.io.output import durable
from scipion_udl.particles.diameter import size_words
from scipion_udl.report import figures, pictures, training_figures
from scipion_udl.report.class_cells import choosing, class_cells, superclass_tree, ticks
from scipion_udl.report.class_drawings import size_bars
from scipion_udl.report.data import PageData, ReportData
from scipion_udl.report.formatting import by_unit, duration, percent, thousands
from scipion_udl.report.frames import frame
from scipion_udl.report.numbers import numbers
from scipion_udl.report.pictures import EYE_CYCLES

_NO_SIGNAL = ("no_signal", "like_picked_noise")  # codes of warnings that the page tells at its head


def example_indices(score: np.ndarray, count: int = 6) -> np.ndarray:
    """Which particles to show: the best and the worst.

    Parameters
    ----------
    score : (N,) array
        Their scores.
    count : int, optional
        How many of either.

    Returns
    -------
    int array
        Particles, from 0, the best first, none of them twice.
    """
    order = np.argsort(-np.asarray(score), kind="stable")
    count = min(count, len(order) // 2) if len(order) > 1 else len(order)
    return np.concatenate([order[:count], order[len(order) - count :]]) if len(order) > 1 else order


def write_report(path: str | os.PathLike, data: ReportData) -> None:
    """Write the page.

    Parameters
    ----------
    path : str or path
        The file, which gets this name once it is complete.
    data : ReportData
        What it is made of.

    Raises
    ------
    OSError
        Where it cannot be written.
    """
    write_page(path, build_page(data))


def write_page(path: str | os.PathLike, page: str) -> None:
    """Write a page that is made.

    Parameters
    ----------
    path : str or path
        The file, which gets this name once it is complete.
    page : str
        HTML.

    Raises
    ------
    OSError
        Where it cannot be written.
    """
    part = Path(durable.new(f"{path}.part"))
    part.write_text(page, encoding="utf-8", errors="surrogateescape")
    part.replace(path)


def build_page(data: ReportData) -> str:
    """The whole page as text.

    Parameters
    ----------
    data : ReportData
        What it is made of.

    Returns
    -------
    str
        HTML.
    """
    with figures.style():
        return render("page.html.j2", _content(data))


def render(template: str, content: dict[str, object]) -> str:
    """A page of a template.

    Parameters
    ----------
    template : str
        Its name.
    content : dict
        What it names.

    Returns
    -------
    str
        HTML.
    """
    return _templates().get_template(template).render(content)


@lru_cache(maxsize=1)
def _templates() -> jinja2.Environment:
    """The templates of this folder, compiled once for all pages of a process."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["thousands"] = thousands
    return environment


def head(data: PageData) -> dict[str, object]:
    """What every page says before anything else, and at its end.

    Parameters
    ----------
    data : PageData
        What the page is made of.

    Returns
    -------
    dict
        For the template that all have in common.
    """
    s = data.summary
    no_signal = s.get("signal_found") is False
    warnings = [str(w) for w in s.get("warnings") or []]
    if no_signal:  # said once, and louder
        louder = {one["text"] for one in s.get("messages") or [] if one["code"] in _NO_SIGNAL}
        warnings = [w for w in warnings if w not in louder]
    return {
        "name": Path(str(s.get("input", "particles"))).name,
        "no_signal": no_signal,
        "warnings": warnings,
        "command": s.get("command"),
        "version": s.get("version", ""),
    }


def _content(data: ReportData) -> dict[str, object]:
    """What the template names."""
    likely = any(entry.figures.get("view") is not None for entry in data.classes)
    return {
        **head(data),
        "kind": "2D classification" if data.sorted else "2D alignment",
        "facts": [fact for fact in _facts(data) if fact],
        "script": bool(data.classes),
        "tiles": _tiles(data),
        "classes": class_cells(data, data.classes),
        "choose": choosing(data.classes, data.table, "good"),
        "sizes": _sizes(data),
        "tree": superclass_tree(data, data.classes),
        "likely": " Sorted by likeness, those that look alike stand beside each other." if likely else "",
        "averages": _averages(data),
        "unit": data.unit,
        "frc": _frc(data),
        "claim": _resolution(data),
        "diameter": _diameter(data),
        "spread": _spread(data),
        "examples": _examples(data),
        "training": _training(data),
        "numbers": numbers(data),
        "notes": data.summary.get("notes") or [],
    }


def _sizes(data: ReportData) -> dict[str, object]:
    """The bars of the classes' sizes."""
    of_each = [entry.figures for entry in data.classes]
    numbers, sizes = [f["class"] for f in of_each], [f["particles"] for f in of_each]
    return size_bars(numbers, sizes, ticks(data.classes), "are ticked when the page is opened")


def _facts(data: ReportData) -> list[str]:
    """What stands below the title."""
    s = data.summary
    facts = [f"{thousands(len(data.poses))} particles"]
    facts += [f"{thousands(len(data.classes))} classes"] if data.classes else []
    facts += [f"box {s['box']} px"] if "box" in s else []
    facts.append(pixel_words(data))
    model = str(s.get("model") or "")
    if model == "trained here":
        facts.append(f"{str(s.get('method', '')).upper()} network trained on these particles")
    elif model:
        facts.append(f"model {Path(model).name}")
    facts.append(datetime.date.today().isoformat())
    return facts


def pixel_words(data: PageData) -> str:
    """The pixel size for people.

    Parameters
    ----------
    data : PageData
        What the page is made of.

    Returns
    -------
    str
        As in 1.5 Å per pixel.
    """
    return f"{data.pixel_size:.4g} Å per pixel" if data.pixel_size_known else "pixel size unknown"


def tile(name: str, value: list[tuple[str, str]], more: str) -> dict[str, object]:
    """A number that one looks for first.

    Parameters
    ----------
    name : str
        What it is.
    value : list of (str, str)
        Numbers, each with what stands in small letters behind it.
    more : str
        What is to be said of it.

    Returns
    -------
    dict
        For the template.
    """
    return {"name": name, "value": value, "more": more}


def _tiles(data: ReportData) -> list[dict[str, object]]:
    """The six or seven numbers one looks for first."""
    s, n = data.summary, len(data.poses)
    rms = s.get("shift_rms")
    rms = float(np.sqrt((data.poses.shift**2).sum(1).mean())) if rms is None else float(rms)
    ambiguous = int(np.count_nonzero(data.ambiguous))
    aligned = f"in {thousands(len(data.classes))} classes" if data.classes else "aligned"
    if s.get("pooled_particles"):
        aligned = f"joined; averages and FRC are of all {thousands(s['pooled_particles'])}"
    tiles = [
        tile("Particles", [(thousands(n), "")], aligned),
        _resolution_tile(data),
        tile(
            "Mean score", [(f"{float(np.mean(data.score)):.3f}", "")], "correlation with the average; higher is better"
        ),
        tile("Ambiguous", [(thousands(ambiguous), percent(ambiguous, n))], "cannot be told from 180° rotated"),
    ]
    if data.outlier is not None:
        count = int(np.count_nonzero(data.outlier))
        share = percent(count, len(data.outlier))
        tiles.append(tile("Outliers", [(thousands(count), share)], "probably no such particles"))
    length = f"{rms * data.pixel_size:.1f} Å, " if data.pixel_size_known else ""
    tiles.append(tile("Shift, RMS", [(f"{rms:.2f}", "px")], f"{length}about the common centre"))
    if s.get("seconds") is not None:
        tiles.append(tile("Time", by_unit(duration(s["seconds"])), f"on {s.get('device', 'this machine')}"))
    return tiles


def _resolution_tile(data: ReportData) -> dict[str, object]:
    resolution = data.summary.get("resolution")
    halves = "halves refined apart" if data.frc_independent else "halves not independent"
    if resolution:
        return tile("Resolution", [(f"{float(resolution):.3g}", data.unit)], f"half-set FRC at 0.143, {halves}")
    claimed = [float(entry.figures["resolution"]) for entry in data.classes if entry.figures.get("resolution")]
    if not claimed:
        return tile("Resolution", [("", "none claimed")], "see below")
    return tile(
        "Resolution",
        [(f"{float(np.median(claimed)):.3g}", data.unit)],
        f"median of the {len(claimed)} classes that claim one, {min(claimed):.3g} to {max(claimed):.3g}",
    )


def _averages(data: ReportData) -> dict[str, dict]:
    """The plain means before and after, where there are no classes."""
    if data.classes or data.average_before is None or data.average_after is None:
        return {}
    return {
        "before": frame(data.average_before, "Before alignment", data),
        "after": frame(data.average_after, "After alignment", data),
    }


def _diameter(data: ReportData) -> dict[str, object] | None:
    """The circle that holds the particle, on an average and on single particles."""
    radius = data.summary.get("mask_radius")
    if radius is None:
        return None
    averages = ((data.average_before, "Before alignment"), (data.average_after, "Aligned"))
    shown = [(image, title, "") for image, title in averages if image is not None]
    if data.classes:  # the first is the largest
        entry = data.classes[0]
        shown = [
            (image, title, f" (class {entry.figures['class']})")
            for image, title in ((entry.before, "Before alignment"), (entry.after, "Aligned"))
            if image is not None
        ]
    if data.examples:
        best = max(data.examples, key=lambda example: float(example[1]))
        shown.append((pictures.lowpass(np.asarray(best[3], np.float64), EYE_CYCLES), "One particle, aligned", ""))
    circle = pictures.to_circle(shown[0][0].shape[-1], float(radius))
    return {
        "size": size_words(float(radius), data.pixel_size, data.pixel_size_known).replace(" A ", " Å "),
        "origin": DIAMETER_FROM.get(str(data.summary.get("diameter_from")), DIAMETER_FROM["given"]),
        "frames": [
            frame(image, f"{title} with the circle of the particle", largest=256, circle=circle)
            | {"title": title, "more": more}
            for image, title, more in shown
        ],
    }


def _frc(data: ReportData) -> Markup | None:
    """The FRC of the halves, of each class where there are some; None where there is none."""
    if data.classes:
        known = [(entry.frc, bool(entry.figures.get("resolution"))) for entry in data.classes if entry.frc is not None]
        if not known:
            return None
        curves, claimed = zip(*known)
        rings = np.arange(1, len(curves[0]) + 1)
        frequency = rings / (float(data.summary["box"]) * data.pixel_size)
        figure = figures.class_frc_figure(frequency, curves, claimed, data.unit)
        return _svg(figure, "frc")
    if data.frc is None:
        return None
    resolution = data.summary.get("resolution")
    frequency, frc = (np.asarray(a, np.float64) for a in data.frc)
    keep = frequency > 0
    figure = figures.frc_figure(frequency[keep], frc[keep], float(resolution) if resolution else None, data.unit)
    return _svg(figure, "frc")


def _resolution(data: ReportData) -> dict[str, object]:
    """The resolution that is claimed, and what it rests on."""
    resolution = data.summary.get("resolution")
    return {
        "classes": sum(bool(entry.figures.get("resolution")) for entry in data.classes),
        "resolution": float(resolution) if resolution else None,
        "note": data.summary.get("resolution_note"),
        "independent": data.frc_independent,
    }


def _svg(figure: figures.Figure, name: str) -> Markup:
    return Markup(figures.to_svg(figure, name))


def _spread(data: ReportData) -> dict[str, object]:
    """Angles, shifts and scores of all particles."""
    score, ambiguous = np.asarray(data.score, np.float64), np.asarray(data.ambiguous, bool)
    return {
        "rose": _svg(figures.rose_figure(data.poses), "rose"),
        "shift": _svg(figures.shift_figure(data.poses), "shift"),
        "score": _svg(figures.score_figure(score, ambiguous, data.outlier), "score"),
        "mirrored": int(np.count_nonzero(data.poses.mirror)),
    }


def _examples(data: ReportData) -> dict[str, object] | None:
    """Best and worst particles, low-passed for the eye."""
    if not data.examples:
        return None
    ranked = sorted(data.examples, key=lambda example: -float(example[1]))
    shown = [
        {
            "label": label,
            "score": float(score),
            "frames": [
                frame(pictures.lowpass(np.asarray(image, np.float64), EYE_CYCLES), f"{label} {when}")
                for image, when in ((before, "before"), (after, "after"))
            ],
        }
        for label, score, before, after in ranked
    ]
    middle = (len(ranked) + 1) // 2
    period = ranked[0][2].shape[-1] / EYE_CYCLES * data.pixel_size
    return {"period": period, "best": shown[:middle], "worst": shown[middle:]}


def _training(data: ReportData) -> dict[str, object]:
    """How the network came to be."""
    figure = training_figures.training_figure(data.training) if data.training else None
    return {
        "plot": None if figure is None else _svg(figure, "training"),
        "model": data.summary.get("model"),
        "converged": (data.summary.get("training") or {}).get("converged"),
        "of_classes": data.sorted,
        "true_error": any(row.get("true_error") not in (None, "") for row in data.training or []),
    }
