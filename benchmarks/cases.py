"""What a case is: a view, an SNR and a number of particles; and the named lists of cases that are measured."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from scipion_udl.io.particles import open_particles
from scipion_udl.io.tables import Table, quote, write_tables
from scipion_udl.io.truth import read_truth, truth_table

BOX = 128
MAX_SHIFT = 10
SNRS = ("1", "0.1", "0.03", "0.01")
COUNT = 512
SEED = 1

# What runs where, by the names of benchmarks.methods. Own results come twice: refined, and of the network alone.
OWN = ("own", "own-network")
PEERS = ("classic", "polar")
QUICK = ("oracle", *PEERS, *OWN)


@dataclass(frozen=True)
class View:
    """What the particles of a case show.

    name: as in the results; source: the options of `scipion-udl simulate` that choose it; pixel_size: A; period:
    degrees of its own exact symmetry (360 where it has none, or only nearly one); kind: in words; set_aside: nobody
    looked at it before the last run.
    """

    name: str
    source: tuple[str, ...]
    pixel_size: float = 2.0
    period: float = 360.0
    kind: str = "asymmetric"
    set_aside: bool = False


def _phantom(name: str, kind: str, period: float = 360.0, set_aside: bool = False) -> View:
    return View(name, ("--phantom", name), 2.0, period, kind, set_aside)


# The tube's rungs grow unevenly along it and its ends differ: it has no exact symmetry.
PHANTOM_VIEWS = (
    _phantom("hook", "asymmetric"),
    _phantom("clamp", "asymmetric"),
    _phantom("hammer", "asymmetric"),
    _phantom("dimer", "two-fold", 180.0),
    _phantom("barrel", "nearly two-fold"),
    _phantom("tube", "tube-like"),
    _phantom("pebble", "small, compact"),
)
# Set aside: they were made before anything was measured on them, and nothing is chosen by how well they do.
SET_ASIDE_VIEWS = (
    _phantom("anchor", "asymmetric", set_aside=True),
    _phantom("spindle", "nearly two-fold", set_aside=True),
)

# Slow programs run on named cases only: (view, SNR), of 512 particles.
RELION_CASES = (
    ("groel", "0.1"), ("empiar-10034", "0.1"), ("empiar-10065", "0.03"), ("hook", "0.1"), ("hook", "0.01"),
    ("barrel", "0.1"),
)  # fmt: skip
ASPIRE_CASES = (("hook", "0.1"), ("empiar-10065", "0.1"))
# Where the oracle does not know all ways round: what could be known without the template.
INFORMED_CASES = (("groel", "0.01"), ("barrel", "0.1"), ("barrel", "0.03"), ("barrel", "0.01"))
FEW_VIEWS = ("hook", "empiar-10065")
FAINT_VIEWS = ("hook", "empiar-10065")
# Speed and memory: (SNR, particles, whether the run end to end, which trains by itself, is measured too).
LARGE = (("0.1", 10_000, True), ("0.03", 10_000, False), ("0.01", 10_000, False), ("0.1", 50_000, True))


@dataclass(frozen=True)
class Case:
    """Particles to align. methods: names of benchmarks.methods, in the order they run; given: a folder or table of
    particles that exists already, None for a simulation; list: the named list the case is of."""

    view: View
    snr: str
    count: int
    methods: tuple[str, ...]
    list: str
    box: int = BOX
    seed: int = SEED
    given: str | None = field(default=None)

    @property
    def name(self) -> str:
        """One word for files and for the results, the same for the same particles."""
        return self.view.name if self.given else f"{self.view.name}_{self.snr}_{self.count}"


def template_view(text: str) -> View:
    """A view of ``--template FILE:PIXEL_SIZE[:NAME[:FOLD]]``. Raises ValueError where the text is not of that form."""
    parts = text.split(":")
    if not 2 <= len(parts) <= 4:
        raise ValueError(f"'{text}' is not FILE:PIXEL_SIZE[:NAME[:FOLD]]")
    file, name = parts[0], parts[2] if len(parts) > 2 else Path(parts[0]).stem
    pixel_size, fold = float(parts[1]), int(parts[3]) if len(parts) > 3 else 1
    kind = "image from a file" if fold == 1 else f"image from a file, {fold}-fold"
    return View(name, ("--template", file), pixel_size, 360.0 / fold, kind)


def given_case(path: str) -> Case:
    """Own particles: a folder with particles.star (and truth.star, template.mrc if known), or a table or stack alone.

    Without a truth only `scipion-udl` runs; with it all blind methods, and with a template the oracle too.
    """
    place = Path(path)
    if not place.exists():
        raise ValueError(f"there is no {path}")
    folder = place if place.is_dir() else place.parent
    known = (folder / "truth.star").exists()
    methods = OWN if not known else QUICK if (folder / "template.mrc").exists() else (*PEERS, *OWN)
    name = folder.resolve().name if place.is_dir() or place.stem == "particles" else place.stem
    return Case(View(name, (), 0.0, kind="own data"), "", 0, methods, "own data", given=str(place.resolve()))


def all_cases(templates: list[View], set_aside: bool = False) -> list[Case]:
    """The cases of the benchmark, ``templates`` first. set_aside: the set-aside phantoms instead, and nothing else."""
    if set_aside:
        return [Case(view, snr, COUNT, QUICK, "set aside") for view in SET_ASIDE_VIEWS for snr in SNRS]
    views = [*templates, *PHANTOM_VIEWS]
    cases = [Case(view, snr, COUNT, _methods(view.name, snr), "main") for view in views for snr in SNRS]
    cases += [Case(v, "0.003", COUNT, (*QUICK[:2], "own"), "faint") for v in views if v.name in FAINT_VIEWS]
    cases += [Case(v, snr, 128, QUICK, "few") for v in views if v.name in FEW_VIEWS for snr in ("0.1", "0.03")]
    cases += [Case(view, "0.1", 2000, ("own-network",), "network") for view in views]
    hook = PHANTOM_VIEWS[0]
    for snr, count, whole in LARGE:
        given = ("own-train", "own-model")
        cases.append(Case(hook, snr, count, ("own", *given) if whole else given, "large"))
    return cases


_NAMED = (("relion", RELION_CASES), ("aspire", ASPIRE_CASES), ("informed", INFORMED_CASES))


def _methods(view: str, snr: str) -> tuple[str, ...]:
    named = [name for name, cases in _NAMED if (view, snr) in cases]
    return (*QUICK, *named)


def make(case: Case, folder: Path) -> Path:
    """The folder with the case's particles.star (and truth.star, template.mrc), made in ``folder`` if not there yet."""
    data = folder / case.name
    if (data / "particles.star").exists():
        return data
    data.parent.mkdir(parents=True, exist_ok=True)
    if case.given:
        _adopt(Path(case.given), data)
    else:
        _simulate(case, data)
    return data


def _simulate(case: Case, data: Path) -> None:
    command = [sys.executable, "-m", "scipion_udl.cli", "simulate", str(data), *case.view.source, "--overwrite"]
    command += ["--count", str(case.count), "--snr", case.snr, "--box", str(case.box), "--shift", str(MAX_SHIFT)]
    command += ["--pixel-size", f"{case.view.pixel_size:g}", "--seed", str(case.seed), "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the particles of {case.name} could not be made: {done.stderr.strip().splitlines()[-1]}")


def _adopt(place: Path, data: Path) -> None:
    """Tables in ``data`` that name given particles from anywhere; the images stay where they are."""
    folder = place if place.is_dir() else place.parent
    source = open_particles(str(place / "particles.star" if place.is_dir() else place))
    data.mkdir(exist_ok=True)
    if (folder / "truth.star").exists():
        _, poses = read_truth(str(folder / "truth.star"))
        names = _names(open_particles(str(folder / "truth.star")).locations())
        write_tables(str(data / "truth.star"), [truth_table(names, poses)])
    if (folder / "template.mrc").exists():
        shutil.copy(folder / "template.mrc", data)
    names = [quote(name) for name in _names(source.locations())]
    if source.table is not None and "rlnImageName" in source.table:
        source.table.set("rlnImageName", names)
        tables = source.tables
    else:
        optics = {"rlnOpticsGroup": ["1"], "rlnImagePixelSize": [f"{source.pixel_size:.6f}"]}
        optics |= {"rlnImageSize": [str(source.box)], "rlnImageDimensionality": ["2"]}
        particles = {"rlnImageName": names, "rlnOpticsGroup": ["1"] * len(names)}
        tables = [Table("optics", optics), Table("particles", particles)]
    write_tables(str(data / "particles.star"), tables)


def _names(locations: list[tuple[str, int]]) -> list[str]:
    return [f"{item + 1:06d}@{path}" + ("" if path.endswith(".mrcs") else ":mrcs") for path, item in locations]
