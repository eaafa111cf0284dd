"""Classes in files: what a classification of any program has left, and averages that are given as references."""
