"""The public functions: particles in arrays or files go in, poses and averages come out; nothing is printed or written.

``import scipion_udl`` gives them all: :func:`scipion_udl.align` and so on. Options are keywords, by the names, ranges
and defaults of the command line (scipion_udl/settings/); what the commands do is done here by the same code.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import nn

from scipion_udl.alignment.averages import apply_poses
from scipion_udl.compute.threads import threads_stay
from scipion_udl.errors import UdlError
from scipion_udl.imaging.polar_samples import PolarSampling
from scipion_udl.imaging.poses import Poses, pose_errors
from scipion_udl.io.images import read_image
from scipion_udl.io.output.no_folder import NoFolder
from scipion_udl.io.particles import open_particles
from scipion_udl.io.source import ARRAY, ArraySource, Source
from scipion_udl.jobs.compare import compare_labels, compare_tables
from scipion_udl.jobs.simulate import prepare
from scipion_udl.messages import message
from scipion_udl.models.checkpoint import ModelCard
from scipion_udl.models.checkpoint import load_model as read_model
from scipion_udl.models.class_bank import ClassBank
from scipion_udl.pipelines.align_particles import align_particles
from scipion_udl.pipelines.classify_set import Classified, classify_set
from scipion_udl.pipelines.learn_classes import (
    CLASSES,
    check_enough,
    checked_classes,
    keep_poses,
    learn_classes,
    shift_search_range,
    with_classes,
    with_found_number,
)
from scipion_udl.pipelines.run import Run
from scipion_udl.pipelines.train_model import learned_from, train_model
from scipion_udl.results.compared import Compared
from scipion_udl.results.returned import Alignment, Classification, Evaluation, Model, Simulated, Told
from scipion_udl.settings.commands import (
    AlignSettings,
    ClassifySettings,
    CompareSettings,
    RunSettings,
    SimulateSettings,
    TrainSettings,
)
from scipion_udl.settings.keywords import settings_of
from scipion_udl.simulation.parameters import settled
from scipion_udl.simulation.particles import Simulation
from scipion_udl.simulation.realistic import RealisticSimulation
from scipion_udl.simulation.templates import ImageTemplate
from scipion_udl.simulation.views import ViewSimulation
from scipion_udl.validation.pose_errors import bias, join, located_truth
from scipion_udl.validation.pose_errors import compare as compare_poses

__all__ = ["align", "apply", "classify", "compare", "evaluate", "load_model", "simulate", "train"]

Images = Any  # a numpy array or a torch tensor (N, D, D), or the name of a stack or table
Path = str | os.PathLike[str]
Progress = Callable[[str, int, int], None]
_Settings = TypeVar("_Settings", bound=RunSettings)
_TOGETHER = 256  # images that poses are applied to at a time
_OWN = (
    "input",
    "pixel_size",
    "model",
    "append_to",
    "pool",
    "write_stack",
    "write_cs",
    "authors_xmd",
    "truth",
    "repeat",
)


def align(
    images: Images,
    pixel_size: float | None = None,
    *,
    model: Model | Path | None = None,
    reference: np.ndarray | torch.Tensor | Path | None = None,
    name: str = ARRAY,
    progress: Progress | None = None,
    **options: Any,
) -> Alignment:
    """Bring particles of one view into register, without a reference; ``scipion-udl align`` as a function.

    Without a model a network is trained on the particles first, where there are about 128 or more.

    Parameters
    ----------
    images : (N, D, D) numpy array or torch tensor, or str or path
        The particles, of any real type, or the name of a stack or table (.mrcs, .star, .xmd, .cs). Not changed.
    pixel_size : float, optional
        Angstrom. Of files, only where neither table nor header gives it.
    model : Model, str or path, optional
        A trained model, in place of training.
    reference : (D, D) array, str or path, optional
        An image to bring the average onto.
    name : str, optional
        What the images of an array are named after. Halves and orders by chance follow from names and seed: with the
        file name of a stack of the same images, the poses are those that the command line finds, to the bit.
    progress : callable, optional
        Called with (stage, done, total) as the work goes on.
    **options
        Further options of ``scipion-udl align``, with underscores: ``max_shift`` (pixels), ``diameter`` (A),
        ``mirror``, ``no_refine``, ``epochs``, ``gpu``, ``seed``, ``threads``, ``by_class`` of tables, and so on.

    Returns
    -------
    Alignment
        Poses, score, averages, resolution and warnings.

    Raises
    ------
    UdlError
        Where the images cannot be aligned: wrong shape, NaN, all constant.
    TypeError, ValueError
        For an option that there is not, and for a value that it does not take.
    """
    source = _source(images, pixel_size, name)
    settings = _settings("align", AlignSettings, options, source, model, ("reference",), reference=None)
    with threads_stay():
        run = Run(settings, NoFolder(), source=source, report=progress)
        given = _model(model, run.device)
        done = align_particles(run, _image(reference), None, None if given is None else given.pair)
        network, card = done.guide.network, done.guide.card
        if given is None and isinstance(network, nn.Module) and card is not None:
            given = Model(network, card, done.guide.history or [])
        return Alignment.of(run, done.outcome, done.classes, given)


def classify(
    images: Images,
    pixel_size: float | None = None,
    *,
    classes: int | str | None = None,
    model: Model | Path | None = None,
    name: str = ARRAY,
    progress: Progress | None = None,
    **options: Any,
) -> Classification:
    """Sort particles of many views into 2D classes, and align each class; ``scipion-udl classify`` as a function.

    Parameters
    ----------
    images : (N, D, D) numpy array or torch tensor, or str or path
        The particles; see :func:`align`.
    pixel_size : float, optional
        Angstrom.
    classes : int or "auto", optional
        How many classes to look for, 50 where nothing is said; the particles may support fewer. "auto": as many as
        explain particles better that have not taught them.
    model : Model, str or path, optional
        A class network, whose classes the particles are sorted into, in place of learning them.
    name, progress
        See :func:`align`.
    **options
        Further options of ``scipion-udl classify``: ``training_subset``, ``starts``, ``diameter`` (A), ``max_shift``
        (pixels), ``no_refine``, ``seed``, ``gpu`` and so on.

    Returns
    -------
    Classification
        The class and the pose of each particle, averages, flags, resolutions and warnings.

    Raises
    ------
    UdlError
        Where there are too few particles for so many classes, or the images are none.
    TypeError, ValueError
        For an option that there is not, and for a value that it does not take.
    """
    source = _source(images, pixel_size, name)
    given = "a model" if model is not None else "a file of references" if options.get("references") else ""
    if given and classes is not None:
        raise ValueError(f"classify(): {given} brings its classes along: leave classes out")
    options["classes"] = classes or CLASSES
    settings = _settings("classify", ClassifySettings, options, source, model)
    settings = settings if model is not None else with_classes(settings)
    with threads_stay(), torch.no_grad():
        run = Run(settings, NoFolder(), source=source, report=progress)
        shift_search_range(run)
        keep_poses(run)
        run.scan()
        run.use_ctf()
        bank, card, history = _class_network(run, model)
        run.settings = with_found_number(run.settings, bank)
        done = cast(Classified, classify_set(run, bank, card.inputs_as(PolarSampling)))
        run.note_ctf()
        return Classification.of(run, done.found.label + 1, done.classes, Model(done.bank, card, history))


def _class_network(run: Run, model: Model | Path | None) -> tuple[ClassBank, ModelCard, list[dict]]:
    """The class network that was given, or one that is learned now; its card and its rounds."""
    given = _model(model, run.device)
    if given is not None:
        return (*checked_classes(run, *given.pair, "the model that was given"), [])
    check_enough(run)
    return run.within_memory(lambda: learn_classes(run))


def train(
    images: Images,
    pixel_size: float | None = None,
    *,
    model: Model | Path | None = None,
    name: str = ARRAY,
    progress: Progress | None = None,
    **options: Any,
) -> Model:
    """Train a network that tells in-plane angles; ``scipion-udl train`` as a function.

    Parameters
    ----------
    images : (N, D, D) numpy array or torch tensor, or str or path
        The particles; see :func:`align`.
    pixel_size : float, optional
        Angstrom.
    model : Model, str or path, optional
        A model to go on from.
    name, progress
        See :func:`align`.
    **options
        Further options of ``scipion-udl train``: ``method`` ("judl" or "udl"), ``network`` ("polar", "resnet",
        "matching"), ``epochs``, ``lr``, ``seed``, ``gpu`` and so on.

    Returns
    -------
    Model
        The network with its card and the history of its training.

    Raises
    ------
    UdlError
        Where there are too few particles with an image.
    TypeError, ValueError
        For an option that there is not, and for a value that it does not take.
    """
    source = _source(images, pixel_size, name)
    settings = _settings("train", TrainSettings, options, source, model)
    with threads_stay():
        run = Run(settings, NoFolder(), source=source, report=progress)
        run.scan()
        classes, start = learned_from(run), _model(model, run.device)
        result, card = run.within_memory(lambda: train_model(run, None if start is None else start.pair, classes))
        return Model(result.network, card, result.history, [Told(code, text) for code, text in run.told])


def evaluate(
    found: Alignment | Classification | Poses | Path,
    truth: Simulated | Poses | Path,
    pixel_size: float = 1.0,
    *,
    symmetry: int | None = None,
) -> Evaluation:
    """Compare poses with true ones, once the transform that all have in common is taken off.

    Parameters
    ----------
    found : Alignment, Poses, str or path
        The poses (N,), or a table of them (aligned.star, aligned.xmd).
    truth : Simulated, Poses, str or path
        The true ones, in the same order, or a truth.star, which needs ``found`` to be of files.
    pixel_size : float, optional
        Angstrom, for shifts in angstrom.
    symmetry : int, optional
        Of the view: errors are also taken modulo 360 / symmetry degrees.

    Returns
    -------
    Evaluation
        Figures, and the error of each particle.

    Raises
    ------
    UdlError
        Where the truth is of other particles, or the table carries no poses.
    """
    source: Source | None = getattr(found, "source", None)
    if isinstance(found, (str, os.PathLike)):
        source = open_particles(os.fspath(found), None)
        poses = source.poses()
        if poses is None:
            raise UdlError(message("evaluated_without_poses", path=source.path))
        pixel_size = source.pixel_size
    else:
        poses = found if isinstance(found, Poses) else found.poses
    rows = np.arange(len(poses))
    if isinstance(truth, (str, os.PathLike)):
        if source is None:
            raise UdlError(message("truth_of_images", path=truth))
        images, every = located_truth(os.fspath(truth))
        rows, true_rows = join(source.locations(), images)
        if not len(rows):
            raise UdlError(message("truth_of_others", path=truth, other=source.path))
        right = every[true_rows]
    else:
        right = truth if isinstance(truth, Poses) else truth.poses
        if len(right) != len(poses):
            raise UdlError(message("true_poses_of_other_number", poses=len(poses), true=len(right)))
    mine = poses[rows]
    errors = pose_errors(mine, right)
    figures = compare_poses(mine, right, pixel_size, symmetry) | bias(mine, right)
    return Evaluation({"particles": len(poses), **figures}, errors.rotation, errors.shift, rows)


def compare(*runs: Classification | Sequence[int] | Sequence[str] | np.ndarray | Path, **options: Any) -> Compared:
    """Compare classifications of the same particles; ``scipion-udl compare`` as a function.

    Parameters
    ----------
    *runs : (N,) sequences of int or str, Classification, or str or path
        Two or more: the class of each particle, in the same order in all; below 0 where a run does not hold it. Or what
        the command line takes: folders of ``scipion-udl classify``, and tables of any program, whose particles are
        known again by their images. The consensus is told in the classes of the first.
    **options
        Further options of ``scipion-udl compare``: ``least_in_common`` (0 to 1), and ``pixel_size`` (A) of tables.

    Returns
    -------
    Compared
        Adjusted Rand indices, what comes again of each class, which classes match, and the consensus.

    Raises
    ------
    UdlError
        Where there are no two runs, or they have no particle in common.
    TypeError, ValueError
        For an option that there is not, a value that it does not take, and for paths together with labels.
    """
    paths = [os.fspath(run) for run in runs if isinstance(run, (str, os.PathLike))]
    settings = settings_of("compare", CompareSettings, options, ("runs",), runs=tuple(paths), output="")
    if len(paths) not in (0, len(runs)):
        raise TypeError("compare(): give the paths of all runs, or the labels of all")
    if paths:
        return Compared.of(*compare_tables(settings))
    return Compared.of(*compare_labels([np.asarray(getattr(run, "label", run)) for run in runs], settings))


def apply(images: Images, poses: Alignment | Classification | Poses) -> Images:
    """Apply poses to images, with Fourier interpolation: what is returned is in register.

    Parameters
    ----------
    images : (N, D, D) numpy array or torch tensor
        The images that the poses are of.
    poses : Alignment, Classification or Poses
        The poses (N,). What comes from outside of an image is the particle's background, of bare poses the mean of the
        image.

    Returns
    -------
    (N, D, D) numpy array or torch tensor
        float32, of the kind that ``images`` is.

    Raises
    ------
    UdlError
        Where the numbers of images and poses differ, or an image is none.
    """
    source = ArraySource(images, 1.0)
    own, background = (poses, None) if isinstance(poses, Poses) else (poses.poses, poses.background)
    if len(own) != len(source):
        raise UdlError(message("poses_of_other_number", images=len(source), poses=len(own)))
    out = np.empty((len(source), source.box, source.box), np.float32)
    for rows in np.split(np.arange(len(source)), range(_TOGETHER, len(source), _TOGETHER)):
        part = torch.from_numpy(source.read(rows))
        fill = part.mean((1, 2)) if background is None else torch.from_numpy(background[rows])
        out[rows] = apply_poses(part, fill, own[rows]).numpy()
    return torch.from_numpy(out).to(images.device) if isinstance(images, torch.Tensor) else out


def simulate(
    count: int = 1000,
    snr: float = 0.1,
    box: int | None = None,
    pixel_size: float | None = None,
    *,
    template: np.ndarray | torch.Tensor | Path | None = None,
    **options: Any,
) -> Simulated:
    """Make synthetic particles whose true poses are known; ``scipion-udl simulate`` as a function.

    Parameters
    ----------
    count : int, optional
        How many.
    snr : float, optional
        Variance of the CTF-filtered particle over the whole box / variance of the noise; ``inf`` for no noise.
    box : int, optional
        Pixels of a side, 128 where nothing is said, or as the template has it.
    pixel_size : float, optional
        Angstrom, 2 where nothing is said.
    template : (D, D) array, str or path, optional
        The view that they show, in place of a phantom.
    **options
        Further options of ``scipion-udl simulate``: ``phantom``, ``shift`` (pixels), ``no_ctf``, ``views``, ``seed``
        and so on.

    Returns
    -------
    Simulated
        Images and true poses.

    Raises
    ------
    UdlError
        For values that make no particles.
    TypeError, ValueError
        For an option that there is not, and for a value that it does not take.
    """
    options |= {"count": count, "snr": snr, "box": box, "pixel_size": pixel_size}
    without = ("template", "centers", "photos", "pixel_sizes", "clean", "gpu", "threads", "batch")
    image = _image(template)
    if image is not None and image.shape != (box or image.shape[0],) * 2:
        raise UdlError(message("template_of_other_box", shape=str(image.shape), box=box))
    if image is not None:
        options["box"] = image.shape[0]
    settings = settled(settings_of("simulate", SimulateSettings, options, without))
    made, _ = prepare(settings, None if image is None else ImageTemplate(image, image.shape[0]))
    base: Simulation = made.base if isinstance(made, RealisticSimulation) else made
    shown = None if isinstance(base, ViewSimulation) else base.template.image().astype(np.float32)
    images = made.images(np.arange(base.count)).astype(np.float32)
    return Simulated(images, made.poses, base.pixel_size, shown, base.defocus)


def load_model(path: Path) -> Model:
    """Read a model file that ``scipion-udl`` or :meth:`Model.save` wrote; nothing in it is run.

    Parameters
    ----------
    path : str or path
        The file.

    Returns
    -------
    Model
        The network with its card.

    Raises
    ------
    UdlError
        Where the file is none, is damaged, or is of a later version.
    """
    return Model(*read_model(os.fspath(path), torch.device("cpu")))


def _settings(
    function: str,
    kind: type[_Settings],
    options: dict[str, Any],
    source: Source,
    model: Model | Path | None,
    without: tuple[str, ...] = (),
    **own: Any,
) -> _Settings:
    """The settings of a command, with what the function has settled itself."""
    path = os.fspath(model) if isinstance(model, (str, os.PathLike)) else None
    own |= {"input": source.path, "pixel_size": None, "model": path}
    return settings_of(function, kind, options, (*_OWN, *without), **own)


def _source(images: Images, pixel_size: float | None, name: str) -> Source:
    if isinstance(images, (str, os.PathLike)):
        return open_particles(os.fspath(images), pixel_size)
    return ArraySource(images, pixel_size, name)


def _model(model: Model | Path | None, device: torch.device) -> Model | None:
    """The model on the device that computes."""
    if model is None:
        return None
    if isinstance(model, Model):
        model.network.to(device)
        return model
    return Model(*read_model(os.fspath(model), device))


def _image(image: np.ndarray | torch.Tensor | Path | None) -> np.ndarray | None:
    """A single image (D, D), float32. Raises UdlError for another shape, NaN or inf."""
    if image is None:
        return None
    if isinstance(image, (str, os.PathLike)):
        return read_image(os.fspath(image))[0]
    if getattr(image, "ndim", 0) != 2:
        raise UdlError(message("array_no_image", shape=str(tuple(getattr(image, "shape", ())))))
    return ArraySource(image[None], 1.0, "image").read([0])[0]
