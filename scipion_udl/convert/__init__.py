"""Scipion's sets, images and poses turned into files of the engine and back."""

from scipion_udl.convert.particles import export_particles, poses_of, read_results, write_alignment, write_particles

__all__ = ["export_particles", "poses_of", "read_results", "write_alignment", "write_particles"]
