"""The options of `scipion-udl train`: the network, its shape, and what it starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scipion_udl import values as take
from scipion_udl.settings import networks
from scipion_udl.settings.common import Learning
from scipion_udl.settings.option import AUTOMATIC, Group, Question, Settings, option, variant


@dataclass(frozen=True)
class TrainingStart(Settings):
    """What a training begins with, and what it is measured by."""

    model: str | None = option(
        "model.safetensors to start from",
        None,
        Question(
            "inputModel",
            "Start from model",
            "A trained model to go on from, of the same network and of particles of the same box and pixel size. "
            "The pair network is trained by UDL first, and by JUDL from that model. Leave it empty to start anew.",
            kind="object",
            of="UdlModel",
            may_be_empty=True,
        ),
        metavar="START",
        said="*Model*",
    )
    truth: str | None = option(
        "true poses of simulated particles: training.csv shows the error too",
        None,
        Question(
            "truthFile",
            "True poses",
            "Of simulated particles: the file truth.star that names their images; the summary of 'udl - simulate "
            "particles' says where it is. The true error is shown beside the loss, epoch by epoch. It teaches nothing: "
            "the model is the same without it. Leave it empty for real particles.",
            kind="file",
            default="",
            advanced=True,
        ),
        metavar="TRUTH.star",
    )


@dataclass(frozen=True)
class LearningAlone(Learning):
    """How any network is trained, by a run that does nothing else."""

    method: str | None = variant(
        Learning,
        "method",
        {
            "help": "JUDL draws all particles to one common orientation. UDL, its predecessor, learns from differences "
            "between pairs only. For the polar network JUDL is the better choice, and far quicker; the pair network is "
            "trained by UDL first, and by JUDL from that model."
        },
    )


# What the form knows of these: whether the pair network is trained, and whether it is a new one.
RESNET, JUDL = networks.form_answers().index("resnet"), 0
OF_RESNET = f"network == {RESNET}"
OF_NEW_RESNET = f"network == {RESNET} and inputModel is None"  # a model to start from keeps its shape


@dataclass(frozen=True)
class Network(Settings):
    """Which network is trained, and how; ``align`` always trains the polar one."""

    GROUP: ClassVar[Group | None] = Group("network")

    network: str = option(
        networks.help_text,
        "polar",
        Question(
            "network",
            "Network",
            "The polar network reads the spectrum of a particle along circles; it learns in seconds to minutes. "
            "The pair network (resnet) is the one that the method was published with; it "
            "needs more particles and far more time. Both give the rotation modulo 180 degrees; the rest is found "
            "against the average.",
            default=0,
            choices=networks.form_labels,
            answers=networks.form_answers,
        ),
        choices=networks.choices,
    )
    preset: str | None = option(
        "resnet and matching: size and training exactly as published, for a GPU (default: a narrow network)",
        None,
        Question(
            "recipe",
            "Preset",
            "Narrow: a small network and a training that suits it. Published: size, loss, learning rate and "
            "epochs exactly as in the paper, as they were used for synthetic or for real particles. The published "
            "network is large and is trained 100 times over up to 50 000 particles: that is work for a GPU.",
            default=0,
            choices=(
                "Narrow, for any computer",
                "Published, for synthetic particles",
                "Published, for real particles",
            ),
            answers=(None, "paper-synthetic", "paper-real"),
            condition=OF_RESNET,
        ),
        flags=("--preset",),
        aliases=("--recipe",),
        choices=("paper-synthetic", "paper-real"),
    )
    head: str | None = option(
        "resnet and matching: what the last layers give; degrees: the angle of a pair itself, as published; circular: "
        "the same as a point on a circle; difference (resnet): an angle of each image",
        None,
        Question(
            "head",
            "Last layers",
            "What the last layers give. Degrees: the angle between two images itself, as published. A point on a "
            "circle: the same without a jump at 180 degrees. An angle of each image: its own, and the difference of "
            "the two is the answer.",
            default=0,
            choices=("Of the preset", "An angle of each image", "A point on a circle", "Degrees (published)"),
            answers=(None, "difference", "circular", "degrees"),
            condition=OF_NEW_RESNET,
            advanced=True,
        ),
        choices=("difference", "circular", "degrees"),
    )
    joint: str | None = option(
        "resnet, JUDL: what reconstructs an aligned particle; mean of the others (default), or the autoencoder of the "
        "paper",
        None,
        Question(
            "joint",
            "Reconstruction",
            "What JUDL compares an aligned particle with: the mean of the others, or what the autoencoder of the "
            "paper makes of it.",
            default=0,
            choices=("Of the preset", "Mean of the others", "Autoencoder (published)"),
            answers=(None, "mean", "autoencoder"),
            condition=f"{OF_RESNET} and method == {JUDL}",
            advanced=True,
        ),
        choices=("mean", "autoencoder"),
    )
    widths: tuple[int, ...] | None = option(
        "resnet: channels of the residual blocks",
        None,
        Question(
            "widths",
            "Channels of the blocks",
            "One number for each residual block, as 16,32,64,64; each block halves the image. Leave it empty for "
            "those of the preset.",
            default="",
            condition=OF_NEW_RESNET,
            advanced=True,
        ),
        take=take.whole_numbers,
        metavar="N,N,...",
    )
    hidden: tuple[int, ...] | None = option(
        "resnet: widths of the linear layers",
        None,
        Question(
            "hidden",
            "Linear layers",
            "Width of each linear layer before the angle, as 128 or 2000,2000. Leave it empty for those of the preset.",
            default="",
            condition=OF_NEW_RESNET,
            advanced=True,
        ),
        take=take.whole_numbers,
        metavar="N,N,...",
    )
    input_size: int | None = option(
        "resnet and matching: pixels of a side of what the network sees",
        None,
        Question(
            "inputSize",
            "Input size",
            "Pixels of a side of the spectrum that the network sees; its inner part, the low frequencies, where "
            "it is smaller than the box. The blocks must be able to halve it. -1 takes that of the preset: 32 of the "
            "narrow, 128 of the published one.",
            default=AUTOMATIC,
            condition=OF_NEW_RESNET,
            advanced=True,
        ),
        take=take.BOX,
        metavar="S",
    )
