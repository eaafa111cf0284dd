"""The options of `scipion-udl classify`: how particles of many views are sorted."""

from __future__ import annotations

from dataclasses import dataclass

from scipion_udl import values as take
from scipion_udl.settings.alignment import AlignmentStart, Written
from scipion_udl.settings.common import Resume
from scipion_udl.settings.option import AUTOMATIC, Question, Settings, flag, option, variant
from scipion_udl.settings.size_and_max_shift import Resolution


@dataclass(frozen=True)
class Sorting(Settings):
    """Into which classes, how these are found, and what becomes of them."""

    classes: int | None = option(
        "number of classes (50); auto: as many as explain particles better that have not taught them; MODEL and RUN "
        "have their own",
        None,
        Question(
            "numberOfClasses",
            "Number of classes",
            "How many groups the particles are sorted into, each with an average of its own. With more of them "
            "fewer views share a class, and averages are sharper, as long as each has particles enough: 100 or so, "
            "more where they are very noisy. Junk takes some of the classes for itself. -1 is automatic: one class for "
            "a hundred particles, 50 at most; the wizard fills in that number. Particles that show one view need no "
            "classes: give them to 'udl - align 2D'.",
            default=AUTOMATIC,
        ),
        take=take.COUNT_OR_AUTO,
        metavar="K",
    )
    model: str | None = variant(
        AlignmentStart, "model", help="sort into the classes of an earlier run: its model.safetensors"
    )
    append_to: str | None = variant(
        AlignmentStart,
        "append_to",
        help="particles that come later join the classes of an earlier run, the folder RUN, and teach them further; a "
        "view that no class shows gets its own (but see --keep-classes)",
    )
    keep_classes: bool = flag(
        "with --append-to: templates, averages of halves and claims stay as the first particles made them, and no "
        "class is opened; a particle's class then depends on nothing that comes with it"
    )
    references: str | None = option(
        "classes begin as these averages: a stack, or a table that names an image of each class (RELION's "
        "run_it025_model.star, averages.star, .xmd, .cs); whether they are rotated, shifted, mirrored, inverted, or of "
        "another pixel size is found out",
        None,
        Question(
            "inputReferences",
            "References",
            "Class averages that the classes begin as, instead of a beginning that the program finds: averages of any "
            "program, also of another pixel size, mirrored or with the other polarity. There are as many classes then. "
            "Empty: the classes come from these particles alone, which is what keeps them free of bias.",
            kind="object",
            of="SetOfAverages,SetOfClasses2D",
            may_be_empty=True,
        ),
        metavar="AVERAGES",
    )
    fixed_references: bool = flag(
        "with --references: nothing is learned, each particle goes where the averages have it; classes.csv has the "
        "number of each class's reference",
        Question(
            "referencesAre",
            "References are",
            "The beginning: the classes learn from the particles, and may come to show something else. Fixed: each "
            "particle goes into the class of the reference that it fits best, and no class changes or is left.",
            default=0,
            choices=("The beginning", "Fixed"),
            answers=(False, True),
        ),
    )
    training_subset: int | None = option(
        "particles that classes are learned from; the others are only sorted into them (200 a class, at most 20000)",
        None,
        Question(
            "teach",
            "Training subset",
            "The classes are learned from so many particles, drawn by chance from all of them; then all are sorted "
            "into these. -1 takes 200 a class, and 20 000 at most. More find rarer views, and take longer.",
            default=AUTOMATIC,
        ),
        flags=("--training-subset",),
        aliases=("--teach",),
        take=take.COUNT,
        metavar="N",
    )
    starts: int | None = option(
        "beginnings to try; the best is kept (2)",
        None,
        Question(
            "starts",
            "Starts",
            "How often the search for classes begins anew, each time at other particles; the best is kept. -1 "
            "leaves it to the program. More make the result depend less on chance, and take longer.",
            default=AUTOMATIC,
            advanced=True,
        ),
        take=take.COUNT,
        metavar="N",
    )
    repeat: int | None = option(
        "classify N times in all, with seeds K, K + 1 and so on of --seed K, and tell of each class which share of its "
        "particles comes again in the others (comes_again in OUT/classes.csv; OUT/compared has the rest)",
        take=take.COUNT,
        metavar="N",
    )
    no_align: bool = flag(
        "keep the 2D alignment that INPUT carries, or the in-plane part of its 3D alignment: particles are sorted as "
        "they lie, and no pose is looked for",
        Question(
            "keepAlignment",
            "Alignment of the input",
            "Ignore it: each particle is rotated and shifted as it fits best. Keep it: particles are sorted as they "
            "lie, by a 2D alignment that they carry, or by angle and shift in the plane of a 3D one. Classes then show "
            "what differs among particles in register: parts that are missing, or views.",
            default=0,
            choices=("Ignore it", "Keep it"),
            answers=(False, True),
            advanced=True,
        ),
    )
    no_refine: bool = variant(
        Written,
        "no_refine",
        {
            "label": "Refine?",
            "help": "Yes: particles that more than one class may hold are compared with the averages of these and go "
            "where they fit best; then every class is aligned for itself, and its resolution is told. No: classes, "
            "angles and shifts stay as the network found them. Quicker and coarser, for a first look.",
        },
        help="classes and poses as the network has them, no alignment in real space",
    )
    write_cs: bool = variant(
        Written,
        "write_cs",
        help="write the classes for cryoSPARC too: classes.cs, class_averages.cs (always written where INPUT is a .cs)",
    )
    resume: bool = variant(Resume, "resume")


@dataclass(frozen=True)
class SortedResolution(Resolution):
    """What is compared at most."""

    high_resolution_limit: float | None = variant(
        Resolution, "high_resolution_limit", help="nothing finer than A angstrom is compared"
    )
