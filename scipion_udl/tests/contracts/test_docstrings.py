"""Docstrings of the engine come into NumPy form: what is not yet so is counted, and only becomes less."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
TOOL = ROOT / "tools" / "docstrings.py"

if not TOOL.exists():
    pytest.skip("an installed package has no tools", allow_module_level=True)

spec = importlib.util.spec_from_file_location("docstrings", TOOL)
docstrings = importlib.util.module_from_spec(spec)
spec.loader.exec_module(docstrings)

WHOLE = '''
def turn(image, angle: float, *more, fill=0, **options) -> int:
    """Turn it.

    Parameters
    ----------
    image, fill : (D, D) array
        Pixels.
    angle : float
        Degrees.
    *more
        Others.
    **options
        And so on.

    Returns
    -------
    int
        One.

    Raises
    ------
    UdlError
        Where it is none.
    """
    raise UdlError("none")
'''


def lacking(text: str) -> list[str]:
    return docstrings.lacking(ast.parse(text).body[0])


def test_no_more_functions_than_before_are_without_parameters_returns_and_errors():
    wrong = docstrings.wrong(docstrings.to_do(), docstrings.known())
    assert not wrong, "\n".join(wrong)


def test_what_a_docstring_lacks_is_found():
    assert lacking(WHOLE) == []
    assert lacking(WHOLE.replace("    angle : float\n", "    angel : float\n")) == ["angle"]
    assert lacking(WHOLE.replace("    image, fill :", "    image :")) == ["fill"]
    assert lacking(WHOLE.replace("    Returns\n", "    Gives\n")) == ["Returns"]
    assert lacking(WHOLE.replace("    UdlError\n", "    ValueError\n")) == ["Raises"]
    assert lacking("def end(self) -> None:\n    pass") == []


def test_a_folder_that_is_done_stays_so_and_the_sum_does_not_grow():
    found = {"done": ["a.py:1: f lacks Returns"], "others": []}
    assert docstrings.wrong(found, {"done": 0, "others": 5}) == found["done"]
    assert docstrings.wrong({"done": [], "others": ["x"] * 5}, {"done": 0, "others": 5}) == []
    assert docstrings.wrong({"done": [], "others": ["x", "y"]}, {"done": 0, "others": 1})
