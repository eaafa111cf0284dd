"""report.html: one self-contained page that tells a microscopist what an alignment did and how far to trust it.

What the page says and how stands in page.html.j2, its look in style.css; this module says what there is to show.
Nothing is fetched when the page is opened: style, figures and images are inside it. The template escapes all text,
wherever it comes from. The numbers come from the run; the page computes nothing but pictures.
"""

from __future__ import annotations

import datetime
import os
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup

from scipion_udl.constants import DIAMETER_FROM
from scipion_udl.io.output import durable
from scipion_udl.particles.diameter import size_words
from scipion_udl.report import figures, pictures, training_figures
from scipion_udl.report.data import ClassEntry, ReportData
from scipion_udl.report.formatting import by_unit, duration, percent, thousands
from scipion_udl.report.numbers import numbers

EYE_CYCLES = 12.0  # low-pass of the gallery, cycles per box side: keeps a particle's shape, drops most of the noise
_NO_SIGNAL = ("no_signal", "like_picked_noise")  # codes of warnings that the page tells at its head
_TEMPLATE = "page.html.j2"


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
    page = build_page(data)
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
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["thousands"] = thousands
    with figures.style():
        return environment.get_template(_TEMPLATE).render(_content(data))


def _content(data: ReportData) -> dict[str, object]:
    """What the template names."""
    s = data.summary
    no_signal = s.get("signal_found") is False
    warnings = [str(w) for w in s.get("warnings") or []]
    if no_signal:  # said once, and louder
        louder = {one["text"] for one in s.get("messages") or [] if one["code"] in _NO_SIGNAL}
        warnings = [w for w in warnings if w not in louder]
    name = Path(str(s.get("input", "particles"))).name
    return {
        "kind": "2D classification" if data.sorted else "2D alignment",
        "name": name,
        "facts": [fact for fact in _facts(data) if fact],
        "no_signal": no_signal,
        "warnings": warnings,
        "tiles": _tiles(data),
        "classes": [_class(entry, data) for entry in data.classes],
        "averages": _averages(data),
        "unit": data.unit,
        "frc": _frc(data),
        "claim": _resolution(data),
        "diameter": _diameter(data),
        "spread": _spread(data),
        "examples": _examples(data),
        "training": _training(data),
        "numbers": numbers(data),
        "notes": s.get("notes") or [],
        "command": s.get("command"),
        "version": s.get("version", ""),
    }


def _facts(data: ReportData) -> list[str]:
    """What stands below the title."""
    s = data.summary
    facts = [f"{thousands(len(data.poses))} particles"]
    facts += [f"{thousands(len(data.classes))} classes"] if data.classes else []
    facts += [f"box {s['box']} px"] if "box" in s else []
    facts.append(f"{data.pixel_size:.4g} Å per pixel" if data.pixel_size_known else "pixel size unknown")
    model = str(s.get("model") or "")
    if model == "trained here":
        facts.append(f"{str(s.get('method', '')).upper()} network trained on these particles")
    elif model:
        facts.append(f"model {Path(model).name}")
    facts.append(datetime.date.today().isoformat())
    return facts


def _tile(name: str, value: list[tuple[str, str]], more: str) -> dict[str, object]:
    """A number that one looks for first. value: numbers, each with what stands in small letters behind it."""
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
        _tile("Particles", [(thousands(n), "")], aligned),
        _resolution_tile(data),
        _tile(
            "Mean score", [(f"{float(np.mean(data.score)):.3f}", "")], "correlation with the average; higher is better"
        ),
        _tile("Ambiguous", [(thousands(ambiguous), percent(ambiguous, n))], "cannot be told from 180° rotated"),
    ]
    if data.outlier is not None:
        count = int(np.count_nonzero(data.outlier))
        share = percent(count, len(data.outlier))
        tiles.append(_tile("Outliers", [(thousands(count), share)], "probably no such particles"))
    length = f"{rms * data.pixel_size:.1f} Å, " if data.pixel_size_known else ""
    tiles.append(_tile("Shift, RMS", [(f"{rms:.2f}", "px")], f"{length}about the common centre"))
    if s.get("seconds") is not None:
        tiles.append(_tile("Time", by_unit(duration(s["seconds"])), f"on {s.get('device', 'this machine')}"))
    return tiles


def _resolution_tile(data: ReportData) -> dict[str, object]:
    resolution = data.summary.get("resolution")
    halves = "halves refined apart" if data.frc_independent else "halves not independent"
    if resolution:
        return _tile("Resolution", [(f"{float(resolution):.3g}", data.unit)], f"half-set FRC at 0.143, {halves}")
    claimed = [float(entry.figures["resolution"]) for entry in data.classes if entry.figures.get("resolution")]
    if not claimed:
        return _tile("Resolution", [("", "none claimed")], "see below")
    return _tile(
        "Resolution",
        [(f"{float(np.median(claimed)):.3g}", data.unit)],
        f"median of the {len(claimed)} classes that claim one, {min(claimed):.3g} to {max(claimed):.3g}",
    )


def _frame(
    image: np.ndarray, data: ReportData, alt: str, bar: bool = False, largest: int = 160, circle: str = ""
) -> dict[str, object]:
    """An image with, where asked and the pixel size is known, a scale bar of a quarter of its width; without the bar it
    is a small one, of ``largest`` pixels a side at most. circle: see :func:`pictures.to_circle`."""
    scale = None
    if bar and data.pixel_size_known:
        width = image.shape[-1] * data.pixel_size
        length = pictures.nice_length(width / 3.5)
        scale = {"length": length, "percent": 100 * length / width}
    uri = pictures.to_png(image, *((480, 1024) if bar else (0, largest)))
    return {"uri": uri, "alt": alt, "circle": Markup(circle), "bar": scale}


def _averages(data: ReportData) -> dict[str, dict]:
    """The plain means before and after, where there are no classes."""
    if data.classes or data.average_before is None or data.average_after is None:
        return {}
    return {
        "before": _frame(data.average_before, data, "Before alignment", bar=True),
        "after": _frame(data.average_after, data, "After alignment", bar=True),
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
        ]
    if data.examples:
        best = max(data.examples, key=lambda example: float(example[1]))
        shown.append((pictures.lowpass(np.asarray(best[3], np.float64), EYE_CYCLES), "One particle, aligned", ""))
    circle = pictures.to_circle(shown[0][0].shape[-1], float(radius))
    return {
        "size": size_words(float(radius), data.pixel_size, data.pixel_size_known).replace(" A ", " Å "),
        "origin": DIAMETER_FROM.get(str(data.summary.get("diameter_from")), DIAMETER_FROM["given"]),
        "frames": [
            _frame(image, data, f"{title} with the circle of the particle", largest=256, circle=circle)
            | {"title": title, "more": more}
            for image, title, more in shown
        ],
    }


def _class(entry: ClassEntry, data: ReportData) -> dict[str, object]:
    """The average of a class before and after, and what is said of it."""
    f = entry.figures
    name = f"Class {f['class']}"
    resolution = f.get("resolution")
    facts = [
        f"{thousands(f['particles'])} particle{'' if f['particles'] == 1 else 's'}",
        f"{float(resolution):.3g} {data.unit}" if resolution else "no resolution claimed",
        f"score {float(f['score_mean']):.3f}",
    ]
    facts += [f"{thousands(f['ambiguous'])} ambiguous"] if f.get("ambiguous") else []
    facts += [f"{thousands(f['outliers'])} outlier{'' if f['outliers'] == 1 else 's'}"] if f.get("outliers") else []
    mirror = f.get("mirror_of")
    facts += [] if not mirror else ["its own mirror image" if mirror == f["class"] else f"mirror image of {mirror}"]
    facts += [f"{float(f['inside']):.0%} of its signal inside"] if f.get("inside") is not None else []
    marks = [f"Flagged: {f['note'][0].lower()}{f['note'][1:]}"] if f.get("flagged") else []
    return {
        "name": name,
        "facts": facts,
        "marks": [*marks, *(f.get("warnings") or [])],
        "frames": [
            _frame(image, data, f"{name} {when} alignment", largest=256)
            for image, when in ((entry.before, "before"), (entry.after, "after"))
        ],
    }


def _frc(data: ReportData) -> Markup | None:
    """The FRC of the halves, of each class where there are some; None where there is none."""
    if data.classes:
        rings = np.arange(1, len(data.classes[0].frc) + 1)
        frequency = rings / (float(data.summary["box"]) * data.pixel_size)
        claimed = [bool(entry.figures.get("resolution")) for entry in data.classes]
        figure = figures.class_frc_figure(frequency, [entry.frc for entry in data.classes], claimed, data.unit)
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
                _frame(pictures.lowpass(np.asarray(image, np.float64), EYE_CYCLES), data, f"{label} {when}")
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
