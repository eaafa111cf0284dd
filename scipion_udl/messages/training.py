"""Networks: their models, what they learn from, and how training goes."""

from __future__ import annotations

TEXTS = {
    "answers_not_finite": (
        "What the model's network answers are no numbers: its weights are damaged; train a model anew."
    ),
    "autoencoder_size": (
        "The autoencoder halves its input three times, and {size} pixels are no multiple of {multiple}: give another "
        "{--input-size}, or {--joint mean}."
    ),
    "by_class_of_polar": "{--by-class} trains the polar network, not {network}: leave {--network} out.",
    "checkpoint_damaged": (
        "The checkpoint {path} is damaged, or of another network or method: go on with the options that it was begun "
        "with, or start anew with {--overwrite}."
    ),
    "checkpoint_of_other_training": (
        "The checkpoint {path} is of another training ({name}: {saved}, here {mine}): go on with the same particles "
        "and options, or start anew with {--overwrite}."
    ),
    "classes_too_old": (
        "The classes of {path} were learned by an earlier version, which weighed signal against noise in another "
        "way: classify the particles anew (with {--overwrite}, in the same folder)."
    ),
    "difference_of_resnet": (
        "{--head difference} is of the resnet network: the matching network sees both images together."
    ),
    "input_size_above_box": "{--input-size} {value} is more than the box of these images, {box} px.",
    "input_size_above_working_box": "{--input-size} {value} is more than the working box of these particles, {box} px.",
    "input_size_too_small": "{--input-size} {value} is too small to see anything: give {least} or more.",
    "joint_without_judl": "{--joint=joint} is of {--method judl}: leave it out, or train with {--method judl}.",
    "judl_without_udl": "JUDL of the pair network goes on from a UDL model ({--model}): without, it may learn nothing.",
    "memory_too_small_to_train": (
        "There is not enough memory on the {device} for a step of training: end other programs that use it, or bin "
        "the particles to a smaller box."
    ),
    "method_of_network": "the {network} network is trained by {--method} {methods} only.",
    "model_card_changed": "The card of the model {path} was changed or is damaged: give the file as it was written.",
    "model_not_there": "There is no model file {path}",
    "model_of_other_classes": "{model} was trained on other classes than these {classes}: leave {--model} out.",
    "model_of_other_method": "{model} is a {method} model: train it on with {--method=method}.",
    "model_of_other_network": "{model} is a {kind} network: train it on with {--network=kind}.",
    "model_of_other_particles": (
        "The model {path} was trained on particles of {box} px at {pixel_size:g} A/px ({field:.0f} A across), these "
        "have {own_box} px at {own_pixel_size:g} A/px ({own_field:.0f} A across): train a model on these particles, "
        "or give the right {--pixel-size}."
    ),
    "model_of_single_view": "{model} is a network of one view, these are {classes} classes: leave {--model} out.",
    "model_of_views": "{model} is a network of {views} classes: train it on with {--by-class}, on the same ones.",
    "model_too_new": "The model {path} was written by a newer version ({version}): update scipion-em-udl.",
    "no_model_file": "{what}: give the model.safetensors of a training run.",
    "no_such_head": "There is no head '{head}': take one of {known}.",
    "no_training_pair": "{path} holds no pair of images of which neither is constant",
    "not_a_model": (
        "{path} is not a model of scipion-udl, or it is damaged ({reason}): give the model.safetensors of a training "
        "run."
    ),
    "not_converged": (
        "Training had not converged after {epochs}: give it more with {--epochs}, or go on with {--continue}."
    ),
    "option_not_of_network": "{option:options} is not for the {network} network: leave it out.",
    "option_of_new_network": (
        "{option:options} goes with a new network; that of {model} stays as it is: leave {option:options} out."
    ),
    "rate_lowered": (
        "Training diverged in epoch {epoch} (the loss was not finite): it went back to its best epoch and on with a "
        "rate of {rate:g}."
    ),
    "recipe_of_polar": "the published presets are of the published networks: give {--network} {networks}.",
    "step_in_host_memory": (
        "Memory was not enough for a step of training: it goes on with the same batches, so that it learns the same, "
        "but what it keeps waits in the memory of the machine, which takes longer."
    ),
    "step_in_parts": (
        "Memory was not enough for a step of training: it goes on with the same batches, so that it learns the same, "
        "each in {parts} parts."
    ),
    "training_diverged": (
        "Training diverged in epoch {epoch} (the loss is not finite), with a lower rate, too: try a lower {--lr} "
        "than {rate:g}."
    ),
    "training_pairs_odd": (
        "{path} holds {count} images, an odd number: the matching network is trained on pairs, items 2k-1 and 2k; "
        "make them with simulate {--photos}, or leave one out"
    ),
    "truth_names_no_particle": "{path} names none of the particles of {table}, or not both of each pair.",
    "weights_do_not_fit": "The weights in {path} do not fit the network its card names ({network}).",
    "weights_not_finite": "The weights in {path} are not all finite numbers: train the model anew.",
    "widths_not_possible": "{reason}: give another {--widths} or {--input-size}.",
}
