"""Files: particle tables and stacks of RELION, Xmipp and cryoSPARC, read and written."""
