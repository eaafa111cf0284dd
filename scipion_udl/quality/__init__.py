"""How good classes and particles are: from 0, junk, to 1."""
