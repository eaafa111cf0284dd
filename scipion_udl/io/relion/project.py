"""Files by which RELION's jobs hand on classes and particles: the model, the optimiser, and the nodes of a job.

Read by RELION 3.1.3; 4 and 5 read a label for the type of a node where 3.1 reads a number, so both are written.
"""

from __future__ import annotations

import os

from scipion_udl.constants import RUN_DATA, RUN_MODEL
from scipion_udl.io.tables import Table, quote, write_tables

# Type of a node: number in RELION 3.1, label in RELION 4 and 5.
PARTICLES_NODE = ("3", "ParticleGroupMetadata.star.relion")
MODEL_NODE = ("8", "Image2DGroupMetadata.star.relion.classaverages")
OPTIMISER_NODE = ("13", "OptimiserData.star.relion.class2d")
_UNKNOWN = "999.000000"  # as RELION writes an accuracy that it has not estimated


def model_tables(stack: str, classes: list[dict], box: int, pixel_size: float) -> list[Table]:
    """The tables model_general and model_classes of RELION's ``_model.star``, as far as they are known here.

    Parameters
    ----------
    stack : str
        Name of the class averages, as RELION finds it from the project folder.
    classes : list of dict
        Of each "image" (from 1, in the stack), "particles", "resolution" (A, or None where none is claimed) and
        "crossing" (A, where the FRC of its halves falls to 0.143, None where they were not aligned apart).
    box : int
        Pixels.
    pixel_size : float
        Angstrom.

    Returns
    -------
    list of Table
        Both.
    """
    total = max(1, sum(one["particles"] for one in classes))
    field = box * pixel_size
    resolutions = [one["resolution"] or one.get("crossing") or field for one in classes]
    general = {
        "rlnReferenceDimensionality": "2",
        "rlnDataDimensionality": "2",
        "rlnOriginalImageSize": str(box),
        "rlnCurrentResolution": f"{min(resolutions):.6f}",
        "rlnCurrentImageSize": str(box),
        "rlnPaddingFactor": "2.000000",
        "rlnPixelSize": f"{pixel_size:.6f}",
        "rlnNrClasses": str(len(classes)),
        "rlnNrBodies": "1",
        "rlnNrGroups": "1",
    }
    columns = {
        "rlnReferenceImage": [quote(f"{one['image']:06d}@{stack}") for one in classes],
        "rlnClassDistribution": [f"{one['particles'] / total:.6f}" for one in classes],
        "rlnAccuracyRotations": [_UNKNOWN] * len(classes),
        "rlnAccuracyTranslationsAngst": [_UNKNOWN] * len(classes),
        "rlnEstimatedResolution": [f"{value:.6f}" for value in resolutions],
    }
    return [_pairs("model_general", general), Table("model_classes", columns)]


def optimiser_table(folder: str) -> Table:
    """The table by which RELION 4 and 5 find model and particles of a run.

    Parameters
    ----------
    folder : str
        Where RUN_MODEL and RUN_DATA will lie, as RELION finds it from the project folder.

    Returns
    -------
    Table
        optimiser_general.
    """
    place = folder.rstrip("/")
    values = {
        "rlnOutputRootName": os.path.join(place, "run"),
        "rlnModelStarFile": os.path.join(place, RUN_MODEL),
        "rlnExperimentalDataStarFile": os.path.join(place, RUN_DATA),
        "rlnCurrentIteration": "1",
        "rlnNumberOfIterations": "1",
        "rlnDoSplitRandomHalves": "0",
    }
    return _pairs("optimiser_general", {label: quote(value) for label, value in values.items()})


def _pairs(name: str, values: dict[str, str]) -> Table:
    """A table of one row as RELION writes it, which CCP-EM's pipeliner reads in no other form."""
    table = Table(name, {label: [text] for label, text in values.items()})
    table.in_pairs = True
    return table


def write_nodes(path: str, nodes: list[tuple[str, tuple[str, str]]]) -> None:
    """Write RELION_OUTPUT_NODES.star.

    RELION 3.1 reads the number and passes over the label with a warning; 4 and 5 read the label.

    Parameters
    ----------
    path : str
        The file.
    nodes : list of (str, (str, str))
        Names of files (from the project folder) and (number, label) of their types.
    """
    columns = {
        "rlnPipeLineNodeName": [quote(name) for name, _ in nodes],
        "rlnPipeLineNodeType": [number for _, (number, _) in nodes],
        "rlnPipeLineNodeTypeLabel": [label for _, (_, label) in nodes],
    }
    write_tables(path, [Table("output_nodes", columns)])
