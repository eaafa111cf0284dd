"""What an alignment leaves for particles that come later: joining.json, beside its averages.

Particles that are joined to a run (append_to_alignment.py) are prepared just as its own were, so that their poses
depend on the run and on nothing that comes with them: noise, mask, CTF and background are the run's.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import asdict, dataclass

import numpy as np

from scipion_udl.alignment.averages import Averages
from scipion_udl.constants import MODEL
from scipion_udl.errors import UdlError
from scipion_udl.imaging.ctf import MODES
from scipion_udl.io.images import read_image
from scipion_udl.io.output.seal import check_files, file_digest, opened, sealed
from scipion_udl.messages import message
from scipion_udl.particles.known import Known
from scipion_udl.particles.outliers import known_limit
from scipion_udl.particles.prepared import PreparedParticles
from scipion_udl.particles.resolution_limit import LEAST
from scipion_udl.pipelines.outcome import Outcome
from scipion_udl.pipelines.preparation import Preparation, known_of, preparation_facts
from scipion_udl.pipelines.run import Run

FILE = "joining.json"
NEEDED = ("half1.mrcs", "half2.mrcs", "average.mrcs", "average_before.mrcs")  # beside it
_STORED = {"shared": "initial_lowpass"}  # names in the file that are others here
SAME_SIZE = 0.01  # by how much pixel sizes may differ


@dataclass
class AppendableRun:
    """Content of joining.json.

    box (pixels), pixel_size (A), mask_radius and max_shift (pixels); clear_radius: at which neighbours begin (pixels),
    None where none showed; finest: Fourier ring beyond which nothing was
    compared, None for no limit; mirror: whether mirror images were looked for; background, noise_level: grey value and
    standard deviation that averages are brought to; noise: power per ring (box//2 + 1,); ctf: how the CTF
    is taken; levels: what transfers are relative to, per ring, by box in pixels as text; initial_lowpass: the Fourier
    ring up to which halves had a common start; local: how ways round are told apart (wiener.py); score_limit: below
    which particles are outliers, loud_limit: above what loudness (loudness.py), each None for none; score_weight: what
    the rings of the working box counted in them; model: its file, relative to the folder, None without; view: which of
    the model's views (from 0), None for one that has no several; particles: all in the averages, usable: those that are
    not blank, half_counts: in either half; power: squared CTFs of the halves per ring, None without; batches: how
    many sets came together; key: what tells the halves' averages from all others; places, images: by which every
    particle in the averages is known again, packed (see :class:`Known`); files: digests of the files beside it that it
    needs, and of the model (key "model"); joined_to: the key of the run that these were joined to; premultiplied: what
    part of the run's images were multiplied by their CTF before; fit: energy and error of the run's :class:`Fit`,
    None where it was not measured; low_ring: Fourier ring within which nothing was compared, 0 for none; filaments:
    whether the particles were segments of filaments.
    """

    box: int
    pixel_size: float
    mask_radius: float
    clear_radius: float | None
    max_shift: float
    finest: int | None
    mirror: bool
    background: float
    noise_level: float
    noise: list[float]
    ctf: str
    levels: dict[str, list[float]]
    initial_lowpass: float
    local: bool
    score_limit: float | None
    loud_limit: float | None
    score_weight: list[float]
    model: str | None
    view: int | None
    particles: int
    usable: int
    half_counts: list[int]
    power: list[list[float]] | None
    batches: int
    key: str
    places: str
    images: str
    files: dict[str, str]
    joined_to: str | None = None
    premultiplied: float = 0.0
    fit: tuple[float, float] | None = None
    low_ring: int = 0
    filaments: bool = False

    @classmethod
    def read(cls, folder: str) -> AppendableRun:
        """Read what a run has left.

        Parameters
        ----------
        folder : str
            Its output folder.

        Returns
        -------
        Joinable
            Checked.

        Raises
        ------
        UdlError
            Where particles cannot be joined to what the folder holds: nothing was left, or a file was changed.
        """
        try:
            with open(os.path.join(folder, FILE), encoding="utf-8") as file:
                found = cls(**_renamed(opened(json.load(file)), _STORED))
            found._check()
        except OSError:
            raise UdlError(message("run_not_to_join", folder=folder, lacking=FILE)) from None
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            raise UdlError(message("run_changed", folder=os.path.join(folder, FILE))) from None
        check_files(folder, {name: found.files[name] for name in NEEDED}, "align anew")
        return found

    def _check(self) -> None:
        """Raises ValueError, TypeError, AttributeError or OverflowError where a field is not of the kind, sign or
        length that :func:`remember` gives it."""
        rings, counts = self.box // 2 + 1, [self.particles, self.usable, self.batches, *self.half_counts]
        levels = {} if self.ctf == "none" else self.levels
        power = [[], []] if self.power is None else self.power
        limits = [0.0 if limit is None else limit for limit in (self.score_limit, self.loud_limit)]
        numbers = [self.background, *limits, self.pixel_size, self.mask_radius, self.noise_level]
        lists = [self.noise, self.score_weight, *levels.values(), *power]
        fits = [
            all(type(count) is int and count > 0 for count in (self.box, *counts)),
            self.finest is None or (type(self.finest) is int and self.finest >= LEAST),
            type(self.low_ring) is int and 0 <= self.low_ring < self.box // 2,
            self.view is None or (type(self.view) is int and self.view >= 0),
            all(math.isfinite(value) for value in numbers) and min(numbers[3:]) > 0,
            self.clear_radius is None or 0 < self.clear_radius < self.box,
            0 <= self.max_shift <= self.box / 2 and 0 <= self.initial_lowpass < self.box,
            isinstance(self.filaments, bool),
            isinstance(self.mirror, bool) and isinstance(self.local, bool) and isinstance(self.key, str),
            all(value is None or isinstance(value, str) for value in (self.model, self.joined_to)),
            self.ctf in MODES and 0 <= self.premultiplied <= 1,
            bool(levels) == (self.ctf != "none") == (self.power is not None),
            all(0 <= value < math.inf for values in lists for value in values) and max(self.noise) > 0,
            [len(self.half_counts), len(self.noise)] == [2, rings] and 0 < len(self.score_weight) <= rings,
            self.fit is None or (len(self.fit) == 2 and all(math.isfinite(value) for value in self.fit)),
            len(self.known().places) > 0 and {*NEEDED, *(["model"] if self.model else [])} <= self.files.keys(),
            [len(values) for values in power] == ([0, 0] if self.power is None else [self.box] * 2),
            all(len(values) == int(box) // 2 + 1 and max(values) > 0 for box, values in levels.items()),
        ]
        if not all(fits):
            raise ValueError

    def preparation(self) -> Preparation:
        """How its particles were prepared.

        Returns
        -------
        Preparation
            What those that come are prepared by.
        """
        return Preparation.of(vars(self), self.box)

    def known(self) -> Known:
        """By what every particle in the averages is known again.

        Returns
        -------
        Known
            Unpacked.

        Raises
        ------
        ValueError
            Where it is damaged.
        """
        return Known.unpacked({"places": self.places, "images": self.images})

    def write(self, path: str) -> None:
        """Write it as JSON.

        Parameters
        ----------
        path : str
            The file.
        """
        with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
            json.dump(sealed(_renamed(asdict(self), {own: name for name, own in _STORED.items()})), file)

    def image(self, folder: str, name: str) -> np.ndarray:
        """One of the run's averages.

        Parameters
        ----------
        folder : str
            The run's.
        name : str
            The file's name without ending.

        Returns
        -------
        (box, box) float32 array
            The image.

        Raises
        ------
        UdlError
            Where it is of another size, or cannot be read.
        """
        path = os.path.join(folder, f"{name}.mrcs")
        image, _ = read_image(path)
        if image.shape != (self.box, self.box):
            raise UdlError(message("run_image_of_other_size", path=path, size=image.shape[-1], box=self.box))
        return image

    def model_file(self, folder: str) -> str | None:
        """The path of the model.

        Parameters
        ----------
        folder : str
            The run's.

        Returns
        -------
        str or None
            None where the run had none.

        Raises
        ------
        UdlError
            Where it is gone, or has changed.
        """
        if self.model is None:
            return None
        path = os.path.normpath(os.path.join(folder, self.model))
        if not os.path.isfile(path):
            raise UdlError(message("run_model_missing", folder=folder, path=path))
        if file_digest(path) != self.files["model"]:
            raise UdlError(message("run_model_changed", path=path, folder=folder))
        return path

    def check_fits(self, box: int, pixel_size: float, folder: str, path: str) -> None:
        """Refuse particles that have another box or pixel size than those of the run.

        Parameters
        ----------
        box : int
            Of the particles, pixels.
        pixel_size : float
            Of the particles, angstrom.
        folder : str
            The run's.
        path : str
            The particles' table.

        Raises
        ------
        UdlError
            With both sizes.
        """
        if box == self.box and abs(pixel_size - self.pixel_size) <= SAME_SIZE * self.pixel_size:
            return
        raise UdlError(
            message(
                "joined_of_other_size",
                folder=folder,
                box=self.box,
                pixel_size=self.pixel_size,
                table=path,
                own_box=box,
                own_pixel_size=pixel_size,
            )
        )


def _renamed(fields: dict, names: dict[str, str]) -> dict:
    """A dict whose entries have other names, in the same order."""
    return {names.get(name, name): value for name, value in fields.items()}


def remember(outcome: Outcome, max_shift: float, view: int | None) -> None:
    """Leave joining.json among the run's unfinished files.

    Not where nothing can be joined to: halves that were not refined apart, or of which one is empty.

    Parameters
    ----------
    outcome : Outcome
        What came of the run.
    max_shift : float
        Pixels of the input.
    view : int or None
        Of the network, see :class:`AppendableRun`.
    """
    run, alignment, averages = outcome.run, outcome.alignment, outcome.averages
    if alignment.half_poses is None or alignment.score_weight is None or min(averages.both[1].count) == 0:
        return
    halves, sums = averages.both
    particles = run.particles
    model = run.settings.model or (run.out.final(MODEL) if run.out.has(MODEL) else None)
    AppendableRun(
        box=run.source.box,
        pixel_size=run.source.pixel_size,
        max_shift=max_shift,
        finest=particles.ring_limit,
        mirror=run.settings.mirror,
        filaments=particles.filaments is not None,
        background=sums.background,
        noise_level=sums.noise,
        **preparation_facts(run, (particles.box, run.source.box)),
        initial_lowpass=alignment.initial_lowpass,
        local=alignment.local,
        score_limit=known_limit(alignment.score_limit),
        score_weight=alignment.score_weight.tolist(),
        model=None if model is None else os.path.relpath(model, run.out.path),
        view=view,
        fit=None if alignment.fit is None else (alignment.fit.energy, alignment.fit.error),
        batches=1,
        key=key_of(halves),
        **known_of(run).packed(),
        files=files_of(run, model),
        **counts_of(particles, averages),
    ).write(run.out.scratch(FILE))


def files_of(run: Run, model: str | None) -> dict[str, str]:
    """Digests of the files, unfinished yet, that particles need which are joined to a run, and of its model.

    Parameters
    ----------
    run : Run
        The run.
    model : str or None
        The model's file.

    Returns
    -------
    dict of str to str
        Digests by file name; that of the model as "model".
    """
    found = {name: file_digest(run.out.scratch(name)) for name in NEEDED}
    return found | ({} if model is None else {"model": file_digest(model)})


def counts_of(particles: PreparedParticles, averages: Averages) -> dict:
    """How many particles the averages hold, and by what their halves weigh.

    Parameters
    ----------
    particles : PreparedParticles
        The particles.
    averages : Averages
        Theirs.

    Returns
    -------
    dict
        particles, usable, half_counts and power, as of :class:`AppendableRun`.
    """
    facts = averages.both[1].facts()
    counts = {"particles": len(particles), "usable": len(particles.usable)}
    power = None if facts.power is None else facts.power.tolist()
    return {**counts, "half_counts": facts.counts, "power": power}


def key_of(halves: tuple[np.ndarray, np.ndarray]) -> str:
    """A short text that tells two averages from all others.

    Parameters
    ----------
    halves : tuple of two (D, D) arrays
        Averages of the halves.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    return hashlib.blake2b(b"".join(np.ascontiguousarray(half).tobytes() for half in halves), digest_size=8).hexdigest()
