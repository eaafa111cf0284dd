"""The work of a command: its options in, a folder out."""
