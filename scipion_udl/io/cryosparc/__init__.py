"""cryoSPARC's particle files (.cs), read. They are written by io/cryosparc/write.py."""
