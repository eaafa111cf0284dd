"""The command `diameter`: what a run takes the diameter of the particles to be where nobody says it. Scipion's wizard
asks it, to begin where a run would."""

from __future__ import annotations

import argparse
import json

import numpy as np

from scipion_udl.compute.device import choose_device
from scipion_udl.io.particles import open_particles
from scipion_udl.particles.diameter import diameter_facts
from scipion_udl.particles.prepared import PreparedParticles


def tell_diameter(args: argparse.Namespace) -> None:
    """`scipion-udl diameter`: prints one line of JSON, as :func:`diameter_facts` has it, and ``particles``: how many
    were looked at.

    args: input, pixel_size, count (None: all), gpu, threads, batch.
    """
    source = open_particles(args.input, args.pixel_size)
    if args.count is not None and args.count < len(source):
        source = source.subset(np.linspace(0, len(source) - 1, args.count).round().astype(np.int64))
    particles = PreparedParticles(source, choose_device(args.gpu, args.threads), args.batch)
    particles.scan()
    print(json.dumps({**diameter_facts(particles), "particles": len(source)}))
