"""Columns of a table: read piece by piece, and kept as bytes."""

from __future__ import annotations

import pytest

from scipion_udl.io.texts import Growing, Texts, column_of


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
    ],
)
def test_texts_come_back_as_they_were_in_whatever_pieces_they_came(pieces):
    expected = [text for piece in pieces for text in piece]
    assert list(grown(*pieces)) == expected
    assert list(column_of(expected)) == expected


def test_a_text_that_is_very_long_does_not_make_all_others_take_its_place():
    column = grown(["12"] * 20_000, ["x" * 5000], ["34"] * 20_000)
    assert not isinstance(column, Texts)
    assert len({id(text) for text in column}) == 3  # equal ones are one object


def test_no_text_is_a_column():
    assert list(grown()) == []
