"""Refinement in real space: sweeps over particles that are not rotated, and the search of all angles before them."""
