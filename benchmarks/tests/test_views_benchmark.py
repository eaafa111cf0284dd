"""The spread of views is that of the members about their common axis, whichever way they point."""

from __future__ import annotations

import numpy as np

from benchmarks.views import figures
from scipion_udl.io.tables import Table, write_tables

TILTS = (10.0, -10.0)  # degrees, of the members of a class about the z and the x axis


def test_figures_of_two_narrow_classes_and_noise(tmp_path):
    views, molecule, label = [], [], []
    for number, axis in ((1, 2), (2, 0)):
        for k in range(8):
            tilt = np.radians(TILTS[k % 2])
            view = np.zeros(3)
            view[axis], view[1] = np.cos(tilt), np.sin(tilt)
            views.append(view * (-1) ** (k // 2))  # the other side is the same axis
            molecule.append(number)
            label.append(number)
    views += [np.zeros(3)] * 4
    molecule += [0] * 4
    label += [3] * 4
    names = [f"{k + 1}@a.mrcs" for k in range(len(label))]
    columns = dict(zip(("udlViewX", "udlViewY", "udlViewZ"), np.array(views).T.astype(str).tolist()))
    truth = {"rlnImageName": names, "udlAngle": ["0"] * len(names), "udlClass": [str(m) for m in molecule]} | columns
    write_tables(str(tmp_path / "truth.star"), [Table("particles", truth)])
    flags = [str(int(number == 3)) for number in label]
    found = {"rlnImageName": names, "rlnClassNumber": [str(n) for n in label], "udlFlagged": flags}
    write_tables(str(tmp_path / "classes.star"), [Table("particles", found)])
    result = figures(tmp_path / "classes.star", tmp_path)
    assert abs(result["median"] - 10) < 0.01
    assert (result["noise_flagged"], result["flagged"], result["purity"]) == (1.0, 0.0, 1.0)
