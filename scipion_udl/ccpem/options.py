"""Questions as job options of CCP-EM's pipeliner."""

from __future__ import annotations

from typing import Any

from pipeliner.job_options import (
    BooleanJobOption,
    FileDescription,
    FloatJobOption,
    InputNodeJobOption,
    IntJobOption,
    JobOption,
    MultipleChoiceJobOption,
    StringJobOption,
)
from pipeliner.nodes import NODE_IMAGE2D, NODE_IMAGE2DSTACK, NODE_MLMODEL

from scipion_udl.ccpem.questions import GROUPS, Asked

_FILES: dict[str, dict[str, Any]] = {
    "model": {
        "node_type": NODE_MLMODEL,
        "node_kwds": ["udl"],
        "pattern": FileDescription("Trained model", [".safetensors"]),
    },
    "reference": {"node_type": NODE_IMAGE2D, "pattern": FileDescription("Image", [".mrc", ".mrcs"])},
    "references": {
        "node_type": NODE_IMAGE2DSTACK,
        "pattern": FileDescription("Class averages", [".mrcs", ".star"]),
    },
}


def job_option(asked: Asked) -> JobOption:
    """A question as the pipeliner asks it.

    Parameters
    ----------
    asked : Asked
        The question.

    Returns
    -------
    JobOption
        Numbers that are left to the program are empty, and -1 in job.star.
    """
    label = asked.label if asked.label.endswith("?") else f"{asked.label}:"
    words: dict[str, Any] = {
        "label": label,
        "help_text": asked.help,
        "in_continue": asked.goes_on,
        "jobop_group": GROUPS[asked.advanced],
    }
    if asked.kind == "yes":
        return BooleanJobOption(default_value=asked.default, **words)
    if asked.kind == "choice":
        return MultipleChoiceJobOption(choices=list(asked.choices), default_value=asked.default, **words)
    if asked.kind == "file":
        return InputNodeJobOption(default_value=asked.default, **_FILES[asked.name], **words)
    if asked.kind == "text":
        return StringJobOption(default_value=asked.default, **words)
    return _number(asked, words)


def _number(asked: Asked, words: dict[str, Any]) -> JobOption:
    whole = asked.kind == "whole"
    limits = asked.option.limits
    if limits is not None and limits.has_end:
        words.update(hard_min=limits.least, hard_max=limits.most)
        if not whole and limits.most == 1:
            words.update(step_value=0.05)
    kind = IntJobOption if whole else FloatJobOption
    return kind(default_value=asked.default, handle_minus_one_as_none=asked.default is None, **words)
