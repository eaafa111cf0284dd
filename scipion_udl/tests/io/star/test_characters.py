"""Texts made and written many at once: the same, character for character, as one by one."""

from __future__ import annotations

import io

import numpy as np
import pytest
from emtable import Table as EmTable

from scipion_udl.io.star.characters import cut, decoded, lengths, packed
from scipion_udl.io.star.columns import Decimals, ImageNames, Texts, chosen, decimals_of, repeated
from scipion_udl.io.star.growing import column_of
from scipion_udl.io.star.rows import write_rows
from scipion_udl.io.tables import number_texts

VALUES = np.random.default_rng(0).normal(size=5000)


@pytest.mark.parametrize("scale", [1e-7, 1e-3, 1.0, 360.0, 1e5, 1e8])
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_numbers_are_written_as_a_format_writes_them(scale, kind):
    values = (VALUES * scale).astype(kind)
    texts = number_texts(values)
    assert isinstance(texts, Decimals)
    assert list(texts) == [f"{value:.6f}" for value in np.round(values, 6) + 0.0]
    assert texts.floats().tolist() == [float(text) for text in texts]
    assert [texts[0], texts[-1]] == [texts[:1][0], texts[4999:][0]]


def test_numbers_between_two_are_rounded_as_a_format_rounds():
    values = (np.arange(40_000) + 0.5) / 1e4
    assert list(decimals_of(values, 4)) == [f"{value:.4f}" for value in values]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e12, -1e-9, 1e300, -0.0])
def test_numbers_of_another_kind_are_written_as_well(value):
    values = np.array([1.5, value, -2.0])
    assert list(decimals_of(values, 4)) == [f"{one:.4f}" for one in values]
    assert list(number_texts(values)) == [f"{one:.6f}" for one in np.round(values, 6) + 0.0]
    assert list(number_texts(values[:0])) == []


@pytest.mark.parametrize("numbers", [[0, 7, 10, 999, 1000, 123456789], [-1, 0, 2**31, -(10**14)], []])
def test_whole_numbers(numbers):
    assert list(Decimals(np.array(numbers, np.int64))) == list(map(str, numbers))


def test_image_names_have_as_many_digits_as_they_had():
    files = [(1, "a.mrcs"), (6, "é.mrcs"), (3, "")]
    numbers, of = np.array([0, 1, 12, 1234567, 5, 999, 1000]), np.array([0, 1, 2, 1, 0, 2, 2], np.uint8)
    names = ImageNames(numbers, files, of)
    expected = ["0@a.mrcs", "000001@é.mrcs", "012@", "1234567@é.mrcs", "5@a.mrcs", "999@", "1000@"]
    assert list(names) == names[:] == [names[k] for k in range(7)] == expected
    assert decoded(names.encoded(slice(None))) == expected
    assert names == expected
    assert names != ImageNames(numbers, files, of[::-1])
    assert names != [*expected[:-1], "1@"]


def test_names_that_are_kept_in_two_ways_are_equal():
    one = ImageNames(np.array([12, 13]), [(1, "a"), (2, "a")], np.array([0, 1]))
    other = ImageNames(np.array([12, 13]), [(2, "a"), (1, "a")], np.array([0, 0]))
    assert one == other
    assert one == ["12@a", "13@a"]


def test_texts_are_cut_to_the_end_of_a_block():
    block = np.frombuffer(b"a bcd  ef", np.uint8)
    texts = cut(block, np.array([0, 2, 7, 4]), np.array([1, 3, 2, 0]))
    assert texts.tolist() == [b"a", b"bcd", b"ef", b""]
    assert lengths(texts).tolist() == [1, 3, 2, 0]
    long = np.frombuffer(b"x" * 999, np.uint8)
    assert cut(long, np.array([0, 500]), np.array([400, 3])).tolist() == [b"x" * 400, b"xxx"]
    assert packed(np.array([[0, 97, 0, 98], [99, 0, 0, 0], [0, 0, 0, 0]], np.uint8)).tolist() == [b"ab", b"c", b""]


@pytest.mark.parametrize(
    "columns",
    [
        [["1", "22", "333"], ["a", "", "b"]],
        [["wide-one", "2", "333"], ["é", "12345", "b"]],  # emtable counts characters, not bytes
        [["a", "\udcff\udcfe", "c"]],
        [["1"], ["2"]],
        [[], []],
        [["1"] * 40_000, ["x"] * 39_999 + ["y" * 5000]],
        [[str(k) for k in range(40_000)], number_texts(np.arange(40_000) - 7.0), repeated("é", 40_000)],
        [["a"] * 40_000, chosen(("0", "1"), np.arange(40_000) % 2), ["b"] * 20_000 + ["ö"] * 20_000],
    ],
)
def test_rows_are_written_as_emtable_writes_them(columns):
    expected, found = io.StringIO(), io.StringIO()
    writer = EmTable.Writer(expected)
    for row in zip(*columns):
        writer.writeRowValues(row)
    write_rows(found, EmTable.Writer(found), columns)
    assert found.getvalue() == expected.getvalue()
    found = io.StringIO()
    write_rows(found, EmTable.Writer(found), [column_of(column) for column in columns])
    assert found.getvalue() == expected.getvalue()


def test_a_function_of_texts_is_asked_once_for_those_that_rows_share():
    asked = []
    texts = chosen(("2", "3"), np.arange(100) % 2)
    assert texts.each(lambda text: asked.append(text) or int(text), int).tolist() == [2, 3] * 50
    assert asked == ["2", "3"]
    assert Texts(np.array([b"1", b"2"])).each(int, int).tolist() == [1, 2]
