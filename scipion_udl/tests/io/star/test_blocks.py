"""Tables are read in blocks, and the rows of a block at once: what comes of it is what reading line by line gives."""

from __future__ import annotations

import numpy as np
import pytest

from scipion_udl.errors import UdlError
from scipion_udl.io.star import blocks, lines
from scipion_udl.io.star.columns import Decimals, ImageNames, Unread
from scipion_udl.io.tables import read_tables

COUNT = 3000
HEAD = "data_particles\n\nloop_\n_rlnImageName #1\n_rlnDefocusU #2\n_rlnClassNumber #3\n"


@pytest.fixture(params=[1 << 21, 5000, 1999])
def block(request, monkeypatch):
    """Blocks of other sizes, so that rows lie across their ends."""
    monkeypatch.setattr(lines, "BLOCK", request.param)
    return request.param


@pytest.fixture
def write(tmp_path):
    def write_bytes(text):
        path = tmp_path / "t.star"
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape"))
        return str(path)

    return write_bytes


def row(k):
    return [f"{k + 1:06d}@stack_{k // 1000}.mrcs", f"{10000 + k / 7:.6f}", str(k % 5 + 1)]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_rows_that_lie_across_blocks_are_whole(write, block, ending, last):
    rows = [row(k) for k in range(COUNT)]
    text = HEAD + "".join(f"  {' '.join(values)} \t\n" for values in rows)
    (table,) = read_tables(write((text if last else text.rstrip()).replace("\n", ending)))
    assert list(zip(*table.columns.values())) == [tuple(values) for values in rows]
    assert isinstance(table.columns["rlnImageName"], ImageNames)
    assert isinstance(table.columns["rlnDefocusU"], Decimals)
    assert table.columns["rlnClassNumber"].nbytes < 2 * COUNT  # each class once, and of each row which it has
    assert table.numbers("rlnDefocusU").tolist() == [float(values[1]) for values in rows]


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("7@'a b.mrcs' 1 2", ["7@'a", "b.mrcs'", "1", "2"]),
        ("'7@a b.mrcs' 1 2", ["'7@a b.mrcs'", "1", "2"]),
        ('7@a.mrcs "" 2', ["7@a.mrcs", '""', "2"]),
        ("7@a.mrcs it's 2", ["7@a.mrcs", "it's", "2"]),
        ("7@Å.mrcs 1\u00a02", ["7@Å.mrcs", "1", "2"]),  # white space beyond ASCII
        ("7@\udcff.mrcs 1 2", ["7@\udcff.mrcs", "1", "2"]),  # no UTF-8
        ("\x01 1\x1f2", ["\x01", "1", "2"]),
        ("_7 1 2", ["_7", "1", "2"]),
        ("data_7/a.mrc 1 2", ["data_7/a.mrc", "1", "2"]),
        ("1\x0b2\x0c3", ["1", "2", "3"]),
        ("", []),
        ("   \t ", []),
        ("# 1 2", []),
        (f"7@{'x' * 9000}.mrcs 1 2", [f"7@{'x' * 9000}.mrcs", "1", "2"]),
    ],
)
def test_a_line_that_is_another_among_plain_ones(write, block, line, values):
    """It is taken as it would be alone, and so is what stands before and behind it."""
    rows = [" ".join(row(k)) for k in range(COUNT)]
    place = COUNT // 2 + 7
    path = write(HEAD + "\n".join([*rows[:place], line, *rows[place:]]) + "\n")
    expected = [row(k) for k in range(COUNT)]
    if values and len(values) != 3:
        with pytest.raises(UdlError, match=rf"line {6 + place + 1} has {len(values)} values for the 3 labels"):
            read_tables(path)
        return
    (table,) = read_tables(path)
    expected[place:place] = [values] if values else []
    assert list(map(list, zip(*table.columns.values()))) == expected


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("1@a.mrcs 2", "line {} has 2 values for the 3 labels"),
        ("1@a.mrcs 2 3 4", "line {} has 4 values for the 3 labels"),
        ("loop_", "line {} begins a second table"),
    ],
)
def test_errors_behind_the_first_block_name_their_line(write, block, line, told, ending):
    before = "\n".join([*(" ".join(row(k)) for k in range(COUNT)), "", "# a comment", ""])
    behind = "\n".join(" ".join(row(k)) for k in range(COUNT))
    with pytest.raises(UdlError, match=told.format(6 + COUNT + 3)):
        read_tables(write((HEAD + before + line + "\n" + behind).replace("\n", ending)))


def test_a_zero_byte_behind_the_first_block_is_told_and_so_is_what_stands_before_it(write, block):
    rows = "".join(" ".join(row(k)) + "\n" for k in range(COUNT))
    with pytest.raises(UdlError, match="not a text table"):
        read_tables(write(HEAD + rows * 2 + "1@a.mrcs \0 3\n"))
    with pytest.raises(UdlError, match="line 7 has 1 values"):
        read_tables(write(HEAD + "word\n" + rows * 2 + "1@a.mrcs \0 3\n"))


def test_a_column_may_become_of_another_kind(write, block):
    """Names become words, classes numbers of their own, and a number very long: in the last rows alone."""
    rows = [row(k) for k in range(COUNT)]
    rows += [[f"word{k}", "9" * (k % 90 + 1), f"{k / 3:.9f}"] for k in range(COUNT)]
    rows += [["é" * (k % 3 + 1), "None", "-0"] for k in range(200)]
    (table,) = read_tables(write(HEAD + "\n".join(map(" ".join, rows))))
    assert list(map(list, zip(*table.columns.values()))) == rows
    assert table.numbers("rlnClassNumber").tolist() == [float(values[2]) for values in rows]


def test_tables_behind_each_other_have_their_own_width(write, block):
    one = "".join(f"{k} {k + 1}\n" for k in range(COUNT))
    text = f"data_a\nloop_\n_x\n_y\n{one}\ndata_b\n_z 5\n\ndata_c\nloop_\n_u\n" + "7\n" * COUNT + "data_d\nloop_\n_v\n"
    tables = read_tables(write(text))
    assert [(table.name, len(table)) for table in tables] == [("a", COUNT), ("b", 1), ("c", COUNT), ("d", 0)]
    assert tables[0].columns == {"x": [str(k) for k in range(COUNT)], "y": [str(k + 1) for k in range(COUNT)]}
    assert tables[2].columns == {"u": ["7"] * COUNT}


def test_columns_that_nobody_asks_for_are_counted(write, block):
    path = write(HEAD + "\n".join(" ".join(row(k)) for k in range(COUNT)))
    (table,) = read_tables(path, lambda label: label == "rlnClassNumber")
    assert isinstance(table.columns["rlnDefocusU"], Unread)
    assert [len(column) for column in table.columns.values()] == [COUNT] * 3
    assert table.columns["rlnClassNumber"] == [str(k % 5 + 1) for k in range(COUNT)]


def outcome(path):
    try:
        return [
            (table.name, table.numbered, list(table.columns), list(map(list, table.columns.values())))
            for table in read_tables(path)
        ]
    except UdlError as error:
        return str(error)


@pytest.mark.parametrize("seed", range(40))
def test_rows_at_once_are_the_rows_one_by_one(write, monkeypatch, seed):
    """Of texts thrown together: as many plain lines as make a run, and among them all that may stand in a table."""
    rng = np.random.default_rng(seed)
    odd = [
        "#",
        "# x",
        "",
        "data_",
        "data_b 1",
        "loop_",
        "_x #1",
        "a",
        "'a b' c",
        "'a",
        "\"\" ''",
        "é è",
        "1\u20032",
        "a\tb",
        "\x02 \x03",
        "XMIPP_STAR_1 *",
        "# XMIPP_STAR_1 * data_c",
        "data_qloop_",
        "1 2 3",
        "loop_x y",
    ]
    parts = ["data_p\nloop_\n_a #1\n_b #2"]
    for _ in range(12):
        parts += [f"{k} {k % 3}@s.mrcs" for k in range(int(rng.integers(0, 90)))]
        parts += [odd[k] for k in rng.integers(0, len(odd), int(rng.integers(0, 2)))]
    path = write("\n".join(parts))
    monkeypatch.setattr(lines, "BLOCK", int(rng.integers(100, 3000)))
    at_once = outcome(path)
    monkeypatch.setattr(blocks, "_AT_ONCE", 1 << 60)
    assert at_once == outcome(path)
