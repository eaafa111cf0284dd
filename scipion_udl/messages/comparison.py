"""What there is to say where classifications are compared."""

from __future__ import annotations

TEXTS = {
    "averages_not_shown": "The averages of {path} are not shown: {reason}",
    "compared_by_chance": (
        "The classes of {one} and {other} agree hardly better than chance (adjusted Rand index {rand:.2f}): particles "
        "that are together in one run are not in the other."
    ),
    "compared_in_part": (
        "{one} and {other} have {common} particles in common, fewer than half of the {fewer} that the smaller has: all "
        "that is said of both is of these."
    ),
    "compared_with_itself": "{path} is given twice: give classifications that were made apart from each other.",
    "labels_are_none": (
        "The labels of {run} are of shape {shape} and type {kind}: give one whole number or name for each particle."
    ),
    "labels_of_other_number": (
        "There are {count} labels of {run} and {first} of the first: give those of the same particles, in one order."
    ),
    "nothing_in_common": (
        "{path} has no particle in common with {first}: give classifications of the same images (the same files, or "
        "of cryoSPARC the same uid)."
    ),
    "no_classes_to_compare": (
        "{path} has no class number per particle (rlnClassNumber in STAR, ref in XMD, alignments2D/class in .cs): give "
        "the table of a 2D classification."
    ),
    "one_class_to_compare": "{path} has all its particles in one class: it tells nothing of which belong together.",
    "one_run_to_compare": "{path} alone has nothing to be compared with: give two RUNs or more.",
}
