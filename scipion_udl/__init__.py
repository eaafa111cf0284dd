"""The plugin's face: what Scipion looks for in a plugin's module.

The engine's command line imports this module too, so the class ``Plugin``, whose base classes take a second to import
and may not be installed, is made when somebody asks for it. Nothing here imports pwem, pyworkflow or torch.
"""

from __future__ import annotations

from typing import Any

from scipion_udl.constants import __version__

__all__ = ["Plugin", "__version__"]

_logo = "udl_logo.png"
_references = ["Chen2023", "Chen2022"]


def __getattr__(name: str) -> Any:
    """``Plugin``, imported now. Raises AttributeError for any other name, ImportError without Scipion."""
    if name != "Plugin":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from scipion_udl.plugin import Plugin

    globals()[name] = Plugin
    return Plugin
