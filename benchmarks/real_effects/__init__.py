"""What :mod:`benchmarks.realistic` is made of."""
