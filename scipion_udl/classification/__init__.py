"""2D classification: classes learned jointly, refined in real space, judged and flagged."""
