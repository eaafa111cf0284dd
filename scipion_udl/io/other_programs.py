"""What other programs would misread, of those that docs/neighbours.md names: in words, before it happens."""

from __future__ import annotations

from collections.abc import Sequence

from scipion_udl.io import dialects
from scipion_udl.io.mrc_integers import BYTES, SHORTS, unsigned_warning
from scipion_udl.io.source import Source
from scipion_udl.io.stacks import StackReader

HALF, UNSIGNED = 12, 6  # modes of MRC files
LARGEST_SIGNED = 2**15 - 1
_LONG = 32  # digits: no name that somebody numbered


def image_warnings(stacks: Sequence[StackReader]) -> list[str]:
    """Sentences on stacks that RELION 3.1 and others cannot read, or read as other pictures; of values that were read,
    or else those in the headers."""
    found = []
    for mode, kind, happens in (
        (UNSIGNED, f"unsigned 16-bit values above {LARGEST_SIGNED} (MRC mode 6)", "reads as negative, without a word"),
        (HALF, "16-bit floats (MRC mode 12)", "does not read"),
    ):
        concerned = [r.path for r in stacks if r.mode == mode and (mode == HALF or r.highest > LARGEST_SIGNED)]
        if concerned:
            others = f" and {len(concerned) - 1} more" if len(concerned) > 1 else ""
            found.append(
                f"{concerned[0]}{others}: the images are {kind}, which RELION 3.1 {happens}: convert them to 32-bit "
                "floats (mode 2) for it, or take the aligned.mrcs of align --write-stack."
            )
    for mode in (BYTES, SHORTS):
        unsigned = [(reader.path, reader.unsigned) for reader in stacks if reader.mode == mode and reader.unsigned]
        if unsigned:
            first, reason = unsigned[0]
            found.append(unsigned_warning(first, len(unsigned) - 1, mode, reason))
    return found


def table_notes(source: Source) -> list[str]:
    """Sentences on what small programs of the field make of a STAR as it stands."""
    table = source.table
    notes: list[str] = []
    if table is None or source.cs is not None or source.form == dialects.XMIPP:
        return notes
    if not table.numbered:
        notes.append(
            "the labels have no numbers (#1, #2, ...) behind them: starparser 1.60 counts particles "
            "that are not there; tables written here have them"
        )
    if "rlnDefocusU" in table and "rlnPhaseShift" not in table:
        notes.append(
            "there is a defocus and no rlnPhaseShift: cryodrgn 4.3.1 makes NaN of every CTF, without a word; tables "
            "written here have the column as 0"
        )
    if "rlnAnglePsi" in table and not ("rlnAngleRot" in table and "rlnAngleTilt" in table):
        notes.append(
            "there is a psi without rot and tilt: cryodrgn 4.3.1 and angdist 1.4 stop, and ASPIRE 0.14.3 finds no "
            "angles; tables written here have both as 0"
        )
    for one in source.tables:
        for label in one.columns:
            name = _name_that_changes(one.texts(label)) if label.endswith("Name") else None
            if name:
                notes.append(
                    f"the names in column _{label} are numbers ({name}, for instance): starfile 0.5.13 makes "
                    f"{_made(name)} of it, unless it is told to parse the column as text"
                )
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
