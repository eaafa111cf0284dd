"""Whatever the texts and poses are: what is written to STAR, XMD and CS comes back."""

import numpy as np
import pytest

pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import Poses, to_matrices
from scipion_udl.io.aligned import write_aligned
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import write_stack
from scipion_udl.io.tables import UNKNOWN_NUMBERS, Table, quote, read_tables, write_tables

properly = settings(
    deadline=None, derandomize=True, max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
labels = st.from_regex(r"[a-z][A-Za-z0-9]{0,12}", fullmatch=True)
# All that one line of text can hold, quotes and other scripts included.
texts = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters="\x85"), max_size=12)
# Values of the first column stand where a line begins: STAR takes some beginnings for something else.
first = st.integers(0, 10**6).map(str)


@st.composite
def tables(draw):
    n = draw(st.integers(1, 4))
    names = draw(st.lists(labels, min_size=1, max_size=4, unique=True))
    columns = {"rowNumber": [draw(first) for _ in range(n)]}
    columns.update({name: [draw(texts) for _ in range(n)] for name in names if name != "rowNumber"})
    return Table(draw(st.sampled_from(["particles", "noname", "x"])), columns)


@properly
@given(tables(), st.booleans())
def test_every_text_comes_back_or_is_refused_in_a_sentence(tmp_path, table, xmipp):
    path = str(tmp_path / "t.star")
    try:
        quoted = Table(table.name, {label: [quote(text) for text in column] for label, column in table.columns.items()})
    except UdlError as error:
        assert "cannot be written as one value" in str(error)
        assert any(" " in t or '"' in t for column in table.columns.values() for t in column)
        return
    write_tables(path, [quoted], xmipp)
    (found,) = read_tables(path)
    assert found.name == table.name
    assert {label: found.texts(label) for label in found.columns} == table.columns


@properly
@given(tables())
def test_what_was_read_is_written_character_for_character(tmp_path, table):
    try:
        columns = {label: [quote(text) for text in column] for label, column in table.columns.items()}
    except UdlError:
        return
    write_tables(str(tmp_path / "a.star"), [Table(table.name, columns)])
    once = read_tables(str(tmp_path / "a.star"))
    write_tables(str(tmp_path / "b.star"), once)
    assert (tmp_path / "a.star").read_bytes() == (tmp_path / "b.star").read_bytes()


# -999 stands for a value that is not known, in every table
finite = st.floats(-1000, 1000, allow_nan=False).filter(lambda value: round(value) not in UNKNOWN_NUMBERS)


@st.composite
def pose_lists(draw, n=3):
    angle = [draw(st.floats(-720, 720)) for _ in range(n)]
    return Poses(angle, [[draw(finite), draw(finite)] for _ in range(n)], [draw(st.booleans()) for _ in range(n)])


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("stack") / "some particles.mrcs"
    write_stack(str(path), np.random.default_rng(0).normal(size=(3, 12, 12)), 1.7)
    return open_particles(str(path))


@properly
@given(pose_lists())
def test_every_pose_comes_back_from_every_table(tmp_path, source, poses):
    plain = Poses(poses.angle, poses.shift)
    paths = {ending: str(tmp_path / f"aligned.{ending}") for ending in ("star", "xmd", "cs")}
    flags = np.zeros(3, bool)
    write_aligned(source, plain, np.ones(3), flags, star=paths["star"], cs=paths["cs"])
    write_aligned(source, poses, np.ones(3), flags, xmd=paths["xmd"])
    for ending, path in paths.items():
        found = open_particles(path)
        expected = to_matrices(poses if ending == "xmd" else plain)
        # STAR and XMD have six decimals, CS single precision; the shift is turned on the way
        assert np.abs(to_matrices(found.poses()) - expected).max() < 2e-3
        assert np.abs(to_matrices(found.poses())[:, :2, :2] - expected[:, :2, :2]).max() < 1e-6
        assert found.pixel_size == pytest.approx(1.7, abs=1e-6)
        np.testing.assert_array_equal(found.read([2, 0]), source.read([2, 0]))
