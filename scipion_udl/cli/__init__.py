"""`scipion-udl`: the command line. Only argparse is imported here; a command imports what it needs when it runs."""

from scipion_udl.cli.program import main

__all__ = ["main"]
