"""What tables of millions of rows take: time, and the peak memory of all processes.

    python -m benchmarks.large_check --out check_output [--rows 2000000] [--threads 1 2] [--box 16] [--what written]

Tables as programs write them, with long names of images and micrographs: a STAR of RELION 3.1 and later as an
extraction leaves it, one of RELION 3.0, one of a 2D classification (24 columns), and a .cs of a 2D classification (309
bytes a row). All name the images of one stack of noise of 8 bits, by 20 names. Each is looked through by `scipion-udl
check` in full and with --quick, and read and written again with an alignment; a row of OUT/large_check.md each.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mrcfile
import numpy as np

HERE = Path(__file__).resolve().parent
FILES, PIXEL_SIZE, PIECE = 20, 4.0, 100_000
MOST = 400.0  # MB
_MICROSCOPE = ("300.000000", "2.700000", "0.100000")
_OPTICS = (
    "data_optics\n\nloop_\n_rlnOpticsGroupName #1\n_rlnOpticsGroup #2\n_rlnVoltage #3\n_rlnSphericalAberration #4\n"
    "_rlnAmplitudeContrast #5\n_rlnImagePixelSize #6\n_rlnImageSize #7\n_rlnImageDimensionality #8\n"
    "opticsGroup1 1 {} {} {} {:.6f} {} 2\n\n\n"
)
_CTF = ("DefocusU", "DefocusV", "DefocusAngle")
_EXTRACTED = ("CoordinateX", "CoordinateY", "ImageName", "MicrographName")
_FIGURES = ("AutopickFigureOfMerit", "CtfFigureOfMerit", "NormCorrection", "LogLikeliContribution")
_POSES = ("AngleRot", "AngleTilt", "AnglePsi", "OriginXAngst", "OriginYAngst")
_CLASSIFIED = (*_FIGURES, "MaxValueProbDistribution", *_POSES)
_COUNTED = ("ClassNumber", "NrOfSignificantSamples", "GroupNumber", "CtfBfactor", "CtfScalefactor", "PhaseShift")
_FIELDS = [
    *(("uid", "<u8"), ("blob/path", "S56"), ("blob/idx", "<u4"), ("blob/shape", "<u4", 2), ("blob/psize_A", "<f4")),
    *(("blob/sign", "<f4"), ("blob/import_sig", "<u8"), ("ctf/type", "S9"), ("ctf/exp_group_id", "<u4")),
    *((f"ctf/{name}", "<f4") for name in ("accel_kv", "cs_mm", "amp_contrast", "df1_A", "df2_A", "df_angle_rad")),
    *((f"ctf/{name}", "<f4") for name in ("phase_shift_rad", "scale", "scale_const", "bfactor")),
    *((f"ctf/{name}", "<f4", 2) for name in ("shift_A", "tilt_A", "trefoil_A")),
    *(("ctf/tetra_A", "<f4", 4), ("ctf/anisomag", "<f4", 4), ("location/micrograph_uid", "<u8")),
    *(("location/exp_group_id", "<u4"), ("location/micrograph_path", "S48"), ("location/micrograph_shape", "<u4", 2)),
    *(("location/center_x_frac", "<f4"), ("location/center_y_frac", "<f4"), ("alignments2D/split", "<u4")),
    *(("alignments2D/shift", "<f4", 2), ("alignments2D/pose", "<f4"), ("alignments2D/psize_A", "<f4")),
    *(("alignments2D/class", "<u4"), ("alignments2D/cross_cor", "<f4")),
]


def make_stack(path: Path, count: int, box: int) -> None:
    """A stack of noise of 8 bits."""
    noise = np.random.default_rng(0)
    with mrcfile.new_mmap(path, shape=(count, box, box), mrc_mode=0, overwrite=True) as file:
        for start in range(0, count, PIECE):
            piece = file.data[start : start + PIECE]
            piece[:] = noise.normal(0, 30, piece.shape).clip(-127, 127)
        file.set_image_stack()
        file.voxel_size = PIXEL_SIZE


def stack_name(row: int, rows: int) -> str:
    """The name of the stack that a row has its image in."""
    return f"Extract/job012/{row * FILES // rows:06d}_FoilHole_7654321_particles.mrcs"


def micrograph(row: int) -> str:
    """The name of the micrograph of a row, of 300 each."""
    return f"MotionCorr/job003/{row // 300:06d}_FoilHole_7654321.mrc"


def write_star(path: Path, rows: int, box: int, labels: tuple[str, ...], optics: bool) -> None:
    """A STAR with the columns ``labels``; of RELION 3.1 with ``optics``, else of 3.0."""
    values = np.random.default_rng(1)
    with path.open("w") as file:
        file.write(_OPTICS.format(*_MICROSCOPE, PIXEL_SIZE, box) if optics else "")
        names = "".join(f"_rln{label} #{k}\n" for k, label in enumerate(labels, 1))
        file.write(f"data_{'particles' if optics else ''}\n\nloop_\n{names}")
        for start in range(0, rows, PIECE):
            count = min(PIECE, rows - start)
            columns = [_column(label, np.arange(start, start + count), rows, values) for label in labels]
            file.writelines(" ".join(row) + "\n" for row in zip(*columns))


def _column(label: str, row: np.ndarray, rows: int, values: np.random.Generator) -> list[str]:
    constant = dict(zip(("Voltage", "SphericalAberration", "AmplitudeContrast"), _MICROSCOPE))
    constant |= {"DetectorPixelSize": f"{PIXEL_SIZE:.6f}", "Magnification": "10000.000000", "OpticsGroup": "1"}
    if label == "ImageName":
        return [f"{k + 1:06d}@{stack_name(k, rows)}" for k in row.tolist()]
    if label == "MicrographName":
        return [micrograph(k) for k in row.tolist()]
    if label in constant:
        return [constant[label]] * len(row)
    if label in _COUNTED:
        return ["1"] * len(row)
    if label.startswith("Angle"):
        return ["0.000000"] * len(row) if label != "AnglePsi" else _texts(values.uniform(-180, 180, len(row)))
    if label.startswith("Defocus"):
        return _texts(values.uniform(10, 175, len(row)) if "Angle" in label else values.uniform(1e4, 2e4, len(row)))
    return _texts(values.uniform(0, 4000, len(row)))


def _texts(values: np.ndarray) -> list[str]:
    return [f"{value:.6f}" for value in values.tolist()]


def write_cs(path: Path, rows: int, box: int) -> None:
    """A .cs of a 2D classification."""
    values, array = np.random.default_rng(1), np.zeros(rows, _FIELDS)
    array["uid"], array["blob/idx"] = values.permutation(rows), np.arange(rows)
    array["blob/path"] = [stack_name(k, rows).encode() for k in range(rows)]
    array["location/micrograph_path"] = [micrograph(k).encode() for k in range(rows)]
    for name in ("blob/shape", "blob/psize_A", "alignments2D/psize_A"):
        array[name] = box if name == "blob/shape" else PIXEL_SIZE
    array["ctf/accel_kv"], array["ctf/cs_mm"], array["ctf/amp_contrast"], array["blob/sign"] = 300, 2.7, 0.1, 1
    array["ctf/df1_A"], array["ctf/df2_A"] = values.uniform(1e4, 2e4, (2, rows))
    array["ctf/df_angle_rad"], array["alignments2D/pose"] = values.uniform(-3, 3, (2, rows))
    array["alignments2D/shift"] = values.normal(0, 2, (rows, 2))
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def _stars(labels: tuple[str, ...], optics: bool) -> Callable[[Path, int, int], None]:
    return lambda path, rows, box: write_star(path, rows, box, labels, optics)


_OLD = ("Voltage", "SphericalAberration", "AmplitudeContrast", "DetectorPixelSize", "Magnification")
TABLES: dict[str, Callable[[Path, int, int], None]] = {
    "extracted.star": _stars((*_EXTRACTED, "OpticsGroup", *_CTF), True),
    "relion30.star": _stars((*_EXTRACTED, *_OLD, *_CTF), False),
    "classified.star": _stars((*_EXTRACTED, "OpticsGroup", *_CTF, *_CLASSIFIED, *_COUNTED), True),
    "classified.cs": write_cs,
}


# Reads a table, and writes it again as aligned.star.
_AGAIN = """
import sys
import numpy as np
from scipion_udl.imaging.poses import Poses
from scipion_udl.io.aligned import write_aligned
from scipion_udl.io.particles import open_particles

source, values = open_particles(sys.argv[1]), np.random.default_rng(2)
poses = Poses(values.uniform(-180, 180, len(source)), values.normal(0, 3, (len(source), 2)))
write_aligned(source, poses, values.random(len(source)), np.zeros(len(source), bool), star="aligned.star")
"""
WHAT = {
    "full": lambda table, threads: ["-m", "scipion_udl.cli", "check", table, "--threads", str(threads)],
    "quick": lambda table, threads: ["-m", "scipion_udl.cli", "check", table, "--threads", str(threads), "--quick"],
    "written": lambda table, threads: ["-c", _AGAIN, table],
}


def measured(out: Path, table: str, threads: int, what: str) -> dict[str, float]:
    """What one run takes: wall_s, cpu_s, memory_mb. Raises CalledProcessError where it ends otherwise than well."""
    command = [sys.executable, *WHAT[what](table, threads)]
    figures = out / "figures.json"
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    measure = [sys.executable, str(HERE / "measure.py"), str(figures.resolve()), *command]
    subprocess.run(measure, cwd=out, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return json.loads(figures.read_text())


def main() -> int:
    """Make the tables, measure, write OUT/large_check.md. Returns the exit code, 1 where one takes more than MOST."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large_check", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for tables and stack (2 GB) and the result")
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--box", type=int, default=16)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--tables", nargs="+", choices=list(TABLES), default=list(TABLES))
    parser.add_argument("--what", nargs="+", choices=list(WHAT), default=list(WHAT))
    args = parser.parse_args()
    stack = args.out / "noise.mrcs"
    (args.out / "Extract/job012").mkdir(parents=True, exist_ok=True)
    if not stack.exists():
        make_stack(stack, args.rows, args.box)
    for row in range(0, args.rows, max(1, args.rows // FILES)):
        name = args.out / stack_name(row, args.rows)
        if not name.is_symlink():
            name.symlink_to("../../noise.mrcs")
    head = ["table", "threads", *(cell for what in args.what for cell in (what, "CPU"))]
    lines, most = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"], 0.0
    for table in args.tables:
        if not (args.out / table).exists():
            TABLES[table](args.out / table, args.rows, args.box)
        for threads in args.threads:
            all_of_it = [measured(args.out, table, threads, what) for what in args.what]
            cells = (f"{one['memory_mb']:.0f} MB | {one['cpu_s']:.0f} s" for one in all_of_it)
            lines.append(f"| {table} | {threads} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
            most = max(most, *(one["memory_mb"] for one in all_of_it))
    (args.out / "large_check.md").write_text("\n".join(lines) + "\n")
    print(f"at most {most:.0f} MB, {MOST:.0f} are allowed")
    return int(most > MOST)


if __name__ == "__main__":
    sys.exit(main())
