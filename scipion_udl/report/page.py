"""report.html: one self-contained page that tells a microscopist what an alignment did and how far to trust it.

Nothing is fetched when the page is opened: style, figures and images are inside it. All text that comes from outside
(file names, notes) is escaped. The numbers come from the run; the page computes nothing but pictures.
"""

from __future__ import annotations

import datetime
import os
from pathlib import Path

import numpy as np

from scipion_udl.constants import DIAMETER_FROM
from scipion_udl.io.output import durable
from scipion_udl.particles.diameter import size_words
from scipion_udl.report import figures
from scipion_udl.report.data import ClassEntry, ReportData
from scipion_udl.report.numbers import numbers
from scipion_udl.report.style import STYLE_SHEET
from scipion_udl.report.words import duration, percent, safe, section, small_units, thousands

EYE_CYCLES = 12.0  # low-pass of the gallery, cycles per box side: keeps a particle's shape, drops most of the noise


def example_indices(score: np.ndarray, count: int = 6) -> np.ndarray:
    """Which of N particles (score (N,)) to show: the ``count`` best and worst, best first, none of them twice."""
    order = np.argsort(-np.asarray(score), kind="stable")
    count = min(count, len(order) // 2) if len(order) > 1 else len(order)
    return np.concatenate([order[:count], order[len(order) - count :]]) if len(order) > 1 else order


def write_report(path: str | os.PathLike, data: ReportData) -> None:
    """Write the page for ``data`` to ``path``. Raises OSError where it cannot be written."""
    page = build_page(data)
    part = Path(durable.new(f"{path}.part"))
    part.write_text(page, encoding="utf-8", errors="surrogateescape")
    part.replace(path)


def build_page(data: ReportData) -> str:
    """The whole page as text."""
    with figures.style():
        sections = [
            *([_classes(data), _class_resolution(data)] if data.classes else [_averages(data), _resolution(data)]),
            _diameter(data),
            _spread(data),
            _gallery(data),
            _training(data),
            numbers(data),
        ]
    name = Path(str(data.summary.get("input", "particles"))).name
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_kind(data)} of {safe(name)}</title>
<style>{STYLE_SHEET}</style>
</head>
<body>
{_header(data, name)}
<main>
{_warnings(data)}
{_tiles(data)}
{"".join(section for section in sections if section)}
</main>
{_footer(data)}
</body>
</html>
"""


# Small pieces of text.


def _kind(data: ReportData) -> str:
    return "2D classification" if data.sorted else "2D alignment"


def _plot(figure: figures.Figure, name: str, title: str, caption: str, width: str = "") -> str:
    """A figure as inline SVG with a caption; the caption is its description for those who cannot see it."""
    return (
        f'<figure class="plot {width}"><div role="img" aria-label="{safe(title)}">{figures.to_svg(figure, name)}</div>'
        f"<figcaption><b>{safe(title)}.</b> {safe(caption)}</figcaption></figure>"
    )


# The parts of the page, from top to bottom.


def _header(data: ReportData, name: str) -> str:
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
    return (
        f'<header>\n<div class="kicker">scipion-udl · {_kind(data)}</div>\n<h1>{safe(name)}</h1>\n'
        f'<p class="facts">{"".join(f"<span>{safe(f)}</span>" for f in facts if f)}</p>\n</header>'
    )


def _warnings(data: ReportData) -> str:
    """What the user must know before looking at anything else."""
    warnings = [str(w) for w in data.summary.get("warnings") or []]
    out = []
    if data.summary.get("signal_found") is False:
        warnings = [w for w in warnings if "no common signal" not in w.lower()]  # said once, and louder
        out.append(
            '<div class="box grave" role="alert"><h2>No common signal was found</h2>The particles do not agree with '
            "each other more than noise does. The average below is not evidence of a structure.</div>"
        )
    if warnings:
        title = "One warning" if len(warnings) == 1 else f"{len(warnings)} warnings"
        items = "".join(f"<li>{safe(w)}</li>" for w in warnings)
        out.append(f'<div class="box" role="alert"><h2>{title}</h2><ul>{items}</ul></div>')
    return "\n".join(out) or '<p class="calm">No warnings.</p>'


def _tiles(data: ReportData) -> str:
    """The six or seven numbers one looks for first."""
    s, n = data.summary, len(data.poses)
    rms = s.get("shift_rms")
    rms = float(np.sqrt((data.poses.shift**2).sum(1).mean())) if rms is None else float(rms)
    ambiguous = int(np.count_nonzero(data.ambiguous))
    aligned = f"in {thousands(len(data.classes))} classes" if data.classes else "aligned"
    if s.get("pooled_particles"):
        aligned = f"joined; averages and FRC are of all {thousands(s['pooled_particles'])}"
    tiles = [
        ("Particles", thousands(n), aligned),
        ("Resolution", *_resolution_tile(data)),
        ("Mean score", f"{float(np.mean(data.score)):.3f}", "correlation with the average; higher is better"),
        (
            "Ambiguous",
            f"{thousands(ambiguous)} <small>{percent(ambiguous, n)}</small>",
            "cannot be told from 180° turned",
        ),
        *_outlier_tile(data),
        (
            "Shift, RMS",
            f"{rms:.2f} <small>px</small>",
            (f"{rms * data.pixel_size:.1f} Å, " if data.pixel_size_known else "") + "about the common centre",
        ),
    ]
    if s.get("seconds") is not None:
        tiles.append(("Time", small_units(duration(s["seconds"])), safe(f"on {s.get('device', 'this machine')}")))
    return (
        '<div class="tiles">'
        + "".join(
            f'<div class="tile"><div class="name">{name}</div><div class="value">{value}</div>'
            f'<div class="more">{more}</div></div>'
            for name, value, more in tiles
        )
        + "</div>"
    )


def _resolution_tile(data: ReportData) -> tuple[str, str]:
    """The number and what it means."""
    resolution = data.summary.get("resolution")
    halves = "halves refined apart" if data.frc_independent else "halves not independent"
    if resolution:
        return f"{float(resolution):.3g} <small>{data.unit}</small>", f"half-set FRC at 0.143, {halves}"
    claimed = [float(entry.figures["resolution"]) for entry in data.classes if entry.figures.get("resolution")]
    if not claimed:
        return "<small>none claimed</small>", "see below"
    return (
        f"{float(np.median(claimed)):.3g} <small>{data.unit}</small>",
        f"median of the {len(claimed)} classes that claim one, {min(claimed):.3g} to {max(claimed):.3g}",
    )


def _outlier_tile(data: ReportData) -> list[tuple[str, str, str]]:
    if data.outlier is None:
        return []
    count = int(np.count_nonzero(data.outlier))
    share = percent(count, len(data.outlier))
    return [("Outliers", f"{thousands(count)} <small>{share}</small>", "probably no such particles")]


def _frame(image: np.ndarray, data: ReportData, alt: str, bar: bool, largest: int = 160, circle: str = "") -> str:
    """An image with, where asked and the pixel size is known, a scale bar of a quarter of its width; without the bar it
    is a small one, of ``largest`` pixels a side at most. circle: see :func:`figures.to_circle`."""
    box = image.shape[-1]
    scale = ""
    if bar and data.pixel_size_known:
        length = figures.nice_length(box * data.pixel_size / 3.5)
        scale = f'<div class="bar" style="width:{100 * length / (box * data.pixel_size):.2f}%">{length:g} Å</div>'
    uri = figures.to_png(image, *((480, 1024) if bar else (0, largest)))
    return f'<div class="frame"><img src="{uri}" alt="{safe(alt)}">{circle}{scale}</div>'


def _averages(data: ReportData) -> str:
    pairs = [
        (data.average_before, "Before", "The plain mean of the particles as they came."),
        (data.average_after, "After", "The plain mean of the aligned particles: no mask, no filter, no weights."),
    ]
    body = "".join(
        f"<figure>{_frame(image, data, f'{title} alignment', bar=True)}"
        f"<figcaption><b>{title}.</b> {caption}</figcaption></figure>"
        for image, title, caption in pairs
    )
    lead = "The same particles, the same mean, before and after the alignment. Each image in its own grey scale."
    return section("Average", lead, f'<div class="pair">{body}</div>')


def _diameter(data: ReportData) -> str:
    """The circle that holds the particle, on an average and on single particles."""
    radius = data.summary.get("mask_radius")
    if radius is None:
        return ""
    shown = [(data.average_before, "Before alignment", ""), (data.average_after, "Aligned", "")]
    if data.classes:  # the first is the largest
        entry = data.classes[0]
        shown = [
            (image, title, f" (class {entry.figures['class']})")
            for image, title in ((entry.before, "Before alignment"), (entry.after, "Aligned"))
        ]
    if data.examples:
        best = max(data.examples, key=lambda example: float(example[1]))
        shown.append((figures.lowpass(np.asarray(best[3], np.float64), EYE_CYCLES), "One particle, aligned", ""))
    circle = figures.to_circle(shown[0][0].shape[-1], float(radius))
    body = "".join(
        f"<figure>{_frame(image, data, f'{title} with the circle of the particle', False, 256, circle)}"
        f"<figcaption><b>{title}</b>{more}</figcaption></figure>"
        for image, title, more in shown
    )
    size = size_words(float(radius), data.pixel_size, data.pixel_size_known).replace(" A ", " Å ")
    origin = DIAMETER_FROM.get(str(data.summary.get("diameter_from")), DIAMETER_FROM["given"])
    lead = (
        f"{size}, {origin}. What lies outside of the circle is not compared; one that cuts into the particle, or "
        "holds neighbours, calls for another --diameter."
    )
    return section("Particle diameter", lead, f'<div class="trio">{body}</div>')


def _classes(data: ReportData) -> str:
    """The average of every class before and after."""
    lead = (
        "Every class was aligned by itself. The plain mean of its particles as they came and aligned, each image "
        "in its own grey scale."
    )
    body = "".join(_class(entry, data) for entry in data.classes)
    return section("Classes", lead, f'<div class="gallery classes">{body}</div>')


def _class(entry: ClassEntry, data: ReportData) -> str:
    f = entry.figures
    name = f"Class {f['class']}"
    pictures = "".join(
        _frame(image, data, f"{name} {when} alignment", bar=False, largest=256)
        for image, when in ((entry.before, "before"), (entry.after, "after"))
    )
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
    warnings = "".join(f'<div class="mark">{safe(mark)}</div>' for mark in [*marks, *(f.get("warnings") or [])])
    caption = f"<b>{safe(name)}</b> {safe(' · '.join(facts))}{warnings}"
    return f'<figure><div class="two">{pictures}</div><figcaption>{caption}</figcaption></figure>'


def _class_resolution(data: ReportData) -> str:
    claimed = [bool(entry.figures.get("resolution")) for entry in data.classes]
    rings = np.arange(1, len(data.classes[0].frc) + 1)
    frequency = rings / (float(data.summary["box"]) * data.pixel_size)
    figure = figures.class_frc_figure(frequency, [entry.frc for entry in data.classes], claimed, data.unit)
    caption = (
        "A curve that stays near 1 and then falls is signal; where it falls to the dashed line at 0.143, the "
        "halves of that class no longer agree. frc.csv has the curves as numbers."
    )
    claim = (
        f'<div class="claim{"" if any(claimed) else " none"}">{sum(claimed)} of {len(claimed)} classes</div>'
        "<p>claim a resolution. classes.csv says for each why, or why not.</p>"
    )
    lead = (
        "How far the averages of two halves of each class, refined apart from each other, agree by Fourier ring "
        "correlation (FRC)."
    )
    plot = _plot(figure, "frc", "Half-set FRC of each class", caption)
    return section("Resolution", lead, f'<div class="aside">{plot}<div>{claim}</div></div>')


def _resolution(data: ReportData) -> str:
    s = data.summary
    resolution = s.get("resolution")
    if resolution:
        claim = f'<div class="claim">{float(resolution):.3g} {data.unit}</div>'
        note = s.get("resolution_note") or "where the half-set FRC falls to 0.143."
    else:
        claim, note = '<div class="claim none">No resolution is claimed</div>', s.get("resolution_note")
    claim += f"<p>{safe(note)}</p>" if note else ""
    claim += (
        "<p>The two halves were refined apart from each other in the last rounds, each against its own average "
        "alone.</p>"
        if data.frc_independent
        else "<p>The two halves were <b>not</b> refined apart from each other: they share an average, so their "
        "agreement is partly made by the alignment itself and the curve is too good.</p>"
    )
    lead = "How far the averages of two halves of the particles agree, by Fourier ring correlation (FRC)."
    if data.frc is None:
        return section("Resolution", lead, f"{claim}<p>There is no FRC curve for this run.</p>")
    frequency, frc = (np.asarray(a, np.float64) for a in data.frc)
    keep = frequency > 0
    figure = figures.frc_figure(frequency[keep], frc[keep], float(resolution) if resolution else None, data.unit)
    caption = (
        "A curve that stays near 1 and then falls is signal; where it falls to the dashed line at 0.143, "
        "the halves no longer agree. What is claimed lies before that by the scatter of the rings."
    )
    plot = _plot(figure, "frc", "Half-set FRC", caption)
    return section("Resolution", lead, f'<div class="aside">{plot}<div>{claim}</div></div>')


def _spread(data: ReportData) -> str:
    """Angles, shifts and scores of all particles."""
    score, ambiguous = np.asarray(data.score, np.float64), np.asarray(data.ambiguous, bool)
    mirrored = int(np.count_nonzero(data.poses.mirror))
    plots = [
        _plot(
            figures.rose_figure(data.poses),
            "rose",
            "Angle",
            "Turn applied to each particle, clockwise on the image. Dashed: evenly spread angles. A sharp peak may "
            "mean that noise or a gradient was aligned." + (f" {mirrored} mirrored." if mirrored else ""),
        ),
        _plot(
            figures.shift_figure(data.poses),
            "shift",
            "Shift",
            "Shift applied to each particle after its turn; the average lies where they are zero on average. Points "
            "piled up at a border mean that the allowed shift was too small.",
        ),
        _plot(
            figures.score_figure(score, ambiguous, data.outlier),
            "score",
            "Score",
            "Correlation of each aligned particle with the average of the half that it is not in. A second heap at "
            "low scores is often junk or another view; outliers score as aligned noise does, or as hardly any "
            "particle.",
        ),
    ]
    return section(
        "Angle, shift and score",
        "What was applied to the particles, and how well they fit.",
        f'<div class="trio">{"".join(plots)}</div>',
    )


def _gallery(data: ReportData) -> str:
    """Best and worst particles, low-passed for the eye."""
    if not data.examples:
        return ""
    ranked = sorted(data.examples, key=lambda example: -float(example[1]))
    middle = (len(ranked) + 1) // 2
    box = ranked[0][2].shape[-1]
    period = box / EYE_CYCLES * data.pixel_size
    lead = (
        f"Each particle as it came and aligned, low-passed to {period:.3g} {data.unit} for the eye only; nothing "
        "was computed from these copies."
    )
    body = ""
    for title, group in (("Highest scores", ranked[:middle]), ("Lowest scores", ranked[middle:])):
        if group:
            body += f'<h3>{title}</h3><div class="gallery">{"".join(_example(e, data) for e in group)}</div>'
    return section("Particles before and after", lead, body)


def _example(example: tuple[str, float, np.ndarray, np.ndarray], data: ReportData) -> str:
    label, score, before, after = example
    pictures = "".join(
        _frame(figures.lowpass(np.asarray(image, np.float64), EYE_CYCLES), data, f"{label} {when}", bar=False)
        for image, when in ((before, "before"), (after, "after"))
    )
    return (
        f'<figure><div class="two">{pictures}</div><figcaption><b>{float(score):.3f}</b> {safe(label)}</figcaption>'
        "</figure>"
    )


def _training(data: ReportData) -> str:
    figure = figures.training_figure(data.training) if data.training else None
    if figure is None:
        model = data.summary.get("model")
        said = (
            f"No network was trained in this run; the model {model} was used."
            if model
            else "No network was trained in this run."
        )
        return section("Training", said, "")
    training = data.summary.get("training") or {}
    converged = training.get("converged")
    lead = "The network learns from the particles alone; the lower the loss, the better they agree after turning."
    if converged is not None:
        lead += " Training converged." if converged else " Training had not converged when it ended."
    caption = (
        "The curves should level off; one that still falls at the end asks for more epochs (--epochs). Each "
        "stage measures its loss in its own way; validation is the loss of particles that training does not see."
    )
    if data.sorted:
        caption = (
            "The loss is the negative log likelihood of a particle over that of noise. It falls as the classes "
            "come to hold what their particles show, and at each step to finer detail."
        )
    if any(row.get("true_error") not in (None, "") for row in data.training):
        caption += (
            " The true error is the mean error of the network's angles against the poses that were given with "
            "--truth; training does not use it."
        )
    return section("Training", lead, _plot(figure, "training", "Loss per epoch", caption, "wide"))


def _footer(data: ReportData) -> str:
    s = data.summary
    command = f"<p><code>{safe(s['command'])}</code></p>" if s.get("command") else ""
    return (
        f"<footer>{command}<p>scipion-udl {safe(s.get('version', ''))}. Method: Chen, Feng, Shen, "
        "J. Struct. Biol. 215 (2023) 107940.</p></footer>"
    )
