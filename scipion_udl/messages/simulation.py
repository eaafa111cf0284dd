"""Simulated particles."""

from __future__ import annotations

TEXTS = {
    "defocus_range": "the defocus range must be two micrometer values above 0, the lower one first",
    "direction_of_single_view": "a direction and a jitter are of a single view, and the views are {views}: give one",
    "effect_of_ctf": "{option:options} is of the CTF, and there is none: give only one",
    "effect_says_how": "{option:options} says how {needs:options} are, and there are none: give both",
    "for_many_views": "{option:options} is for many views: give {--views random} or {--views uneven}, too",
    "for_one_direction": "{option:options} is for views from about one direction: give {--views single}, too",
    "for_photographs": (
        "{option:options} is for {--photos}: leave it away ({--snr} sets the noise of a view, inf for none)"
    ),
    "for_single_views": "{option:options} gives single views: {--views} takes a molecule, of {--phantom} or {--volume}",
    "helix_not_realistic": (
        "the phantom {name} is a helix, which nobody surrounds with neighbours and junk: leave out {--realistic}"
    ),
    "jitter_too_large": "a jitter of {jitter:g} degrees is no single view: take 0 to {most:g}",
    "map_constant": "the map is constant; give one that shows a molecule",
    "map_wider_than_box": (
        "{path} is {width:g} A wide, and {box} pixels of {size:g} A are {field:g} A: give another {--pixel-size} or "
        "{--box}"
    ),
    "no_junk_kinds": "{--junk-kinds} is empty: take some of {known}",
    "no_particle_per_micrograph": "a micrograph cannot have {count} particles; take 1 or more",
    "no_particles_to_simulate": "{count} particles cannot be simulated; take 1 or more",
    "no_photograph_fits": (
        "none of the {files} photographs gives a patch: {unread}{small} are smaller than the {side} x {side} pixels "
        "that a box of {box} with shifts up to {max_shift:g} needs, {flat_ones} are flat (standard deviation below "
        "{flat:g} grey levels); give a smaller {--box} or {--shift}, or other photographs"
    ),
    "no_photograph_readable": "none of the {files} photographs can be read; the first: {broken}",
    "no_photographs": "{folder} holds no photographs ({kinds}): give a folder that does",
    "no_such_intensities": "there are no intensities '{intensities}': take {known}",
    "no_such_junk": "there is no junk of the kind '{kind}': take some of {known}",
    "no_such_noise": "there is no noise '{kind}': take one of {known}",
    "no_such_phantom": "there is no phantom '{name}'; choose one of {known}",
    "no_such_phantom_3d": "there is no phantom '{name}' in 3D; choose one of {known}",
    "no_such_views": "there are no views '{views}': take {known}",
    "no_template_folder": "{folder} is not there or no folder: give one that holds 1/{template}, 2/{template}, ...",
    "no_templates": "{folder} holds no template: they are looked for as 1/{template}, 2/{template}, ... in it",
    "noise_out_of_range": "noise needs an SNR above 0 and a share from 0 to 1, not {snr:g} and {share:g}",
    "noise_share_without_noise": (
        "an SNR of inf leaves no noise, and the noise share asks for particles of it: give only one"
    ),
    "not_a_share": "{name:options} is a share of the whole, from 0 to 1, and not {value:g}",
    "not_for_photographs": (
        "{option:options} is not for photographs: leave it away (no CTF is made, {--noise} none is clean)"
    ),
    "one_photograph_copy": "{--count} 1 makes no pair of copies: give 2 or more",
    "patch_box_too_small": "a box of {box} pixels is too small for patches; take 8 or more",
    "patch_shifts_too_large": "shifts up to {max_shift:g} pixels do not fit a box of {box}; take less than half",
    "phantom_of_many_views": (
        "the phantom {name} is a molecule to be seen from many directions: give {--views random}, too"
    ),
    "phantom_of_one_view": "the phantom {name} is one view: for {--views} choose one of {names}",
    "photographs_no_folder": "{folder} is no folder: give one with photographs, or with train2017 and val2017 in it",
    "photographs_parts": "{folder} holds {there}: say which to use with {--part}",
    "pixel_size_not_a_number": "the pixel size must be a number of angstrom above 0, not {value:g}",
    "pixel_sizes_missing": (
        "{--pixel-sizes} says nothing of {templates}: give {missing}:A too, or {--pixel-size} for the others"
    ),
    "pixel_sizes_of_none": "{--pixel-sizes} names {number}, and there is no {folder}/{number}: leave it away",
    "pixel_sizes_without_centers": (
        "{--pixel-sizes} is for the numbered templates of {--centers}: give {--pixel-size} in its place"
    ),
    "second_and_share": "a second molecule and its share, above 0, belong together: give both or none",
    "second_needs_share": "{--second} and {--second-share}, above 0, belong together: give both, or none of them",
    "second_of_other_box": "the second molecule has a box of {box} pixels, the first of {first_box}",
    "seed_not_whole": "the seed must be a whole number from 0, not {seed}",
    "set_without_template": "{path} is a set of an earlier run that has no template now: remove it first",
    "shares_too_large": (
        "shares of {noise_share:g} noise and {second_share:g} of a second molecule make no whole: they must be from "
        "0 to 1, and not above 1 together"
    ),
    "simulated_box_too_small": "a box of {box} pixels is too small to simulate particles; take 8 or more",
    "simulation_on_cpu": "simulate computes on the CPU only: leave {--gpu} away, or give none",
    "snr_not_positive": "an SNR of {snr:g} makes no particles; it must be above 0 (inf for no noise)",
    "snr_too_large": "an SNR of {snr:g} is beyond float32: give {most:g} at most, or inf for no noise",
    "spacing_too_small": "{--spacing} {spacing:g}: molecules nearer than their diameter, 1, overlap; give more",
    "ssnr_factor": "{--ssnr} {value}: give a factor between {least:g} and {most:g}",
    "ssnr_not_positive": "{--ssnr} {value}: both numbers, a resolution in angstrom and a factor, must be above 0",
    "ssnr_resolution": (
        "{--ssnr} {value}: {box} pixels of {pixel_size:g} A hold frequencies between {coarsest:g} and {finest:g} A; "
        "give a resolution between these two"
    ),
    "ssnr_without_noise": "{--ssnr} {value} changes the noise, and an SNR of inf leaves none: give only one",
    "structural_without_noise": "an SNR of inf leaves no noise, and {--structural} is a share of it: give only one",
    "template_constant": "the template is a constant image; give one that shows a particle",
    "template_missing": "{path} is not there: put the template of number {number} there, or remove its folder",
    "template_twice": "{folder} holds two templates of number {number}: rename one of their folders",
}
