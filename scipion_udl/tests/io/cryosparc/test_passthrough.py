"""What a file of cryoSPARC lacks comes from the files beside it, by uid; what nobody has lacks in those rows alone."""

import numpy as np
import pytest

from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import Poses
from scipion_udl.io.aligned import write_aligned
from scipion_udl.io.cryosparc.rows import CsFile
from scipion_udl.io.particles import open_particles
from scipion_udl.io.stacks import write_stack

COUNT, BOX = 6, 12
UIDS = np.array([50, 3, 2**63 + 1, 8, 1000, 7], np.uint64)
KINDS = {
    "blob": [("blob/path", "S20"), ("blob/idx", "<u4"), ("blob/shape", "<u4", (2,)), ("blob/psize_A", "<f4")],
    "ctf": [("ctf/accel_kv", "<f4"), ("ctf/cs_mm", "<f4"), ("ctf/amp_contrast", "<f4"), ("ctf/df1_A", "<f4")]
    + [("ctf/df2_A", "<f4"), ("ctf/exp_group_id", "<u4")],
    "alignments2D": [("alignments2D/class", "<u4"), ("alignments2D/pose", "<f4"), ("alignments2D/shift", "<f4", (2,))],
    "location": [("location/micrograph_path", "S20")],
}


def rows(*kinds, only=None):
    """The rows of the particles with the fields of ``kinds``; only: of which of the six."""
    array = np.zeros(COUNT, [("uid", "<u8"), *(field for kind in kinds for field in KINDS[kind])])
    array["uid"] = UIDS
    if "blob" in kinds:
        array["blob/path"], array["blob/idx"] = b"J1/stack.mrc", np.arange(COUNT)
        array["blob/shape"], array["blob/psize_A"] = BOX, 2.0
    if "ctf" in kinds:
        array["ctf/accel_kv"], array["ctf/cs_mm"], array["ctf/amp_contrast"] = 300, 2.7, 0.1
        array["ctf/df1_A"] = array["ctf/df2_A"] = 10000 + np.arange(COUNT)
        array["ctf/exp_group_id"] = 4
    if "alignments2D" in kinds:
        array["alignments2D/class"], array["alignments2D/pose"] = [0, 1, 2, 0, 1, 2], 0.5
    if "location" in kinds:
        array["location/micrograph_path"] = [f"mic{k}.mrc".encode() for k in range(COUNT)]
    return array if only is None else array[only]


@pytest.fixture
def job(tmp_path, monkeypatch):
    """``job(name, array)`` saves a file in J5 and returns its path; the images lie in J1."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "J1").mkdir()
    (tmp_path / "J5").mkdir()
    write_stack("J1/stack.mrcs", np.random.default_rng(0).normal(size=(COUNT, BOX, BOX)), 2.0)
    (tmp_path / "J1" / "stack.mrcs").rename("J1/stack.mrc")

    def save(name, array):
        with open(f"J5/{name}", "wb") as file:
            np.save(file, array, allow_pickle=False)
        return f"J5/{name}"

    return save


@pytest.mark.parametrize("output", ["particles", "split_0", "cluster_12", "particles_selected", "remainder"])
def test_the_passthrough_of_any_output_is_found_by_uid(job, output):
    """The rows lie in another order; the passthrough of the job's other output has other particles."""
    path = job(f"{output}.cs", rows("alignments2D"))
    job(f"J5_passthrough_{output}.cs", rows("blob", "ctf")[::-1])
    other = rows("blob", "ctf")
    other["uid"] += np.uint64(1)
    job("J5_passthrough_other.cs", other)
    source = open_particles(path)
    assert source.item.tolist() == list(range(COUNT))
    assert source.table.numbers("rlnDefocusU").tolist() == (10000 + np.arange(COUNT)).tolist()
    assert len(source.warnings) == 1 and f"blob, ctf come from J5/J5_passthrough_{output}.cs" in source.warnings[0]


def test_it_is_opened_for_every_field_that_lacks(job):
    path = job("J5_particles.cs", rows("blob", "ctf"))
    job("J5_passthrough_particles.cs", rows("alignments2D", "location"))
    source = open_particles(path)
    assert source.classes().tolist() == [1, 2, 3, 1, 2, 3]
    assert source.table.texts("rlnMicrographName")[5] == "mic5.mrc"
    np.testing.assert_allclose(source.poses().angle, np.degrees(0.5), atol=1e-4)


def test_ids_are_compared_to_the_last_digit_whatever_their_kind(job):
    """Neighbouring numbers beyond 2^53, signed in one file: as float64 they would be one."""
    own, others = rows("blob"), rows("ctf")
    own["uid"] = 2**60 + np.arange(COUNT, dtype=np.uint64)
    kinds = {name: others.dtype[name] for name in others.dtype.names} | {"uid": "<i8"}
    signed = others.astype(list(kinds.items()))
    signed["uid"] = own["uid"].astype(np.int64)
    path = job("J5_particles.cs", own)
    job("J5_passthrough_particles.cs", signed[::-1])
    assert open_particles(path).table.numbers("rlnDefocusU").tolist() == (10000 + np.arange(COUNT)).tolist()


def test_a_field_of_the_file_itself_is_never_replaced(job):
    path = job("J5_particles.cs", rows("blob", "ctf"))
    wrong = rows("blob", "ctf", "location")
    wrong["blob/idx"], wrong["ctf/df1_A"] = 0, 1.0
    job("J5_passthrough_particles.cs", wrong)
    source = open_particles(path)
    assert source.item.tolist() == list(range(COUNT))
    assert source.table.numbers("rlnDefocusU").min() == 10000


def test_a_group_of_fields_comes_from_one_file(job):
    """blob/sign of a file beside it is said of the images that are named there, not of those named here."""
    path = job("J5_particles.cs", rows("blob"))
    others = np.zeros(COUNT, [("uid", "<u8"), ("blob/path", "S20"), ("blob/idx", "<u4"), ("blob/sign", "<f4")])
    others["uid"], others["blob/sign"] = UIDS, -1
    job("J5_passthrough_particles.cs", others)
    assert open_particles(path).sign is None


def test_particles_that_it_lacks_go_without_and_the_others_keep_theirs(job):
    path = job("J5_particles.cs", rows("blob"))
    job("J5_passthrough_particles.cs", rows("ctf", "alignments2D", "location", only=[0, 1, 3, 4, 5]))
    source = open_particles(path)
    assert source.table.numbers("rlnDefocusU").tolist() == [10000, 10001, 0, 10003, 10004, 10005]
    assert source.classes().tolist() == [1, 2, 0, 1, 2, 3]
    assert np.degrees(0.5) == pytest.approx(source.poses().angle[0]) and source.poses().angle[2] == 0
    assert source.table.texts("rlnOpticsGroup") == ["1"] * COUNT  # its microscope is that of the others
    assert "for 1 of 6 particles (the first: row 3, uid 9223372036854775809)" in source.warnings[-1]
    assert "alignments2D, ctf, location" in source.warnings[-1]


def test_two_files_that_have_half_of_the_particles_each_complete_one_another(job):
    path = job("J5_particles.cs", rows("alignments2D"))
    job("J5_passthrough_split_0.cs", rows("blob", "ctf", only=[0, 2, 4, 5]))
    job("J5_passthrough_split_1.cs", rows("blob", "ctf", only=[1, 3]))
    source = open_particles(path)
    assert source.item.tolist() == list(range(COUNT))
    assert source.table.numbers("rlnDefocusV").tolist() == (10000 + np.arange(COUNT)).tolist()
    assert len(source.warnings) == 2 and "go without" not in " ".join(source.warnings)


def test_particles_whose_image_nobody_names_are_counted_in_one_sentence(job):
    path = job("J5_particles.cs", rows("alignments2D"))
    job("J5_passthrough_particles.cs", rows("blob", only=[0, 1, 2]))
    with pytest.raises(UdlError, match=r"names the images of 3 of its 6 particles \(the first: row 4, uid 8\)"):
        open_particles(path)


def test_a_subset_that_was_exported_finds_images_in_the_file_it_was_made_of(job):
    """No passthrough file: any other file of the folder may name images; its classes are of another job and stay."""
    path = job("subset.cs", rows("location", only=[4, 1]))
    job("J5_particles.cs", rows("blob", "ctf", "alignments2D"))
    source = open_particles(path)
    assert source.item.tolist() == [4, 1]
    assert "rlnClassNumber" not in source.table


def test_what_is_no_array_beside_it_is_passed_over(job, tmp_path):
    path = job("J5_particles.cs", rows("blob"))
    job("J5_passthrough_particles.cs", rows("ctf"))
    (tmp_path / "J5" / "A_passthrough.cs").write_bytes(b"\x95CSDAT and more")
    (tmp_path / "J5" / "B_passthrough.cs").write_text("no array")
    job("C_passthrough.cs", rows("ctf")[["ctf/df1_A"]])  # without ids
    assert open_particles(path).table.numbers("rlnDefocusU")[1] == 10001


def test_aligned_cs_stands_for_itself(job):
    """Written with the added fields: read alone in another folder it has the same CTF."""
    path = job("J5_particles.cs", rows("blob"))
    job("J5_passthrough_particles.cs", rows("ctf"))
    source = open_particles(path)
    write_aligned(source, Poses.identity(COUNT), np.ones(COUNT), np.zeros(COUNT, bool), cs="aligned.cs")
    again = open_particles("aligned.cs")
    assert again.table.numbers("rlnDefocusU").tolist() == source.table.numbers("rlnDefocusU").tolist()


def test_columns_are_read_a_piece_at_a_time(job, monkeypatch):
    monkeypatch.setattr("scipion_udl.io.cryosparc.rows.CHUNK_BYTES", 2 * rows("blob", "ctf").dtype.itemsize)
    file = CsFile.open(job("J5_particles.cs", rows("blob", "ctf")))
    assert [first for first, _ in file.pieces(["uid"])] == [0, 2, 4]
    assert (file.column("uid") == UIDS).all() and file.column("blob/shape").shape == (COUNT, 2)


@pytest.mark.parametrize(("piece", "together"), [(5, 2), (4, 3), (1, 9), (9, 9)])
def test_a_set_that_is_read_lean_says_the_same(job, monkeypatch, piece, together):
    """For `check`, with few rows of the file at a time: the piece that ends it, or ends what is read of it at once, has
    fewer than the pieces that texts are made of. Fields from beside, classes above all, go on in step with them."""
    path = job("J5_particles.cs", rows("blob"))
    job("J5_passthrough_particles.cs", rows("ctf", "alignments2D", "location", only=[0, 1, 3, 4, 5]))
    full = open_particles(path)
    monkeypatch.setattr("scipion_udl.io.cryosparc.rows.CHUNK_BYTES", piece * rows("blob").dtype.itemsize)
    monkeypatch.setattr("scipion_udl.io.cryosparc.read._TOGETHER", together)
    lean = open_particles(path, lean=True)
    assert lean.cs is not None and not len(lean.cs)
    assert lean.warnings == full.warnings
    for mine, other in zip(lean.tables, full.tables):
        assert {label: list(column) for label, column in mine.columns.items()} == {
            label: list(column) for label, column in other.columns.items()
        }
    assert lean.classes().tolist() == [1, 2, 0, 1, 2, 3]
