"""Columns of a table: read piece by piece, and kept as bytes."""

from __future__ import annotations

import numpy as np
import pytest

from scipion_udl.io.star.columns import Decimals, Texts
from scipion_udl.io.star.growing import Growing, column_of


def grown(*pieces):
    column = Growing()
    for piece in pieces:
        column.add(piece)
    return column.column()


@pytest.mark.parametrize(
    "pieces",
    [
        [["1"], ["22", "3"], ["4444"]],
        [["a-long-name.mrc"] * 5, ["b"] * 20, ["c"]],
        [["ascii"], ["naïve", "Å"], ["\udcff\udcfe"]],
        [["1"] * 5000, ["1", "x" * 3000], ["2"] * 5000],
        [["1"] * 40_000, ["a-name-of-more-letters-than-that"] * 40_000, ["2"] * 40_000],
        [["a", "b"] * 300, [str(k) for k in range(3000)], ["a"] * 5],  # shared, and then no longer
        [["1@a.mrcs", "0002@a.mrcs", "10@a.mrcs", "0000000010@b c@d"] * 3, ["7@a.mrcs"]],
        [["1@a", "2@a", "3@b", "4@b"], ["3000000000@a"]],  # more than 32 bits hold
        [["1@a", "2@a", "3@b", "4@b"], ["-1@a"], ["1.5@a"], ["@a", "5", "²@a", "\udcff@a"]],
        [["0@a", "00@a", "000@a", "1@"], ["'5@a b'"]],
        [[f"{k}@{k}.mrc" for k in range(50)], ["1@1.mrc"]],
        *(
            [[f"{k - 900:.3f}" for k in range(9000)], [odd]]
            for odd in ("07.500", "+1.500", "-0.000", "1.50", "5", "1e5.000")
        ),
        *(
            [[f"{k / 3:.2f}" for k in range(9000)], [odd, "7.25"]]
            for odd in (".50", "-.50", "1.2.50", "", "-", "5-1.50")
        ),
        [[f"{k / 3:.2f}" for k in range(9000)], [f"-{2**33}.25", "9999999999999.99", "99999999999999.99"]],
        [[str(k - 5) for k in range(9000)], ["00"], ["-"], ["--1"], [str(10**30)], ["1."]],
    ],
)
def test_texts_come_back_as_they_were_in_whatever_pieces_they_came(pieces):
    expected = [text for piece in pieces for text in piece]
    assert list(grown(*pieces)) == expected
    assert list(column_of(expected)) == expected


def test_a_text_that_is_very_long_does_not_make_all_others_take_its_place():
    numbers = [str(k) for k in range(20_000)]
    column = grown(numbers, ["x" * 5000], numbers)
    assert not isinstance(column, Texts)
    assert len({id(text) for text in column}) == 20_001  # equal ones are one object


COUNT = 100_000
FILE = "Extract/job012/Movies/FoilHole_1234567_Data_1234567_1234567_20200101_0101.mrcs"


@pytest.mark.parametrize(
    ("text", "most"),
    [
        (lambda k: "300.000000", 1),
        (lambda k: f"{FILE}{k // 100}", 2),  # the micrograph of a hundred particles
        (lambda k: f"{k % 100 + 1:06d}@{k // 100:06d}_{FILE}", 6),
        (lambda k: f"{k + 1}@{FILE}", 6),
        (lambda k: f"{k / 7:.6f}", 8),  # each another one
        (lambda k: f"{k / 700:.6f}", 4),
        (lambda k: f"{k / 7:.6e}", 12),
        (lambda k: str(k), 4),
    ],
)
def test_what_rows_share_takes_few_bytes_of_each(text, most):
    column = column_of(text(k) for k in range(COUNT))
    assert column.nbytes <= most * COUNT + 200_000  # and what there is once
    some = np.array([COUNT - 1, 0, 77, 0])
    for part in (column.rows(some), column.rows(np.repeat(some, 5000))[:20_000:5000]):
        assert list(part) == [text(k) for k in some]
    assert column[5:8] == [text(k) for k in (5, 6, 7)]
    assert column[-1] == text(COUNT - 1)


@pytest.mark.parametrize("micrographs", [20_000, 60_000])
def test_names_that_come_in_no_order_are_there_once(micrographs):
    """A selection that was put in order by something else: of the first thousands of rows most have names of their
    own, and in the end all names have come several times."""
    which = np.random.default_rng(0).integers(0, micrographs, 6 * micrographs).tolist()
    for text, least in ((lambda k: f"{FILE}{k:05d}", 2), (lambda k: f"{k % 7 + 1:06d}@{k:05d}_{FILE}", 6)):
        column = column_of(text(k) for k in which)
        assert column.nbytes <= least * len(which) + micrographs * len(text(0))
        assert column == [text(k) for k in which]
    numbers = column_of(f"{k / 7:.4f}" for k in which)  # of few bytes: not worth an object for each
    assert isinstance(numbers, Decimals)


def test_no_text_is_a_column():
    assert list(grown()) == []
