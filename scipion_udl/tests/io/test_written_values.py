"""What is in use is what is written, and what is written can be read: pixel sizes, names, groups, labels."""

import numpy as np
import pytest

from scipion_udl.imaging.poses import Poses
from scipion_udl.io.aligned import names_note, write_aligned, write_authors_xmd
from scipion_udl.io.defocus import read_defocus
from scipion_udl.io.particles import Optics, open_particles
from scipion_udl.io.stacks import write_stack
from scipion_udl.io.tables import Table, read_tables, write_tables

BOX, COUNT, PIXEL = 12, 4, 1.6
POSES = Poses([10.0, -170.5, 180.0, 45.0], np.arange(8.0).reshape(4, 2))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_stack("s.mrcs", np.random.default_rng(0).normal(size=(COUNT, BOX, BOX)), PIXEL)
    return tmp_path


def star(path="in.star", optics=None, **columns):
    """A STAR of all images, with an optics table where one is given."""
    names = [f"{k + 1:06d}@s.mrcs" for k in range(COUNT)]
    table = Table("particles", {"rlnImageName": names, **columns})
    if optics is not None:
        table.set("rlnOpticsGroup", [str(k % len(next(iter(optics.values()))) + 1) for k in range(COUNT)])
    write_tables(str(path), [table] if optics is None else [Table("optics", optics), table])
    return str(path)


def optics(**more):
    return {"rlnOpticsGroupName": ["mine"], "rlnOpticsGroup": ["1"], **more}


def written(path, pixel_size=None, said=None, **options):
    source = open_particles(path, pixel_size)
    source.optics = said or Optics()
    warnings = write_aligned(
        source, POSES, np.ones(COUNT), np.zeros(COUNT, bool), star="a.star", xmd="a.xmd", cs="a.cs", **options
    )
    return {table.name: table for table in read_tables("a.star")}, read_tables("a.xmd")[0], np.load("a.cs"), warnings


@pytest.mark.parametrize("placeholder", ["0", "0.000000", "-1"])
def test_a_pixel_size_that_is_none_gives_way_to_the_one_in_use(folder, placeholder):
    tables, xmd, cs, warnings = written(star(optics=optics(rlnImagePixelSize=[placeholder])))
    assert tables["optics"].texts("rlnImagePixelSize") == ["1.600000"]
    assert set(xmd.texts("samplingRate")) == {"1.600000"}
    assert np.allclose(cs["blob/psize_A"], PIXEL)
    assert any("_rlnImagePixelSize" in warning and "1.6 A" in warning for warning in warnings)
    assert open_particles("a.star").pixel_size == PIXEL


def test_one_group_of_two_without_a_size_is_completed_and_the_other_stays_character_for_character(folder):
    groups = {"rlnOpticsGroupName": ["a", "b"], "rlnOpticsGroup": ["1", "2"], "rlnVoltage": ["300.0", "-999"]}
    tables, _, _, warnings = written(star(optics=groups), said=Optics(voltage=200.0))
    assert tables["optics"].texts("rlnVoltage") == ["300.0", "200.000000"]
    assert not any("voltage" in warning for warning in warnings)


def test_no_two_pixel_sizes_stand_side_by_side(folder):
    """rlnPixelSize of the particles against the size in use, and the other way round: one value everywhere."""
    tables, _, _, _ = written(star(optics=optics(rlnImagePixelSize=["1.60"]), rlnPixelSize=["1.0"] * COUNT))
    assert tables["optics"].texts("rlnImagePixelSize") == ["1.60"]  # as it was
    assert set(tables["particles"].texts("rlnPixelSize")) == {"1.600000"}


def test_a_30_table_with_size_0_says_what_is_in_use(folder):
    columns = {"rlnMagnification": ["50000"] * COUNT, "rlnDetectorPixelSize": ["0"] * COUNT}
    tables, _, _, warnings = written(star(**columns))
    assert open_particles("a.star").pixel_size == PIXEL
    assert set(tables["particles"].texts("rlnDetectorPixelSize")) == {"1.600000"}
    assert any("is in use" in warning for warning in warnings)


def test_an_xmd_with_sampling_rate_0_says_what_is_in_use(folder):
    table = Table("noname", {"image": [f"{k + 1:06d}@s.mrcs" for k in range(COUNT)], "samplingRate": ["-1"] * COUNT})
    write_tables("in.xmd", [table], xmipp=True)
    tables, xmd, _, _ = written("in.xmd")
    assert set(xmd.texts("samplingRate")) == {"1.600000"}
    assert tables["optics"].texts("rlnImagePixelSize") == ["1.600000"]


def test_a_wrong_image_size_in_the_optics_is_put_right(folder):
    tables, _, _, _ = written(star(optics=optics(rlnImageSize=["64"], rlnImagePixelSize=["1.6"])))
    assert tables["optics"].texts("rlnImageSize") == [str(BOX)]


def test_a_voltage_that_stands_beside_the_particles_alone_reaches_the_optics(folder):
    columns = {"rlnVoltage": ["200"] * COUNT, "rlnSphericalAberration": ["1.4"] * COUNT}
    tables, _, _, warnings = written(star(optics=optics(rlnImagePixelSize=["1.6"]), **columns))
    assert tables["optics"].texts("rlnVoltage") == ["200"]
    assert tables["optics"].texts("rlnSphericalAberration") == ["1.4"]
    assert "amplitude contrast 0.1" in warnings[-1]
    assert "voltage" not in warnings[-1]


# names


@pytest.mark.parametrize("ending", ["star", "xmd", "cs"])
def test_names_found_beside_the_table_are_written_so_that_they_are_found(folder, monkeypatch, ending):
    path = star()
    if ending != "star":
        written(path)
        path = f"a.{ending}"
        read = open_particles(path).names[0]
        if not read.endswith("@s.mrcs"):
            pytest.fail(f"the input names {read}")
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    source = open_particles(f"../{path}")
    written(f"../{path}")
    write_authors_xmd(source, POSES, np.ones(COUNT), "authors.xmd")
    for name in ("a.star", "a.xmd", "a.cs", "authors.xmd"):
        again = open_particles(name)
        assert again.names[2].startswith(f"000003@{folder}/s.mrcs")
        assert again.locations() == source.locations()
    assert "absolute path" in names_note(source)


def test_names_found_from_the_current_folder_stay_as_they_are(folder):
    (folder / "J1").mkdir()
    source = open_particles(star("J1/in.star"))
    assert source.lasting_names() == source.names
    assert names_note(source) is None


def test_a_suffix_that_makes_a_stack_of_a_file_stays_behind_an_absolute_name(folder, monkeypatch):
    (folder / "t").mkdir()
    (folder / "s.mrcs").rename(folder / "t" / "s.mrc")
    table = Table("particles", {"rlnImageName": [f"{k + 1:06d}@s.mrc:mrcs" for k in range(COUNT)]})
    write_tables("t/in.star", [table])
    assert open_particles("t/in.star").lasting_names()[0] == f"000001@{folder}/t/s.mrc:mrcs"


def test_of_two_stacks_of_one_name_the_one_that_was_taken_is_told(folder):
    (folder / "other").mkdir()
    path = star("other/in.star")
    assert open_particles(path).warnings == []
    write_stack("other/s.mrcs", np.zeros((COUNT, BOX, BOX)), PIXEL)
    assert "two of that name" in open_particles(path).warnings[0]


def test_a_folder_of_table_and_stack_that_was_moved_still_works(folder):
    """As `simulate` leaves it, with absolute names: the stack beside the table is taken, and a warning says so."""
    (folder / "old").mkdir()
    write_stack("old/p.mrcs", np.random.default_rng(2).normal(size=(COUNT, BOX, BOX)), PIXEL)
    names = [f"{k + 1:06d}@{folder}/old/p.mrcs" for k in range(COUNT)]
    write_tables("old/in.star", [Table("particles", {"rlnImageName": names})])
    images = open_particles("old/in.star").read(range(COUNT))
    (folder / "old").rename(folder / "new")
    source = open_particles("new/in.star")
    assert (source.read(range(COUNT)) == images).all()
    assert "which is not there" in source.warnings[0]
    assert source.lasting_names()[0] == f"000001@{folder}/new/p.mrcs"
    written("new/in.star")
    assert open_particles("a.star").warnings == []


# names of optics groups


def test_groups_made_here_tell_sets_apart_and_those_that_came_in_stay(folder):
    write_stack("other.mrcs", np.random.default_rng(1).normal(size=(COUNT, BOX, BOX)), 3.0)
    names = set()
    for path, size in (("s.mrcs", None), ("other.mrcs", None), ("other.mrcs", None)):
        tables, *_ = written(path, size, said=Optics(300.0, 2.7, 0.1))
        names |= set(tables["optics"].texts("rlnOpticsGroupName"))
    assert len(names) == 2  # the same values are one group
    for microscope in (Optics(200.0, 2.7, 0.1), Optics(300.0, 1.4, 0.1), Optics(300.0, 2.7, 0.07)):
        tables, *_ = written("s.mrcs", said=microscope)
        names |= set(tables["optics"].texts("rlnOpticsGroupName"))
    assert len(names) == 5
    tables, *_ = written(star(optics=optics(rlnImagePixelSize=["1.6"])))
    assert tables["optics"].texts("rlnOpticsGroupName") == ["mine"]


def test_groups_of_a_cs_are_named_by_the_pixel_size_in_use(folder):
    fields = [("uid", "<u8"), ("blob/path", "S10"), ("blob/idx", "<u4"), ("ctf/exp_group_id", "<u4")]
    array = np.zeros(COUNT, fields)
    array["uid"], array["blob/path"], array["blob/idx"] = np.arange(COUNT), b"s.mrcs", np.arange(COUNT)
    array["ctf/exp_group_id"] = [3, 3, 7, 7]
    with open("in.cs", "wb") as file:
        np.save(file, array)
    tables, *_ = written("in.cs")
    names = tables["optics"].texts("rlnOpticsGroupName")
    assert len(set(names)) == 2
    assert all("_1.6A_12px_" in name for name in names)


# labels and columns that readers count on


def test_labels_carry_the_numbers_of_their_columns(folder):
    written(star(optics=optics(rlnImagePixelSize=["1.6"]), rlnDefocusU=["10000"] * COUNT))
    for name in ("a.star", "a.xmd"):
        for block in (folder / name).read_text().split("loop_\n")[1:]:
            labels = [line for line in block.splitlines() if line.startswith("_")]
            values = next(line for line in block.splitlines() if line and not line.startswith("_")).split()
            assert [label.split()[1] for label in labels] == [f"#{k + 1}" for k in range(len(values))]


@pytest.mark.parametrize("made_of", ["stack", "30", "31"])
def test_rot_and_tilt_stand_as_0_beside_psi(folder, made_of):
    path = {"stack": "s.mrcs", "30": star("30.star"), "31": star("31.star", optics(rlnImagePixelSize=["1.6"]))}[made_of]
    tables, xmd, *_ = written(path)
    particles = next(table for table in tables.values() if "rlnImageName" in table)
    assert {*particles.texts("rlnAngleRot"), *particles.texts("rlnAngleTilt")} == {"0.000000"}
    assert not open_particles("a.star").has_3d_angles
    assert "angleRot" not in xmd


def test_the_phase_shift_is_0_where_there_is_a_defocus_and_nobody_says_it(folder):
    tables, *_ = written(star(rlnDefocusU=["10000"] * COUNT))
    assert set(tables["particles"].texts("rlnPhaseShift")) == {"0.000000"}
    tables, *_ = written(star(rlnDefocusU=["10000"] * COUNT, rlnPhaseShift=["90.0"] * COUNT))
    assert set(tables["particles"].texts("rlnPhaseShift")) == {"90.0"}
    tables, *_ = written(star())
    assert "rlnPhaseShift" not in tables["particles"]


def test_phase_shift_and_b_factor_of_an_xmd_reach_the_star_and_back(folder):
    columns = {"image": [f"{k + 1:06d}@s.mrcs" for k in range(COUNT)], "ctfDefocusU": ["9000"] * COUNT}
    columns |= {"ctfVPPphaseshift": ["85"] * COUNT, "ctfBfactor": ["40"] * COUNT}
    write_tables("in.xmd", [Table("noname", columns)], xmipp=True)
    tables, *_ = written("in.xmd")
    assert set(tables["particles"].texts("rlnPhaseShift")) == {"85"}
    _, xmd, *_ = written("a.star")
    assert set(xmd.texts("ctfVPPphaseshift")) == {"85"}
    assert set(xmd.texts("ctfBfactor")) == {"40"}


# segments of helices

HELICAL = {
    "rlnHelicalTubeID": "3",
    "rlnHelicalTrackLengthAngst": "120.5",
    "rlnAngleTiltPrior": "90.000",
    "rlnAnglePsiPrior": "-31.25",
    "rlnAnglePsiFlipRatio": "0.500",
    "rlnAngleRotFlipRatio": "0.5",
    "rlnAngleRotPrior": "12",
    "rlnAnglePsiFlip": "0",
}


def test_priors_of_helical_segments_come_back_character_for_character(folder):
    path = star(**{label: [text] * COUNT for label, text in HELICAL.items()}, rlnAngleTilt=["80"] * COUNT)
    tables, _, _, warnings = written(path)
    for label, text in HELICAL.items():
        assert tables["particles"].texts(label) == [text] * COUNT
    assert set(tables["particles"].texts("rlnAngleTilt")) == {"0.000000"}
    assert "Prior" not in warnings[0]
    assert "rlnAngleTilt" in warnings[0]


@pytest.mark.parametrize("form", ["3.0", "3.1", "xmd"])
def test_what_the_user_says_of_the_microscope_stands_in_every_table_that_is_written(folder, form):
    """Their CTF was computed with it: a row that says another keeps its own."""
    defocus = {"rlnDefocusU": ["10000"] * COUNT, "rlnVoltage": ["200", *["-999"] * (COUNT - 1)]}
    if form == "xmd":
        columns = {"image": [f"{k + 1}@s.mrcs" for k in range(COUNT)]}
        columns |= {"ctfDefocusU": defocus["rlnDefocusU"], "ctfVoltage": defocus["rlnVoltage"]}
        write_tables("in.xmd", [Table("noname", columns)], xmipp=True)
        path = "in.xmd"
    elif form == "3.1":
        groups = optics(rlnImagePixelSize=["1.6"])
        path = star(optics=groups, **defocus)
    else:
        path = star(**defocus)
    _, _, cs, warnings = written(path, said=Optics(120.0, 1.4, 0.07))
    expected = [200.0, *[120.0] * (COUNT - 1)]
    assert cs["ctf/accel_kv"].tolist() == expected
    assert np.allclose(cs["ctf/cs_mm"], 1.4) and np.allclose(cs["ctf/amp_contrast"], 0.07)
    for table in ("a.star", "a.xmd"):
        found = read_defocus(open_particles(table))
        assert found.voltage.tolist() == expected
        assert np.allclose(found.cs, 1.4) and np.allclose(found.amplitude_contrast, 0.07)
    assert not any("assumed" in warning for warning in warnings)
