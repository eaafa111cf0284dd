"""The look of `check` at images: what it keeps of each of millions of particles, and what it takes to find copies."""

import gc
import struct
import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest

from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import StackWriter
from scipion_udl.jobs.check_images import check_images, look_through
from scipion_udl.jobs.diagnostics import Diagnostics
from scipion_udl.particles.duplicates import copies, duplicates_of

BOX, STACKS = 8, 4
FOLDER = "Extract/job012"
# Of a STAR as an extraction leaves it, some 200 bytes a row in its file.
LABELS = ("ImageName", "MicrographName", "CoordinateX", "CoordinateY", "OpticsGroup", "DefocusU", "DefocusV")
OPTICS = (
    "data_optics\n\nloop_\n_rlnOpticsGroup #1\n_rlnVoltage #2\n_rlnSphericalAberration #3\n_rlnAmplitudeContrast #4\n"
    "_rlnImagePixelSize #5\n1 300 2.7 0.1 4\n\n"
)
FEW, MANY = 2_000, 12_000


def stack_name(row, count):
    return f"{FOLDER}/{row * STACKS // count:06d}_FoilHole_7654321_Data_7654321_7654321_20200101_particles.mrcs"


def micrograph(row):
    return f"MotionCorr/job003/{row // 100:06d}_FoilHole_7654321_Data_7654321_7654321_20200101.mrc"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with STAR and .cs of FEW and MANY particles; each stack of them holds noise, and is one file."""
    folder = tmp_path_factory.mktemp("project")
    (folder / FOLDER).mkdir(parents=True)
    with StackWriter(str(folder / "noise.mrcs"), MANY, BOX, 4.0) as out:
        for image in np.random.default_rng(0).normal(size=(MANY, BOX, BOX)).astype(np.float32):
            out.write(image)
    for row in range(0, MANY, MANY // STACKS):
        (folder / stack_name(row, MANY)).symlink_to(folder / "noise.mrcs")
    for beside, count in (("few", FEW), ("many", MANY)):  # a .cs is completed from those beside it
        write_star(folder / f"{count}.star", count)
        (folder / beside).mkdir()
        write_cs(folder / beside / f"{count}.cs", count)
    return folder


@pytest.fixture
def project(written, monkeypatch):
    """These tables, of the current folder."""
    monkeypatch.chdir(written)
    return {"star": (f"{FEW}.star", f"{MANY}.star"), "cs": (f"few/{FEW}.cs", f"many/{MANY}.cs")}


def write_star(path, count):
    values = np.random.default_rng(1).uniform(1e3, 9e3, (count, 4))
    with open(path, "w") as file:
        names = "".join(f"_rln{label} #{k}\n" for k, label in enumerate(LABELS, 1))
        file.write(f"{OPTICS}data_particles\n\nloop_\n{names}")
        for k, (x, y, u, v) in enumerate(values.tolist()):
            file.write(f"{k + 1:06d}@{stack_name(k, count)} {micrograph(k)} {x:.6f} {y:.6f} 1 {u:.6f} {v:.6f}\n")


def write_cs(path, count):
    single = [f"ctf/{name}" for name in ("df1_A", "df2_A", "df_angle_rad", "accel_kv", "cs_mm", "amp_contrast")]
    single += ["alignments2D/pose", "alignments2D/psize_A", "blob/psize_A", *(f"of_no_use/{k}" for k in range(40))]
    kinds = [("uid", "<u8"), ("blob/path", "S90"), ("location/micrograph_path", "S90"), ("blob/idx", "<u4")]
    kinds += [("blob/shape", "<u4", 2), ("alignments2D/shift", "<f4", 2), *((name, "<f4") for name in single)]
    array, values = np.zeros(count, kinds), np.random.default_rng(1)
    array["uid"] = array["blob/idx"] = np.arange(count)
    array["blob/path"] = [stack_name(k, count).encode() for k in range(count)]
    array["location/micrograph_path"] = [micrograph(k).encode() for k in range(count)]
    array["blob/shape"], array["ctf/accel_kv"], array["ctf/cs_mm"], array["ctf/amp_contrast"] = BOX, 300, 2.7, 0.1
    array["blob/psize_A"] = array["alignments2D/psize_A"] = 4.0
    array["ctf/df1_A"], array["ctf/df2_A"] = values.uniform(1e4, 2e4, (2, count))
    array["ctf/df_angle_rad"], array["alignments2D/pose"] = values.uniform(-3, 3, (2, count))
    array["alignments2D/shift"] = values.normal(0, 2, (count, 2))
    with open(path, "wb") as file:
        np.save(file, array, allow_pickle=False)


@contextmanager
def tracing():
    """Gives a function that tells (bytes that are held of what was asked for since, the most that were)."""

    def now():
        gc.collect()
        return tracemalloc.get_traced_memory()

    gc.collect()
    tracemalloc.start()
    try:
        yield now
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("kind", "most"), [("star", 85), ("cs", 110)])
def test_what_an_open_table_holds_of_a_row(project, kind, most):
    """Names of images and micrographs are 190 of the bytes of a row in either file, and 160 in that of the .cs are
    fields that nobody asks for: here they are 8 and none. What is left are numbers, as texts, others in each row."""
    held, kept = [], []
    for path in project[kind]:
        with tracing() as now:
            source = open_particles(path, lean=True)
            held.append(now()[0])
            source.keep_columns(("rlnOpticsGroup",))
            kept.append(now()[0])
        assert source.names[len(source) - 1].startswith(f"{len(source):06d}@{FOLDER}/000003_FoilHole")
    assert (held[1] - held[0]) / (MANY - FEW) < most
    assert (kept[1] - kept[0]) / (MANY - FEW) < 18  # name 6, stack 4, item 4, optics group 1


def test_what_is_kept_of_an_image(project, monkeypatch):
    """Mean and deviation of its background, and whether it is blank; on the way some bytes more, to find copies."""
    monkeypatch.setattr("scipion_udl.jobs.check_images.CHUNK_BYTES", FEW // 2 * 4 * BOX**2)
    held, peaks = [], []
    for path in project["star"]:
        source = open_particles(path, lean=True)
        source.keep_columns(("rlnOpticsGroup",))
        look_through(source, Diagnostics())  # what is made once
        with tracing() as now:
            facts = look_through(source, Diagnostics())
            held.append(now()[0])
        assert np.isfinite(facts.mean).all()
        assert not facts.blank.any()
        diagnostics = Diagnostics()
        with tracing() as now:
            check_images(source, diagnostics)
            peaks.append(now()[1])
        assert diagnostics.of("copies") == ("ok", 0)
    assert (held[1] - held[0]) / (MANY - FEW) < 10
    assert (peaks[1] - peaks[0]) / (MANY - FEW) < 60


def test_copies_are_found_by_place_and_by_image(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).normal(size=(12, BOX, BOX)).astype(np.float32)
    images[9] = images[2]  # the same pixels
    images[10] = images[2]
    images[11] = images[4][::-1]  # the same mean and deviation, other pixels
    images[7] = images[6] = 3.0  # blank
    with StackWriter("a.mrcs", len(images), BOX, 4.0) as out:
        for image in images:
            out.write(image)
    (tmp_path / "b.mrcs").symlink_to("a.mrcs")
    names = [f"{k + 1}@a.mrcs" for k in range(12)] + ["5@b.mrcs", "11@b.mrcs", "7@b.mrcs"]
    (tmp_path / "p.star").write_text("data_\nloop_\n_rlnImageName #1\n" + "\n".join(names) + "\n")
    source = open_particles("p.star")
    every = source.read(np.arange(len(source)))
    mean, std = (getattr(every, name)((1, 2)) for name in ("mean", "std"))
    mean[11], std[11] = mean[4], std[4]
    blank = std == 0
    rows, first = copies(source, mean, std, blank)
    assert rows.tolist() == [9, 10, 12, 13]
    assert first.tolist() == [2, 2, 4, 2]  # the last lies where item 11 does, which is item 3 again
    expected = np.arange(15)
    expected[rows] = first
    np.testing.assert_array_equal(duplicates_of(source, mean, std, blank), expected)


def test_backgrounds_that_were_not_measured_are_no_copies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with StackWriter("a.mrcs", 3, BOX, 4.0) as out:
        for _ in range(3):
            out.write(np.eye(BOX, dtype=np.float32))
    with open("a.mrcs", "r+b") as file:  # nothing to be read from it
        file.truncate(1024)
        file.seek(8)
        file.write(struct.pack("<i", 3))
        file.truncate(1024 + 3 * 4 * BOX * BOX)
    nothing = np.full(3, np.nan, np.float32)
    rows, _ = copies(open_particles("a.mrcs"), nothing, nothing, np.zeros(3, bool))
    assert not len(rows)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("unit, large, warned", [(1.0, 1e36, False), (1e31, 1.0, False), (1e31, 100.0, True)])
def test_images_of_huge_values_have_a_scale(tmp_path, monkeypatch, unit, large, warned):
    """One that no camera can have made is an error, and no matter of scale; others are compared in whatever unit."""
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).normal(size=(40, 16, 16)).astype(np.float32) * np.float32(unit)
    images[3] *= np.float32(large)
    with StackWriter("a.mrcs", len(images), 16, 4.0) as out:
        for image in images:
            out.write(image)
    diagnostics = Diagnostics()
    check_images(open_particles("a.mrcs"), diagnostics)
    told = {line.split("  ")[0]: line for line in diagnostics.text().splitlines()}
    assert ("ERROR" in told["Pixel values"]) == (large == 1e36)
    assert ("warning" in told["Scale"]) == warned
