"""How large the particle is: given in angstrom or in pixels, one radius comes of it, and what is in use is told."""

import json
import re

import numpy as np
import pytest

from scipion_udl.constants import DIAMETER_FROM
from scipion_udl.errors import UdlError
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import write_stack
from scipion_udl.particles.diameter import diameter_facts, diameter_words, given_radius, radius_in_use, size_words
from scipion_udl.particles.prepared import DISC, PreparedParticles
from scipion_udl.settings.size_and_max_shift import Size
from scipion_udl.tests.engine_helpers import CPU, PIXEL_SIZE, run, simulate
from scipion_udl.tests.particles.test_extent import particles as extended

BOX = 48
NEAR = ["--max-shift", 4]  # as particles lie


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp("diameter") / "few", 24, BOX, 2.0, max_shift=3)


@pytest.fixture(scope="module")
def aligned(few, tmp_path_factory):
    """Two alignments that say the same in angstrom and in pixels."""
    out = tmp_path_factory.mktemp("aligned")
    for name, words in (("angstrom", ("--diameter", 2 * 20 * PIXEL_SIZE)), ("pixels", ("--mask-radius", 20))):
        assert run("align", few / "particles.star", "-o", out / name, *NEAR, *words) == 0
    return out


def asked(diameter=None, radius=None):
    return Size(diameter=diameter, mask_radius=radius)


def given(args, box=BOX, pixel_size=2.5, known=True):
    return given_radius(args, box, pixel_size, known, "p.star")


def summary_of(folder):
    return json.loads((folder / "summary.json").read_text())


@pytest.mark.parametrize(
    ("diameter", "radius", "pixels"), [(100, None, 20.0), (None, 20, 20.0), (None, None, None), (120, None, 24.0)]
)
def test_both_words_give_one_radius_in_pixels_of_the_input(diameter, radius, pixels):
    assert given(asked(diameter, radius)) == pixels


def test_a_circle_as_wide_as_the_box_fits_and_the_next_wider_one_does_not():
    assert given(asked(BOX * 2.5)) == BOX / 2
    assert given(asked(None, BOX / 2)) == BOX / 2
    for args in (asked(BOX * 2.5 + 0.1), asked(None, BOX / 2 + 0.1)):
        with pytest.raises(UdlError, match=r"the box of p\.star has 48 px, 120 A"):
            given(args)


def test_rounding_is_no_reason_to_refuse_the_whole_box():
    """A box of 100 px at 1.06 A is 106 A, whatever the last digit of the product is."""
    assert given(asked(106.0), 100, 1.06) == pytest.approx(50, abs=1e-9)


@pytest.mark.parametrize(
    ("args", "known", "sentence"),
    [
        (asked(100, 20), True, "--diameter 100 and --mask-radius 20 both say how large the particle is"),
        (asked(100), False, "neither p.star nor an image header tells the pixel size: give --pixel-size"),
        (asked(None, 25), False, "--mask-radius 25 is more than half the box, 24 px (the box of p.star has 48 px)"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(args, known, sentence):
    with pytest.raises(UdlError, match=re.escape(sentence)) as error:
        given(args, known=known)
    assert str(error.value).count(". ") == 0


def test_a_radius_in_pixels_needs_no_pixel_size():
    assert given(asked(None, 20), known=False) == 20


def test_sizes_are_told_in_angstrom_where_there_are_any():
    assert size_words(43, 1.5, True) == "129 A (mask radius 43 px)"
    assert size_words(43, 1.0, False) == "86 px (mask radius 43 px)"


def test_the_radius_in_use_is_one_of_the_input_whatever_the_working_box(tmp_path):
    folder = simulate(tmp_path / "large", 8, 160, 2.0, max_shift=2)
    source = open_particles(str(folder / "particles.star"))
    particles = PreparedParticles(source, CPU, mask_radius=60.0)
    assert particles.box < 160
    assert radius_in_use(particles) == pytest.approx(60)
    assert diameter_words(particles) == f"{120 * PIXEL_SIZE:g} A (mask radius 60 px), as given"
    assert diameter_facts(particles) == {"diameter": 360.0, "mask_radius": 60.0, "diameter_from": "given"}


def test_a_run_says_the_same_of_a_diameter_and_of_its_radius(aligned):
    first, second = (summary_of(aligned / name) for name in ("angstrom", "pixels"))
    for name in ("diameter", "mask_radius", "diameter_from", "score_mean", "resolution"):
        assert first[name] == second[name]
    assert (first["diameter"], first["mask_radius"], first["diameter_from"]) == (120.0, 20.0, "given")


def test_the_same_poses_come_of_a_diameter_and_of_its_radius(aligned):
    first, second = ((aligned / name / "aligned.star").read_bytes() for name in ("angstrom", "pixels"))
    assert first == second


def test_log_summary_and_report_show_the_diameter_in_use(few, tmp_path, capsys):
    assert run("align", few / "particles.star", "-o", tmp_path / "out", *NEAR, "--diameter", 120) == 0
    text = capsys.readouterr().out
    words = "120 A (mask radius 20 px), as given"
    assert f"s] Particle diameter: {words}" in text
    assert f"Diameter            {words}" in text
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count('r="20.000"') == 3
    assert f'viewBox="0 0 {BOX} {BOX}"' in page
    assert "120 Å (mask radius 20 px), as given" in page


def test_minus_one_is_automatic(few, tmp_path, capsys):
    assert run("train", few / "particles.star", "-o", tmp_path / "out", "--diameter", -1) == 1  # too few to train on
    assert ", as given" not in capsys.readouterr().out
    source = open_particles(str(few / "particles.star"))
    assert PreparedParticles(source, CPU).disc.mask_radius == pytest.approx(DISC * BOX)


@pytest.mark.parametrize("command", ["train", "align", "classify", "check", "evaluate"])
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--diameter", BOX * PIXEL_SIZE + 1), "145 A is more than the box"),
        (("--mask-radius", BOX / 2 + 1), "25 is more than half the box, 24 px"),
        (("--diameter", 100, "--mask-radius", 15), "give one of them"),
    ],
)
def test_every_command_refuses_the_same(few, aligned, tmp_path, capsys, command, words, sentence):
    of = aligned / "pixels" / "aligned.star" if command == "evaluate" else few / "particles.star"
    more = () if command == "check" else ("-o", tmp_path / "out")
    assert run(command, of, *more, *words) == 1
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_diameter_of_particles_without_pixel_size_is_refused(tmp_path, capsys):
    images = open_particles(str(simulate(tmp_path / "s", 8, 32, 2.0, max_shift=2) / "particles.star"))
    write_stack(str(tmp_path / "bare.mrcs"), images.read(range(8)), 0.0)
    assert run("align", tmp_path / "bare.mrcs", "-o", tmp_path / "out", "--diameter", 50) == 1
    assert "tells the pixel size: give --pixel-size" in capsys.readouterr().err
    words = ["--diameter", 50, "--pixel-size", 2, *NEAR]
    assert run("align", tmp_path / "bare.mrcs", "-o", tmp_path / "out", *words) == 0
    assert summary_of(tmp_path / "out")["mask_radius"] == 12.5


def test_joined_particles_have_the_diameter_of_the_run(aligned, tmp_path, capsys):
    later = simulate(tmp_path / "later", 12, BOX, 2.0, max_shift=3, seed=9) / "particles.star"
    join = ("align", later, "-o", tmp_path / "joined", "--append-to", aligned / "angstrom")
    assert run(*join, "--diameter", 100) == 1
    assert "--diameter is not what" in capsys.readouterr().err
    assert run(*join, "--diameter", 120) == 0
    found = summary_of(tmp_path / "joined")
    assert (found["mask_radius"], found["diameter_from"]) == (20.0, "run")


def test_evaluate_compares_within_the_circle_of_that_diameter(aligned, few, tmp_path, capsys):
    of = aligned / "pixels" / "aligned.star"
    for name, words in (("a", ("--diameter", 90)), ("b", ("--mask-radius", 15)), ("c", ())):
        assert run("evaluate", of, "--reference", few / "template.mrc", "-o", tmp_path / name, *words) == 0
    assert "Compared within: 90 A (mask radius 15 px)" in capsys.readouterr().out
    first, second, whole = ((tmp_path / name / "evaluation.csv").read_text() for name in "abc")
    assert first == second != whole


def test_check_tells_the_diameter_that_it_was_given(few, capsys):
    assert run("check", few / "particles.star", "--diameter", 90) == 0
    assert re.search(r"Particle diameter\s+ok\s+90 A \(mask radius 15 px\), as given", capsys.readouterr().out)


@pytest.mark.parametrize("kind", ["particles", "noise"])
def test_check_tells_the_diameter_that_a_run_would_take(tmp_path, capsys, kind):
    noise = np.random.default_rng(0).normal(size=(40, BOX, BOX))
    path = tmp_path / "p.mrcs"
    write_stack(str(path), noise if kind == "noise" else extended(100, radius=14.0).numpy(), PIXEL_SIZE)
    assert run("diameter", path) == 0
    taken = json.loads(capsys.readouterr().out)
    assert taken["diameter_from"] == {"particles": "data", "noise": "box"}[kind]
    assert run("check", path) == 0
    found = re.search(r"Particle diameter\s+ok\s+(\S+) A \(mask radius \S+ px\), (.*)", capsys.readouterr().out)
    assert float(found.group(1)) == pytest.approx(taken["diameter"], abs=PIXEL_SIZE)
    assert found.group(2).startswith(DIAMETER_FROM[taken["diameter_from"]][:20])
