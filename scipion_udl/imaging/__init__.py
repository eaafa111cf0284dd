"""Numbers in, numbers out: poses, Fourier coefficients, CTF, FRC, spectra. No files, options, log or processes."""
