"""The settings of each command: its families, and which of their options it offers in which order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scipion_udl.settings.alignment import (
    AlignmentStart,
    Checked,
    CheckedBy,
    CheckedSize,
    Evaluated,
    EvaluatedSize,
    ExternalJob,
    LookedAt,
    Pairs,
    PairSearch,
    Written,
)
from scipion_udl.settings.classification import SortedResolution, Sorting
from scipion_udl.settings.common import (
    COMPUTING,
    Batch,
    ByClass,
    Device,
    Input,
    Learning,
    Microscope,
    Output,
    PixelSize,
    Resume,
    Said,
    Threads,
)
from scipion_udl.settings.comparison import Alike, Compared
from scipion_udl.settings.option import Settings
from scipion_udl.settings.realism import Realism
from scipion_udl.settings.selection import Choice, Choosing, Places, Tables
from scipion_udl.settings.simulation import (
    ManyViews,
    Photographs,
    Simulated,
    SimulatedMicroscope,
    SimulationOutput,
    View,
)
from scipion_udl.settings.size_and_max_shift import Filament, Particle, Resolution, Size
from scipion_udl.settings.training import LearningAlone, Network, TrainingStart


@dataclass(frozen=True)
class RunSettings(
    Sorting,
    AlignmentStart,
    Written,
    Network,
    Learning,
    Resume,
    ByClass,
    Size,
    Resolution,
    Particle,
    Filament,
    Microscope,
    Input,
    Output,
    Said,
    Device,
    Threads,
    Batch,
    PixelSize,
):
    """What a run on particles may be asked for. A command offers some of it; the rest is as it stands here."""

    @classmethod
    def asks(cls, name: str) -> bool:
        """Whether the command takes this option, or has settled it in a way of its own.

        Parameters
        ----------
        name : str
            Of the option's field.

        Returns
        -------
        bool
            True for its own options, and for what it has settled.
        """
        return name in vars(cls).get("__annotations__", {}) or any(one.name == name for one in cls.options())


@dataclass(frozen=True)
class TrainSettings(RunSettings):
    """Of `scipion-udl train`."""

    OFFERS: ClassVar[tuple[type[Settings], ...]] = (
        Input,
        Output,
        Said,
        TrainingStart,
        ByClass,
        LearningAlone,
        Resume,
        Size,
        Resolution,
        Network,
        *COMPUTING,
    )


@dataclass(frozen=True)
class AlignSettings(RunSettings):
    """Of `scipion-udl align`, which trains the polar network where it gets no model."""

    OFFERS: ClassVar[tuple[type[Settings], ...]] = (
        *(
            Input,
            Output,
            Said,
            ByClass,
            AlignmentStart,
            Written,
            Learning,
            Resume,
            Size,
            Resolution,
            Particle,
            Filament,
            Microscope,
        ),
        *COMPUTING,
    )


@dataclass(frozen=True)
class ClassifySettings(RunSettings):
    """Of `scipion-udl classify`, whose particles are always of classes and never mirrored."""

    OFFERS: ClassVar[tuple[type[Settings], ...]] = (
        Input,
        Output,
        Said,
        Sorting,
        Size,
        SortedResolution,
        Particle,
        Microscope,
        *COMPUTING,
    )

    by_class: bool = True
    mirror: bool = False


@dataclass(frozen=True)
class SelectSettings(Choosing, Choice, Tables, Places, RunSettings):
    """Of `scipion-udl select`, whose particles are always of classes and never mirrored."""

    OFFERS: ClassVar[tuple[type[Settings], ...]] = (
        Choosing,
        Said,
        Choice,
        Tables,
        Places,
        Size,
        Resolution,
        Particle,
        Microscope,
        *COMPUTING,
    )

    by_class: bool = True
    mirror: bool = False


@dataclass(frozen=True)
class CompareSettings(Compared, Output, Said, Alike, PixelSize):
    """Of `scipion-udl compare`."""

    OFFERS: ClassVar[tuple[type[Settings], ...]] = (Compared, Output, Said, Alike, PixelSize)


@dataclass(frozen=True)
class DiameterSettings(LookedAt, RunSettings):
    """Of `scipion-udl diameter`."""

    OFFERS: ClassVar[tuple[type[Settings], ...]] = (Input, LookedAt, *COMPUTING)


@dataclass(frozen=True)
class PairSettings(Input, Pairs, Output, PairSearch, Device, Threads, Batch, PixelSize):
    """Of `scipion-udl align-pairs`."""

    OFFERS: ClassVar[tuple[type[Settings], ...]] = (Input, Pairs, Output, PairSearch, *COMPUTING)


@dataclass(frozen=True)
class EvaluateSettings(Evaluated, Output, EvaluatedSize, Device, Threads, Batch, PixelSize):
    """Of `scipion-udl evaluate`."""

    OFFERS: ClassVar[tuple[type[Settings], ...]] = (Evaluated, Output, EvaluatedSize, *COMPUTING)


@dataclass(frozen=True)
class CheckSettings(Input, Checked, CheckedSize, CheckedBy):
    """Of `scipion-udl check`."""

    OFFERS: ClassVar[tuple[type[Settings], ...]] = (Input, Checked, CheckedSize, CheckedBy)


@dataclass(frozen=True)
class RelionSettings(ExternalJob):
    """Of `scipion-udl relion`. passed: the options of `align` as they came."""

    OFFERS: ClassVar[tuple[type[Settings], ...]] = (ExternalJob,)

    passed: tuple[str, ...] = ()


@dataclass(frozen=True)
class GpusSettings(Settings):
    """Of `scipion-udl gpus`, which has no options of its own."""


@dataclass(frozen=True)
class SimulateSettings(
    SimulationOutput,
    View,
    Simulated,
    ManyViews,
    Realism,
    Photographs,
    SimulatedMicroscope,
    Device,
    Threads,
    Batch,
    PixelSize,
):
    """Of `scipion-udl simulate`."""

    OFFERS: ClassVar[tuple[type[Settings], ...]] = (
        *(SimulationOutput, View, Simulated, ManyViews, Realism, Photographs, SimulatedMicroscope),
        *COMPUTING,
    )


COMMANDS: dict[str, type[Settings]] = {
    "simulate": SimulateSettings,
    "train": TrainSettings,
    "align": AlignSettings,
    "classify": ClassifySettings,
    "select": SelectSettings,
    "compare": CompareSettings,
    "align-pairs": PairSettings,
    "check": CheckSettings,
    "evaluate": EvaluateSettings,
    "relion": RelionSettings,
    "diameter": DiameterSettings,
    "gpus": GpusSettings,
}
