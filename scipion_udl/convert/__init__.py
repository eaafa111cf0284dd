"""Scipion's sets, images and poses turned into files of the engine and back."""

from scipion_udl.convert.particles import export_particles, read_results, write_alignment, write_particles
from scipion_udl.convert.scipion_sign import poses_of

__all__ = ["export_particles", "poses_of", "read_results", "write_alignment", "write_particles"]
