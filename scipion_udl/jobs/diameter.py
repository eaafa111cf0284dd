"""The command `diameter`: what a run takes the diameter of the particles to be where nobody says it. Scipion's wizard
asks it, to begin where a run would."""

from __future__ import annotations

import json

import numpy as np

from scipion_udl.compute.device import choose_device
from scipion_udl.io.particles import open_particles
from scipion_udl.particles.diameter import diameter_facts
from scipion_udl.particles.prepared import PreparedParticles
from scipion_udl.settings.commands import DiameterSettings


def tell_diameter(settings: DiameterSettings) -> None:
    """Do `scipion-udl diameter`: prints one line of JSON, as :func:`diameter_facts` has it, and ``particles``: how many
    were looked at.

    Parameters
    ----------
    settings : DiameterSettings
        The options.
    """
    source = open_particles(settings.input, settings.pixel_size)
    if settings.count is not None and settings.count < len(source):
        source = source.subset(np.linspace(0, len(source) - 1, settings.count).round().astype(np.int64))
    particles = PreparedParticles(source, choose_device(settings.gpu, settings.threads), settings.batch)
    particles.scan()
    print(json.dumps({**diameter_facts(particles), "particles": len(source)}))
