"""Runs the converters of scipion-em-relion, -xmipp and -cryosparc2, in a process of its own that sees these plugins.

``python -m scipion_udl.tests.neighbour_worker FOLDER`` goes through the folders in FOLDER. Where they have set.sqlite,
the plugins write it as relion.star, cryosparc.star and xmipp.xmd, and read the last back into from_xmipp.sqlite; where
they have aligned.star, as RELION means it, the plugins of RELION and cryoSPARC read it into from_relion.sqlite and
from_cryosparc.sqlite; classes.sqlite is written as
xmipp_classes.xmd and read back into from_xmipp_classes.sqlite, or xmipp_classes.error says why not. FOLDER/star/*.star
are imported into a project with Scipion's own protocol: imported.json tells by name what came of them.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import cryosparc2.convert.convert
import pwem.protocols
import relion.convert
import xmipp3.convert
from emtable import Table
from pwem.constants import ALIGN_2D
from pwem.objects import SetOfClasses2D, SetOfParticles
from pyworkflow.project import Manager


def write_set(folder: Path) -> None:
    """Both plugins write the set of a folder, and Xmipp's reads it back."""
    particles = SetOfParticles(filename=str(folder / "set.sqlite"))
    particles.loadAllProperties()
    relion.convert.writeSetOfParticles(particles, str(folder / "relion.star"))
    cryosparc2.convert.convert.cryosPARCwriteSetOfParticles(
        particles, str(folder / "cryosparc.star"), None, alignType=ALIGN_2D, fillMagnification=True
    )
    xmipp3.convert.writeSetOfParticles(particles, str(folder / "xmipp.xmd"))
    back = SetOfParticles(filename=str(folder / "from_xmipp.sqlite"))
    back.copyInfo(particles)
    xmipp3.convert.readSetOfParticles(str(folder / "xmipp.xmd"), back, alignType=ALIGN_2D)
    back.write()


def read_star(folder: Path) -> None:
    """RELION's plugin reads a STAR as its classification does."""
    back = SetOfParticles(filename=str(folder / "from_relion.sqlite"))
    relion.convert.readSetOfParticles(str(folder / "aligned.star"), back, alignType=ALIGN_2D)
    back.write()
    particles = SetOfParticles(filename=str(folder / "set.sqlite"))
    particles.loadAllProperties()
    rows = Table.iterRows(f"particles@{folder / 'aligned.star'}")
    back = SetOfParticles(filename=str(folder / "from_cryosparc.sqlite"))
    back.copyInfo(particles)
    for item, row in zip(particles.iterItems(), rows):
        convert = cryosparc2.convert.convert.rowToAlignment
        item.setTransform(convert(row, ALIGN_2D, particles.getSamplingRate()))
        back.append(item)
    back.write()


def write_classes(folder: Path) -> None:
    """Xmipp's plugin writes classes and reads them back."""
    classes, images = (
        kind(filename=str(folder / name))
        for kind, name in ((SetOfClasses2D, "classes.sqlite"), (SetOfParticles, "set.sqlite"))
    )
    for each in (classes, images):
        each.loadAllProperties()
    path = str(folder / "xmipp_classes.xmd")
    try:
        xmipp3.convert.writeSetOfClasses2D(classes, path)
    except Exception as error:
        (folder / "xmipp_classes.error").write_text(str(error))
        return
    back = SetOfClasses2D(filename=str(folder / "from_xmipp_classes.sqlite"))
    back.setImages(images)
    xmipp3.convert.readSetOfClasses2D(back, path, alignType=ALIGN_2D)
    back.write()


def import_star(project: object, path: Path) -> str:
    """What Scipion's own import makes of a STAR: the alignment of the set, or the error."""
    importer = project.newProtocol(
        pwem.protocols.ProtImportParticles,
        importFrom=pwem.protocols.ProtImportParticles.IMPORT_FROM_RELION,
        starFile=str(path),
        samplingRate=2.5,
        voltage=300,
    )
    project.launchProtocol(importer, wait=True)
    particles = getattr(importer, "outputParticles", None)
    return particles.getAlignment() if particles is not None else importer.getErrorMessage()


def main(folder: Path) -> None:
    """Do all that there is to do in a folder."""
    for case in sorted(path for path in folder.iterdir() if path.is_dir()):
        for name, work in (("set.sqlite", write_set), ("aligned.star", read_star), ("classes.sqlite", write_classes)):
            if (case / name).exists():
                work(case)
    pwem.Domain.getPlugins()
    stars = sorted((folder / "star").glob("*.star"))
    project = Manager().createProject("udl_neighbours")
    os.chdir(project.path)
    found = {path.stem: import_star(project, path) for path in stars}
    (folder / "imported.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
