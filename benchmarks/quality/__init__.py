"""The quality of classes and particles: made, trained and measured on simulated sets; see __main__.py."""
