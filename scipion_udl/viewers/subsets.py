"""Subsets of classes, made as Scipion's own viewers make them: by its protocol 'create subset'."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence

from pwem.objects import SetOfClasses2D
from pwem.protocols import ProtUserSubSet
from pyworkflow.project import Project

# What a subset may hold, under its name on a button: the set that comes out.
KINDS = {"Classes": "SetOfClasses2D", "Particles": "SetOfParticles", "Averages": "SetOfAverages"}
_LONGEST = 1024  # bytes of a message that Scipion's window reads


def start_subset(project: Project, classes: SetOfClasses2D, numbers: Sequence[int], kind: str) -> str:
    """Start the run that makes a subset of the classes with these numbers; returns a sentence on it.

    kind: a key of ``KINDS``: the classes themselves, all their particles, or their averages. Where the project's window
    is open, that starts the run and shows it, as it does for Scipion's own viewers. Raises OSError where the selection
    cannot be written.
    """
    label = f"{kind.lower()} of {len(numbers)} of {classes.getSize()} classes"
    selection = _write_selection(project, numbers)
    given = {"sqliteFile": f"{selection},", "outputClassName": KINDS[kind], "other": ""}
    words = " ".join(f"{name}='{value}'" for name, value in {**given, "label": label}.items())
    if not _tell_window(project, f"run protocol ProtUserSubSet inputObject={classes.getObjId()} {words}"):
        run = project.newProtocol(ProtUserSubSet, objLabel=label, **given)
        run.inputObject.set(classes)
        project.launchProtocol(run, wait=False)
    return f"Started: {label}."


def _write_selection(project: Project, numbers: Sequence[int]) -> str:
    """The file that tells 'create subset' which items are wanted; its path within the project."""
    name = os.path.join("Logs", f"selection_{time.strftime('%Y%m%d%H%M%S')}_{time.perf_counter_ns() % 10**6}.txt")
    with open(os.path.join(project.path, name), "w", encoding="utf-8") as file:
        file.write(" ".join(str(number) for number in numbers))
    return name


def _tell_window(project: Project, message: str) -> bool:
    """Give a message to the project's window; False where there is none that listens."""
    words = message.encode()
    if len(words) > _LONGEST:
        return False
    try:
        with socket.create_connection(("127.0.0.1", int(project.port)), timeout=5) as connection:
            connection.sendall(words)
    except (OSError, AttributeError, TypeError):
        return False
    return True
