"""What of :mod:`benchmarks.methods.aspire` runs in ASPIRE's own environment: images in, rotations and shifts out.

python -I aspire_worker.py IMAGES.npy RESULT.npy RADIUS

IMAGES: float32 (N, D, D). RESULT: float64 (N, 3): ASPIRE's rotation (radians) and shift (its first and second value,
pixels) of each image onto image 0. RADIUS: of the search for shifts, pixels.
"""

from __future__ import annotations

import sys

import numpy as np

# Images aligned at a time, and shifts tried at a time: ASPIRE holds spectra of all pairs of these.
_IMAGES, _SHIFTS = 64, 16


def main() -> None:
    """Align and write the result."""
    from aspire.basis import FFBBasis2D
    from aspire.classification import BFTAverager2D
    from aspire.source import ArrayImageSource

    images = np.load(sys.argv[1])
    source = ArrayImageSource(images, pixel_size=1.0)  # nothing here depends on it
    # A basis is asked for, and used to average only, which is done elsewhere: a small one costs no time.
    basis = FFBBasis2D(8, dtype=np.float32)
    averager = BFTAverager2D(basis, source, radius=int(sys.argv[3]), batch_size=_SHIFTS, dtype=np.float32)
    result = np.zeros((len(images), 3))
    for first in range(1, len(images), _IMAGES):
        members = np.arange(first, min(first + _IMAGES, len(images)))
        group = np.concatenate([[0], members])[None]
        rotations, shifts, _ = averager.align(group, np.zeros(group.shape, bool))
        result[members, 0] = rotations[0, 1:]
        result[members, 1:] = shifts[0, 1:]
    np.save(sys.argv[2], result)


if __name__ == "__main__":
    main()
