"""Particles that come later: what a run leaves for them, and how they are added to its averages or classes."""
