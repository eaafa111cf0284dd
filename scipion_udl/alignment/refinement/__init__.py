"""Refinement in real space: sweeps over particles that are not turned, and the search of all angles before them."""
