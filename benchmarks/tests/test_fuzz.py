"""A sample of `python -m benchmarks.fuzz`: broken files are read or refused in a sentence, and nothing else."""

import warnings

import numpy as np
import pytest

from benchmarks import fuzz
from benchmarks.fuzz import RUNS, broken


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    """(what came of broken files, the good ones that they were made of)."""
    good = {}

    def kept(folder):
        good.update(make(folder))
        return good

    make = fuzz.good_files
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setattr(fuzz, "good_files", kept)
        return fuzz.fuzz(450, 5, tmp_path_factory.mktemp("fuzz")), good


def test_broken_files_are_read_or_refused(fuzzed):
    (found, wrong, slowest), _ = fuzzed
    assert wrong == []
    assert slowest < 10
    kinds = {name for name, _ in found}
    assert len(kinds) == 9 + sum(map(len, RUNS.values()))
    for kind in kinds:  # the changes are neither harmless nor all the same
        if "/" not in kind and not kind.endswith("gz"):  # packed, or of a run, hardly a change is harmless
            assert found[kind, "read"] > 0
        assert len([words for name, words in found if name == kind]) > 1


def test_good_files_are_changed(fuzzed):
    rng = np.random.default_rng(0)
    for name, data in fuzzed[1].items():
        changed = {broken(data, name, rng) for _ in range(10)}
        assert len(changed - {data}) > 7
