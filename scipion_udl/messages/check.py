"""What `check` finds in a set."""

from __future__ import annotations

TEXTS = {
    "check_all_constant": "all images are constant: there is nothing to align",
    "check_background": "{what}; other programs may not: normalise the particles for them",
    "check_box_too_small": "a box of {box} px is too small; {least} or more are needed",
    "check_noise_differs": (
        "the noise of the images differs by a factor of {spread:.3g} and more, so that their plain mean is worth "
        "{worth:.0%} of them: normalise the particles"
    ),
    "check_too_few": (
        "{count} are too few to train a network on (about {least} are needed): they are aligned without one unless "
        "you give a {--model}, and no resolution is claimed"
    ),
    "contrast_dark": (
        "the particles look dark on a bright ground: the alignment takes them as they are, but Xmipp and RELION "
        "expect bright ones (say {--polarity dark} where it is meant so)"
    ),
    "contrast_unexpected": "the particles look {found}, not {expected}: invert the images, or say so to other programs",
    "header_differs": (
        "the header of {path} says {size:g} A, {table} says {in_use:g} A, which is used: check which one is right"
    ),
    "image_again": (
        "item {item} ({name}) is item {other} ({other_name}) again: the noise of a copy agrees with itself, which "
        "looks like signal"
    ),
    "image_constant": "item {item} ({name}): it will be kept with pose 0 and score 0",
    "images_lost": "{count} of {total} have no image that can be read",
    "input_has_faults": "{path} cannot be aligned as it is: {faults} to mend, told above",
    "list_named_as_input": "{--list} {list} has the name of a file of particles or a model: {advice}",
    "list_over_input": "{--list} {list} would be written over {path}, which is looked through: {advice}",
    "no_defocus": "not given: the contrast transfer is left out of account",
    "old_poses": "old ones ({old}) give way to new ones in the aligned tables",
    "optics_groups": "{count}, all of one pixel size: they are aligned together",
    "poses_are_3d": (
        "rot and tilt are not 0: these are projection directions, which aligned tables will not have any more; keep "
        "the table"
    ),
    "several_classes": (
        "the particles are of {classes} classes (column {column}): each must be aligned by itself (align "
        "{--by-class}, or a table of one class), for an average of several views shows none of them"
    ),
    "some_phase_flipped": "{count} of {total} particles are phase-flipped, by optics group or row",
    "voltages_differ": "the particles were taken at different voltages ({listed} kV)",
}
