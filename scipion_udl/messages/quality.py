"""Why a class, or a particle, is good or is not, and what was chosen."""

from __future__ import annotations

TEXTS = {
    "balanced": (
        "Of each of {count} superclasses, classes that show the same view, at most {most} particles are chosen, the "
        "best by quality: {left} others are in the rest."
    ),
    "chosen_not_written": "{path} is not written: no particle is chosen that it could hold; see {folder}.",
    "class_beside_particle": "much of its average lies beside the particle",
    "class_faint": "its particles bring less signal to its average than those of other classes do",
    "class_few": "it has few particles for a class of this set",
    "class_gradient": "its average shows a gradient or an edge",
    "class_halves_differ": "averages of its halves, aligned apart, agree less than those of other classes",
    "class_looks_good": "nothing speaks against it",
    "class_loud": "its images are louder than those of other classes, as ice and contamination are",
    "class_matter": "it shows less of the matter that particles have in their middle, or more",
    "class_off_centre": "what it shows lies off the centre",
    "class_other_shape": "its shape and size are not those of other classes",
    "class_scattered_scores": "its particles fit its average worse than those of other classes, or unevenly",
    "class_shifted": "its particles were moved farther than those of other classes, as what has no middle is",
    "class_too_small_to_judge": "it has too few particles for two halves, by which it could be judged",
    "class_unlike_others": "its average is unlike those of other classes",
    "classes_aligned_anew": "The classes of {path} come without 2D poses to begin with: each is aligned anew.",
    "coordinates_lacking": (
        "{path} does not say where its particles lie in which micrograph: leave {option:options} out."
    ),
    "micrograph_pixel_size_unknown": (
        "{path} does not give the pixel size of the micrographs: it is taken to be that of the particles, "
        "{size:g} A/px. Where particles were binned, shifts in coordinates are wrong by that factor."
    ),
    "model_without_data": "{path} lists no particles, and {table}, which would, is not there.",
    "no_classes_to_name": "{path} has no classes, which {--classes} could name: leave it out, and they are made first.",
    "no_such_class": "{path} has no class {missing}: it has {count} classes.",
    "nothing_chosen": (
        "Nothing is chosen of {path}: no class is good enough, or all of them are flagged. {rest} lists all particles; "
        "classes named with {--classes} are taken all the same."
    ),
    "not_a_class_run": "{folder} holds no classes.star: give the folder of a classify run, or a table of particles.",
    "table_exists": "{path} exists: give another name, or {--overwrite} to replace it.",
}
