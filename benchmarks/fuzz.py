"""Feeds broken files to everything that reads: MRC stacks, packed ones, STAR, XMD and cryoSPARC tables (classes
in blocks and passthrough files, too), models and their cards, and the folders of runs that particles can be joined to.

    python -m benchmarks.fuzz --count 100000 --seed 1 --out fuzz_output

Each input is a good file with a few changes: bytes, characters and lines that are changed, cut out, put in or doubled,
and numbers replaced by impossible ones. A reader may take it or refuse it in one sentence (UdlError), nothing else, and
within SECONDS of CPU. Printed are the inputs tried, what they came to by kind of file and sentence, the slowest, and
the memory; what went wrong is kept in OUT. The exit code is 0 where nothing did.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import json
import re
import resource
import shutil
import signal
import sys
import time
import warnings
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.lib.recfunctions import repack_fields
from safetensors.torch import save

from scipion_udl import cli
from scipion_udl.errors import UdlError
from scipion_udl.imaging.polar_spectra import SpectraSettings
from scipion_udl.imaging.poses import Poses
from scipion_udl.io import tables
from scipion_udl.io.aligned import write_aligned
from scipion_udl.io.cryosparc import read as cs_read
from scipion_udl.io.cryosparc import rows as cs_rows
from scipion_udl.io.defocus import read_defocus
from scipion_udl.io.output.folder import OutputFolder
from scipion_udl.io.output.seal import SEAL, data_digest, file_digest, sealed
from scipion_udl.io.particles import ParticleSource, open_particles
from scipion_udl.io.tables import Table, read_tables, write_tables
from scipion_udl.io.truth import read_truth
from scipion_udl.jobs.check import check_table
from scipion_udl.jobs.check_images import check_images
from scipion_udl.jobs.diagnostics import Diagnostics
from scipion_udl.jobs.simulate import write_simulation
from scipion_udl.models.checkpoint import ModelCard, load_card, load_model, save_model
from scipion_udl.models.polar_network import PolarNetwork
from scipion_udl.pipelines.appending.appendable_alignment import NEEDED, AppendableRun
from scipion_udl.pipelines.appending.appendable_classes import Earlier
from scipion_udl.simulation.ctf import CtfSettings
from scipion_udl.simulation.particles import Simulation
from scipion_udl.simulation.phantoms import phantom

SECONDS = 10  # of CPU that one input may take: a stall of the machine is not the reader's
MEMORY_GB = 2.0  # that the process may come to
BOX, COUNT = 12, 6
CARD = "card.json"
MODELS = ("model.safetensors", CARD)
JOB = "job"  # of cryoSPARC: a file of particles, and one beside it that has what the first lacks
RUNS = {  # the first file of a run holds the digests of the others
    JOB: ("particles.cs", "J1_passthrough_particles.cs"),
    "aligned": ("joining.json", *NEEDED),
    "classes": ("joining_classes.json", "summary.json", "frc.csv", "averages.mrcs", "model.safetensors"),
}
READ_AT_MOST = 10**7  # pixels: a header may claim more, which is read in pieces and only takes time
NUMBERS = [b"nan", b"inf", b"-1", b"0", b"1e400", b"99999999999999999999", b"1e-320", b"", b"2147483648", b"x"]


class TooSlowError(Exception):
    """An input took longer than SECONDS."""


def good_files(folder: Path) -> dict[str, bytes]:
    """One good file of every kind, by name; the stack that the tables name lies in ``folder``/good."""
    good = folder / "good"
    with OutputFolder(str(good), overwrite=True) as out:
        write_simulation(out, Simulation(phantom("hook", BOX), COUNT, 1.0, 2.0, 1.0, ctf=CtfSettings()))
    source, rng = open_particles(str(good / "particles.star")), np.random.default_rng(0)
    poses = Poses(rng.uniform(-180, 180, COUNT), rng.normal(size=(COUNT, 2)))
    paths = {kind: str(good / f"table.{kind}") for kind in ("star", "xmd", "cs")}
    write_aligned(source, poses, np.ones(COUNT), np.zeros(COUNT, bool), **paths)
    spectra = SpectraSettings.for_box(64)
    torch.manual_seed(0)
    network = PolarNetwork(spectra.radii, spectra.angles)
    card = ModelCard("judl", "polar", network.config, asdict(spectra), 64, 2.0)
    save_model(str(good / "model.safetensors"), network, card)
    (good / "packed.mrcs.gz").write_bytes(gzip.compress((good / "particles.mrcs").read_bytes()))
    (good / CARD).write_text(json.dumps(asdict(card)))
    _runs(good)
    _job(good)
    _blocks(good)
    tables = ("table.star", "table.xmd", "blocks.xmd", "table.cs", "truth.star")
    names = ("particles.mrcs", "packed.mrcs.gz", *tables, *MODELS)
    runs = [f"{run}/{name}" for run, files in RUNS.items() for name in files]
    return {name: (good / name).read_bytes() for name in (*names, *runs)}


def _runs(good: Path) -> None:
    """Folders of `align` and `classify` that particles can be joined to, in ``good``."""
    views, words = str(good / "views"), ["--gpu", "none", "--threads", "1"]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        simulated = ["--count", "40", "--snr", "1", "--box", "24", "--pixel-size", "3", "--shift", "1", "--overwrite"]
        ends = [cli.main(["simulate", views, "--views", "random", *simulated, "--threads", "1"])]
        more = ["--overwrite", *words]
        ends.append(cli.main(["align", f"{views}/particles.star", "-o", str(good / "aligned"), *more]))
        classes = ["--classes", "2", "--starts", "1", "--no-refine"]
        ends.append(cli.main(["classify", f"{views}/particles.star", "-o", str(good / "classes"), *classes, *more]))
    if any(ends):
        raise RuntimeError("the runs to be joined to could not be made")


def _job(good: Path) -> None:
    """table.cs as two files of a job: CTF in the one, images and poses beside it."""
    rows = np.load(good / "table.cs")
    (good / JOB).mkdir(exist_ok=True)
    beside = [name for name in rows.dtype.names if name.startswith(("blob/", "alignments2D/"))]
    own = [name for name in rows.dtype.names if name not in ("uid", *beside)]
    for file, fields in zip(RUNS[JOB], (own, beside)):
        with open(good / JOB / file, "wb") as out:
            np.save(out, repack_fields(rows[["uid", *fields]]), allow_pickle=False)


def _blocks(good: Path) -> None:
    """table.xmd as classes, a block each, as CL2D writes them."""
    (table,) = read_tables(str(good / "table.xmd"))
    blocks = [table.rows(range(k, COUNT, 2)) for k in range(2)]
    classes = Table("classes", {"ref": ["1", "2"], "classCount": [str(len(block)) for block in blocks]})
    for number, block in enumerate(blocks, 1):
        block.name = f"class{number:06d}_images"
    write_tables(str(good / "blocks.xmd"), [classes, *blocks], xmipp=True)


def write_broken(name: str, data: bytes, folder: Path, rng: np.random.Generator) -> Path:
    """Write a broken file where it is to be read; a card into a model, a file of a run among its good ones, with a
    seal and digests that hold where chance has it so."""
    base, _, kind = name.partition(".")
    path = folder / "good" / f"{base}_broken.{kind}"
    if name == CARD:
        path = path.with_suffix(".safetensors")
        _, tensors = _model(folder)
        path.write_bytes(save(tensors, metadata={"udl": data.decode(errors="replace")}))
        return path
    if "/" not in name:
        path.write_bytes(data)
        return path
    run, _, file = name.partition("/")
    path = folder / "good" / f"{run}_broken" / file
    shutil.rmtree(path.parent, ignore_errors=True)
    shutil.copytree(folder / "good" / run, path.parent)
    path.write_bytes(data)
    if rng.random() < 0.7:
        _seal_again(path, RUNS[run][0])
    return path


def _seal_again(path: Path, joining: str) -> None:
    """Let seal and digests of a run say that a changed file is as it was, so that more of it is looked at."""
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
        facts = json.loads((path.parent / joining).read_text(errors="replace"))
        if path.name in facts["files"]:
            facts["files"][path.name] = file_digest(str(path))
        if path.name == "summary.json":
            found = json.loads(path.read_text(errors="replace"))
            facts["summary"] = data_digest({"classes": found["classes"], "batches": found.get("batches", 1)})
        facts.pop(SEAL, None)
        (path.parent / joining).write_text(json.dumps(sealed(facts)))


def _model(folder: Path) -> tuple[ModelCard, dict[str, torch.Tensor]]:
    network, card = load_model(str(folder / "good" / "model.safetensors"), torch.device("cpu"))
    return card, network.state_dict()


def broken(data: bytes, name: str, rng: np.random.Generator) -> bytes:
    """A good file with one to five changes, most of them where it says what it is."""
    changed = bytearray(data)
    text = name.endswith(("star", "xmd", "json", "csv"))
    head = len(changed) if text else 1200  # behind the header of the others are numbers
    for _ in range(rng.integers(1, 6)):
        place = int(rng.integers(0, max(1, min(head, len(changed)))))
        length = int(rng.integers(1, 40))
        kind = rng.integers(0, 8)
        if kind == 0:
            changed[place : place + 1] = bytes([rng.integers(0, 256)])
        elif kind == 1:
            changed[place : place + 1] = bytes([rng.integers(32, 127)])
        elif kind == 2:
            del changed[place : place + length]
        elif kind == 3:
            changed[place:place] = rng.bytes(length)
        elif kind == 4:
            changed[place:place] = changed[place : place + length]
        elif kind == 5:
            changed = _another_number(changed, rng)
        elif kind == 6:
            value = rng.choice([0, 1, -1, 2**31 - 1, -(2**31), 65536, 2139095040, -4194304])
            changed[place - place % 4 : place - place % 4 + 4] = int(value).to_bytes(4, "little", signed=True)
        else:
            lines = bytes(changed).split(b"\n")
            lines.insert(int(rng.integers(0, len(lines))), lines.pop(int(rng.integers(0, len(lines)))))
            changed = bytearray(b"\n".join(lines))
    return bytes(changed)


def _another_number(data: bytearray, rng: np.random.Generator) -> bytearray:
    """One of the numbers of a text is another one, or none."""
    places = [match.span() for match in re.finditer(rb"-?\d+(\.\d+)?", bytes(data[:4000]))]
    if not places:
        return data
    first, last = places[rng.integers(0, len(places))]
    return data[:first] + NUMBERS[rng.integers(0, len(NUMBERS))] + data[last:]


def read(path: Path) -> None:
    """All that the program does with a file that it is given, training and alignment apart."""
    if path.parent.name == "aligned_broken":
        _read_aligned(str(path.parent))
        return
    if path.parent.name == "classes_broken":
        Earlier.read(str(path.parent))
        load_card(str(path.parent / "model.safetensors")).check_fits(24, 3.0, str(path))
        load_model(str(path.parent / "model.safetensors"), torch.device("cpu"))
        return
    if path.parent.name == f"{JOB}_broken":
        path = path.parent / RUNS[JOB][0]
    if path.name.endswith(".safetensors"):
        load_card(str(path)).check_fits(64, 2.0, str(path))
        load_model(str(path), torch.device("cpu"))
        return
    if path.name.startswith("truth"):
        read_truth(str(path))
        return
    with Diagnostics() as findings:
        source, told = _looked_through(path, findings, lean=True)
        assert told == _looked_through(path, Diagnostics(), lean=False)[1], "check says other things of a lean source"
        if source is None:
            raise UdlError(told)
        if sum(reader.whole * reader.shape[0] * reader.shape[1] for reader in source.stacks) < READ_AT_MOST:
            check_images(source, findings)
        findings.text()
    source = open_particles(str(path))
    source.poses()
    read_defocus(source)
    if source.table is not None and len(source) < READ_AT_MOST / source.box**2:
        source.classes() if "rlnClassNumber" in source.table else None
        write_aligned(
            source,
            Poses.identity(len(source)),
            np.zeros(len(source)),
            np.zeros(len(source), bool),
            *(f"{path}.{kind}.out" for kind in ("star", "xmd")),
            cs=f"{path}.cs.out",
        )


def _looked_through(path: Path, findings: Diagnostics, lean: bool) -> tuple[ParticleSource | None, str]:
    """(the particles, what `check` says of table and headers); (None, why they cannot be opened)."""
    try:
        source = open_particles(str(path), None, findings.error, lean)
    except UdlError as error:
        return None, f"{error} {findings.text()}"
    check_table(source, findings)
    return source, findings.text()


def _read_aligned(folder: str) -> None:
    base = AppendableRun.read(folder)
    base.preparation(), base.model_file(folder)
    base.check_fits(24, 3.0, folder, folder)
    for name in NEEDED:
        base.image(folder, name.partition(".")[0])


def outcome(path: Path) -> tuple[str, Exception | None]:
    """(what came of reading: "read", or the sentence without names and numbers; the error that should not be)."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        read(path)
        return "read", None
    except UdlError as error:
        text = re.sub(r"'[^']*'|\"[^\"]*\"|/\S+", "...", " ".join(str(error).split()))
        return re.sub(r"_?\b\w*\d\w*|[^\x20-\x7e]+", "#", text)[:60], None
    except Exception as error:
        return f"UNEXPECTED {type(error).__name__}", error
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _too_slow(*_: object) -> None:
    raise TooSlowError(f"more than {SECONDS} seconds")


def fuzz(count: int, seed: int, folder: Path) -> tuple[Counter, list[str], float]:
    """Try ``count`` inputs. Returns (how many of each (kind of file, outcome), what went wrong, slowest in seconds)."""
    signal.signal(signal.SIGPROF, _too_slow)
    for module in (tables, cs_read):  # the files are small: so are the pieces that they are read by
        module._TOGETHER = 5
    cs_rows.CHUNK_BYTES = 150
    found, wrong, slowest = Counter(), [], 0.0
    files = good_files(folder)
    names = list(files)
    for number in range(count):
        name = names[number % len(names)]
        # A generator for each: what becomes of one does not depend on how long the files before it were.
        rng = np.random.default_rng([seed, number])
        path = write_broken(name, broken(files[name], name, rng), folder, rng)
        started = time.process_time()
        words, error = outcome(path)
        slowest = max(slowest, time.process_time() - started)
        found[name, words] += 1
        if error is not None:
            kept = folder / f"wrong_{number}_{name.replace('/', '_')}"
            kept.write_bytes(path.read_bytes())
            wrong.append(f"{kept}: {type(error).__name__}: {error}")
    return found, wrong, slowest


def main() -> int:
    """Print what came of all inputs; 1 where something did that should not."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("fuzz_output"))
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    found, wrong, slowest = fuzz(args.count, args.seed, args.out)
    for (name, words), times in sorted(found.items(), key=lambda item: (item[0][0], -item[1])):
        print(f"{name:30}{times:8}  {words}")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{args.count} inputs, {len(wrong)} unexpected, slowest {slowest:.1f} s, memory {memory:.2f} GB")
    print(*wrong, sep="\n")
    return int(bool(wrong) or memory > MEMORY_GB)


if __name__ == "__main__":
    sys.exit(main())
