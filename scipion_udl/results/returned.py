"""What the functions of the API return: poses and averages as arrays, and what is to be made of them."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scipion_udl.imaging.poses import Poses
from scipion_udl.io.aligned import write_aligned
from scipion_udl.io.output import durable
from scipion_udl.io.source import Source
from scipion_udl.models.checkpoint import ModelCard, save_model
from scipion_udl.models.network import Network
from scipion_udl.pipelines.classes import ClassResult, together
from scipion_udl.pipelines.outcome import Outcome
from scipion_udl.pipelines.run import Run


@dataclass(frozen=True)
class Told:
    """A warning: its ``code``, by which programs know it, and its sentence."""

    code: str
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass
class Model:
    """A trained network.

    Attributes
    ----------
    network : Network
        The network itself.
    card : ModelCard
        What it is and what it was trained on: ``method``, ``network``, ``box`` (pixels), ``pixel_size`` (A),
        ``training`` (epochs, convergence, losses).
    history : list of dict
        The figures of each epoch of the training in this call; empty for a model that was loaded.
    warnings : list of Told
        What the training gave cause to say.
    """

    network: Network
    card: ModelCard
    history: list[dict] = field(default_factory=list)
    warnings: list[Told] = field(default_factory=list)

    @property
    def pair(self) -> tuple[Network, ModelCard]:
        """The network and its card."""
        return self.network, self.card

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model as safetensors, which `scipion-udl` and :func:`scipion_udl.load_model` read.

        Parameters
        ----------
        path : str or path
            The file, which is replaced where it is there.
        """
        save_model(os.fspath(path), self.network, self.card)


@dataclass
class ClassAverage:
    """One class of particles, all of one view.

    Attributes
    ----------
    number : int
        Of the class, from 1.
    particles : (n,) int64 array
        Which particles are in it, from 0.
    average, average_weighted : (D, D) float32 array
        Their mean, and the same with each Fourier ring weighted by what two halves agree on.
    frc : (rings,) float array
        Fourier ring correlation of the averages of two halves that were aligned apart.
    resolution : float or None
        Angstrom; None where none is claimed, see ``note``.
    flag : str
        Why it is no view ("noise", "empty" and so on), "" where nothing is wrong with it.
    figures : dict
        All that summary.json says of it.
    warnings : list of str
        Of this class alone.
    """

    number: int
    particles: np.ndarray
    average: np.ndarray
    average_weighted: np.ndarray
    frc: np.ndarray
    resolution: float | None
    note: str
    flag: str
    figures: dict[str, Any]
    warnings: list[str]

    @classmethod
    def of(cls, result: ClassResult) -> ClassAverage:
        """Of a class as the pipelines have it.

        Parameters
        ----------
        result : ClassResult
            The class.

        Returns
        -------
        ClassAverage
            For users of the API.
        """
        figures, images = result.figures, result.images
        return cls(
            result.number,
            result.members,
            images["after"],
            images["weighted"],
            result.frc,
            figures["resolution"],
            figures.get("note", figures["resolution_note"]),
            figures.get("flag", ""),
            {name: value for name, value in figures.items() if name != "warnings"},
            list(figures["warnings"]),
        )


@dataclass
class _Posed:
    """Particles with poses, and what was told on the way."""

    poses: Poses
    score: np.ndarray
    outlier: np.ndarray
    ambiguous: np.ndarray
    warnings: list[Told]
    notes: list[str]
    model: Model | None
    background: np.ndarray = field(repr=False)
    source: Source = field(repr=False)

    def __len__(self) -> int:
        return len(self.poses)

    @property
    def angle(self) -> np.ndarray:
        """The angles (N,) of the poses, degrees in (-180, 180]."""
        return self.poses.angle

    @property
    def shift(self) -> np.ndarray:
        """The shifts (N, 2) of the poses, x and y in pixels."""
        return self.poses.shift

    @property
    def mirror(self) -> np.ndarray:
        """Which particles (N,) bool are mirrored."""
        return self.poses.mirror

    def to_star(self, path: str | os.PathLike[str], stack: str | None = None) -> list[str]:
        """Write the poses as RELION's STAR, in the form of the input table, 3.1 for an array.

        Parameters
        ----------
        path : str or path
            The file, which is replaced where it is there.
        stack : str, optional
            The stack of images that the table names, for particles of an array: ``000001@stack`` and so on.

        Returns
        -------
        list of str
            Sentences on what the table could not say as it was.

        Raises
        ------
        UdlError
            Where particles are mirrored, which RELION's 2D alignment cannot hold.
        """
        return self._write(os.fspath(path), "star", stack)

    def to_xmd(self, path: str | os.PathLike[str], stack: str | None = None) -> list[str]:
        """Write the poses as Xmipp's metadata, which holds mirrored particles, too; see :meth:`to_star`.

        Parameters
        ----------
        path : str or path
            The file, which is replaced where it is there.
        stack : str, optional
            The stack of images that the table names, for particles of an array.

        Returns
        -------
        list of str
            Sentences on what the table could not say as it was.
        """
        return self._write(os.fspath(path), "xmd", stack)

    def _write(self, path: str, kind: str, stack: str | None) -> list[str]:
        source: Any = self.source
        if stack is not None:
            source = copy.copy(source)
            source.names = [f"{number:06d}@{stack}" for number in source.numbers]
        part = f"{path}.part"
        try:
            columns = self._columns()
            told = write_aligned(
                source,
                self.poses,
                self.score,
                self.ambiguous,
                star=part if kind == "star" else None,
                xmd=part if kind == "xmd" else None,
                outlier=self.outlier,
                number=columns.get("number"),
                flagged=columns.get("flagged"),
            )
            durable.replace(part, path)
        finally:
            if os.path.exists(part):
                os.remove(part)
        return [str(one) for one in told]

    def _columns(self) -> dict[str, np.ndarray]:
        """Further columns of the table."""
        return {}


@dataclass
class Alignment(_Posed):
    """Particles brought into register; all arrays are in the order of the images.

    Attributes
    ----------
    poses : Poses
        ``angle`` (N,) in degrees, ``shift`` (N, 2) in pixels, x and y, and ``mirror`` (N,): to APPLY to a particle, so
        that it falls on the average: turn it about pixel D // 2 (a positive angle turns the content clockwise as seen
        with row 0 at the top), mirror x where it is mirrored, then shift.
    score : (N,) float array
        Correlation with the average, -1 to 1.
    outlier, ambiguous : (N,) bool array
        Which particles score as noise does, and which fit as well rotated by 180 degrees.
    average, average_weighted : (D, D) float32 array or None
        The mean of the aligned particles, and the same weighted by what two halves agree on; None by classes.
    halves : tuple of two (D, D) float32 arrays or None
        The averages of halves that were aligned apart.
    frc : (rings,) float array or None
        Fourier ring correlation of the halves.
    resolution : float or None
        Angstrom, where the FRC falls to 0.143; None where none is claimed, which ``resolution_note`` tells why.
    correntropy : (N,) float array or None
        Of each particle with the average of the others, where it was asked for.
    classes : list of ClassAverage
        With ``by_class``, each class by itself.
    warnings : list of Told
        Each with a ``code`` and a ``text``.
    model : Model or None
        The network that told the angles: the one given, or trained here.
    """

    average: np.ndarray | None = None
    average_weighted: np.ndarray | None = None
    halves: tuple[np.ndarray, np.ndarray] | None = None
    frc: np.ndarray | None = None
    resolution: float | None = None
    resolution_note: str = ""
    correntropy: np.ndarray | None = None
    classes: list[ClassAverage] = field(default_factory=list)

    @classmethod
    def of(cls, run: Run, outcome: Outcome | None, classes: list[ClassResult] | None, model: Model | None) -> Alignment:
        """Of what the pipelines have.

        Parameters
        ----------
        run : Run
            The run.
        outcome : Outcome or None
            What came of a set of one view; None by classes.
        classes : list of ClassResult, or None
            What came of each class.
        model : Model or None
            What told the angles.

        Returns
        -------
        Alignment
            For users of the API.
        """
        if outcome is None:
            results = classes or []
            found, correntropy = together(results)
            more: dict[str, Any] = {"classes": [ClassAverage.of(one) for one in results], "correntropy": correntropy}
        else:
            found, averages = outcome.alignment, outcome.averages
            more = {
                "average": averages.all,
                "average_weighted": outcome.weighted.astype(np.float32),
                "halves": averages.halves,
                "frc": outcome.frc,
                "resolution": outcome.estimate.resolution,
                "resolution_note": outcome.estimate.note,
                "correntropy": outcome.correntropy,
            }
        return cls(found.poses, found.score, found.outlier, found.ambiguous, *_said(run), model, *_of(run), **more)


@dataclass
class Classification(_Posed):
    """Particles sorted into 2D classes, and each class aligned; arrays over particles are in the order of the images.

    Attributes
    ----------
    label : (N,) int64 array
        The class of each particle, from 1, as ``classes`` count.
    poses, score, outlier, ambiguous, warnings
        As of :class:`Alignment`; the score compares particles of different classes.
    classes : list of ClassAverage
        By ascending number, the largest first.
    averages : (K, D, D) float32 array
        Of all classes.
    flagged : (K,) bool array
        Which classes are no views: noise, no particle, contamination, neighbours.
    model : Model
        The class network.
    """

    label: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    classes: list[ClassAverage] = field(default_factory=list)

    @property
    def averages(self) -> np.ndarray:
        """The averages (K, D, D) of all classes."""
        return np.stack([one.average for one in self.classes])

    @property
    def flagged(self) -> np.ndarray:
        """Which classes (K,) are no views."""
        return np.array([bool(one.flag) for one in self.classes])

    @classmethod
    def of(cls, run: Run, label: np.ndarray, classes: list[ClassResult], model: Model) -> Classification:
        """Of what the pipelines have.

        Parameters
        ----------
        run : Run
            The run.
        label : (N,) int array
            The class of each particle, from 1.
        classes : list of ClassResult
            By ascending number.
        model : Model
            The class network.

        Returns
        -------
        Classification
            For users of the API.
        """
        found, _ = together(classes)
        averages = [ClassAverage.of(one) for one in classes]
        posed = found.poses, found.score, found.outlier, found.ambiguous
        return cls(*posed, *_said(run), model, *_of(run), label=label, classes=averages)

    def _columns(self) -> dict[str, np.ndarray]:
        return {"number": self.label, "flagged": self.flagged[self.label - 1]}


@dataclass
class Evaluation:
    """How far poses are from the truth, once the transform that all have in common is taken off.

    Attributes
    ----------
    figures : dict of float
        By the names of evaluation.csv: ``rotation_mean``, ``rotation_mean_180`` (degrees), ``shift_rms`` (pixels)
        and so on.
    rotation : (N,) float array
        The error of each angle, degrees.
    shift : (N, 2) float array
        The error of each shift, pixels.
    rows : (N,) int64 array
        Which particles they are of, from 0: those that the truth has.
    """

    figures: dict[str, float]
    rotation: np.ndarray
    shift: np.ndarray
    rows: np.ndarray

    def __getitem__(self, name: str) -> float:
        return self.figures[name]


@dataclass
class Simulated:
    """Particles whose true poses are known.

    Attributes
    ----------
    images : (N, D, D) float32 array
        The particles.
    poses : Poses
        The true pose of each: it brings the particle onto the template.
    pixel_size : float
        Angstrom.
    template : (D, D) float32 array or None
        What they show; None of many views.
    defocus : (N,) float array
        Micrometers of underfocus, 0 without a CTF.
    """

    images: np.ndarray
    poses: Poses
    pixel_size: float
    template: np.ndarray | None
    defocus: np.ndarray


def _said(run: Run) -> tuple[list[Told], list[str]]:
    return [Told(code, text) for code, text in run.told], [str(note) for note in run.notes]


def _of(run: Run) -> tuple[np.ndarray, Source]:
    """The background of each particle (N,), grey values, and where the particles come from."""
    return run.particles.statistics.mean.astype(np.float32), run.source
