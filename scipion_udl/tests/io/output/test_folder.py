"""Output folders: nobody's results are lost, and no half file has a final name."""

import errno
import fcntl
import os
import subprocess
import sys

import numpy as np
import pytest

from scipion_udl.errors import UdlError
from scipion_udl.imaging.poses import Poses
from scipion_udl.io.images import read_image
from scipion_udl.io.output import lock
from scipion_udl.io.output.folder import OutputFolder
from scipion_udl.io.stacks import write_stack
from scipion_udl.io.tables import write_tables
from scipion_udl.io.truth import read_truth, truth_table


def write(path, text="x"):
    with open(path, "w") as file:
        file.write(text)


def visible(folder):
    return sorted(name for name in os.listdir(folder) if not name.startswith("."))


def test_files_get_their_names_when_all_is_done(tmp_path):
    with OutputFolder(str(tmp_path / "out")) as out:
        write(out.scratch("a.star"))
        write(out.scratch("b.mrcs"))
        assert visible(out.path) == []
        out.publish("a.star")
        assert visible(out.path) == ["a.star"]
    assert visible(tmp_path / "out") == ["a.star", "b.mrcs"]
    assert not (tmp_path / "out" / ".unfinished").exists()


def test_an_existing_folder_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(UdlError, match=r"exists already; .*--overwrite"):
        OutputFolder(str(tmp_path / "out")).check()
    with pytest.raises(UdlError, match="exists already"), OutputFolder(str(tmp_path / "out")):
        pass
    (tmp_path / "file").write_text("x")
    with pytest.raises(UdlError, match="is a file"):
        OutputFolder(str(tmp_path / "file"), overwrite=True).check()


def test_overwriting_removes_our_old_files_and_no_others(tmp_path):
    path = str(tmp_path / "out")
    with OutputFolder(path) as out:
        write(out.scratch("old.mrcs"))
    write(os.path.join(path, "notes.txt"))
    with OutputFolder(path, overwrite=True) as out:
        write(out.scratch("new.mrcs"))
    assert visible(path) == ["new.mrcs", "notes.txt"]


def test_overwriting_that_fails_before_its_first_result_removes_nothing(tmp_path):
    path = str(tmp_path / "out")
    with OutputFolder(path) as out:
        write(out.scratch("old.mrcs"))
    with pytest.raises(RuntimeError), OutputFolder(path, overwrite=True) as out:
        write(out.scratch("new.mrcs"))
        raise RuntimeError
    assert visible(path) == ["old.mrcs"]
    with OutputFolder(path, overwrite=True) as out:  # they are still known as ours
        write(out.scratch("new.mrcs"))
    assert visible(path) == ["new.mrcs"]


def test_what_a_run_reads_is_not_overwritten(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with OutputFolder("out") as out:
        write(out.scratch("particles.mrcs"))
    write("other.mrcs")
    os.symlink("out/particles.mrcs", "link.mrcs")
    with OutputFolder("out", overwrite=True) as out:
        out.spare([None, "other.mrcs", "out/notes.txt"])
        for path in ("out/particles.mrcs", str(tmp_path / "out" / "particles.mrcs"), "link.mrcs"):
            with pytest.raises(UdlError, match="--overwrite would replace"):
                out.spare(["other.mrcs", path])
    with OutputFolder("out", resume=True) as out:
        out.spare(["out/particles.mrcs"])


def test_a_folder_without_a_name_is_refused():
    with pytest.raises(UdlError, match="no name"), OutputFolder(""):
        pass


def test_resuming_removes_nothing(tmp_path):
    path = str(tmp_path / "out")
    with OutputFolder(path) as out:
        write(out.scratch("checkpoint"))
    with OutputFolder(path, resume=True) as out:
        assert visible(path) == ["checkpoint"]
        write(out.scratch("model"))
    assert visible(path) == ["checkpoint", "model"]


def test_a_failed_run_leaves_no_half_files(tmp_path):
    path = tmp_path / "out"
    with pytest.raises(RuntimeError), OutputFolder(str(path)) as out:
        write(out.scratch("a.star"))
        raise RuntimeError
    assert not path.exists()
    with pytest.raises(RuntimeError), OutputFolder(str(path)) as out:
        write(out.scratch("checkpoint"))
        out.publish("checkpoint")
        write(out.scratch("a.star"))
        raise RuntimeError
    assert visible(path) == ["checkpoint"]


def test_a_forged_list_removes_nothing_outside(tmp_path):
    path = tmp_path / "out"
    path.mkdir()
    (tmp_path / "precious").write_text("x")
    (path / ".udl-files.json").write_text('{"files": ["../precious", 5]}')
    with OutputFolder(str(path), overwrite=True):
        pass
    assert (tmp_path / "precious").exists()


def test_a_folder_that_cannot_be_made_gets_one_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UdlError, match="cannot be made"), OutputFolder(str(tmp_path / "file" / "out")):
        pass


def test_the_truth_comes_back(tmp_path):
    poses = Poses([12.345678, -170.0], [[1.5, -2.25], [0.0, 3.0]], [False, True])
    write_tables(str(tmp_path / "truth.star"), [truth_table(["1@a b.mrcs", "2@a b.mrcs"], poses)])
    names, back = read_truth(str(tmp_path / "truth.star"))
    assert names == ["1@a b.mrcs", "2@a b.mrcs"]
    assert np.allclose(back.angle, poses.angle)
    assert np.allclose(back.shift, poses.shift)
    assert back.mirror.tolist() == [False, True]
    (tmp_path / "other.star").write_text("data_\nloop_\n_rlnImageName\n1@a.mrcs\n")
    with pytest.raises(UdlError, match="holds no true poses"):
        read_truth(str(tmp_path / "other.star"))


def test_one_image_is_read_from_stacks_and_pictures(tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    images = np.arange(3 * 64, dtype=np.float32).reshape(3, 8, 8)
    write_stack(str(tmp_path / "s.mrcs"), images, 1.5)
    image, size = read_image(f"2@{tmp_path / 's.mrcs'}")
    assert np.array_equal(image, images[1])
    assert size == 1.5
    pillow.fromarray(images[0].astype(np.uint8)).save(tmp_path / "grey.png")
    pillow.fromarray(np.repeat(images[0].astype(np.uint8)[:, :, None], 3, 2)).save(tmp_path / "colour.png")
    assert np.array_equal(read_image(str(tmp_path / "grey.png"))[0], images[0])
    assert np.allclose(read_image(str(tmp_path / "colour.png"))[0], images[0], atol=1e-3)
    assert read_image(str(tmp_path / "grey.png"))[1] is None


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("s.mrcs", "holds 3 images; say which one"),
        ("4@s.mrcs", "there is no item 4"),
        ("wide.png", "8 x 4 pixels; a square image"),
        ("none.png", "is not there"),
        ("bad.png", "cannot be read as a picture"),
    ],
)
def test_images_that_cannot_be_used_are_refused(tmp_path, monkeypatch, spec, message):
    pillow = pytest.importorskip("PIL.Image")
    monkeypatch.chdir(tmp_path)
    write_stack("s.mrcs", np.zeros((3, 8, 8)), 1.5)
    pillow.fromarray(np.zeros((4, 8), np.uint8)).save("wide.png")
    write("bad.png")
    with pytest.raises(UdlError, match=message):
        read_image(spec)


HOLDER = """
import sys, time
from scipion_udl.io.output.folder import OutputFolder
with OutputFolder(sys.argv[1], resume=True) as out:
    open(out.scratch("late.txt"), "w").write("x")
    print("in", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def hold(path, seconds):
    """Another program that writes into a folder for some time."""
    program = subprocess.Popen([sys.executable, "-c", HOLDER, path, str(seconds)], stdout=subprocess.PIPE)
    assert program.stdout.readline() == b"in\n"
    return program


def test_a_folder_that_another_program_writes_into_is_refused_until_that_ends(tmp_path, monkeypatch):
    path = str(tmp_path / "out")
    monkeypatch.setattr(lock, "PATIENCE", 0.1)
    program = hold(path, 60)
    try:
        words = rf"another run \(process {program.pid} on "
        with pytest.raises(UdlError, match=words), OutputFolder(path, resume=True):
            pass
        assert (tmp_path / "out" / ".unfinished" / "late.txt").exists()  # it was left in peace
    finally:
        program.kill()
        program.wait()
    with OutputFolder(path, resume=True) as out:  # a program that was killed holds nothing any more
        write(out.scratch("a.star"))
    assert visible(path) == ["a.star"]
    assert lock.NAME not in os.listdir(path)


def test_a_program_that_is_about_to_end_is_waited_for(tmp_path):
    path = str(tmp_path / "out")
    program = hold(path, 0.5)
    with OutputFolder(path, resume=True) as out:
        assert visible(path) == ["late.txt"]
        write(out.scratch("a.star"))
    assert program.wait() == 0
    assert visible(path) == ["a.star", "late.txt"]


def test_a_disk_without_locks_is_no_hindrance_and_told(tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", fail)
    with OutputFolder(str(tmp_path / "out")) as out:
        write(out.scratch("a.star"))
    assert sorted(os.listdir(out.path)) == [".udl-files.json", "a.star"]
    told = capsys.readouterr().err
    assert told.startswith("Warning: ") and "out is on a disk that knows no locks" in told and told.count("\n") == 1
