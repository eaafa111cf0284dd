"""What :mod:`benchmarks.views` is made of: particles of many views, programs that sort them, figures, pictures."""
