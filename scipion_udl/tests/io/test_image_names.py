"""Names in tables and the files they speak of: other endings, and what is no particle image."""

import os

import numpy as np
import pytest

from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import Poses
from scipion_udl.io.aligned import write_aligned
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import write_stack
from scipion_udl.io.tables import read_tables


@pytest.fixture
def table(tmp_path, monkeypatch):
    """``table(names, more)`` writes p.star with these image names, and more columns and blocks."""
    monkeypatch.chdir(tmp_path)

    def make(names, more=None, before=""):
        rows = {"rlnImageName": names, **{label: [text] * len(names) for label, text in (more or {}).items()}}
        head = ["data_particles", "loop_", *(f"_{label}" for label in rows)]
        (tmp_path / "p.star").write_text(before + "\n".join([*head, *map(" ".join, zip(*rows.values()))]) + "\n")
        return "p.star"

    return make


def stack(path, count=3):
    """A stack under any name."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    write_stack("made.mrcs", np.random.default_rng(count).normal(size=(count, 8, 8)), 1.5)
    os.replace("made.mrcs", path)


@pytest.mark.parametrize(
    ("named", "there"),
    [
        ("s.mrcs", "s.mrc"),
        ("s.mrc", "s.mrcs"),
        ("J1/extract/s.mrcs", "J1/extract/s.mrc"),
        ("s.mrc:mrcs", "s.mrcs"),
    ],
)
def test_a_stack_is_found_under_its_other_ending(table, named, there):
    stack(there)
    source = open_particles(table([f"{k + 1}@{named}" for k in range(3)]))
    assert source.item.tolist() == [0, 1, 2]
    assert f"names {named}, which is not there; {there} is, and was taken" in source.warnings[0]
    write_aligned(source, Poses.identity(3), np.ones(3), np.zeros(3, bool), star="aligned.star")
    names = read_tables("aligned.star")[-1].texts("rlnImageName")
    (written,) = {name.partition("@")[2].split(":")[0] for name in names}
    assert os.path.realpath(written) == os.path.realpath(there)  # RELION finds what is written


def test_the_name_as_it_stands_comes_first(table):
    stack("s.mrcs")
    stack("s.mrc", 2)
    source = open_particles(table(["1@s.mrcs", "3@s.mrcs"]))
    assert [reader.path for reader in source.stacks] == ["s.mrcs"] and not source.warnings


def test_one_sentence_tells_of_all_files_with_another_ending(table):
    for name in "abc":
        stack(f"{name}.mrc")
    source = open_particles(table([f"1@{name}.mrcs" for name in "abc"]))
    assert len(source.warnings) == 1 and "3 such files" in source.warnings[0]


GENERAL = "data_general\n\n_rlnTomoSubTomosAre2DStacks {}\n\n"
OPTICS = "data_optics\nloop_\n_rlnOpticsGroup\n_rlnImageDimensionality\n1 {}\n\n"


@pytest.mark.parametrize(
    ("more", "before", "words"),
    [
        ({}, GENERAL.format(1), "2D stacks of tilts, as rlnTomoSubTomosAre2DStacks says"),
        ({"rlnTomoName": "TS_01"}, GENERAL.format(0), "by the column _rlnTomoName"),
        ({"rlnTomoParticleId": "4"}, "", "by the column _rlnTomoParticleId"),
        ({"rlnOpticsGroup": "1"}, OPTICS.format(3), "volumes, as rlnImageDimensionality says"),
        ({"rlnCtfImage": "ctf.mrc"}, "", "by the column _rlnCtfImage"),  # RELION 3.0, Warp and M
    ],
)
def test_subtomograms_are_told_before_any_file_is_looked_for(table, more, before, words):
    with pytest.raises(UdlError, match="lists subtomograms") as error:
        open_particles(table(["particle_1.mrcs", "particle_2.mrcs"], more, before))
    assert words in str(error.value)


def test_sets_and_places_of_subtomograms_are_told(table, tmp_path):
    (tmp_path / "set.star").write_text("data_\nloop_\n_rlnTomoParticlesFile\n_rlnTomoTomogramsFile\na.star b.star\n")
    with pytest.raises(UdlError, match="list of files of a set of subtomograms"):
        open_particles("set.star")
    (tmp_path / "places.star").write_text("data_particles\nloop_\n_rlnTomoName\n_rlnCoordinateX\nTS_01 4\n")
    with pytest.raises(UdlError, match="places in tomograms"):
        open_particles("places.star")


def test_images_of_tilts_that_are_named_one_by_one_are_images(table):
    stack("s.mrcs")
    assert len(open_particles(table(["1@s.mrcs", "2@s.mrcs"], {"rlnTomoName": "TS_01"}, GENERAL.format(0)))) == 2


def test_a_volume_named_as_an_image_says_what_would_do(table):
    stack("volume.mrc", 8)
    with pytest.raises(UdlError, match=r"it holds 8: name each as NUMBER@FILE, or, if it is a volume"):
        open_particles(table(["volume.mrc"]))


def test_a_number_beyond_all_measure_makes_no_two_images_one(table):
    """Of stack and number one key is made: with 2^59 for the numbers, 32 stacks further on it would be the same one."""
    files = [f"s{k}.mrcs" for k in range(34)]
    for file in files:
        stack(file)
    told = []
    names = [*(f"1@{file}" for file in files), f"{2**59}@s0.mrcs"]
    source = open_particles(table(names), on_issue=lambda subject, sentence: told.append((subject, sentence)))
    assert [subject for subject, _ in told] == ["image numbers"]
    assert len(set(source.places().tolist())) == len(names)
