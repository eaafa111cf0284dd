"""Whole runs: options that do not go together, and what came of them."""

from __future__ import annotations

TEXTS = {
    "all_classes_flagged": "All classes are flagged: neither classes nor averages are to be relied on.",
    "all_copies": "All particles are copies of one image, which lie alike as they are: they are left so.",
    "arguments": "{problem}",
    "array_no_image": "An image (D, D) is needed, not the shape {shape}.",
    "background_uneven": "{what}.",
    "class_all_constant": "All its images are constant: they are left as they are.",
    "class_file_changed": "{path} was changed, is damaged, or is of another version: {advice}.",
    "class_file_damaged": "{path} is damaged, or is not of a classify run: {advice}.",
    "class_needs_more": (
        "No resolution is claimed: two halves of the class, aligned apart from each other, do not agree for sure on "
        "anything finer than {limit:.1f} A, up to which it was found. More particles in it would tell."
    ),
    "class_run_changed": "{folder} was changed since the run wrote it, or is damaged: {advice}.",
    "class_run_lacks_file": (
        "{folder} is not the folder of a finished classify run ({file}): give one with {--append-to}."
    ),
    "class_run_unfinished": (
        "{folder} is not the folder of a finished classify run ({path}: {reason}): give one with {--append-to}."
    ),
    "classes_cannot_live": (
        "{run} has left nothing that its classes could be renewed by, for an earlier version made it or its references "
        "are fixed: templates stay as they are, and no class is opened."
    ),
    "classes_come_along": "{given:options} brings its classes along, and none are learned: leave {name:options} out.",
    "classes_flagged": "{count} of {total} classes, with {share:.1%} of the particles, are flagged: {why}.",
    "classes_merged": "What comes later goes to another class, which shows the same as: {numbers}.",
    "classes_opened": "New classes, for what no class has shown so far: {numbers}.",
    "classes_told_apart": (
        "{count} classes: more of them do not explain particles better that have not taught them, or have too few of "
        "the {particles} particles to be learned from."
    ),
    "classes_supported": (
        "The particles support {found} of the {asked} classes asked for: what the others showed is explained as well "
        "by these, whose averages are less noisy for it."
    ),
    "classes_with_warnings": (
        "{count} of {total} classes came with warnings of their own (class {which}): see what is said of each in the "
        "report, in summary.json or in run.log."
    ),
    "command_killed": "{command} was ended by signal {signal}, as the system does where memory is short: see run.out",
    "constant_images": (
        "{count} of {total} images are constant (the first is item {first}): they are kept with pose 0 and score 0."
    ),
    "ctf_taken": "CTF: {how} ({reason}).",
    "ctf_without_defocus": (
        "{--ctf=value} needs the defocus of every particle with voltage, spherical aberration and amplitude "
        "contrast, which {path} does not give: leave {--ctf} out, or give a table that has them."
    ),
    "disk_error": "{place} cannot be read or written: {reason}",
    "ended": "ended by a signal (SIGTERM)",
    "evaluated_3d_poses": "{path} holds directions of a 3D alignment (rot, tilt): give a 2D alignment",
    "evaluated_classes": (
        "{path} holds {classes} classes, each with a frame of its own: what is said of all of them together mixes "
        "them. Evaluate one class at a time."
    ),
    "evaluated_without_poses": "{path} carries no poses: give the aligned.star or aligned.xmd of an alignment",
    "evaluation_reference_size": (
        "{image} has {width} x {height} pixels and the particles of {table} {box} x {box}: bring the reference to "
        "the same box and pixel size"
    ),
    "filament_without_prior": (
        "row {row} of {path} has no psi prior (of {count} such rows the first): give the tube's direction in "
        "rlnAnglePsiPrior, or leave out {--helix}"
    ),
    "filaments_not_asked_for": ("{option:options} is for filaments: give {--helix}, too"),
    "filaments_not_told": (
        "{path} has the psi priors of helical segments, which are not used: for segments of filaments give {--helix}"
    ),
    "filaments_without_priors": (
        "{path} has no psi priors (rlnAnglePsiPrior), which {--helix} needs: take the table that RELION's "
        "extraction of helical segments wrote"
    ),
    "filaments_without_rise": (
        "Shifts along the axis of the filaments go as far as across it: give {--rise}, or segments may lie repeats "
        "apart"
    ),
    "fixed_without_references": "{--fixed-references} keeps to the averages of {--references}: give these, too.",
    "no_poses_to_keep": (
        "{path} carries no alignment to keep: leave {--no-align} out, or give a table with the poses of its particles."
    ),
    "references_bring_classes": (
        "{given:options} says how many classes there are, and what they begin as: leave {name:options} out."
    ),
    "references_without_particles": "{count} of {total} references have no particles, and no class: {numbers}.",
    "references_inverted": (
        "{count} of {total} references show bright what is dark in the particles, or the reverse, and were inverted: "
        "{numbers}."
    ),
    "references_mirrored": (
        "{count} of {total} references are mirror images of the particles' views, and were mirrored: {numbers}."
    ),
    "references_of_sizes": "{path} names images of several sizes, or not square: give averages of one box.",
    "references_without_size": (
        "{path} does not tell the pixel size of its averages of {box} px, or nobody knows that of the particles: write "
        "it into the header, or give averages of the particles' box."
    ),
    "few_teach": (
        "{particles} particles teach {classes} classes, {each} for each: views may be missed, and good ones taken "
        "for noise. Ask for fewer classes, or let more teach."
    ),
    "halves_not_apart": "The halves were not aligned apart from each other: no resolution is claimed.",
    "interrupted": "interrupted",
    "join_brings_its_own": "{--append-to} takes templates and averages of the run: leave {option:options} out.",
    "keep_without_appending": "{--keep-classes} is of particles that join a run: give {--append-to}, or leave it out.",
    "joined": (
        "{count} particles were joined to the {before} before them: averages, FRC and resolution are of all {total}."
    ),
    "joined_classes": "{count} particles joined the classes of {run}; averages are of all so far.",
    "joined_ctf_differs": "{--ctf=value} is not what {run} was aligned with, {how}: leave {--ctf} out.",
    "joined_flips_contradicted": (
        "{path} says otherwise than {run} whether phases were flipped; the particles are taken as in that run ({how})."
    ),
    "joined_flips_unknown": (
        "{path} does not say whether phases were flipped; the particles are taken as phase-flipped."
    ),
    "joined_of_other_box": (
        "{path} has images of {box} px, the averages of {run} are of {run_box} px: bring the particles to that box "
        "first."
    ),
    "joined_of_other_size": (
        "The particles of {folder} have {box} px at {pixel_size:g} A/px, those of {table} {own_box} px at "
        "{own_pixel_size:g} A/px: bring them to the same box and pixel size, or align them by themselves."
    ),
    "joined_option_differs": "{asked:options} is not what {folder} was made with, {own}: leave {asked:options} out.",
    "joined_without_defocus": (
        "{run} was aligned with the contrast transfer of its particles, and {path} gives no defocus for them: give a "
        "table like the first, or align the first particles with {--ctf none}."
    ),
    "length_of_filaments": (
        "{option:options} of {value:g} A does not fit these particles: give {least:g} to {most:g} A"
    ),
    "max_shift_too_large": (
        "{--max-shift} {value:g} is more than half the box, {most:g} px: give how far off the centre of its box a "
        "particle may lie, or nothing for an automatic limit."
    ),
    "max_shift_too_large_for_pairs": (
        "{--max-shift} {value:g} is more than half the box, {most:g} px: give a shorter one"
    ),
    "max_shift_too_large_to_classify": "{--max-shift} {value:g} is more than half the box, {most:g} px: give less.",
    "max_shift_too_large_to_join": "{--max-shift} {value:g} is more than half the box, {most:g} px: give less.",
    "mirror_classes": "Classes that are each other's mirror image: {shown}.",
    "mirrored_not_written": (
        "Some particles are mirrored, which the 2D alignment of RELION and cryoSPARC cannot hold: {lost} is "
        "{verb}written; use aligned.xmd, or {--write-stack}, with which they name the aligned images."
    ),
    "model_not_used": "With {--start-poses} no network is asked: {model} is not used.",
    "model_of_classes": "{path} holds the classes of a whole set, not one view: use it with classify.",
    "model_of_one_view": "{path} is a model of one view, not of classes: give the model of a classify run.",
    "model_of_other_input": (
        "{path} was learned from other particles than those of {input}, or from another defocus of them: go on with "
        "the particles that the run began with, or begin anew with {--overwrite}."
    ),
    "model_of_other_options": (
        "{path} was learned with {before:given}, not with {now:given}: go on with what the run began with, or begin "
        "anew with {--overwrite}."
    ),
    "model_of_pairs": "{path} is a {network} network, which compares two images: use it with align-pairs.",
    "model_of_several_classes": "{path} is a network of several classes, and which one a pair is of is not known.",
    "model_without_beginning": (
        "{path} does not say what it was begun with, and nothing can go on with it: begin anew with {--overwrite}."
    ),
    "model_without_the_view": "{model} knows {views} views, and none of them is that of {run}.",
    "no_classes": (
        "No classes were found: in all of them the particles fit no better than noise would. They may be noise "
        "alone, or too few for their noise; neither classes nor averages are to be relied on."
    ),
    "no_neighbours": "{path} holds no two particles that follow each other in {other}",
    "not_enough_memory": (
        "there is not enough memory for this; try a smaller {--batch}, or bin the particles to a smaller box"
    ),
    "not_for_filaments": ("{option:options} is not for filaments: leave it out, or {--helix}"),
    "not_with_join": "{option:options} does not go with {--append-to}: {reason}. Leave {option:options} out.",
    "one_particle": "One particle has nothing to be aligned to: it is left as it is.",
    "one_particle_to_evaluate": "{path} holds one particle: there is no next one to compare it with",
    "option_value": "argument {option:options}: {problem}",
    "other": "{what}",
    "own_mirror_classes": (
        "Classes that are (nearly) their own mirror image: {shown}. Views from opposite sides, which are each "
        "other's mirror image, may lie in them together."
    ),
    "pairs_odd": (
        "{path} holds {count} images, an odd number: items 2k-1 and 2k are a pair; leave one out, or give two tables"
    ),
    "pairs_of_unequal_boxes": "{path} has a box of {box} px and {other_path} of {other_box}: bring them to one box",
    "pairs_of_unequal_number": "{path} holds {one} images and {other_path} {other}: give as many of both",
    "pool_of_another_run": (
        "{pool} was not joined to {run}, so its averages do not lie on those of the new particles: give what an "
        "earlier 'align --append-to {run}' wrote, or leave {--pool} out."
    ),
    "pool_without_join": (
        "{--pool} says what joined particles are added to: give {--append-to} RUN, too, or leave it out."
    ),
    "poses_of_other_number": "There are {images} images and {poses} poses: give a pose for each.",
    "reference_constant": "The reference {reference} is a constant image: give one that shows the particle.",
    "reference_of_classes": (
        "{--reference} is one image, but {--by-class} makes an average a class: leave out one of them."
    ),
    "reference_of_other_box": (
        "The reference {reference} has {size} px, the particles have {box}: give one of the same box and pixel size."
    ),
    "reference_of_other_pixel_size": (
        "{image} has {pixel_size:g} A per pixel and the particles {own_pixel_size:g}; they are compared pixel by pixel."
    ),
    "relion_nothing_chosen": "No class is good enough, and nothing is chosen: see {folder}/selection.csv.",
    "relion_output_given": (
        "The results lie in {folder}, in the job's folder that {--o} names: leave -o and {--output} out."
    ),
    "resolution_of_classes": (
        "The resolution of a class tells how far the averages of two halves of its particles agree. Views that "
        "differ within a class blur both alike, which it does not see."
    ),
    "run_changed": "{folder} was changed, is damaged, or is of another version: align anew.",
    "run_image_of_other_size": "{path} has {size} px where {box} are told of: align anew.",
    "run_model_changed": (
        "{path} is not the model any more that {folder} was aligned with: give that one with {--model}."
    ),
    "run_model_missing": "The model that {folder} was aligned with, {path}, is not there: give it with {--model}.",
    "run_not_to_join": (
        "{folder} holds no alignment that particles can be joined to (it has no {lacking}): give the output folder "
        "of an 'align' that refined the particles of one view."
    ),
    "run_rings_differ": (
        "{path} of the run weights {rings} Fourier rings where {compared} are compared: it is damaged, or of another "
        "version; align anew."
    ),
    "run_was_mirrored": (
        "{run} was aligned with {--mirror}, and particles can be joined only to a run without mirror images: align "
        "its particles without {--mirror}."
    ),
    "run_was_of_filaments": (
        "{run} was aligned with {--helix}, and segments of filaments are not joined one by one: align all together."
    ),
    "run_would_be_replaced": "{path} is the run to join, and would be replaced: give another folder with -o.",
    "search_too_wide": "{--search} {value:g} goes around the circle more than once: give 180 degrees or less",
    "start_poses_without_refinement": (
        "{--no-refine} keeps the angles of a network, but {--start-poses} asks none: leave out one of them."
    ),
    "symmetry_without_truth": (
        "{--symmetry} counts in the comparison with true poses: give {--truth}, too, or leave it away"
    ),
    "template_of_other_box": "The template has the shape {shape}, the box is {box} px: give one of the same box.",
    "too_few_for_classes": (
        "{path} has {count} particles with an image, too few for {classes} classes (at least {least} a class are "
        "needed): ask for fewer with {--classes}."
    ),
    "too_few_for_network_alone": (
        "{--no-refine} leaves the angles to the network, and {count} particles are too few to train one (about "
        "{least} are needed): give a {--model}, or leave {--no-refine} out."
    ),
    "too_few_for_training": (
        "{count} particles are too few to train on (about {least} are needed): they are aligned in real space alone, "
        "and no resolution is claimed."
    ),
    "too_few_to_claim": "{count} particles are too few: no resolution is claimed.",
    "too_few_to_teach": (
        "{--training-subset} {teach} particles are too few to teach {classes} classes (at least {least} a class are "
        "needed): let more teach, or ask for fewer with {--classes}."
    ),
    "too_few_to_train": "{path} has {count} particles with an image{where}; training needs at least {least}.",
    "true_poses_of_other_number": "There are {poses} poses and {true} true ones: give as many of both.",
    "truth_lacks_image": "{path} does not name {name}: give the truth of these very images",
    "truth_of_images": "{path} names images, and the poses do not say which they are of: give the true poses",
    "truth_of_others": "{path} names none of the images of {other}: give the truth of these very particles",
    "truth_without_training": (
        "{--truth} shows the error of a network that is trained, and with {option:options} none is: leave {--truth} "
        "out, and compare the poses afterwards with `scipion-udl evaluate --truth`."
    ),
    "unexpected_error": (
        "unexpected {kind}: {what}; please report it with the output of the same command with {--debug}"
    ),
}
