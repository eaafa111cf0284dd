"""`scipion-udl align`: the whole run; its network alone (--no-refine); or with a trained model (--model).

Without a model the run trains on the particles first, and that is part of what is measured. The run's own folder is
OUT/align.

python -m benchmarks.methods.own DATA OUT [--threads N] [--no-refine] [--model FILE]
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from benchmarks.methods.common import arguments, read_particles, write_poses
from scipion_udl.io.particles import open_particles


def main() -> None:
    """Run the method."""
    args = arguments(
        __doc__,
        [
            ("--no-refine", {"action": "store_true", "help": "the network alone"}),
            ("--model", {"metavar": "FILE", "help": "a trained model.safetensors"}),
        ],
    )
    result = args.out / "align"
    line = [sys.executable, "-m", "scipion_udl.cli", "align", str(args.data / "particles.star"), "-o", str(result)]
    line += ["--overwrite", "--gpu", "none", "--threads", str(args.threads)]
    line += ["--no-refine"] if args.no_refine else []
    line += ["--model", args.model] if args.model else []
    code = subprocess.run(line).returncode
    if code:
        sys.exit(f"{' '.join(line)} failed with {code}")
    source, aligned = read_particles(args.data), open_particles(str(result / "aligned.star"))
    row = {place: k for k, place in enumerate(aligned.locations())}
    order = np.array([row[place] for place in source.locations()])
    write_poses(args.out, source, aligned.poses()[order])


if __name__ == "__main__":
    main()
