"""What other programs would misread, of those that docs/neighbours.md names: in words, before it happens."""

from __future__ import annotations

from collections.abc import Sequence

from scipion_udl.io import dialects
from scipion_udl.io.mrc_integers import BYTES, SHORTS, unsigned_warning
from scipion_udl.io.source import Source
from scipion_udl.io.stacks import StackReader
from scipion_udl.messages import Message, message

HALF, UNSIGNED = 12, 6  # modes of MRC files
LARGEST_SIGNED = 2**15 - 1
_LONG = 32  # digits: no name that somebody numbered


def image_warnings(stacks: Sequence[StackReader]) -> list[Message]:
    """Warnings of stacks that RELION 3.1 and others cannot read, or read as other pictures.

    Parameters
    ----------
    stacks : sequence of StackReader
        Judged by the values that were read, or else those in the headers.

    Returns
    -------
    list of Message
    """
    found: list[Message] = []
    for mode, kind, happens in (
        (UNSIGNED, f"unsigned 16-bit values above {LARGEST_SIGNED} (MRC mode 6)", "reads as negative, without a word"),
        (HALF, "16-bit floats (MRC mode 12)", "does not read"),
    ):
        concerned = [r.path for r in stacks if r.mode == mode and (mode == HALF or r.highest > LARGEST_SIGNED)]
        if concerned:
            others = f" and {len(concerned) - 1} more" if len(concerned) > 1 else ""
            found.append(
                message("relion_reads_otherwise", path=concerned[0], others=others, kind=kind, happens=happens)
            )
    for mode in (BYTES, SHORTS):
        unsigned = [(reader.path, reader.unsigned) for reader in stacks if reader.mode == mode and reader.unsigned]
        if unsigned:
            first, reason = unsigned[0]
            found.append(unsigned_warning(first, len(unsigned) - 1, mode, reason))
    return found


def table_notes(source: Source) -> list[Message]:
    """Notes on what small programs of the field make of a STAR as it stands.

    Parameters
    ----------
    source : Source

    Returns
    -------
    list of Message
        Empty for anything but a STAR.
    """
    table = source.table
    notes: list[Message] = []
    if table is None or source.cs is not None or source.form == dialects.XMIPP:
        return notes
    if not table.numbered:
        notes.append(message("labels_without_numbers"))
    if "rlnDefocusU" in table and "rlnPhaseShift" not in table:
        notes.append(message("phase_shift_lacking"))
    if "rlnAnglePsi" in table and not ("rlnAngleRot" in table and "rlnAngleTilt" in table):
        notes.append(message("angles_lacking"))
    for one in source.tables:
        for label in one.columns:
            name = _name_that_changes(one.texts(label)) if label.endswith("Name") else None
            if name:
                notes.append(message("names_are_numbers", column=label, name=name, made=_made(name)))
    return notes


def _name_that_changes(names: Sequence[str]) -> str | None:
    """The first of names that a program which takes all of them for numbers would write in another way; None where it
    would not take them so, or would change none."""
    changed = None
    for name in names:
        if not _is_number(name):
            return None
        changed = changed or (name if _made(name) != name else None)
    return changed


def _is_number(text: str) -> bool:
    try:
        return "_" not in text and len(text) < _LONG and float(text) is not None
    except ValueError:
        return False


def _made(text: str) -> str:
    """A number as it is written once it was read."""
    return str(int(text)) if text.lstrip("+-").isdecimal() else f"{float(text):.6f}"
