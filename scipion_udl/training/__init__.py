"""What networks learn, from what, and for how long."""
