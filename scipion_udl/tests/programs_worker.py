"""What programs of the field make of a table of ours, in a process of their own environment (``make programs``).

``PROGRAMS/bin/python programs_worker.py TABLES``: reads each STAR, whose images are named by absolute path, with each
program, and writes into a folder of its name beside it averages.npz, the average (D, D) of the particles as a program's
poses bring them into register, and read.json, what else was read. This file imports nothing of the project.

ASPIRE: its images are shifted by minus its offsets and rotated by its angles. cryodrgn: its translations are fractions
of the box and shift first; its matrices rotate coordinates. Both were found out on images, by trying all signs.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from scipy.ndimage import map_coordinates

BIN = Path(sys.executable).parent


def sampled(images: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """Images (N, D, D) at the points m p of the pixels p = (x, y) from D//2; matrices (N, 2, 2)."""
    centre = images.shape[-1] // 2
    y, x = np.mgrid[: images.shape[-1], : images.shape[-1]] - centre
    points = np.einsum("nij,jk->nik", matrices, np.stack([x.ravel(), y.ravel()])) + centre
    return np.stack([map_coordinates(i, p[::-1], order=3).reshape(i.shape) for i, p in zip(images, points)])


def shifted(images: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Images (N, D, D) moved by (x, y) pixels, (N, 2), as Fourier transforms."""
    f = np.fft.fftfreq(images.shape[-1])
    phase = shift[:, 1, None, None] * f[:, None] + shift[:, 0, None, None] * f
    return np.fft.ifft2(np.fft.fft2(images) * np.exp(-2j * np.pi * phase)).real


def run(*command: object) -> str:
    """The output of one of the programs. Raises RuntimeError where it fails."""
    done = subprocess.run([str(BIN / str(command[0])), *map(str, command[1:])], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def cryodrgn(name: str, *arguments: object) -> None:
    """One of cryodrgn's commands, in this process, for it takes long to be imported."""
    command = importlib.import_module(f"cryodrgn.commands.{name}")
    parser = argparse.ArgumentParser()
    command.add_args(parser)
    command.main(parser.parse_args([str(argument) for argument in arguments]))


def aspire_average(table: Path) -> np.ndarray:
    """Through ASPIRE's RelionSource."""
    from aspire.source import RelionSource

    source = RelionSource(str(table), data_folder="/")
    images = source.images[:].shift(-source.offsets).asnumpy()
    angle = -(source.angles[:, 0] + source.angles[:, 2])  # of tilt 0 it puts all of the rotation into the first
    c, s = np.cos(angle), np.sin(angle)
    return sampled(images, np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], -2)).mean(0)


def cryodrgn_average(table: Path, out: Path) -> np.ndarray:
    """Through cryodrgn's parse_pose_star."""
    import mrcfile
    import starfile

    cryodrgn("parse_pose_star", table, "-o", out / "pose.pkl")
    with open(out / "pose.pkl", "rb") as file:
        rotation, translation = pickle.load(file)
    names = starfile.read(table)["particles"]["rlnImageName"]
    with mrcfile.open(names[0].partition("@")[2]) as stack:
        images = np.array([stack.data[int(name.partition("@")[0]) - 1] for name in names], np.float64)
    return sampled(shifted(images, translation * images.shape[-1]), rotation[:, :2, :2]).mean(0)


def main(table: Path, out: Path) -> None:
    """All programs on one table, into a folder."""
    import starfile

    np.savez(out / "averages.npz", aspire=aspire_average(table), cryodrgn=cryodrgn_average(table, out))
    cryodrgn("parse_ctf_star", table, "-o", out / "ctf.pkl")
    with open(out / "ctf.pkl", "rb") as file:
        ctf = pickle.load(file)
    particles = starfile.read(table)["particles"]
    run("angdist", table, "-o", out / "angdist.png")
    read = {
        "starparser": int(re.search(r"(\d+) particles in total", run("starparser", "--i", table, "--count"))[1]),
        "countparticles": re.findall(r"^(\d+)\s+(\d+)", run("countparticles", table), re.M),
        "starfile": len(particles),
        "psi": particles["rlnAnglePsi"].tolist(),
        "ctf_finite": bool(np.isfinite(ctf).all()),
        "defocus": ctf[:, 2].tolist(),
    }
    (out / "read.json").write_text(json.dumps(read))


if __name__ == "__main__":
    for name in sys.argv[1:]:
        path = Path(name).absolute()
        path.with_suffix("").mkdir()
        main(path, path.with_suffix(""))
