"""Docstrings of the engine are in NumPy form."""

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


BASES = '''
class Shape:
    def turned(self, angle: float) -> Shape:
        """Turn it.

        Parameters
        ----------
        angle : float
            Degrees.

        Returns
        -------
        Shape
        """


class Square(Shape):
    def area(self) -> float:
        return 1.0


class Small(Square):
    def turned(self, angle: float) -> Small:
        return self
'''


def lacking(text: str) -> list[str]:
    return docstrings.lacking(ast.parse(text).body[0])


def test_every_public_function_tells_its_parameters_returns_and_errors():
    lacking = [line for listed in docstrings.to_do().values() for line in listed]
    assert not lacking, "\n".join(lacking)


def test_what_a_docstring_lacks_is_found():
    assert lacking(WHOLE) == []
    assert lacking(WHOLE.replace("    angle : float\n", "    angel : float\n")) == ["angle"]
    assert lacking(WHOLE.replace("    image, fill :", "    image :")) == ["fill"]
    assert lacking(WHOLE.replace("    Returns\n", "    Gives\n")) == ["Returns"]
    assert lacking(WHOLE.replace("    UdlError\n", "    ValueError\n")) == ["Raises"]
    assert lacking("def end(self) -> None:\n    pass") == []


def inherits(text: str, name: str) -> bool:
    tree = ast.parse(text)
    methods = dict(docstrings.public(tree))
    return docstrings.inherits(methods[name], name, docstrings.classes_of([tree]))


def test_a_method_has_the_docstring_of_the_one_that_it_overrides_unless_it_takes_something_else():
    assert inherits(BASES, "Small.turned")
    assert not inherits(BASES.replace("angle: float) -> Small", "degrees: float) -> Small"), "Small.turned")
    assert not inherits(BASES.replace("class Small(Square)", "class Small"), "Small.turned")
    assert not inherits(BASES, "Square.area")
