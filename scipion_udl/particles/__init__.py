"""Particles prepared chunk by chunk, and what is measured of them: background, noise, polarity, extent, duplicates."""
