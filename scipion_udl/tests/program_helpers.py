"""Alignments applied by the programs that own their form: RELION's for STAR files, Xmipp's library for XMD files."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from scipion_udl.io.stacks import StackReader

HAS_RELION = bool(shutil.which("relion_stack_create"))
EMPTY_PIPELINE = "\n# version 30001\n\ndata_pipeline_general\n\n_rlnPipeLineJobCounter 1\n \n"  # of a project


def relion(folder: Path, *command: object) -> str:
    """What one of RELION's programs prints in a folder; it must succeed."""
    result = subprocess.run([str(word) for word in command], cwd=folder, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def worst_correlation(images: Iterable[np.ndarray], template: np.ndarray) -> float:
    """The lowest correlation coefficient of any of the images with the template."""
    return min(np.corrcoef(np.ravel(image), template.ravel())[0, 1] for image in images)


def relion_aligned(star: Path) -> np.ndarray:
    """The particles (N, D, D) of a STAR as RELION's program aligns them; run in the folder of the file."""
    command = ["relion_stack_create", "--i", star.name, "--o", "out", "--apply_transformation"]
    result = subprocess.run(command, cwd=star.parent, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return StackReader(str(star.parent / "out.mrcs")).read()


def xmipp_aligned(xmd: Path, block: str = "") -> list[np.ndarray]:
    """The particles of an XMD (of one block of it) as Xmipp's library aligns them."""
    from pwem import emlib

    table = emlib.MetaData(f"{block}@{xmd}" if block else str(xmd))
    images = []
    for row in table:
        image = emlib.Image()
        image.readApplyGeo(table, row)
        images.append(image.getData().squeeze())
    return images
