"""Classes as RELION's "Subset selection" opens them: run_model.star, run_optimiser.star and run_data.star."""

from __future__ import annotations

import os

from scipion_udl.constants import RUN_MODEL, RUN_OPTIMISER
from scipion_udl.io.relion.project import model_tables, optimiser_table
from scipion_udl.io.tables import write_tables
from scipion_udl.pipelines.run import Run


def write_relion_files(run: Run, stack: str, classes: list[dict]) -> None:
    """Write run_model.star and run_optimiser.star into the run's output folder.

    The caller writes RUN_DATA, the particles, whose classes are numbered as the images are: RELION takes class k for
    the k-th image.

    Parameters
    ----------
    run : Run
        The run.
    stack : str
        The file of the class averages in that folder.
    classes : list of dict
        As :func:`model_tables` takes them, in the order of the images.
    """
    out, source = run.out, run.source
    place = os.path.abspath(out.final(stack))
    write_tables(out.scratch(RUN_MODEL), model_tables(place, classes, source.box, source.pixel_size))
    write_tables(out.scratch(RUN_OPTIMISER), [optimiser_table(os.path.abspath(out.path))])
