"""ASPIRE's classification of views, in ASPIRE's own environment (:mod:`benchmarks.methods.aspire`): images in, the most
similar ones of each out.

python -I aspire_views_worker.py IMAGES.npy RESULT.npy NEIGHBOURS [BOX]

IMAGES: float32 (N, D, D), phase-flipped. RESULT: int32 (N, NEIGHBOURS): for each image the numbers, from 0, of those
that are most like it, itself among them. As in the examples of its gallery: background normalised, noise whitened,
downsampled to BOX pixels (64), and RIRClass2D with its defaults: 400 Fourier-Bessel components by steerable PCA, 300 of
their bispectrum, nearest neighbours in either hand. The features do not change when an image is rotated; they do when
it is shifted, and ASPIRE does not centre particles before it compares them.
"""

from __future__ import annotations

import sys

import numpy as np


def main() -> None:
    """Classify and write the result."""
    from aspire.classification import RIRClass2D
    from aspire.source import ArrayImageSource

    images, result, neighbours = np.load(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    box = int(sys.argv[4]) if len(sys.argv) > 4 else 64
    source = ArrayImageSource(images, pixel_size=1.0)  # nothing here depends on it
    source = source.normalize_background().whiten()
    if box < images.shape[-1]:
        source = source.downsample(box)
    found, _, _ = RIRClass2D(source.cache(), n_nbor=neighbours, seed=1).classify()
    np.save(result, found.astype(np.int32))


if __name__ == "__main__":
    main()
