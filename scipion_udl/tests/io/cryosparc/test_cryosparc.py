"""cryoSPARC's .cs files: read as particles, written with an alignment that a published converter takes to RELION."""

import os
import shutil
import subprocess

import numpy as np
import pytest

from scipion_udl import cli
from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import Poses, to_matrices
from scipion_udl.io.aligned import write_aligned
from scipion_udl.io.defocus import read_defocus
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import StackReader, write_stack
from scipion_udl.io.tables import Table, read_tables, write_tables
from scipion_udl.simulation.phantoms import phantom

BOX, PIXEL, COUNT = 64, 1.5, 4
POSES = Poses([35.0, -152.0, 80.0, 180.0], [[4.0, -2.5], [-1.25, 5.0], [0.0, 3.0], [2.0, 2.0]])
FIELDS = [
    ("uid", "<u8"),
    ("blob/path", "S40"),
    ("blob/idx", "<u4"),
    ("blob/shape", "<u4", (2,)),
    ("blob/psize_A", "<f4"),
    ("blob/sign", "<f4"),
    ("ctf/exp_group_id", "<u4"),
    ("ctf/accel_kv", "<f4"),
    ("ctf/cs_mm", "<f4"),
    ("ctf/amp_contrast", "<f4"),
    ("ctf/df1_A", "<f4"),
    ("ctf/df2_A", "<f4"),
    ("ctf/df_angle_rad", "<f4"),
    ("ctf/phase_shift_rad", "<f4"),
    ("alignments2D/class", "<u4"),
    ("alignments2D/pose", "<f4"),
    ("alignments2D/shift", "<f4", (2,)),
    ("alignments2D/psize_A", "<f4"),
    ("alignments3D/pose", "<f4", (3,)),
]


def rows():
    """Four particles of two stacks, as an extraction and a 2D classification on binned images leave them."""
    array = np.zeros(COUNT, FIELDS)
    array["uid"] = [2**63 + 5, 7, 11, 13]
    array["blob/path"] = [b">J3/extract/a.mrc", b">J3/extract/b.mrc", b">J3/extract/a.mrc", b">J3/extract/b.mrc"]
    array["blob/idx"] = [0, 0, 1, 1]
    array["blob/shape"], array["blob/psize_A"] = BOX, PIXEL
    array["ctf/exp_group_id"] = [1, 1, 2, 2]
    array["ctf/accel_kv"], array["ctf/cs_mm"], array["ctf/amp_contrast"] = 300, 2.7, 0.1
    array["ctf/df1_A"], array["ctf/df2_A"] = [9000, 10000, 11000, 12000], 8000
    array["ctf/df_angle_rad"] = np.pi / 6
    array["alignments2D/class"] = [0, 4, 4, 0]
    array["alignments2D/pose"] = np.radians(20)
    array["alignments2D/shift"], array["alignments2D/psize_A"] = [2.0, -1.0], 2 * PIXEL
    array["alignments3D/pose"] = 0.5
    return array


def save(path, array):
    with open(path, "wb") as file:
        np.save(file, array, allow_pickle=False)
    return str(path)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A cryoSPARC project: stacks in J3/extract, the particles' file in J5; the current folder is another one."""
    images = phantom("hook", BOX).sample(POSES)
    (tmp_path / "J3" / "extract").mkdir(parents=True)
    (tmp_path / "J5").mkdir()
    for name, which in (("a", [0, 2]), ("b", [1, 3])):
        path = tmp_path / "J3" / "extract" / f"{name}.mrcs"
        write_stack(str(path), images[which], PIXEL)
        path.rename(path.with_suffix(".mrc"))  # as cryoSPARC names its stacks
    save(tmp_path / "J5" / "particles.cs", rows())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path


def csparc2star(path):
    """What pyem's csparc2star.py makes of alignments2D, by its rules alone: a 3.0 table, origins in pixels."""
    cs = np.load(path)
    names = [f"{k + 1}@{p.decode().lstrip('>')}s" for k, p in zip(cs["blob/idx"], cs["blob/path"])]
    columns = {
        "rlnImageName": names,
        "rlnAnglePsi": [f"{v:.6f}" for v in np.rad2deg(cs["alignments2D/pose"])],
        "rlnOriginX": [f"{v:.6f}" for v in cs["alignments2D/shift"][:, 0]],
        "rlnOriginY": [f"{v:.6f}" for v in cs["alignments2D/shift"][:, 1]],
        "rlnMagnification": ["10000"] * len(cs),
        "rlnDetectorPixelSize": [f"{v:.6f}" for v in cs["blob/psize_A"]],
        "rlnVoltage": [f"{v:.6f}" for v in cs["ctf/accel_kv"]],
        "rlnSphericalAberration": [f"{v:.6f}" for v in cs["ctf/cs_mm"]],
        "rlnAmplitudeContrast": [f"{v:.6f}" for v in cs["ctf/amp_contrast"]],
    }
    return Table("", columns)


def write_cs(source, path, poses=POSES, **more):
    write_aligned(source, poses, np.arange(len(source)) / 10, np.zeros(len(source), bool), cs=str(path), **more)
    return np.load(path)


def test_images_pixel_size_ctf_and_classes_are_read(project):
    source = open_particles(str(project / "J5" / "particles.cs"))
    assert (len(source), source.box, source.pixel_size, source.pixel_size_known) == (COUNT, BOX, PIXEL, True)
    assert source.names[2] == "000002@J3/extract/a.mrc:mrcs"  # which tells other programs that it is a stack
    images = source.read(np.arange(COUNT))
    np.testing.assert_allclose(images, phantom("hook", BOX).sample(POSES), atol=1e-5)
    defocus = read_defocus(source)
    assert defocus.defocus_u.tolist() == [9000, 10000, 11000, 12000]
    np.testing.assert_allclose(defocus.angle, 30, atol=1e-4)
    assert set(defocus.voltage) == {300}
    assert source.table.texts("rlnClassNumber") == ["1", "5", "5", "1"]
    assert source.table.texts("rlnOpticsGroup") == ["1", "1", "2", "2"]  # exposure groups


def test_what_a_job_did_not_change_is_taken_from_the_passthrough_by_uid(project):
    """The rows of the passthrough lie in another order, and there is one more; another file has other particles."""
    whole = open_particles(str(project / "J5" / "particles.cs"))
    ours = rows()[["uid", *(name for name in rows().dtype.names if name.startswith("alignments2D/"))]]
    others = rows()[[name for name in rows().dtype.names if not name.startswith("alignments2D/")]]
    extra = others[:1].copy()
    extra["uid"], extra["blob/idx"] = 99, 1
    (project / "J6").mkdir()
    path = save(project / "J6" / "J6_020_particles.cs", ours)
    save(project / "J6" / "J6_passthrough_particles.cs", np.concatenate([extra, others[::-1]]))
    save(project / "J6" / "A_passthrough_particles.cs", others[:2])
    source = open_particles(path)
    assert source.names == whole.names
    np.testing.assert_array_equal(read_defocus(source).defocus_u, read_defocus(whole).defocus_u)
    assert np.abs(to_matrices(source.poses()) - to_matrices(whole.poses())).max() == 0
    assert "blob, ctf come from" in source.warnings[0].replace("alignments3D, ", "")
    (project / "J6" / "J6_passthrough_particles.cs").unlink()
    with pytest.raises(UdlError, match=r"no file beside it names the images of 2 of its 4 .*row 3, uid 11"):
        open_particles(path)
    (project / "J6" / "A_passthrough_particles.cs").unlink()
    with pytest.raises(UdlError, match="no passthrough file beside it has those of its particles"):
        open_particles(path)


def test_shifts_count_the_pixels_that_the_classification_worked_with(project):
    source = open_particles(str(project / "J5" / "particles.cs"))
    np.testing.assert_allclose(source.table.numbers("rlnOriginXAngst"), 2.0 * 2 * PIXEL)
    np.testing.assert_allclose(source.table.numbers("rlnOriginYAngst"), -1.0 * 2 * PIXEL)
    np.testing.assert_allclose(source.poses().angle, 20, atol=1e-5)


@pytest.mark.skipif(not shutil.which("relion_stack_create"), reason="RELION is not installed")
def test_relion_aligns_by_what_the_published_converter_makes_of_aligned_cs(project, monkeypatch):
    """Checked on images: another sign of angle or shift, or turning before shifting, gives less than 0.8."""
    write_cs(open_particles(str(project / "J5" / "particles.cs")), project / "aligned.cs")
    monkeypatch.chdir(project)
    for name in "ab":
        os.symlink(f"{name}.mrc", f"J3/extract/{name}.mrcs")
    write_tables("converted.star", [csparc2star("aligned.cs")])
    command = ["relion_stack_create", "--i", "converted.star", "--o", "turned", "--apply_transformation"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    view = phantom("hook", BOX).image().ravel()
    rotated = StackReader("turned.mrcs").read()
    assert min(np.corrcoef(image.ravel(), view)[0, 1] for image in rotated) > 0.9995


def test_the_poses_come_back(project):
    write_cs(open_particles(str(project / "J5" / "particles.cs")), project / "J5" / "aligned.cs")
    found = open_particles(str(project / "J5" / "aligned.cs")).poses()
    assert np.abs(to_matrices(found) - to_matrices(POSES)).max() < 1e-5


def test_every_other_field_comes_back_bit_by_bit(project, monkeypatch):
    before = rows()
    monkeypatch.chdir(project)
    after = write_cs(open_particles(str(project / "J5" / "particles.cs")), project / "aligned.cs")
    for name in before.dtype.names:
        if not name.startswith("alignments2D/"):
            assert after.dtype[name] == before.dtype[name]
            assert (after[name] == before[name]).all()
    assert after["alignments2D/class"].tolist() == [0, 4, 4, 0]
    assert (after["alignments2D/psize_A"] == np.float32(PIXEL)).all()
    np.testing.assert_allclose(after["alignments2D/cross_cor"], np.arange(COUNT) / 10, atol=1e-7)


def test_a_star_becomes_a_cs_that_stands_for_itself(project, monkeypatch):
    """From a STAR: unique ids, indices from 0, CTF in radians; read back it is the same particles with the same CTF."""
    monkeypatch.chdir(project)
    source = open_particles(str(project / "J5" / "particles.cs"))
    write_aligned(source, POSES, np.zeros(COUNT), np.zeros(COUNT, bool), star=str(project / "p.star"))
    array = write_cs(open_particles("p.star"), "aligned.cs")
    assert len(set(array["uid"].tolist())) == COUNT
    assert array["blob/path"].tolist() == [b"J3/extract/a.mrc", b"J3/extract/b.mrc"] * 2
    assert array["blob/idx"].tolist() == [0, 0, 1, 1]
    np.testing.assert_allclose(array["ctf/df_angle_rad"], np.pi / 6, atol=1e-6)
    again = open_particles("aligned.cs")
    assert again.names == source.names
    np.testing.assert_allclose(read_defocus(again).defocus_u, read_defocus(source).defocus_u)


def test_mirrored_particles_need_the_aligned_stack(project):
    source = open_particles(str(project / "J5" / "particles.cs"))
    mirrored = Poses(POSES.angle, POSES.shift, [True, False, False, False])
    with pytest.raises(UdlError, match="cannot hold mirrored particles"):
        write_cs(source, project / "aligned.cs", mirrored)
    assert not (project / "aligned.cs").exists()
    array = write_cs(source, project / "aligned.cs", mirrored, aligned_stack="out/aligned.mrcs")
    assert set(array["blob/path"].tolist()) == {b"out/aligned.mrcs"}
    assert array["blob/idx"].tolist() == [0, 1, 2, 3]
    assert not array["alignments2D/pose"].any()


class _Trap:
    """What a pickle would run when it is read."""

    def __reduce__(self):
        return os.mkdir, ("trap",)


def test_hostile_and_broken_files_end_in_one_sentence(project):
    save(project / "whole.cs", rows())
    data = (project / "whole.cs").read_bytes()
    header = data[: data.index(b"\n") + 1]
    trap = np.empty(2, [("blob/path", "O"), ("blob/idx", "<u4")])
    trap["blob/path"] = [_Trap(), _Trap()]
    with open(project / "pickle.cs", "wb") as file:
        np.save(file, trap, allow_pickle=True)
    no_blob = rows()[["uid", "ctf/df1_A"]]
    no_blob["uid"] += 1000  # of other particles than those of whole.cs
    odd_shift = np.zeros(COUNT, [*FIELDS[:6], ("alignments2D/shift", "S3")])
    huge = header.replace(b"(4,)", b"(400000000000,)").replace(b" " * 11, b"", 1) + data[len(header) :]
    cases = {
        "pickle.cs": (None, "no rows with named fields"),
        "cut.cs": (data[:-100], "its header promises 4 particles, 3 are whole"),
        "huge.cs": (huge, "its header promises 400000000000 particles, 4 are whole"),
        "text.cs": (b"data_particles\n", "no .cs file of cryoSPARC"),
        "empty.cs": (b"", "no .cs file of cryoSPARC"),
        "compressed.cs": (b"\x95CSDAT\x00\x01\x02", "compressed form"),  # as cryosparc-tools 4.7 and 5.0 begin it
        "older.cs": (b"\x94CSDAT\x00\x01\x02", r"compressed form .*Dataset.load\('older.cs'\)"),
        "long.cs": (b"\x93NUMPY\x02\x00" + (2**31).to_bytes(4, "little") + b"{" * 500, "header is too long"),
        "deep.cs": (b"\x93NUMPY\x01\x00" + (9000).to_bytes(2, "little") + b"(" * 9000, "no .cs file"),
    }
    for name, (content, words) in cases.items():
        if content is not None:
            (project / name).write_bytes(content)
        with pytest.raises(UdlError, match=words) as error:
            open_particles(str(project / name))
        assert "\n" not in str(error.value)
    arrays = {"no field blob/path": no_blob, "it has no rows": rows()[:0], "not as cryoSPARC writes it": odd_shift}
    for words, array in arrays.items():
        with pytest.raises(UdlError, match=words):
            open_particles(save(project / "odd.cs", array))
    with pytest.raises(UdlError, match="no rows with named fields"):
        open_particles(save(project / "odd.cs", np.zeros((3, 3))))
    assert not os.path.exists("trap")


def test_missing_and_past_images_are_told_as_in_every_table(project):
    array = rows()
    array["blob/idx"][3] = 2
    with pytest.raises(UdlError, match=r"row 4 names item 3 of .*b\.mrc, which has 2"):
        open_particles(save(project / "J5" / "past.cs", array))
    array["blob/path"][0] = b">J9/gone.mrc"
    with pytest.raises(UdlError, match=r"row 1 names J9/gone\.mrc, which is neither"):
        open_particles(save(project / "J5" / "gone.cs", array))


def test_align_reads_and_writes_cs(project):
    """The whole command: aligned.cs and aligned.star of one run say the same."""
    pytest.importorskip("torch")
    arguments = ["align", str(project / "J5" / "particles.cs"), "-o", "out", "--gpu", "none", "--threads", "1"]
    assert cli.main(arguments) == 0
    by_cs, by_star = (open_particles(f"out/aligned.{ending}") for ending in ("cs", "star"))
    assert by_cs.names == by_star.names
    assert np.abs(to_matrices(by_cs.poses()) - to_matrices(by_star.poses())).max() < 1e-5
    assert set(read_tables("out/aligned.star")[1].texts("rlnAngleTilt")) == {"0.000000"}


def test_a_header_that_is_no_plain_text_is_told_without_objects_of_python(tmp_path):
    header = b"{'descr': f('<f4'), 'fortran_order': False, 'shape': (3,)}"
    path = tmp_path / "p.cs"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(12))
    with pytest.raises(UdlError, match=r"is no \.cs file of cryoSPARC \(a numpy array\): [^<]*$"):
        open_particles(str(path))
