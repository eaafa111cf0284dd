"""A sample of `python -m benchmarks.fuzz`: broken files are read or refused in a sentence, and nothing else."""

import warnings

import numpy as np

from benchmarks.fuzz import RUNS, broken, fuzz, good_files


def test_broken_files_are_read_or_refused(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, wrong, slowest = fuzz(450, 5, tmp_path)
    assert wrong == []
    assert slowest < 10
    kinds = {name for name, _ in found}
    assert len(kinds) == 9 + sum(map(len, RUNS.values()))
    for kind in kinds:  # the changes are neither harmless nor all the same
        if "/" not in kind and not kind.endswith("gz"):  # packed, or of a run, hardly a change is harmless
            assert found[kind, "read"] > 0
        assert len([words for name, words in found if name == kind]) > 1


def test_good_files_are_changed(tmp_path):
    rng = np.random.default_rng(0)
    for name, data in good_files(tmp_path).items():
        changed = {broken(data, name, rng) for _ in range(10)}
        assert len(changed - {data}) > 7
