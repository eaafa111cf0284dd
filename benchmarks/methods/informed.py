"""What the set itself can teach: each particle against the average of the others at their TRUE poses.

No program without the template can know more than that average. It is weighted as the aligner weighs its own; the
particles are dealt out into eight parts, and each part is aligned to the average of the seven others, one round from
the true poses.

python -m benchmarks.methods.informed DATA OUT [--threads N]
"""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.methods.common import arguments, read_particles, write_poses
from scipion_udl.alignment.accumulators import FOLDS, Sums, add_up, halves_of, share_of_others
from scipion_udl.alignment.aligner import SEARCH_BAND
from scipion_udl.alignment.half_set_refinement import Split
from scipion_udl.alignment.refinement.reference import Reference
from scipion_udl.alignment.refinement.refiner import Refiner
from scipion_udl.alignment.state import State
from scipion_udl.alignment.wiener import WienerFilter, flip_centre
from scipion_udl.imaging.band import Band
from scipion_udl.imaging.ctf import ParticleCtf
from scipion_udl.imaging.poses import Poses
from scipion_udl.io.defocus import read_defocus
from scipion_udl.particles.prepared import PreparedParticles
from scipion_udl.validation.pose_errors import join, located_truth

_MAX_SHIFT = 15.0  # pixels
_KNOWN = 1e9  # nats: nobody asks again which way round such a particle lies


def sums_at(refiner: Refiner, state: State, split: Split) -> list[Sums]:
    """The sums of all parts of the particles in poses that are known, nothing changed."""
    band = refiner.band
    blank = Reference(band, torch.zeros_like(band.disc, dtype=torch.complex64), torch.ones(band.k_max + 1))
    state.log_odds[:] = _KNOWN
    usable = refiner.prepared.usable
    return refiner.iterate(state, [blank] * FOLDS, split.fold, "known", usable, rotation=False, settle=True).sums


def others(refiner: Refiner, sums: list[Sums]) -> list[Reference]:
    """For each part the average of all other particles, weighted by what two halves agree on."""
    band, prepared = refiner.band, refiner.prepared

    def mean(one: Sums) -> torch.Tensor:
        return band.masked(one.mean(band), prepared.disc.mask)

    whole, halves = add_up(sums), [mean(half) for half in halves_of(sums)]
    wiener = WienerFilter(band, halves, flip_centre(refiner.maps, halves[0] + halves[1]), local=True)

    share = share_of_others(FOLDS)
    averages = [mean(whole - own) for own in sums]
    return [Reference(band, average, wiener.weight(share), wiener(average, share)) for average in averages]


def main() -> None:
    """Run the method."""
    args = arguments(__doc__)
    source = read_particles(args.data)
    prepared = PreparedParticles(source, torch.device("cpu"))
    defocus = read_defocus(source)
    if defocus is not None:
        prepared.ctfs = ParticleCtf(defocus, source.box * source.pixel_size)
    images, truth = located_truth(str(args.data / "truth.star"))
    rows, true_rows = join(source.locations(), images)
    known = truth[true_rows[np.argsort(rows)]]
    state = State.start(known.angle)
    state.shift[:] = known.shift / prepared.scale
    band = Band(prepared.box, round(0.45 * prepared.box))
    refiner = Refiner(prepared, band, _MAX_SHIFT / prepared.scale, SEARCH_BAND)
    split = Split.of(prepared.usable, len(prepared))
    references = others(refiner, sums_at(refiner, state, split))
    state.log_odds[:] = 0
    refiner.iterate(state, references, split.fold, "aligned", prepared.usable)
    write_poses(args.out, source, Poses(state.angle, state.shift * prepared.scale))


if __name__ == "__main__":
    main()
