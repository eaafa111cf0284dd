"""The Scipion side: sets that become tables and tables that become sets, and the engine that it starts."""

from __future__ import annotations

TEXTS = {
    "batch_too_few": (
        "{count} particles are too few to train on (about {least} are needed): they are aligned in real space alone."
    ),
    "engine_diameter_unknown": "The engine could not be asked for the diameter: {answer}.",
    "engine_does_not_start": (
        "The engine does not start with {python} ({answer}): run 'scipion3 installb udl', or set UDL_PYTHON."
    ),
    "engine_gpus_unknown": "The engine could not be asked for its GPUs: {answer}.",
    "engine_of_other_version": (
        "The engine of {python} is version {own}, the plugin is {version}: install this version there, or make an "
        "engine of the plugin's own with 'scipion3 installb udl'."
    ),
    "engine_python_is_no_program": "UDL_ENGINE_PYTHON is {wanted}, which is no program: give a Python 3.11 or later",
    "engine_python_too_old": (
        "{python} cannot run the engine, which needs Python 3.11 or later and torch: run 'scipion3 installb udl', or "
        "set UDL_PYTHON."
    ),
    "export_cannot_mirror": (
        "{count} particles are mirrored, which RELION's 2D alignment cannot hold: aligned.star is not written. For "
        "RELION, align without mirrors, or take the aligned stack."
    ),
    "input_set_empty": "The input set has no enabled particles: enable some, or choose another set",
    "input_set_gone": (
        "The file of the input set, {path}, is not there any more: run the protocol that made it again, or choose "
        "another set"
    ),
    "input_set_mirrored": (
        "{mirrored} particles are mirrored in the alignment that they carry (the first has id {item}), and one with "
        "mirrors cannot be started from: ignore it"
    ),
    "input_set_not_in_plane": (
        "The alignment of {count} particles is no rotation and shift within the plane (the first has id {item}): "
        "ignore it, or align the set anew"
    ),
    "input_set_same_image": (
        "The particles with ids {first} and {item_id} of the input set have the same image, {index}@{name}{more}: it "
        "would count twice. Sets that share particles were joined: join them without repetitions, or take a subset"
    ),
    "item_in_two_classes": (
        "The particle with id {item_id} is in the classes {class_number} and {other_class}: classes must not share "
        "particles, so take them from one classification"
    ),
    "item_without_alignment": "The particle with id {item_id} has no alignment: leave it out, or align the set anew",
    "no_alignment_in_file": "{path} holds no alignment",
    "no_score_high_enough": (
        "No particle has a score of {least:g} or more, the highest is {highest:.3f}: lower *Lowest score* and run "
        "with *Continue*"
    ),
    "package_not_installed": "{package} is not installed in {python}: install it there with pip",
    "result_lacks_item": "The engine gave no pose for the particle with id {item_id}: run it again",
    "result_unknown_image": "{path} names the image {image}, which {table} does not: run it again",
    "result_without_classes": "{path} does not say which class each particle is in",
    "result_without_items": "{path} does not tell which items its images are of",
    "set_not_of_scipion": "{path} is not stored as Scipion does it: nothing can be added to it",
    "sets_without_common_image": (
        "The two sets have no image in common: choose as truth another alignment of the very particles that are "
        "evaluated"
    ),
    "stream_unreadable": "The input set cannot be read any more: {reason}",
    "stream_without_particles": (
        "The input set is complete and has no enabled particle: there is nothing to do. Look at the run that it "
        "comes from"
    ),
}
