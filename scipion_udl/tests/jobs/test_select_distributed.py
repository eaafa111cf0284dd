"""Two processes that select together choose what one does."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from scipion_udl.io import dialects
from scipion_udl.io.tables import read_tables, write_tables
from scipion_udl.tests.engine_helpers import run, summary
from scipion_udl.tests.fork_helpers import ALONE, processes, run_all

COUNT, BOX, PIXEL_SIZE = 150, 32, 6.0
TABLES = ("selected", "rest")
# Without classes in the table they are made first.
INPUTS = {"classes of another program": "classes.star", "no classes": "particles.star"}


def particles_of(tables):
    return dialects.find_particles("table", tables)[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Particles of all views, whose table does not say whether their phases are flipped; in classes.star in classes
    and with poses, as another program leaves them."""
    folder = tmp_path_factory.mktemp("select") / "p"
    made = ["simulate", folder, "--views", "random", "--phantom", "crane", "--count", COUNT, "--box", BOX, "--snr", 1]
    assert run(*made, "--pixel-size", PIXEL_SIZE, "--shift", 2, "--seed", 3) == 0
    sort = ["classify", str(folder / "particles.star"), "--classes", "4", "--starts", "1", *ALONE]
    run_all([[*sort, "-o", str(folder / "run")]])
    tables = read_tables(str(folder / "run" / "classes.star"))
    particles_of(tables).drop([dialects.QUALITY_LABEL, dialects.CERTAINTY_LABEL])
    write_tables(str(folder / "classes.star"), tables)
    return folder


@pytest.fixture(scope="module", params=INPUTS)
def both(request, folder, tmp_path_factory):
    """(folder of one process, of two, their printing)."""
    out = tmp_path_factory.mktemp("selected")
    words = ["select", str(folder / INPUTS[request.param]), "--min-quality", "0.05", *ALONE, "-o"]
    run_all([[*words, str(out / "one")]])
    printed = processes(out, run_all, [[*words, str(out / "two")]])
    return out / "one", out / "two", printed


def test_the_tables_are_those_of_one_process(both):
    names = set()
    for name in TABLES:
        paths = [folder / f"{name}.star" for folder in both[:2]]
        assert paths[0].exists() == paths[1].exists()
        if paths[0].exists():
            one, two = (particles_of(read_tables(str(path))) for path in paths)
            names |= set(one.texts("rlnImageName"))
            for label in ("rlnImageName", "rlnClassNumber"):
                assert one.texts(label) == two.texts(label)
            difference = one.numbers(dialects.QUALITY_LABEL) - two.numbers(dialects.QUALITY_LABEL)
            assert np.abs(difference).max() < 1e-3
    assert len(names) == COUNT


def test_classes_and_notes_are_those_of_one_process(both):
    one, two = map(summary, both[:2])
    assert one["chosen"] == two["chosen"] > 0
    assert one["warnings"] == two["warnings"]
    assert one["messages"] == two["messages"]
    for first, second in zip(one["classes"], two["classes"]):
        assert first["quality"] == pytest.approx(second["quality"], abs=2e-3)
        assert [first[name] for name in ("class", "particles", "reasons")] == [
            second[name] for name in ("class", "particles", "reasons")
        ]


def test_one_of_them_writes_and_speaks(both):
    out, _ = both[2]
    assert out.count("Results  ") == 1 + (both[1] / "classes").exists()
    assert {path.name for path in both[0].iterdir()} == {path.name for path in both[1].iterdir()}
