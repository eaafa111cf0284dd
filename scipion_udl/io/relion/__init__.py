"""Files by which RELION jobs hand on their results."""
