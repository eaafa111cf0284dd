"""Facts that both sides of the bridge need: the version and the names of files. Imports nothing heavy."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"

# In the environment of a command that another one runs: the name of that one, under which it speaks.
SPEAKS_AS = "SCIPION_UDL_SPEAKS_AS"

# The model file of a run, and beside it: what the network has learned, where that can be drawn.
MODEL, MODEL_PICTURE = "model.safetensors", "model.png"

# What a job of RELION, or of a program that has such jobs, hands on: particles, averages of classes, and their tables.
# "Subset selection" opens the model or the optimiser, and looks for the particles under RUN_DATA.
RUN_PARTICLES, RUN_CLASSES = "particles.star", "run_classes.mrcs"
RUN_MODEL, RUN_OPTIMISER, RUN_DATA = "run_model.star", "run_optimiser.star", "run_data.star"

# The variable of the environment that names the engine's Python, for programs that start the engine.
UDL_PYTHON = "UDL_PYTHON"

# A number of classes that the particles tell themselves: how options have it, and from what to what it may be.
AUTO_CLASSES, FEWEST_CLASSES, MOST_FOUND = -1, 4, 512

# What a classification shows while it runs: the templates learned so far, the largest class first.
CLASSES_SO_FAR, CLASSES_SO_FAR_PICTURE = "classes_so_far.mrcs", "classes_so_far.png"

# What a run takes where nobody says otherwise: how far off centre particles are thought to lie, share of the box; the
# largest box that is compared, pixels, and the finest Fourier ring of it, share of that box.
AUTOMATIC_SHIFT = 0.1
WORKING_BOX, FINEST_RING = 128, 0.45


def shift_search_range(shift: float) -> float:
    """How far shifts are looked at where particles are thought to lie within a square, and their average is a little
    off centre.

    Where the reach ends too soon, the branch that needs the smaller shift wins, right or wrong.

    Parameters
    ----------
    shift : float
        The square is +- this, working pixels.

    Returns
    -------
    float
        Working pixels.
    """
    return 1.5 * shift + 4.0


def automatic_shift(box: int) -> float:
    """How far off the centre of its box a particle may lie at most where nobody says it.

    Parameters
    ----------
    box : int
        Pixels of a side.

    Returns
    -------
    float
        Pixels of that box.
    """
    working = min(box, WORKING_BOX)
    return shift_search_range(AUTOMATIC_SHIFT * working) * box / working


# Diameter of the circle within which `evaluate` compares images, share of the box.
EVALUATED = 0.9


def proposed_classes(count: int) -> int:
    """How many classes suit a set of which nobody says it: a hundred particles each, and 50 at most.

    Parameters
    ----------
    count : int
        Particles.

    Returns
    -------
    int
        Classes, 2 at least.
    """
    return min(max(count // 100, 2), 50)


# Particles of each class that there must be, for classes to be found at all; that teach it, and in all at most.
LEAST_OF_A_CLASS = 4
TRAIN_A_CLASS, TRAIN_AT_MOST = 200, 20_000

# Particles that training needs, and the smallest box (pixels).
ENOUGH, SMALLEST_BOX = 128, 8
# What a microscope has at most; other values are slips of the unit or of the column.
LEAST_VOLTAGE, MOST_VOLTAGE = 1.0, 1e4  # kV
MOST_ABERRATION, MOST_DEFOCUS = 100.0, 1e6  # mm; angstrom

# Where the diameter in use comes from, in words, by what summary.json has (diameter_from).
DIAMETER_FROM = {
    "data": "found from the data",
    "given": "as given",
    "run": "as in the run that the particles are joined to",
    "box": "nearly the whole box: none was given, and the particles themselves do not show it",
}

# Built-in views and molecules of simulations: what a user should know of each; of molecules their symmetry group, as
# RELION writes it, before that.
PHANTOM_VIEWS = {
    "hook": "asymmetric, a large and a small domain and a bent tail",
    "clamp": "asymmetric, an open ring with three jaws",
    "hammer": "asymmetric, long, a head on a stalk",
    "dimer": "two-fold symmetric",
    "barrel": "nearly two-fold, its ends differ in detail only",
    "tube": "a tube with a repeat along it",
    "pebble": "asymmetric, small and compact, a quarter of the box wide",
    "anchor": "asymmetric, a shank with two arms and a cap",
    "spindle": "nearly two-fold, long, its tips differ in detail only",
}
PHANTOM_MOLECULES = {
    "boot": ("C1", "a leg and a foot at right angles, with a strap beside them"),
    "crane": ("C1", "a compact body with a long arm and a load at its end"),
    "saddle": ("C1", "a bent sheet of four lobes with a ridge on it"),
    "anvil": ("C1", "a block with a horn on a waist and a base"),
    "tetramer": ("D2", "four equal subunits, two-fold about x, y and z"),
}

MEDIAN_DEVIATION = 1.4826  # standard deviations of a normal distribution in a median absolute one

# Grey values of simulated particles; degrees of jitter beyond which views are those of no class; what a pick that shows
# no particle shows, as truth.star has it; and of each effect how much a realistic set has (see simulation/effects.py).
NORMALISED, RAW = INTENSITIES = ("normalised", "raw")
MOST_JITTER = 45.0
EMPTY, BLOB, CARBON, TOUCHING = JUNK_KINDS = ("empty", "blob", "carbon", "touching")
PER_MICROGRAPH, SPACING = 40, 1.2  # particles; distance of neighbours in diameters of the particle
REALISTIC_EFFECTS: dict[str, Any] = {
    "defocus_error": 200.0,
    "astigmatism": 200.0,
    "thickness": (0.2, 0.15),
    "structural": 0.3,
    "neighbours": 0.6,
    "junk": 0.2,
    "ramp": 0.5,
    "hot_pixels": 0.3,
    "tail": 0.05,
    "intensities": RAW,
}
