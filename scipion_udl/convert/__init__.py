"""Scipion's sets, images and poses turned into files of the engine and back."""
