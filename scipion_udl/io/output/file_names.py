"""The names of all files that each command may write into its folder, whatever its options: none of them may be what a
run reads (see :meth:`scipion_udl.io.output.folder.OutputFolder.spare`)."""

from __future__ import annotations

_MODEL = ("model.safetensors", "model.png", "training.csv", "training.png", "checkpoint.safetensors")
_RUN = (*_MODEL, "summary.json", "progress.json", "run.log")
_IMAGES = ("average", "average_before", "average_weighted", "half1", "half2")
_STACKS = ("averages", "averages_before", "averages_weighted", "aligned", "references")
_ALIGNED = (
    *_RUN,
    *(f"{name}.mrcs" for name in (*_IMAGES, *_STACKS)),
    *("report.html", "averages.star", "frc.csv", "classes.csv", "authors.xmd"),
)

_FOR_RELION = ("run_data.star", "run_model.star", "run_optimiser.star")

WRITTEN: dict[str, tuple[str, ...]] = {
    "simulate": (
        *(f"{name}.{kind}" for name in ("particles", "clean") for kind in ("mrcs", "star")),
        *("truth.star", "template.mrc", "volume.mrc", "second.mrc", "parameters.json"),
    ),
    "train": _RUN,
    "align": (*_ALIGNED, "aligned.star", "aligned.xmd", "aligned.cs", "joining.json"),
    "classify": (
        *_ALIGNED,
        "classes.star",
        "classes.xmd",
        "classes.cs",
        "class_averages.cs",
        "joining_classes.json",
        *_FOR_RELION,
        "classes_so_far.png",
        "class_history.csv",
        "classes_so_far.mrcs",
    ),
    "select": (
        *(f"{name}.{kind}" for name in ("selected", "rest") for kind in ("star", "xmd", "cs")),
        *("averages.mrcs", "averages.star", "coordinates.star", "selection.csv", "report.html", "summary.json"),
        *("progress.json", "run.log", *_FOR_RELION),
    ),
    "compare": (
        *(f"compare.{kind}" for kind in ("star", "xmd", "csv", "png")),
        "report.html",
        "summary.json",
        "run.log",
    ),
    "align-pairs": ("pairs.star", "summary.json"),
    "evaluate": ("evaluation.csv", "evaluation.png", "frc.csv", "errors.csv", "pairs.csv", "summary.json"),
    "relion": ("particles.star", *_FOR_RELION, "run_classes.mrcs", "RELION_OUTPUT_NODES.star"),
}
