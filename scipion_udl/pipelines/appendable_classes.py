"""What a classification leaves for particles that come later: joining_classes.json, beside its averages."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from math import inf

import numpy as np

from scipion_udl.errors import UdlError
from scipion_udl.imaging.polar_samples import PolarSampling
from scipion_udl.io.output.data_files import write_json
from scipion_udl.io.output.seal import check_files, data_digest, file_digest, opened, sealed
from scipion_udl.io.stacks import StackReader, write_stack
from scipion_udl.messages import message
from scipion_udl.particles.known import Known
from scipion_udl.particles.outliers import known_limit
from scipion_udl.pipelines.classes import STACKS, ClassResult
from scipion_udl.pipelines.preparation import Preparation, known_of, preparation_facts
from scipion_udl.pipelines.run import Run

REFERENCES = "references.mrcs"
FOR_LATER = "joining_classes.json"
_DAMAGED = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError)  # what it can come to
_OF_JSON = ("summary.json", FOR_LATER)
_ANEW = "classify the first particles anew"


@dataclass
class Earlier:
    """What a run left: classes, its classes in summary.json; stacks by name, (K, D, D); references, the averages that
    its particles were aligned to; frc (K, rings); batches: sets of particles in its averages; preparation: how its
    particles were prepared; level: grey value and standard deviation beside the particle, by which they were whitened;
    score_limits: below which particles of each class are outliers; facts: joining_classes.json, which the last three
    are of.
    """

    classes: list[dict]
    stacks: dict[str, np.ndarray]
    references: np.ndarray
    frc: np.ndarray
    batches: int
    preparation: Preparation
    level: tuple[float, float]
    score_limits: list[float]
    facts: dict

    @classmethod
    def read(cls, folder: str) -> Earlier:
        """Read what a classification has left.

        Parameters
        ----------
        folder : str
            That of `classify`.

        Returns
        -------
        Earlier
            Its classes and averages.

        Raises
        ------
        UdlError
            Where it is none, or a file of it is not as the run left it.
        """
        facts, summary = _facts(folder), _summary(folder)
        try:
            classes = summary["classes"]
            stacks = {name: _stack(folder, f"{name}.mrcs") for name in STACKS}
            own = os.path.exists(os.path.join(folder, REFERENCES))
            references = _stack(folder, REFERENCES) if own else stacks["averages"]
            rows = np.genfromtxt(os.path.join(folder, "frc.csv"), delimiter=",", skip_header=1, ndmin=2)
            frc = np.stack([np.r_[0.0, rows[rows[:, 0] == one["class"], 3]] for one in classes])
            level = float(facts["level"][0]), float(facts["level"][1])
            told = facts.get("score_limits", [None] * len(classes))
            limits = [-inf if one is None else float(one) for one in told]
            batches = int(summary.get("batches", 1))
            preparation = Preparation.of(facts, references.shape[-1])
            if any(not {"flagged", "usable"} <= one.keys() for one in classes):
                raise ValueError("other figures")
            if any(len(values) != len(classes) for values in stacks.values()) or len(limits) != len(classes):
                raise ValueError("other numbers of classes")
        except (OSError, *_DAMAGED) as error:
            raise UdlError(message("class_run_lacks_file", folder=folder, file=type(error).__name__)) from None
        return cls(classes, stacks, references, frc, batches, preparation, level, limits, facts)


def _facts(folder: str) -> dict:
    """joining_classes.json, once it and the files beside it are found to be as they were."""
    path = os.path.join(folder, FOR_LATER)
    try:
        facts = opened(_json(path))
        digests = {str(name): str(text) for name, text in facts["files"].items()}
        if data_digest(_summary(folder)) != facts["summary"]:
            raise UdlError(message("class_run_changed", folder=os.path.join(folder, "summary.json"), advice=_ANEW))
    except _DAMAGED:
        raise UdlError(message("class_file_changed", path=path, advice=_ANEW)) from None
    check_files(folder, digests, _ANEW)
    return facts


def _json(path: str) -> dict:
    """Raises UdlError where the file is not there, ValueError and its like where it is none."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except OSError as error:
        folder = os.path.dirname(path)
        raise UdlError(message("class_run_unfinished", folder=folder, path=path, reason=error.strerror)) from None


def _summary(folder: str) -> dict:
    """What later particles need of summary.json: classes and batches."""
    path = os.path.join(folder, "summary.json")
    try:
        found = _json(path)
        return {"classes": found["classes"], "batches": found.get("batches", 1)}
    except _DAMAGED:
        raise UdlError(message("class_file_damaged", path=path, advice=_ANEW)) from None


def files_of(folder: str) -> list[str]:
    """Every file of a run that particles which join it may need.

    Parameters
    ----------
    folder : str
        The run's.

    Returns
    -------
    list of str
        Their paths, whether they are there or not.
    """
    stacks = (REFERENCES, *(f"{name}.mrcs" for name in STACKS))
    return [os.path.join(folder, name) for name in ("summary.json", FOR_LATER, "frc.csv", "model.safetensors", *stacks)]


def _stack(folder: str, name: str) -> np.ndarray:
    return StackReader(os.path.join(folder, name)).read()


def write_for_later(run: Run, sampling: PolarSampling, classes: list[ClassResult]) -> None:
    """Write joining_classes.json, once all other files are there: by what particles that come later are prepared as
    those of the run were.

    Parameters
    ----------
    run : Run
        The run.
    sampling : PolarSampling
        How its particles were sampled.
    classes : list of ClassResult
        Its classes.
    """
    found, particles = run.particles.statistics, run.particles
    level = [float(np.median(values[particles.usable])) for values in (found.mean, found.std)]
    limits = [known_limit(one.alignment.score_limit) for one in classes]
    preparation = preparation_facts(run, (particles.box, run.source.box, sampling.small))
    _write_facts(run, {**preparation, "level": level, "score_limits": limits}, known_of(run))


def _write_facts(run: Run, facts: dict, known: Known) -> None:
    """joining_classes.json, with what tells that nothing beside it was changed."""
    paths = {os.path.basename(path): path for path in files_of(os.path.dirname(run.out.scratch(FOR_LATER)))}
    paths = {name: path for name, path in paths.items() if os.path.isfile(path) and name not in _OF_JSON}
    digests = {name: file_digest(path) for name, path in paths.items()}
    summary = data_digest(_summary(os.path.dirname(run.out.scratch(FOR_LATER))))
    whole = facts | known.packed() | {"files": digests, "summary": summary}
    write_json(run.out.scratch(FOR_LATER), sealed(whole))


def write_references(run: Run, earlier: Earlier) -> dict:
    """Write references.mrcs of particles that joined: the averages that later ones are aligned to, those of the first
    run.

    Parameters
    ----------
    run : Run
        With the particles that joined.
    earlier : Earlier
        What the earlier run left.

    Returns
    -------
    dict
        What summary.json says beside the rest: joined_to and batches.
    """
    write_stack(run.out.scratch(REFERENCES), earlier.references, run.source.pixel_size)
    run.notes.append(message("joined_classes", count=len(run.source), run=run.settings.append_to))
    return {"joined_to": run.settings.append_to, "batches": earlier.batches + 1}


def write_appended(run: Run, earlier: Earlier) -> None:
    """Write joining_classes.json of particles that joined, once all other files are there.

    Parameters
    ----------
    run : Run
        With these particles.
    earlier : Earlier
        What the earlier run left.
    """
    _write_facts(run, earlier.facts, earlier.preparation.known.and_those_of(known_of(run)))
