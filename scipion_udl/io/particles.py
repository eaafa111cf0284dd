"""Particles in files, whether a bare MRC stack or a STAR, XMD or cryoSPARC table names them.

:func:`open_particles` reads headers and tables only; images come by :meth:`ParticleSource.read`, chunk by chunk.
"""

from __future__ import annotations

import copy
import glob
import os
from collections.abc import Collection, Sequence

import numpy as np

from scipion_udl.errors import OnIssue, UdlError, no_file, raise_issue
from scipion_udl.imaging.poses import Poses
from scipion_udl.io import dialects
from scipion_udl.io.class_blocks import joined_blocks
from scipion_udl.io.cryosparc.read import read_array, relion_tables, sign_warning, signs
from scipion_udl.io.image_names import (
    PACKED,
    STACKS,
    any_counts_from_zero,
    counted_from_one,
    lasting,
    lasting_image_names,
    locate,
    place_numbers,
    refuse_repeated,
)
from scipion_udl.io.source import Optics, Source, table_of
from scipion_udl.io.stacks import StackReader
from scipion_udl.io.star.columns import ImageNames, rows_of
from scipion_udl.io.subtomograms import refuse_subtomograms
from scipion_udl.io.tables import Table, quoted, read_tables
from scipion_udl.messages import Message, message

_TABLES = (".star", ".xmd", ".cs")
# Programs that do not know the pixel size write 1.
PLACEHOLDER = 1.0


class ParticleSource(Source):
    """N particles of one box and pixel size in files.

    box: pixels of a side; pixel_size: angstrom; pixel_size_known: False where nobody gave one and 1.0 stands in;
    names: N image names as outputs give them; path: of the input;
    form: "relion30", "relion31" or "xmipp", None for a bare stack; table: its rows (None for a bare stack), tables:
    all tables of the file; cs: the rows of a cryoSPARC file, without a row where it was opened lean, None for others
    (its form is "relion31", which its table has been put into); sign: float32 (N,), 1 or -1, what grey values are
    multiplied with when they are read (the data sign of .cs), None where it is 1 for all; optics: what the user says of
    the microscope, for rows that do not say it; has_3d_angles: whether its poses are projection directions; warnings:
    sentences for the user; stacks: the files; stack, item: (N,) where each particle lies, from 0 (stack -1: nowhere,
    which only a source that was opened to be checked has), int32 where no number is larger.
    """

    def __init__(
        self,
        path: str,
        stacks: list[StackReader],
        stack: np.ndarray,
        item: np.ndarray,
        on_issue: OnIssue = raise_issue,
    ) -> None:
        self.path = path
        self.warnings: list[Message] = []
        self.names: Sequence[str] = []
        self.tables: list[Table] = []
        self.table: Table | None = None
        self.form = ""
        self.cs: np.ndarray | None = None
        self.sign: np.ndarray | None = None
        self.optics = Optics()
        self.pixel_size, self.pixel_size_known = 1.0, False
        self.stacks, self._stack, self.item = stacks, _small(stack), _small(item)
        self._numbers: np.ndarray | None = None  # of a subset
        self.box = _common_box(stacks, on_issue)
        odd = next((reader.path for reader in stacks if reader.odd_header), None)
        if odd:
            self.warnings.append(message("mrc_header_odd", stacks=odd))

    def __len__(self) -> int:
        return len(self.item)

    @property
    def stack(self) -> np.ndarray:
        return self._stack

    @property
    def stack_names(self) -> list[str]:
        return [reader.path for reader in self.stacks]

    @property
    def numbers(self) -> np.ndarray:
        return np.arange(1, len(self) + 1) if self._numbers is None else self._numbers

    def read(self, indices: np.ndarray | Sequence[int]) -> np.ndarray:
        indices = np.asarray(indices, np.int64).reshape(-1)
        wrong = indices[(indices < 0) | (indices >= len(self))]
        if len(wrong):
            raise UdlError(message("no_such_particle", path=self.path, count=len(self), item=wrong[0] + 1))
        images = np.empty((len(indices), self.box, self.box), np.float32)
        stack = self.stack[indices]
        for k in np.unique(stack):
            places = np.flatnonzero(stack == k)
            self.stacks[k].read_into(images, places, self.item[indices[places]])
        self.apply_sign(images, indices)
        return images

    def apply_sign(self, images: np.ndarray, indices: np.ndarray) -> None:
        """Bring images, as they lie in their files, to the sign that the table gives each.

        Parameters
        ----------
        images : (n, rows, columns) array
            Changed in place.
        indices : (n,) int array
            Which particles they are, from 0.
        """
        if self.sign is not None:
            images *= self.sign[indices][:, None, None]

    def poses(self) -> Poses | None:
        if self.table is None:
            return None
        return dialects.table_poses(self.table, self.form, self.pixel_size)

    def locations(self) -> list[tuple[str, int]]:
        """Where each particle lies; equal where two tables name one image.

        Returns
        -------
        list of (str, int)
            N: real path of the stack, item from 0; of one that lies nowhere "" and a negative number of its own.
        """
        files = [os.path.realpath(reader.path) for reader in self.stacks]
        places = enumerate(zip(self.stack, self.item))
        return [(files[stack], int(item)) if stack >= 0 else ("", -1 - row) for row, (stack, item) in places]

    def lasting_names(self) -> Sequence[str]:
        """The image names for tables that are written elsewhere.

        Returns
        -------
        sequence of str
            N: as in the input, but absolute where an image was found from the folder of the input table (or one above
            it), not from the current one.
        """
        if isinstance(self.names, ImageNames):
            return lasting_image_names(self.names, self.stack, self.stack_names)
        known: dict[tuple[str, int], str] = {}
        names = []
        for name, stack in zip(self.names, self.stack.tolist()):
            number, at, file = name.partition("@") if "@" in name else ("", "", name)
            if (file, stack) not in known:
                known[file, stack] = file if stack < 0 else lasting(file, self.stacks[stack].path)
            names.append(f"{number}{at}{known[file, stack]}")
        return names

    def places(self, rows: slice | np.ndarray = slice(None)) -> np.ndarray:
        """A number for the place of each particle, whatever it is called there.

        Parameters
        ----------
        rows : slice or int array, optional
            Of these only (from 0).

        Returns
        -------
        (N,) int64 array
            Equal where two lie at one place of one file; one that lies nowhere has a negative number of its own.
        """
        files = [os.path.realpath(reader.path) for reader in self.stacks]
        number_of = {file: number for number, file in enumerate(dict.fromkeys(files))}
        numbers = np.array([number_of[file] for file in files] + [0], np.int64)
        items = int(self.item.max(where=self.stack >= 0, initial=0)) + 1
        found = place_numbers(numbers[self.stack[rows]], self.item[rows], items)
        nowhere = np.flatnonzero(self.stack[rows] < 0)
        if len(nowhere):
            found[nowhere] = -1 - np.arange(len(self))[rows][nowhere]
        return found

    def files(self) -> list[str]:
        """Every file that this source may read.

        Returns
        -------
        list of str
            The input, all stacks, and of cryoSPARC the files beside it.
        """
        found = [self.path, *(reader.path for reader in self.stacks)]
        if self.cs is not None:
            found += glob.glob(os.path.join(glob.escape(os.path.dirname(self.path)), "*.cs"))
        return found

    def subset(self, indices: np.ndarray) -> ParticleSource:
        part = copy.copy(self)
        part.warnings = []
        part.names = rows_of(self.names, indices)
        part._stack, part.item = self.stack[indices], self.item[indices]
        part._numbers = self.numbers[indices]
        part.cs = self.cs[indices] if self.cs is not None and len(self.cs) else self.cs
        part.sign = None if self.sign is None else self.sign[indices]
        if self.table is not None:
            part.table = self.table.rows(indices)
            part.tables = [part.table if table is self.table else table for table in self.tables]
        return part

    def keep_columns(self, labels: Collection[str]) -> None:
        """Let go of all columns of the table but some and the names of images, for their memory.

        Parameters
        ----------
        labels : collection of str
        """
        if self.table is not None:
            labels = {*labels, dialects.IMAGE_LABEL[self.form]}
            kept = {label: column for label, column in self.table.columns.items() if label in labels}
            lean = Table(self.table.name, kept, self.table.path)
            self.tables = [lean if table is self.table else table for table in self.tables]
            self.table = lean

    def classes(self) -> np.ndarray:
        if self.table is None:
            raise UdlError(message("stack_without_classes", path=self.path))
        return dialects.class_numbers(self.table, self.form, self.path)

    def missing_classes(self) -> Message | None:
        rows = np.zeros(0, int) if self.table is None else dialects.without_class(self.table, self.form)
        if not len(rows):
            return None
        count, taken = len(rows), dialects.NO_CLASS
        return message("classes_missing", path=self.path, count=count, total=len(self), row=rows[0] + 1, taken=taken)

    def missing_poses(self) -> Message | None:
        rows = np.zeros(0, int) if self.table is None else dialects.without_pose(self.table, self.form)
        if not 0 < len(rows) < len(self):
            return None
        return message("poses_missing", path=self.path, count=len(rows), total=len(self), row=rows[0] + 1)

    @property
    def has_3d_angles(self) -> bool:
        return self.table is not None and dialects.has_3d_angles(self.table)


def open_particles(
    path: str, pixel_size: float | None = None, on_issue: OnIssue = raise_issue, lean: bool = False
) -> ParticleSource:
    """Open particles in files; reads tables and headers, no image.

    Parameters
    ----------
    path : str
        .mrcs or .mrc (also .gz, .bz2), .star, .xmd or .cs.
    pixel_size : float, optional
        Angstrom, used where neither the table nor the image header gives one.
    on_issue : OnIssue, optional
        Told of faults after which it could go on; raises them by default.
    lean : bool, optional
        Not to keep what only who writes tables needs: the rows of a .cs, and of other tables the columns that
        :func:`dialects.tells_facts` passes over.

    Returns
    -------
    ParticleSource

    Raises
    ------
    UdlError
        For a missing, empty, truncated or unfitting file; one sentence that names it.
    """
    path = str(path)
    if no_file(path):
        raise UdlError(message("input_not_there", what=no_file(path)))
    stem, ending = os.path.splitext(path.lower())
    if ending in _TABLES:
        source, from_table = _open_table(path, on_issue, lean)
    elif ending in STACKS or (ending in PACKED and os.path.splitext(stem)[1] in STACKS):
        source, from_table = _open_stack(path, on_issue), None
    else:
        raise UdlError(message("input_of_no_kind", path=path))
    _set_pixel_size(source, from_table, pixel_size, on_issue)
    return source


def _small(numbers: np.ndarray) -> np.ndarray:
    """Whole numbers (N,) in half the memory, where none is too large for it."""
    large = len(numbers) and max(int(numbers.max()), -int(numbers.min())) > np.iinfo(np.int32).max
    return numbers if large else numbers.astype(np.int32)


def _common_box(stacks: Sequence[StackReader], on_issue: OnIssue) -> int:
    first = stacks[0]
    for reader in stacks:
        if reader.shape[0] != reader.shape[1]:
            on_issue(
                "box",
                message("images_not_square", path=reader.path, width=reader.shape[1], height=reader.shape[0]),
            )
        elif reader.shape != first.shape:
            on_issue(
                "box",
                message(
                    "boxes_mixed", path=reader.path, size=reader.shape[1], other=first.path, other_size=first.shape[1]
                ),
            )
    return first.shape[0]


def _open_stack(path: str, on_issue: OnIssue) -> ParticleSource:
    reader = StackReader(path, on_issue)
    if reader.looks_like_volume:
        raise UdlError(message("volume_not_a_stack", path=path, count=reader.count))
    if not reader.whole:
        raise UdlError(message("no_image_whole", path=path, count=reader.count))
    # those that are there, all of them unless a truncated file is checked: its header may promise anything
    source = ParticleSource(path, [reader], np.zeros(reader.whole, np.int64), np.arange(reader.whole), on_issue)
    name = os.path.abspath(path)
    if not name.lower().endswith(".mrcs"):
        name += ":mrcs"  # tells RELION and Xmipp that the file is a stack in spite of its name
    source.names = ImageNames(source.item + 1, [(6, name)], np.zeros(reader.whole, np.uint8))
    if path.lower().endswith(PACKED):
        source.warnings.append(message("stack_packed", path=path))
    return source


def _open_table(path: str, on_issue: OnIssue, lean: bool) -> tuple[ParticleSource, float | None]:
    """The source and the pixel size its table gives."""
    found = read_array(path, lean) if path.lower().endswith(".cs") else None
    used = dialects.tells_facts if lean else lambda label: True
    tables = read_tables(path, used) if found is None else relion_tables(found)
    cs, warnings = (None, []) if found is None else (found.rows, found.warnings)
    if found is None:
        refuse_subtomograms(path, tables)
        tables = joined_blocks(tables, warnings)
    table, form = dialects.find_particles(path, tables)
    optics = dialects.optics_table(tables)
    try:
        from_table = dialects.table_pixel_size(table, optics, form, warnings)
    except UdlError as error:
        on_issue("pixel size", error.message)
        from_table = None
    names = table.texts(dialects.IMAGE_LABEL[form])
    from_zero = form == dialects.XMIPP and any_counts_from_zero(names)
    if from_zero:
        names = counted_from_one(path, names)
        table.set(dialects.IMAGE_LABEL[form], quoted(names))

    def hinting(kind: str, what: Message) -> None:
        on_issue(kind, message("counted_from_0", what=what))

    stacks, stack, item, renamed = locate(path, names, hinting if from_zero else on_issue)
    if not stacks:
        raise UdlError(message("no_image_readable", path=path, count=len(names)))
    refuse_repeated(path, names, stack, item, on_issue)
    source = ParticleSource(path, stacks, stack, item, on_issue)
    source.warnings += warnings
    if from_zero:
        source.warnings.append(message("counts_from_0", path=path))
    source.names, source.table, source.tables, source.form, source.cs = names, table, tables, form, cs
    _warn_of_places(source)
    _warn_of_other_endings(source, renamed)
    source.sign = None if found is None else signs(found)
    if source.sign is not None:
        source.warnings.append(sign_warning(path, source.sign))
    if form == dialects.RELION31 and optics is not None:
        _check_image_size(source, table, optics)
    if "enabled" in table and (table.known("enabled") < 0).any():
        count = int((table.known("enabled") < 0).sum())
        source.warnings.append(message("particles_disabled", count=count, path=path))
    return source, from_table


def _check_image_size(source: ParticleSource, table: Table, optics: Table) -> None:
    if "rlnImageSize" in optics:
        used = np.unique(dialects.optics_rows(table, optics))
        size = optics.known("rlnImageSize")[used[0]]
        if size > 0 and size != source.box:
            source.warnings.append(message("optics_of_other_box", path=source.path, size=size, box=source.box))


def _warn_of_places(source: ParticleSource) -> None:
    """Tell where a stack was not found where its table says, or two of that name are there."""
    folder = os.path.dirname(os.path.abspath(source.path))
    stacks, rows = np.unique(source.stack, return_index=True)
    for stack, row in zip(stacks, rows):
        path, named = source.stacks[stack].path, source.names[row].partition("@")[2] or source.names[row]
        beside = os.path.join(folder, path)
        if stack >= 0 and not os.path.isabs(path) and os.path.isfile(beside) and not os.path.samefile(path, beside):
            source.warnings.append(message("two_of_one_name", path=source.path, taken=path, other=beside))
        elif stack >= 0 and os.path.isabs(named) and lasting(named, path) != named:
            source.warnings.append(message("image_file_elsewhere", path=source.path, named=named, taken=path))


def _warn_of_other_endings(source: ParticleSource, renamed: Sequence[tuple[str, str]]) -> None:
    """Tell of files that are there under another ending than the table has; _warn_of_places tells of absolute names."""
    renamed = [(file, path) for file, path in renamed if not os.path.isabs(file)]
    if renamed:
        others = f" ({len(renamed)} such files, this is the first)" if len(renamed) > 1 else ""
        source.warnings.append(
            message("other_ending", path=source.path, named=renamed[0][0], taken=renamed[0][1], others=others)
        )


def _set_pixel_size(source: ParticleSource, from_table: float | None, option: float | None, on_issue: OnIssue) -> None:
    """Table, else header, else option, else 1.0 marked as unknown. Where the header has none, or a placeholder, the
    option counts first and the size of the micrographs next."""
    if option is not None and not (np.isfinite(option) and option > 0):
        raise UdlError(message("pixel_size_not_positive", value=option))
    headers = [reader.pixel_size for reader in source.stacks]
    header = headers[0]
    micrograph = None
    if source.form in (dialects.RELION30, dialects.RELION31):
        micrograph = dialects.micrograph_pixel_size(table_of(source), dialects.optics_table(source.tables))
    source.pixel_size_known = True
    if from_table is None and header is not None and any(h is None or abs(h - header) > 1e-3 * header for h in headers):
        on_issue(
            "pixel size",
            message("header_pixel_sizes_mixed", path=source.path),
        )
    if from_table is not None:
        source.pixel_size = from_table
        _warn_of_other(source, option, f"the table says {from_table:g} A", "--pixel-size")
    elif micrograph is not None and option is None and header in (None, PLACEHOLDER):
        source.pixel_size = micrograph
        source.warnings.append(message("pixel_size_of_micrographs", path=source.path, pixel_size=micrograph))
    elif header is not None and header == PLACEHOLDER and option is not None:
        source.pixel_size = option
        _warn_of_other(source, header, f"{option:g} A was given", "the image header, a common placeholder,")
    elif header is not None:
        source.pixel_size = header
        _warn_of_other(source, option, f"the image header says {header:g} A", "--pixel-size")
        if header == PLACEHOLDER:
            source.warnings.append(message("pixel_size_is_1", path=source.stacks[0].path))
    elif option is not None:
        source.pixel_size = option
    else:
        source.pixel_size, source.pixel_size_known = 1.0, False
        source.warnings.append(message("pixel_size_unknown", path=source.path))


def _warn_of_other(source: ParticleSource, other: float | None, used: str, whose: str) -> None:
    if other is not None and abs(other - source.pixel_size) > 1e-3 * source.pixel_size:
        source.warnings.append(message("pixel_size_contradicted", in_use=used, other=other, source=whose))
