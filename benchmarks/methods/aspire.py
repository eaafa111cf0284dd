"""ASPIRE's 2D alignment, BFTAverager2D of its class averaging: all particles against the first one.

It tries all shifts in whole pixels and, for each, all rotations in steps of 1 degree, by correlation of polar Fourier
transforms; these are its defaults. Only the range of shifts is not: two particles that lie up to 10 pixels off the
centre in x and in y are up to 28 pixels apart (its default is box / 32). It runs in an environment of its own:

    python3.11 -m venv benchmark_output/aspire-env && benchmark_output/aspire-env/bin/pip install aspire==0.14.3

python -m benchmarks.methods.aspire DATA OUT [--threads N] [--max-shift PX]
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.methods import ASPIRE_ENVIRONMENT
from benchmarks.methods.common import arguments, read_particles, write_poses
from scipion_udl.imaging.poses import Poses, rotations


def from_aspire(rotation: np.ndarray, shift: np.ndarray) -> Poses:
    """Poses of ASPIRE's rotations (N,), radians counter-clockwise, and shifts (N, 2), pixels.

    ASPIRE shifts first, the other way round, and rotates afterwards (measured with 0.14.3 on particles of known pose:
    of all choices of sign and order only this one makes the truth).
    """
    angle = -np.degrees(rotation)
    return Poses(angle, np.einsum("nij,nj->ni", rotations(angle), -shift))


def main() -> None:
    """Run the method."""
    more = {"type": float, "default": 10.0, "metavar": "PX", "help": "how far particles lie off the centre (10)"}
    args = arguments(__doc__, [("--max-shift", more)])
    source = read_particles(args.data)
    radius = min(int(np.ceil(2 * np.sqrt(2) * args.max_shift)), source.box // 2 - 1)
    out = args.out.resolve()  # ASPIRE leaves its logs in the folder that it runs in
    images, result = out / "images.npy", out / "aspire.npy"
    np.save(images, source.read(np.arange(len(source))))
    worker = Path(__file__).with_name("aspire_worker.py")
    line = [ASPIRE_ENVIRONMENT.absolute() / "bin" / "python", "-I", "-W", "ignore", worker, images, result, radius]
    with (args.out / "log.txt").open("w") as log:
        code = subprocess.run([str(word) for word in line], stdout=log, stderr=subprocess.STDOUT, cwd=out).returncode
    images.unlink()
    if code:
        sys.exit(f"{' '.join(map(str, line))} failed with {code}, see {args.out / 'log.txt'}")
    found = np.load(result)
    write_poses(args.out, source, from_aspire(found[:, 0], found[:, 1:]))


if __name__ == "__main__":
    main()
