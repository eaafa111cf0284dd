"""What a classification has learned so far: a picture and a stack that are renewed after each level of the learning."""

from __future__ import annotations

import mrcfile
import numpy as np
import torch
from PIL import Image

from scipion_udl.constants import CLASSES_SO_FAR, CLASSES_SO_FAR_PICTURE
from scipion_udl.imaging.polar_samples import AngularTransform, PolarSampling
from scipion_udl.models.class_bank import ClassBank
from scipion_udl.pipelines.run import Run
from scipion_udl.report import pictures

ACROSS, SIDE, GAP = 8, 128, 4  # images in a row; pixels of each, and between them


def show_classes(run: Run, bank: ClassBank, sampling: PolarSampling) -> None:
    """Show the templates that a class network has learned so far, the largest class first.

    classes_so_far.png and classes_so_far.mrcs lie in the folder of results until the run ends; by the first process
    alone. They are templates, at the resolution of the level, not averages of all particles.

    Parameters
    ----------
    run : Run
        The run.
    bank : ClassBank
        The network after a level.
    sampling : PolarSampling
        How particles are sampled for it.
    """
    if not run.group.first:
        return
    images, members = templates(run, bank, sampling)
    small = run.source.box * run.source.pixel_size / images.shape[-1]
    run.out.show(CLASSES_SO_FAR, lambda path: _write(path, images, small))
    run.out.show(CLASSES_SO_FAR_PICTURE, lambda path: _sheet(images).save(path, format="PNG"))
    largest = members.max() / max(members.sum(), 1)
    run.say(f"{CLASSES_SO_FAR_PICTURE} shows what was learned so far: the largest class has {largest:.0%}", detail=True)


def templates(run: Run, bank: ClassBank, sampling: PolarSampling) -> tuple[np.ndarray, np.ndarray]:
    """The templates of a network as images.

    Parameters
    ----------
    run : Run
        The run.
    bank : ClassBank
        The network.
    sampling : PolarSampling
        How particles are sampled for it.

    Returns
    -------
    (K, small, small) float32 array
        Without the whitening of the particles' noise, so they look as averages do; origin at pixel small // 2, a
        particle as bright or dark as it is.
    (K,) float array
        How many of the particles that teach are in each class, descending.
    """
    transform = AngularTransform(sampling, bank.config["rings"], bank.template.device)
    order = torch.argsort(bank.members, descending=True, stable=True)
    level = run.particles.whitening.rings()[1 : bank.config["rings"] + 1].to(bank.template.device)
    found = transform.images(bank.complex[order] / level[:, None])
    return found.cpu().numpy().astype(np.float32), bank.members[order].cpu().numpy()


def _write(path: str, images: np.ndarray, pixel_size: float) -> None:
    """Write images as a stack that need not outlive a crash of the machine, as results do."""
    with mrcfile.new(path, data=images, overwrite=True) as file:
        file.set_image_stack()
        file.voxel_size = pixel_size


def _sheet(images: np.ndarray) -> Image.Image:
    """Images (K, D, D), each in grey values of its own, in rows."""
    across = min(ACROSS, len(images))
    down = -(-len(images) // across)
    sheet = Image.new("L", (across * (SIDE + GAP) + GAP, down * (SIDE + GAP) + GAP), 255)
    for k, image in enumerate(images):
        picture = Image.fromarray(pictures.to_grey(image)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        sheet.paste(picture, tuple(GAP + (SIDE + GAP) * place for place in (k % across, k // across)))
    return sheet
