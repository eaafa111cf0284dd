"""cryoSPARC's particle files (.cs), read. They are written by io/aligned_cs.py."""
