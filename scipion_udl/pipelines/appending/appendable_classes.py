"""What a classification leaves for particles that come later: joining_classes.json, beside its averages."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import inf

import numpy as np

from scipion_udl.alignment.averages import HalfFacts
from scipion_udl.errors import UdlError
from scipion_udl.imaging.polar_samples import PolarSampling
from scipion_udl.io.output.data_files import write_csv, write_json
from scipion_udl.io.output.seal import check_files, data_digest, file_digest, opened, sealed
from scipion_udl.io.stacks import StackReader, write_stack
from scipion_udl.messages import message
from scipion_udl.particles.known import Known
from scipion_udl.particles.outliers import known_limit
from scipion_udl.pipelines.classes import STACKS, ClassResult
from scipion_udl.pipelines.preparation import Preparation, known_of, preparation_facts
from scipion_udl.pipelines.run import Run

REFERENCES, HALVES = "references.mrcs", ("half1.mrcs", "half2.mrcs")
FOR_LATER = "joining_classes.json"
HISTORY = "class_history.csv"
HISTORY_COLUMNS = ("batch", "event", "class", "other", "particles", "reason")
BY_NUMBER = ("too_few_to_claim", "class_needs_more")  # why nothing is claimed of a class, until more particles tell
_DAMAGED = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError)  # what it can come to
_OF_JSON = ("summary.json", FOR_LATER)
_ANEW = "classify the first particles anew"


@dataclass
class EarlierHalves:
    """The averages of the halves of a class: images (2, D, D) float32; facts: what they are of; initial_lowpass: the
    Fourier ring up to which they had a common start; fit: energy and error of their :class:`Fit`, None where it was not
    measured; by_number: whether nothing but the number of particles stands between the class and a claim."""

    images: np.ndarray
    facts: HalfFacts
    initial_lowpass: float
    fit: tuple[float, float] | None
    by_number: bool


@dataclass(frozen=True)
class Life:
    """What classes are renewed by: active, the classes, from 0, that particles can be put into, in the order of the
    templates; ctf: (rings,) squared CTF of the particles that have taught these, the mean; count: how many have;
    history: rows of class_history.csv."""

    active: tuple[int, ...]
    ctf: tuple[float, ...]
    count: float
    history: tuple[tuple, ...]


@dataclass
class Earlier:
    """What a run left: classes, its classes in summary.json; stacks by name, (K, D, D); references, the averages that
    its particles were aligned to; frc (K, rings); batches: sets of particles in its averages; preparation: how its
    particles were prepared; level: grey value and standard deviation beside the particle, by which they were whitened;
    score_limits: below which particles of each class are outliers; halves: of each class, None where they were not
    aligned apart; life: what classes are renewed by, None where they were left without it; facts: joining_classes.json,
    which the last five are of.
    """

    classes: list[dict]
    stacks: dict[str, np.ndarray]
    references: np.ndarray
    frc: np.ndarray
    batches: int
    preparation: Preparation
    level: tuple[float, float]
    score_limits: list[float]
    halves: list[EarlierHalves | None]
    life: Life | None
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
            halves, life = _halves(folder, facts, len(classes)), _life(facts, len(classes))
            if any(not {"flagged", "usable"} <= one.keys() for one in classes):
                raise ValueError("other figures")
            if any(len(values) != len(classes) for values in stacks.values()) or len(limits) != len(classes):
                raise ValueError("other numbers of classes")
        except (OSError, *_DAMAGED) as error:
            raise UdlError(message("class_run_lacks_file", folder=folder, file=type(error).__name__)) from None
        return cls(classes, stacks, references, frc, batches, preparation, level, limits, halves, life, facts)


def _halves(folder: str, facts: dict, count: int) -> list[EarlierHalves | None]:
    """The halves of all classes; None of those that were left without, of old runs all. Raises ValueError and its like
    where they cannot be."""
    if "halves" not in facts:
        return [None] * count
    stacks = [_stack(folder, name) for name in HALVES]
    if any(len(stack) != count for stack in stacks) or len(facts["halves"]) != count:
        raise ValueError("other numbers of halves")
    found: list[EarlierHalves | None] = []
    for k, one in enumerate(facts["halves"]):
        if one is None:
            found.append(None)
            continue
        power = None if one["power"] is None else np.array(one["power"], np.float64).reshape(2, stacks[0].shape[-1])
        of = HalfFacts([int(n) for n in one["counts"]], power, float(one["background"]), float(one["noise"]))
        if min(of.counts) < 1 or not of.noise > 0:
            raise ValueError("empty halves")
        fit = None if one["fit"] is None else (float(one["fit"][0]), float(one["fit"][1]))
        images = np.stack([stack[k] for stack in stacks])
        found.append(EarlierHalves(images, of, float(one["initial_lowpass"]), fit, bool(one["by_number"])))
    return found


def _life(facts: dict, count: int) -> Life | None:
    """What the classes are renewed by, None of old runs. Raises ValueError and its like where it cannot be."""
    if "life" not in facts:
        return None
    one = facts["life"]
    active = tuple(int(k) for k in one["active"])
    if sorted(set(active)) != sorted(active) or not active or min(active) < 0 or max(active) >= count:
        raise ValueError("other classes")
    ctf, taught = tuple(float(value) for value in one["ctf"]), float(one["count"])
    if not (min(ctf) >= 0 and max(ctf) > 0 and taught > 0):
        raise ValueError("nothing taught")
    return Life(active, ctf, taught, tuple(tuple(row) for row in one["history"]))


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
    stacks = (REFERENCES, *HALVES, *(f"{name}.mrcs" for name in STACKS))
    return [os.path.join(folder, name) for name in ("summary.json", FOR_LATER, "frc.csv", "model.safetensors", *stacks)]


def _stack(folder: str, name: str) -> np.ndarray:
    return StackReader(os.path.join(folder, name)).read()


def write_for_later(run: Run, sampling: PolarSampling, classes: list[ClassResult], life: Life | None) -> None:
    """Write joining_classes.json, once all other files are there: by what particles that come later are prepared as
    those of the run were, and their classes renewed. The averages of halves go beside it.

    Parameters
    ----------
    run : Run
        The run.
    sampling : PolarSampling
        How its particles were sampled.
    classes : list of ClassResult
        Its classes.
    life : Life or None
        What they are renewed by; None for classes that stay as they are.
    """
    found, particles = run.particles.statistics, run.particles
    level = [float(np.median(values[particles.usable])) for values in (found.mean, found.std)]
    preparation = preparation_facts(run, (particles.box, run.source.box, sampling.small))
    facts = {**preparation, "level": level, **_class_facts(run, classes)}
    if life is not None:
        facts["life"] = asdict(life)
    _write_facts(run, facts, known_of(run))


def _class_facts(run: Run, classes: list[ClassResult], by_number: Sequence[bool] = ()) -> dict:
    """What is left of each class: its halves, whose averages are written, and below which score outliers lie.
    by_number: of the first of them, whether nothing but the number of particles stands between them and a claim."""
    named = [None if one.halves is None else [one.images[name] for name in ("first", "second")] for one in classes]
    _write_halves(run, named)
    limits = [known_limit(one.alignment.score_limit) for one in classes]
    halves = [_half_facts(one, k < len(by_number) and by_number[k]) for k, one in enumerate(classes)]
    return {"score_limits": limits, "halves": halves}


def _write_halves(run: Run, images: Sequence[Sequence[np.ndarray] | np.ndarray | None]) -> None:
    """Write the averages of the halves of all classes, zero where there are none."""
    blank = np.zeros((run.source.box, run.source.box), np.float32)
    for number, name in enumerate(HALVES):
        stack = [blank if one is None else np.asarray(one[number], np.float32) for one in images]
        write_stack(run.out.scratch(name), np.stack(stack), run.source.pixel_size)


def _half_facts(one: ClassResult, by_number: bool) -> dict | None:
    """What joining_classes.json has of the halves of a class."""
    of, fit, note = one.halves, one.alignment.fit, one.figures["resolution_note"]
    if of is None:
        return None
    power = None if of.power is None else of.power.tolist()
    return {
        "counts": of.counts,
        "power": power,
        "background": of.background,
        "noise": of.noise,
        "initial_lowpass": one.alignment.initial_lowpass,
        "fit": None if fit is None else [fit.energy, fit.error],
        "by_number": by_number or one.figures["resolution"] is not None or getattr(note, "code", "") in BY_NUMBER,
    }


def _write_facts(run: Run, facts: dict, known: Known) -> None:
    """joining_classes.json, with what tells that nothing beside it was changed."""
    paths = {os.path.basename(path): path for path in files_of(os.path.dirname(run.out.scratch(FOR_LATER)))}
    paths = {name: path for name, path in paths.items() if os.path.isfile(path) and name not in _OF_JSON}
    digests = {name: file_digest(path) for name, path in paths.items()}
    summary = data_digest(_summary(os.path.dirname(run.out.scratch(FOR_LATER))))
    whole = facts | known.packed() | {"files": digests, "summary": summary}
    write_json(run.out.scratch(FOR_LATER), sealed(whole))


def write_references(run: Run, earlier: Earlier, classes: list[ClassResult]) -> dict:
    """Write references.mrcs of particles that joined: the averages that later ones are aligned to, where halves of
    their class are not known.

    Parameters
    ----------
    run : Run
        With the particles that joined.
    earlier : Earlier
        What the earlier run left.
    classes : list of ClassResult
        Its classes, and those that were opened.

    Returns
    -------
    dict
        What summary.json says beside the rest: joined_to and batches.
    """
    opened = [one.images["after"].astype(np.float32)[None] for one in classes[len(earlier.classes) :]]
    references = np.concatenate([earlier.references, *opened])
    write_stack(run.out.scratch(REFERENCES), references, run.source.pixel_size)
    run.notes.append(message("joined_classes", count=len(run.source), run=run.settings.append_to))
    return {"joined_to": run.settings.append_to, "batches": earlier.batches + 1}


def write_appended(run: Run, earlier: Earlier, classes: list[ClassResult], life: Life | None) -> None:
    """Write joining_classes.json of particles that joined, once all other files are there.

    Parameters
    ----------
    run : Run
        With these particles.
    earlier : Earlier
        What the earlier run left.
    classes : list of ClassResult
        All classes, whose halves hold these particles, too.
    life : Life, optional
        What they are renewed by, where they are.
    """
    facts = earlier.facts
    if life is not None:
        by_number = [one is not None and one.by_number for one in earlier.halves]
        facts = facts | _class_facts(run, classes, by_number) | {"life": asdict(life)}
        write_csv(run.out.scratch(HISTORY), HISTORY_COLUMNS, life.history)
    elif "halves" in facts:
        _write_halves(run, [None if one is None else one.images for one in earlier.halves])
    _write_facts(run, facts, earlier.preparation.known.and_those_of(known_of(run)))
