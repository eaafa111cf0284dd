"""Particles: what is seen of them, how they are compared, and what may be said of the result."""

from __future__ import annotations

TEXTS = {
    "all_constant": "All {count} images of {path} are constant: there is nothing to align.",
    "ambiguous_halfturn": (
        "{share:.0%} of the particles fit as well rotated by 180 degrees: the view looks (nearly) the same rotated by "
        "180 degrees at this noise, so angles are known modulo 180 degrees only."
    ),
    "angles_beyond_claim": (
        "No resolution is claimed: two halves of the set, aligned apart from each other, do not agree on anything "
        "finer than their common start. But the particles are no noise, {sure:.0%} of their angles can be expected "
        "to be right to {near:g} degrees (modulo 180)."
    ),
    "angles_uncertain": (
        "The signal is weak for the noise: judged by the average of the half that each particle is not in, only "
        "{sure:.0%} of the angles can be expected to be right to {near:g} degrees (modulo 180). Images that show "
        "nothing lower that, too. Better averages need more particles; what a single particle does not hold, no "
        "alignment can know."
    ),
    "box_too_small": "{path}: a box of {box} px is too small; {least} or more are needed.",
    "claim_box_too_small": "The box is too small to tell signal from noise: no resolution is claimed.",
    "claim_without_numbers": "The averages of two halves hold no numbers to compare: no resolution is claimed.",
    "defocus_contradicted": (
        "The table says {says}, but its defocus values do not fit the images: check that they belong together, or "
        "align without contrast transfer ({--ctf none}). The table's word stands."
    ),
    "defocus_does_not_fit": (
        "The defocus values do not fit the images: they are aligned without contrast transfer. Check that the table "
        "belongs to them, or say with {--ctf} how it is to be taken."
    ),
    "diameter_too_large": (
        "{--diameter} {diameter:g} A is more than the box ({most}): give the diameter of the particle, or nothing "
        "for an automatic one."
    ),
    "diameter_without_pixel_size": (
        "{--diameter} {diameter:g} is in A, and neither {path} nor an image header tells the pixel size: give "
        "{--pixel-size}, too, or the radius of the particle in pixels with {--mask-radius}."
    ),
    "duplicate_images": (
        "{count} of {total} images are in the set more than once (item {again} is item {first} again): the noise of "
        "a copy agrees with itself, which looks like signal. For FRC and resolution each image counts once; better "
        "take the copies out."
    ),
    "coarsest_too_fine": (
        "{--low-resolution-limit} {value:g} leaves {pixels} Fourier pixels, too few to align by: give {least:g} A or "
        "more."
    ),
    "coarsest_without_effect": (
        "{--low-resolution-limit} {value:g} changes nothing: it is coarser than the whole box, {field:.0f} A."
    ),
    "coarsest_without_pixel_size": (
        "{--low-resolution-limit} is in angstrom, and the pixel size is not known: give {--pixel-size}, too."
    ),
    "finest_too_coarse": (
        "{--high-resolution-limit} {finest:g} leaves {pixels} Fourier pixels of a box of {field:.0f} A, too few to "
        "align by: give {most:g} A or less."
    ),
    "finest_without_effect": (
        "{--high-resolution-limit} {finest:g} changes nothing: nothing finer than {limit:.1f} A is compared in any "
        "case."
    ),
    "finest_without_pixel_size": (
        "{--high-resolution-limit} is in angstrom, and the pixel size is not known: give {--pixel-size}, too."
    ),
    "flips_contradicted": (
        "The table says {says}, but they look {seen}: its word stands; if it is wrong, give {--ctf=way}."
    ),
    "flips_exchanged": (
        "The table says {says}, but the images look the other way about: check rlnCtfDataArePhaseFlipped of the "
        "optics groups. The table's word stands."
    ),
    "flips_not_clear": (
        "The table does not say whether phases were flipped, and the images do not tell clearly: they are taken as "
        "not flipped, which is what RELION takes such a table for. If they were, give {--ctf flipped}."
    ),
    "flips_unknown": (
        "Neither the table nor the images tell clearly whether phases were flipped: they are taken as {words}. If "
        "that is wrong, give {--ctf=choice}."
    ),
    "gpu_not_there": (
        "GPU {number} was asked for, but {there}; choose another with {--gpu}, or {--gpu} none for the CPU."
    ),
    "gpu_not_understood": "{--gpu} {gpu} is not understood: give none, auto, or the number of a GPU (0, 1, ...).",
    "like_picked_noise": (
        "No common signal was found beyond what picking makes of noise: what two halves of the set agree on, a "
        "particle fits by {deviations:.1f} standard deviations of the noise, and windows without any particle that "
        "were picked because they look like a template fit it by up to {most:.1f}. No resolution is claimed, and "
        "neither poses nor average are to be relied on."
    ),
    "mask_radius_too_large": (
        "{--mask-radius} {radius:g} is more than half the box, {most:g} px ({size}): give the radius of the "
        "particle, or nothing for an automatic one."
    ),
    "memory_halved": "Memory was not enough: it goes on with {chunk} particles at a time ({--batch}).",
    "memory_too_small": (
        "There is not enough memory on the {device} even for one particle at a time: end other programs that use it, "
        "or bin the particles to a smaller box."
    ),
    "mirror_not_clear": (
        "{--mirror} found nothing to tell mirrored particles by: judged by the amplitude spectra, a view and its "
        "mirror image fit equally well, or the signal is too weak for it. Nothing was mirrored."
    ),
    "mirror_not_clear_in_classes": (
        "{--mirror} found nothing to tell mirrored particles by: judged by the amplitude spectra, a view and its "
        "mirror image fit equally well, or the signal is too weak for it. Nothing was mirrored in {count} of {total} "
        "classes."
    ),
    "mirrored": "Mirrored: {count} of {total} particles ({share:.1%}).",
    "mixed_views": (
        "The views are mixed: the aligned particles differ among each other by {share:.0%} of the power of their "
        "average, so it is not that of one view. {advice}"
    ),
    "no_claim_at_limit": (
        "No resolution is claimed, for many particles lie at the limit of the search for shifts: raise {--max-shift}."
    ),
    "no_claim_of_mixed_views": (
        "No resolution is claimed, for the views are mixed; frc.csv has the FRC that was measured."
    ),
    "no_claim_of_polarities": (
        "No resolution is claimed, for particles are of two polarities; frc.csv has the FRC that was measured."
    ),
    "no_signal": (
        "No common signal was found: two halves of the set, aligned apart from each other, do not agree on anything "
        "finer than their common start ({limit:.1f} A). They may be noise, several views mixed, or too few for their "
        "noise; no resolution is claimed, and neither poses nor average are to be relied on."
    ),
    "particle_known_already": (
        "{path}: item {item}, {name},{more} {where}: leave what is there out, or it counts twice."
    ),
    "polarities_of_groups": (
        "The particles are of two polarities: {bright} bright ones, {dark} dark ones ({few}: {named}). {invert}"
    ),
    "polarities_of_images": (
        "The particles are of two polarities: {bright:.0%} of the images show bright ones, {dark:.0%} dark ones "
        "({which}, for instance: item {item}, {name}). {invert}"
    ),
    "polarity_unexpected": (
        "The particles look {seen}, and not {wanted} as {--polarity=expected} says: {seen} fits the mean profile of "
        "{count} particles better, by a chi-square of {chi_square:.0f}. The alignment does not depend on it, but "
        "other programs do: invert the images if they should be so."
    ),
    "pose_shift_too_large": (
        "{path}: row {row} shifts its particle by {x:.6g}, {y:.6g} px, which is more than an alignment can mean in a "
        "box of {box} px{more}: mend the row, or leave it out."
    ),
    "process_lost": (
        "one of the {processes} processes of this run has ended without a word (out of memory, or killed?), and the "
        "others with it"
    ),
    "process_killed": (
        "process {number} of {processes} was ended by signal {signal} (out of memory?), and the others with it"
    ),
    "rank_not_a_number": "{name} is '{value}' in the environment, not a number: use torchrun.",
    "ranks_do_not_meet": "The {size} processes of this run do not find each other: {reason}",
    "ranks_incomplete": (
        "The environment says that {size} processes share this run (WORLD_SIZE), but it lacks {missing}: start them "
        "with torchrun, or unset WORLD_SIZE."
    ),
    "reference_inverted": (
        "The reference {path} has the opposite contrast of the particles: it was used with its contrast inverted. "
        "The averages keep the contrast of the particles."
    ),
    "resolution_at_limit": (
        "The FRC of two halves aligned apart from each other, averaged over neighbouring rings less its scatter, "
        "stays above {level} beyond {resolution:.1f} A, and nothing finer was compared; their common start was "
        "low-passed at {start:.1f} A."
    ),
    "resolution_claimed": (
        "The FRC of two halves aligned apart from each other, averaged over neighbouring rings less its scatter, "
        "falls to {level} at {resolution:.1f} A; their common start was low-passed at {start:.1f} A."
    ),
    "scales_differ": (
        "The images differ in scale (their noise by a factor of {spread:.3g} and more): the average as a plain mean "
        "is carried by the brightest and is worth {worth:.0%} of the particles. Alignment, half averages, FRC and "
        "resolution are of normalised images: normalise the particles for an average as good."
    ),
    "shift_limit": (
        "{share:.0%} of the particles lie as far off the centre of their box as they may, {limit:.3g} px: raise "
        "{--max-shift}."
    ),
    "size_given_twice": (
        "{--diameter} {diameter:g} and {--mask-radius} {radius:g} both say how large the particle is: give one of "
        "them, the diameter in A or the radius in pixels."
    ),
    "start_from_3d_poses": (
        "{path} holds directions of a 3D alignment (rot, tilt), which are no 2D alignment: leave {--start-poses} out."
    ),
    "start_held": (
        "Started from the poses of the input: {elsewhere:.1%} of the particles lie elsewhere now (by more than "
        "{far:g} degrees), the others were rotated by {median:.2f} degrees (median)."
    ),
    "start_poses_mirrored": (
        "The poses of {path} mirror {count} particles: give {--mirror}, too, or leave {--start-poses} out."
    ),
    "start_without_poses": "{path} carries no poses: leave {--start-poses} out, or give a table with a 2D alignment.",
    "too_few_gpus": (
        "{processes} processes were started on this machine, but {there} there for them, and each needs one of its "
        "own: start as many as there are GPUs (torchrun --nproc-per-node), or give {--gpu} none for the CPU."
    ),
    "values_beyond_camera": (
        "item {item}, {name}, holds values beyond {most:g}, which no camera counts: leave it out, or bring the "
        "images to a smaller scale"
    ),
    "values_too_large": "{path}: {what}.",
}
