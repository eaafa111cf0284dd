"""Particles that come later join the classes of an earlier run: each by itself, against templates and averages that
stay."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import dataclass

import mrcfile
import numpy as np
import torch
import torch.nn.functional as functional

from scipion_udl.alignment import results
from scipion_udl.alignment.aligner import AMBIGUOUS, SEARCH_BAND, Alignment
from scipion_udl.alignment.averages import average_particles
from scipion_udl.alignment.class_results import STACKS
from scipion_udl.alignment.classes import ClassResult
from scipion_udl.alignment.fourier import Band
from scipion_udl.alignment.geometry import Poses, wrap
from scipion_udl.alignment.outliers import outliers
from scipion_udl.alignment.refinement import Reference, Refiner, State
from scipion_udl.alignment.resolution import frc_weights, of_more
from scipion_udl.alignment.run import Run
from scipion_udl.classification.sorting import Sorted
from scipion_udl.errors import UdlError
from scipion_udl.models.checkpoint import read_card

REFERENCES = "references.mrcs"
SWEEPS = 3  # rounds of each particle against the average of its class


@dataclass
class Earlier:
    """What a run left: classes, its classes in summary.json; stacks by name, (K, D, D); references, the averages that
    its particles were aligned to; frc (K, rings); batches: sets of particles in its averages; noise: power per ring
    (D//2 + 1,) and level: grey value and standard deviation beside the particle, by which its particles were whitened.
    """

    classes: list[dict]
    stacks: dict[str, np.ndarray]
    references: np.ndarray
    frc: np.ndarray
    batches: int
    noise: torch.Tensor
    level: tuple[float, float]

    @classmethod
    def read(cls, folder: str) -> Earlier:
        """Of the folder of `classify`. Raises UdlError where it is none."""
        try:
            with open(os.path.join(folder, "summary.json"), encoding="utf-8") as file:
                summary = json.load(file)
            classes = summary["classes"]
            stacks = {name: _stack(folder, f"{name}.mrcs") for name in STACKS}
            own = os.path.exists(os.path.join(folder, REFERENCES))
            references = _stack(folder, REFERENCES) if own else stacks["averages"]
            rows = np.genfromtxt(os.path.join(folder, "frc.csv"), delimiter=",", skip_header=1, ndmin=2)
            frc = np.stack([np.r_[0.0, rows[rows[:, 0] == one["class"], 3]] for one in classes])
            noise = torch.tensor(summary["noise"], dtype=torch.float32)
            level = float(summary["level"][0]), float(summary["level"][1])
            if noise.shape != (references.shape[-1] // 2 + 1,) or not 0 < float(noise.max()) < torch.inf:
                raise ValueError("other rings")
            if any("flagged" not in one for one in classes) or any(len(s) != len(classes) for s in stacks.values()):
                raise ValueError("other numbers of classes")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UdlError(
                f"{folder} is not the folder of a finished classify run ({type(error).__name__}): give one with --join."
            ) from None
        return cls(classes, stacks, references, frc, int(summary.get("batches", 1)), noise, level)


def _stack(folder: str, name: str) -> np.ndarray:
    with mrcfile.open(os.path.join(folder, name), permissive=False) as file:
        return np.array(file.data, np.float32)


def check_joining(args: argparse.Namespace) -> None:
    """Raises UdlError for options that do not go with --join."""
    if args.model:
        raise UdlError("--join takes the templates of the earlier run: leave --model out.")


def check_images(run: Run, earlier: Earlier) -> None:
    """Raises UdlError where the particles are not of the box and pixel size that the earlier ones had."""
    read_card(run.args.model).check_fits(run.source.box, run.source.pixel_size, run.args.model)
    box = earlier.references.shape[-1]
    if run.source.box != box:
        raise UdlError(
            f"{run.args.input} has images of {run.source.box} px, the averages of {run.args.join} are of {box} px: "
            "bring the particles to that box first."
        )


def join_classes(run: Run, earlier: Earlier, found: Sorted, max_shift: float) -> list[ClassResult]:
    """The particles of the run, sorted into the earlier classes, aligned to their averages; images and counts are those
    of all so far. max_shift: working pixels."""
    done = []
    whole = len(run.source) + sum(one["particles"] for one in earlier.classes)
    for k, before in enumerate(earlier.classes):
        own = np.flatnonzero(found.label == k)
        part = run.part(own, f"Class {k + 1}") if len(own) else None
        alignment = _nothing() if part is None else _aligned(part, earlier, k, found.poses[own], max_shift)
        images = {image: earlier.stacks[stack][k] for stack, image in STACKS.items()}
        if part is not None:
            images = _pooled(part, alignment, images, before["particles"])
        figures = {**before, "particles": before["particles"] + len(own), "particles_before": before["particles"]}
        figures.pop("image", None), figures.pop("class", None)
        figures["share"] = round(figures["particles"] / whole, 5)
        figures |= {"ambiguous": int(alignment.ambiguous.sum()), "outliers": int(alignment.outlier.sum())}
        done.append(ClassResult(k + 1, own, alignment, {**figures, "warnings": []}, images, earlier.frc[k], None))
    return done


def _nothing() -> Alignment:
    none = np.zeros(0)
    no = np.zeros(0, bool)
    return Alignment(Poses(none, np.zeros((0, 2))), None, none.astype(np.int64), none, no, 0.0, False, none, no)


def _aligned(part: Run, earlier: Earlier, k: int, start: Poses, max_shift: float) -> Alignment:
    """Each particle against the average of its class, from its angle."""
    particles = part.particles
    n, blank = len(particles), particles.statistics.blank
    band = Band(particles.box, particles.k_max, particles.device)
    refiner = Refiner(particles, band, max_shift, SEARCH_BAND)
    level = tuple(np.array([value]) for value in earlier.level)  # the averages are of particles as they came
    image = torch.from_numpy(earlier.references[k][None]).to(particles.device)
    average = band.masked(band.crop(particles.whiten(image, *level))[0], particles.mask)
    weight = frc_weights(of_more(torch.from_numpy(earlier.frc[k]), 2))[: band.k_max + 1]
    reference = Reference(band, average, functional.pad(weight, (0, band.k_max + 1 - len(weight))).to(band.device))
    state = State.start(start.angle)
    for number in range(1, SWEEPS + 1):
        refiner.sweep(state, [reference], np.zeros(n, np.int64), f"joining, round {number}", particles.usable)
    for values in (state.angle, state.shift, state.score, state.log_odds):
        values[blank] = 0
    half, unknown = np.zeros(n, np.int64), np.full(n, np.nan)
    poses = Poses(wrap(state.angle), state.shift * particles.scale)
    doubtful = state.log_odds < AMBIGUOUS
    return Alignment(poses, None, half, state.score, doubtful, 0.0, False, unknown, outliers(state.score, blank))


def _pooled(part: Run, alignment: Alignment, images: dict[str, np.ndarray], before: int) -> dict[str, np.ndarray]:
    """Averages of the new particles and the ones before; the weighted one stays that of the first."""
    new = average_particles(part.particles, alignment.poses, None, alignment.half)
    n = len(part.source)
    pooled = {
        "before": (new.before * n + images["before"].astype(np.float64) * before) / (n + before),
        "after": (new.all * n + images["after"].astype(np.float64) * before) / (n + before),
    }
    return images | {name: image.astype(np.float32) for name, image in pooled.items()}


def facts_for_later(run: Run) -> dict:
    """What summary.json says for particles that come later."""
    found, usable = run.particles.statistics, run.particles.usable
    level = [float(np.median(values[usable])) for values in (found.mean, found.std)]
    return {"noise": found.noise.tolist(), "level": level}


def facts_of(run: Run, earlier: Earlier) -> dict:
    """What summary.json says beside the rest."""
    run.notes.append(f"{len(run.source)} particles joined the classes of {run.args.join}; averages are of all so far.")
    kept = {"noise": earlier.noise.tolist(), "level": list(earlier.level)}
    return {"joined_to": run.args.join, "batches": earlier.batches + 1, **kept}


def write_references(run: Run, earlier: Earlier) -> None:
    """references.mrcs: the averages that later particles are aligned to, those of the first run."""
    results.write_stack(run.out.scratch(REFERENCES), earlier.references, run.source.pixel_size)
