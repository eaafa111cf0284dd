"""Synthetic particles with known poses: views, molecules, effects of real sets, photographs."""
