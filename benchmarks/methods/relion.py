"""RELION's 2D classification with one class (relion_refine of RELION 3.1, Debian package `relion`).

The settings are those of its form for 2D classification where not said otherwise: --K 1, --iter 25, --tau2_fudge 2,
--ctf with --ctf_phase_flipped where the table says so, --zero_mask, --flatten_solvent, --norm, --scale, --pad 2,
--oversampling 1, --offset_step 2 (samples 1 pixel apart in the second pass), --j THREADS. Finer than the form, whose
6 degrees would be far behind the others: --psi_step 2, samples 1 degree apart. --offset_range 6, its default: it is
searched about each particle's last offset, so that 10 pixels in x and in y are reached within a few iterations, and a
wider range costs in proportion to its area. --particle_diameter: 84 % of the
box, the mask of the other methods. --dont_check_norm: white noise of variance 1 is normalised already. --firstiter_cc:
without it nearly all poses count in the first iteration, whose average is of particles in random orientations, and that
iteration alone takes as long as ten others.

python -m benchmarks.methods.relion DATA OUT [--threads N]
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.methods.common import arguments, read_particles, write_poses
from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import Poses
from scipion_udl.io.particles import ParticleSource, open_particles

_ITERATIONS = 25
_DIAMETER = 0.84  # in parts of the box


def command(source: ParticleSource, root: Path, threads: int) -> list[str]:
    """The command line of relion_refine for these particles; files that it writes begin with ``root``."""
    optics = source.tables[0]
    diameter = round(_DIAMETER * source.box * source.pixel_size)
    line = ["relion_refine", "--i", source.path, "--o", str(root), "--K", "1", "--iter", str(_ITERATIONS)]
    line += ["--tau2_fudge", "2", "--particle_diameter", str(diameter), "--zero_mask", "--flatten_solvent", "--norm"]
    line += ["--scale", "--oversampling", "1", "--psi_step", "2", "--offset_range", "6", "--offset_step", "2"]
    line += ["--pad", "2", "--dont_check_norm", "--dont_combine_weights_via_disc", "--preread_images", "--pool", "30"]
    line += ["--firstiter_cc", "--random_seed", "1", "--j", str(threads)]
    if source.table is not None and "rlnDefocusU" in source.table:
        line.append("--ctf")
        if "rlnCtfDataArePhaseFlipped" in optics and optics.numbers("rlnCtfDataArePhaseFlipped")[0] != 0:
            line.append("--ctf_phase_flipped")
    return line


def poses_of(result: Path, source: ParticleSource) -> Poses:
    """The poses of ``source``'s particles in a data.star of RELION, which sorts its rows as it likes.

    Raises UdlError where a particle is missing.
    """
    found = open_particles(str(result))
    row = {place: k for k, place in enumerate(found.locations())}
    if missing := [name for name, place in zip(source.names, source.locations()) if place not in row]:
        raise UdlError(f"{result} has no pose for {missing[0]}")
    return found.poses()[[row[place] for place in source.locations()]]


def main() -> None:
    """Run the method."""
    args = arguments(__doc__)
    source = read_particles(args.data)
    root = args.out / "relion"
    root.mkdir(exist_ok=True)
    line = command(source, root / "run", args.threads)
    with (root / "log.txt").open("w") as log:
        code = subprocess.run(line, stdout=log, stderr=subprocess.STDOUT).returncode
    if code:
        sys.exit(f"{' '.join(line)} failed with {code}, see {root / 'log.txt'}")
    write_poses(args.out, source, poses_of(root / f"run_it{_ITERATIONS:03d}_data.star", source))


if __name__ == "__main__":
    main()
