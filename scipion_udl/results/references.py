"""averages.star: class averages as RELION takes them for references (--ref).

Given a stack, RELION takes its first image and begins every class with it; a table names one image for each class.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from scipion_udl.io.tables import Table, number_texts, quote, write_tables

_UNKNOWN = "-999.000000"


def write_references(
    path: str, stack: str, numbers: Sequence[int], counts: Sequence[int], resolutions: Sequence[float | None]
) -> None:
    """Write the table of class averages, one row each, in the order of the images in their stack.

    Parameters
    ----------
    path : str
        The table.
    stack : str
        Where the averages will lie; the table names it absolutely, so that it can be used from any folder.
    numbers : (C,) sequence of int
        Of the classes.
    counts : (C,) sequence of int
        Their particles.
    resolutions : (C,) sequence of float or None
        Claimed, angstrom, None where none is.

    Raises
    ------
    UdlError
        Where the table cannot be written.
    """
    place, shares = os.path.abspath(stack), np.asarray(counts) / max(1, sum(counts))
    columns = {
        "rlnReferenceImage": [quote(f"{k + 1:06d}@{place}") for k in range(len(numbers))],
        "rlnClassNumber": [str(number) for number in numbers],
        "rlnClassDistribution": number_texts(shares),
        "rlnEstimatedResolution": [_UNKNOWN if value is None else f"{value:.6f}" for value in resolutions],
        "udlParticles": [str(count) for count in counts],
    }
    write_tables(path, [Table("model_classes", columns)])
