"""Facts that both sides of the bridge need: the version and the names of files. Imports nothing heavy."""

__version__ = "0.1.0"

# Beside a model file: what the network has learned, where that can be drawn.
MODEL_PICTURE = "model.png"

# What a run takes where nobody says otherwise: how far off centre a particle may lie, share of the box; the largest box
# that is compared, pixels, and the finest Fourier ring of it, share of that box.
AUTOMATIC_SHIFT = 0.1
WORKING_BOX, FINEST_RING = 128, 0.45

# Diameter of the circle within which `evaluate` compares images, share of the box.
EVALUATED = 0.9

# Particles of each class that there must be, for classes to be found at all; that teach it, and in all at most.
LEAST_OF_A_CLASS = 4
TEACH_A_CLASS, TEACH_AT_MOST = 200, 20_000
