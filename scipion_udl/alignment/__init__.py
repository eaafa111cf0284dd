"""Methods of alignment: initial poses, half sets, refinement, averages, CTF mode, mirror images."""
