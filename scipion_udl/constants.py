"""Facts that both sides of the bridge need: the version and the names of files. Imports nothing heavy."""

__version__ = "0.1.0"
