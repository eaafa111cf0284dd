"""The package's face: the functions of the API, and what Scipion looks for in a plugin's module.

``scipion_udl.align`` and the other functions need torch, and the class ``Plugin`` needs Scipion, whose import takes a
second; either may not be installed. So each is imported when somebody asks for it, by its name as a text: modules of
the Scipion side import this one. Nothing here imports pwem, pyworkflow or torch, and it runs on Python 3.8. Type
checkers read __init__.pyi.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from scipion_udl.constants import __version__

_API = ("align", "apply", "classify", "compare", "evaluate", "load_model", "simulate", "train")
__all__ = ["Plugin", "__version__", *_API]

_logo = "udl_logo.png"
_references = ["Chen2023", "Chen2022"]
_FROM = {"Plugin": "scipion_udl.plugin", **dict.fromkeys(_API, "scipion_udl.api")}


def __getattr__(name: str) -> Any:
    """A function of the API or ``Plugin``, imported now. Raises AttributeError for any other name, ImportError without
    torch or Scipion."""
    if name not in _FROM:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_FROM[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
