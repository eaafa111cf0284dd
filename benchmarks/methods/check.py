"""Do all methods mean the same by a pose? Runs each that is available on an easy case, where all must find the truth.

python -m benchmarks.methods.check [NAME ...]

128 particles of a phantom, 64 px, SNR 1. A method passes with a mean rotation error below 1 degree over all angles
and a shift error (RMS) below 1 pixel. Exit code 1 if one is off or fails.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.methods import METHODS, Method
from scipion_udl.imaging.poses import pose_errors
from scipion_udl.io.truth import read_truth

_SIMULATE = ["--phantom", "hook", "--count", "128", "--snr", "1", "--box", "64", "--pixel-size", "4", "--shift", "5"]
_SIMULATE += ["--seed", "7", "--threads", "1"]
_DEGREES, _PIXELS = 1.0, 1.0


def check(name: str, method: Method, data: Path, out: Path, model: Path | None) -> bool:
    """Run one method, print its errors, and say whether they are small."""
    start = time.monotonic()
    line = method.command(data, out, 1, model)
    run = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if run.returncode:
        print(f"{name:12} FAILED with exit code {run.returncode}:\n{run.stdout[-2000:]}", flush=True)
        return False
    (names, truth), (found_names, found) = read_truth(str(data / "truth.star")), read_truth(str(out / "poses.star"))
    if found_names != names:
        print(f"{name:12} OFF: its image names are not those of the truth", flush=True)
        return False
    errors = pose_errors(found, truth)
    rotation, shift = np.abs(errors.rotation).mean(), np.sqrt((errors.shift**2).sum(1).mean())
    good = rotation < _DEGREES and shift < _PIXELS
    verdict = "ok" if good else "OFF"
    seconds = time.monotonic() - start
    print(f"{name:12} {verdict:3}  {rotation:7.3f} degrees  {shift:6.3f} px  {seconds:6.1f} s", flush=True)
    return good


def main() -> int:
    """Run the check; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: all of {' '.join(METHODS)}")
    names = parser.parse_args().names
    if unknown := set(names) - set(METHODS):
        parser.error(f"there is no {', '.join(sorted(unknown))}; known: {', '.join(METHODS)}")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    program = [sys.executable, "-m", "scipion_udl.cli"]
    good = True
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        subprocess.run([*program, "simulate", str(data), *_SIMULATE], check=True, stdout=subprocess.DEVNULL)
        for name in names or METHODS:
            method, model = METHODS[name], None
            if not method.available():
                print(f"{name:12} left out: it is not installed", flush=True)
                continue
            if method.needs_model:
                trained = Path(folder) / "model"
                line = [*program, "train", str(data / "particles.star"), "-o", str(trained), "--gpu", "none"]
                subprocess.run([*line, "--threads", "1", "--overwrite"], check=True, capture_output=True)
                model = trained / "model.safetensors"
            good &= check(name, method, data, Path(folder) / name, model)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
