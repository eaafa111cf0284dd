"""`scipion-udl check`: every fault of a set is told, not only the first, the exit code says if it can be aligned."""

import csv
import os
import re
import struct
import subprocess
import sys
import warnings

import numpy as np
import pytest

from scipion_udl import cli
from scipion_udl.cost_estimate import cost_of_classification
from scipion_udl.io.stacks import StackWriter, write_stack
from scipion_udl.jobs.check import estimate_text
from scipion_udl.simulation.particles import Simulation
from scipion_udl.simulation.phantoms import phantom

BOX, PIXEL = 48, 2.0
LABELS = ("rlnImageName", "rlnImagePixelSize")
# The most memory that a process has taken, in KB; getrusage would count that of the process which started it.
PEAK = (
    "import sys; from scipion_udl import cli\n"
    "def peak():\n"
    "    return next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM:'))\n"
)
needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="Linux tells the peak memory in /proc")

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def images():
    simulation = Simulation(phantom("hook", BOX), 140, 0.5, PIXEL, 3.0, seed=1)
    return simulation.images(np.arange(140)).astype(np.float32)


@pytest.fixture
def project(tmp_path, monkeypatch, images):
    """A folder with one good stack of 140 particles."""
    monkeypatch.chdir(tmp_path)
    write_stack("a.mrcs", images, PIXEL)
    return tmp_path


def star(path, rows, labels=LABELS):
    lines = ["data_particles", "loop_", *(f"_{label} #{k}" for k, label in enumerate(labels, 1)), *rows]
    path.write_text("\n".join(lines) + "\n")
    return path.name


def rows(stack, count, more=f"{PIXEL}"):
    return [f"{k + 1}@{stack} {more}" for k in range(count)]


def check(capsys, *arguments):
    """(exit code, {subject: level}, what the list says by subject, text) of `scipion-udl check`."""
    code = cli.main(["check", *arguments, "--threads", "1", "--list", "found.csv"])
    with open("found.csv", newline="") as file:
        found = list(csv.DictReader(file))
    told = {}
    for row in found:
        told.setdefault(row["subject"], []).append((row["level"], row["what"]))
    output = capsys.readouterr()
    return code, told, output.out + output.err


def test_a_good_set_has_nothing_to_tell(project, capsys):
    code, told, text = check(capsys, star(project / "p.star", rows("a.mrcs", 140)))
    assert code == 0
    assert set(told) == {"defocus"}  # a note: none is given
    assert told["defocus"][0][0] == "note"
    assert "p.star can be aligned (no warnings; all its images were read)" in text
    assert "Estimate: align takes about" in text
    assert "classify, in 2 classes, takes about" in text


def test_a_classification_is_estimated_for_as_many_classes_as_suit_the_particles():
    """A hundred particles each, 50 at most; more particles of a larger box take longer."""
    texts = [estimate_text(count, box) for count, box in ((2000, 64), (2000, 256), (100_000, 256))]
    assert [int(re.search(r"in (\d+) classes", text).group(1)) for text in texts] == [20, 20, 50]
    minutes = [cost_of_classification(*case).seconds for case in ((2000, 64, 20), (2000, 256, 20), (100_000, 256, 50))]
    assert minutes == sorted(minutes)


def test_all_faults_are_told_at_once(project, capsys, images):
    bad = images[:12].copy()
    bad[2, 4, 4], bad[3, 1, 1], bad[5] = np.nan, np.inf, 7.0
    write_stack("b.mrcs", bad, PIXEL)
    write_stack("small.mrcs", images[:2, :40, :40], PIXEL)
    (project / "cut.mrcs").write_bytes((project / "b.mrcs").read_bytes()[: 1024 + 4 * BOX * BOX * 5])
    listed = rows("a.mrcs", 142) + rows("b.mrcs", 12) + rows("cut.mrcs", 6)
    listed += [f"{name} {PIXEL}" for name in ("1@gone.mrcs", "2@gone.mrcs", "1@small.mrcs", "x@a.mrcs", "7@a.mrcs")]
    code, told, text = check(capsys, star(project / "p.star", listed))
    assert code == 1
    errors = {subject: [what for level, what in found if level == "ERROR"] for subject, found in told.items()}
    assert [what.split()[3] for what in errors["image numbers"]] == ["names", "names"]
    assert "row 141 names item 141 of a.mrcs, which has 140" in errors["image numbers"][0]
    assert len(errors["files"]) == 2
    assert any("cut.mrcs is truncated" in what for what in errors["files"])
    assert any("names gone.mrcs, which is neither" in what for what in errors["files"])
    assert errors["pixel values"] == [
        f"{stack}: item {item} holds {what}; remove or mend this image"
        for stack in ("b.mrcs", "cut.mrcs")
        for item, what in ((3, "NaN"), (4, "infinite values"))
    ]
    assert "small.mrcs holds images of 40 pixels and a.mrcs of 48" in errors["box"][0]
    assert "row 164 names 'x@a.mrcs'" in errors["image names"][0]
    assert "rows 7 and 165 name the same image 7@a.mrcs" in errors["same image twice"][0]
    assert told["constant images"] == [("warning", "item 148 (6@b.mrcs): it will be kept with pose 0 and score 0")]
    # two beyond the end, two whose file is gone, one without a number, one that the cut file has lost
    assert told["number"] == [("note", "6 of 165 have no image that can be read")]
    # the good ones of b.mrcs and of the cut file are those of a.mrcs again; spoiled and constant ones are not
    assert len(told["copies"]) == 9 + 3
    assert "Traceback" not in text
    assert text.rstrip().endswith("p.star cannot be aligned as it is: 11 faults to mend, told above")


def test_it_and_align_agree_on_what_is_an_error(project, capsys, images):
    bad = images[:4].copy()
    bad[2, 0, 0] = np.nan
    write_stack("b.mrcs", bad, PIXEL)
    for name, listed in {
        "nan": rows("b.mrcs", 4),
        "past": rows("a.mrcs", 141),
        "twice": rows("a.mrcs", 3) + rows("a.mrcs", 1),
        "gone": rows("gone.mrcs", 3),
        "empty": [],
    }.items():
        table = star(project / f"{name}.star", listed)
        assert cli.main(["align", table, "-o", f"out_{name}", "--gpu", "none", "--threads", "1"]) == 1
        first = capsys.readouterr().err.strip().removeprefix("scipion-udl align: ")
        code, told, _ = check(capsys, table)
        assert code == 1
        everything = [what for found in told.values() for level, what in found if level == "ERROR"]
        assert first == everything[0]


def test_warnings_alone_leave_the_exit_code_at_0(project, capsys, images):
    write_stack("wrong.mrcs", images[:60], 2.5)
    scaled = images[60:] * np.where(np.arange(80) % 8 == 0, 20.0, 1.0)[:, None, None]
    write_stack("b.mrcs", scaled, 1.0)  # 1 is what programs write that do not know
    classes = [f"{PIXEL} {1 + k % 2} {300 if k < 60 else 200} 2.7 0.1 10000 10000" for k in range(140)]
    names = [f"{k + 1}@wrong.mrcs" for k in range(60)] + [f"{k + 1}@b.mrcs" for k in range(80)]
    labels = (*LABELS, "rlnClassNumber", "rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast", "rlnDefocusU")
    table = star(project / "p.star", [f"{n} {c}" for n, c in zip(names, classes)], (*labels, "rlnDefocusV"))
    code, told, text = check(capsys, table)
    assert code == 0
    assert {subject for subject, found in told.items() if found[0][0] == "warning"} == {
        "pixel size",
        "scale",
        "classes",
        "optics groups",
    }
    assert told["pixel size"] == [
        ("warning", "the header of wrong.mrcs says 2.5 A, p.star says 2 A, which is used: check which one is right")
    ]
    assert "2 classes (column rlnClassNumber)" in told["classes"][0][1]
    assert "(200, 300 kV)" in told["optics groups"][0][1]
    assert "(4 warnings;" in text


def test_inverted_contrast_is_noticed_in_all_or_in_a_part(project, capsys, images):
    write_stack("dark.mrcs", -images, PIXEL)
    _, told, _ = check(capsys, "dark.mrcs")
    assert "look dark on a bright ground" in told["contrast"][0][1]
    _, told, _ = check(capsys, "dark.mrcs", "--polarity", "dark")
    assert "contrast" not in told
    _, told, _ = check(capsys, "a.mrcs", "--polarity", "dark")
    assert "look bright, not dark" in told["contrast"][0][1]
    _, told, _ = check(capsys, star(project / "p.star", rows("a.mrcs", 100) + rows("dark.mrcs", 40)))
    assert "one stack shows bright ones, one stack shows dark ones (dark: dark.mrcs)" in told["contrast"][0][1]


def test_different_pixel_sizes_are_one_of_several_errors(project, capsys):
    listed = [f"{k + 1}@a.mrcs {1.0 + k % 2}" for k in range(141)]
    code, told, _ = check(capsys, star(project / "p.star", listed))
    assert code == 1
    assert "different pixel sizes (1 and 2 A)" in told["pixel size"][0][1]
    assert told["image numbers"]


def test_a_broken_disk_under_one_stack_does_not_hide_the_others_faults(project, capsys, images, monkeypatch):
    bad = images[:5].copy()
    bad[1] = np.nan
    write_stack("b.mrcs", bad, PIXEL)
    read = os.preadv

    def broken(descriptor, *more):
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith("/a.mrcs"):
            raise OSError(5, "Input/output error")
        return read(descriptor, *more)

    monkeypatch.setattr(os, "preadv", broken)
    code, told, _ = check(capsys, star(project / "p.star", rows("a.mrcs", 140) + rows("b.mrcs", 5)))
    assert code == 1
    assert told["files"] == [("ERROR", "a.mrcs: item 1 cannot be read: Input/output error")]
    assert told["pixel values"] == [("ERROR", "b.mrcs: item 2 holds NaN; remove or mend this image")]


def test_infinite_values_of_both_signs_are_told_and_numpy_says_nothing(project, capsys, images):
    images = images.copy()
    images[3, 2, :2] = np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        write_stack("b.mrcs", images, PIXEL)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        code, told, _ = check(capsys, "b.mrcs")
    assert code == 1
    assert "item 4 holds" in told["pixel values"][0][1]


def test_what_other_programs_would_misread_is_told(project, capsys, images):
    """Unsigned values that RELION takes for negative, half precision that it does not read, tables without numbers."""
    import mrcfile

    scaled = (images - images.min()) / np.ptp(images) * 3000
    for name, stack in (("low", scaled.astype(np.uint16)), ("high", (scaled + 32000).astype(np.uint16))):
        with mrcfile.new(f"{name}.mrcs", stack) as file:
            file.voxel_size = PIXEL
    with mrcfile.new("half.mrcs", images.astype(np.float16)) as file:
        file.voxel_size = PIXEL
    for name, words in (("low", None), ("high", "negative, without a word"), ("half", "does not read")):
        for quick in ((), ("--quick",)):
            code, told, text = check(capsys, f"{name}.mrcs", *quick)
            assert code == 0
            assert [level for level, _ in told.get("other programs", [])] == ([] if words is None else ["warning"])
            assert words is None or (words in " ".join(text.split()) and "--write-stack" in text)
    path = star(project / "p.star", rows("a.mrcs", 140, "10000 9000"), ("rlnImageName", "rlnDefocusU", "rlnDefocusV"))
    _, told, _ = check(capsys, path, "--quick")
    assert [what.split(":")[1].split()[0] for _, what in told["other programs"]] == ["cryodrgn"]
    (project / path).write_text((project / path).read_text().replace(" #", " # "))
    (project / path).write_text("\n".join(line.split(" # ")[0] for line in (project / path).read_text().splitlines()))
    _, told, _ = check(capsys, path, "--quick")
    assert len(told["other programs"]) == 2
    assert "starparser" in told["other programs"][0][1]
    labels = ("rlnImageName", "rlnAnglePsi", "rlnMicrographName", "rlnGroupName")
    for values, words in (
        ("10 0012 1", ["psi without rot and tilt", "_rlnMicrographName are numbers (0012, for instance)"]),
        ("10 12 1e5", ["psi without rot and tilt", "makes 100000.000000 of it"]),
        ("10 m0012.mrc 1", ["psi without rot and tilt"]),
    ):
        _, told, _ = check(capsys, star(project / "n.star", rows("a.mrcs", 140, values), labels), "--quick")
        assert len(told["other programs"]) == len(words)
        assert all(word in what for word, (_, what) in zip(words, told["other programs"]))
    both = ("rlnImageName", "rlnAnglePsi", "rlnAngleRot", "rlnAngleTilt")
    _, told, _ = check(capsys, star(project / "n.star", rows("a.mrcs", 140, "10 0 0"), both), "--quick")
    assert "other programs" not in told


def test_quick_reads_no_image(project, capsys, images):
    bad = images[:130].copy()
    bad[0] = np.nan
    write_stack("b.mrcs", bad, PIXEL)
    code, told, text = check(capsys, "b.mrcs", "--quick")
    assert code == 0
    assert not told
    assert "its images were not looked at" in text
    assert check(capsys, "b.mrcs")[0] == 1


def test_quick_does_without_pytorch(project):
    """It takes more memory than the table of 2 million particles, and more time than that of most sets."""
    program = "import sys; from scipion_udl import cli; cli.main(sys.argv[1:]); print('torch' in sys.modules)"
    for arguments, loaded in ((["a.mrcs", "--quick", "--diameter", "50"], "False"), (["a.mrcs"], "True")):
        command = [sys.executable, "-c", program, "check", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "a.mrcs can be aligned" in done.stdout
        assert done.stdout.splitlines()[-1] == loaded


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 7)])
def test_images_too_small_to_hold_a_particle_are_told_as_such(project, capsys, shape):
    images = np.random.default_rng(0).normal(size=(5, *shape)).astype(np.float32)
    header = bytearray((project / "a.mrcs").read_bytes()[:1024])
    struct.pack_into("<3i", header, 0, shape[1], shape[0], len(images))
    struct.pack_into("<3i", header, 28, shape[1], shape[0], 1)
    (project / "tiny.mrcs").write_bytes(bytes(header) + images.tobytes())
    code, told, text = check(capsys, "tiny.mrcs")
    assert code == 1
    assert ("ERROR", f"a box of {shape[0]} px is too small; 8 or more are needed") in told["box"]
    assert "cannot be aligned as it is" in text
    assert "all finite" not in text


def test_what_cannot_be_opened_is_one_line(project, capsys):
    (project / "junk.star").write_text("no table\n")
    code, told, text = check(capsys, "junk.star")
    assert code == 1
    assert len(told["table"]) == 1
    assert text.rstrip().endswith("one fault to mend, told above")


@needs_proc
def test_memory_stays_flat(project):
    """Six times as many images of 300 px need no more memory (the peak of one process, after each of two sets)."""
    program = PEAK + (
        "for path in sys.argv[1:]:\n    code = cli.main(['check', path, '--threads', '1'])\n    print(code, peak())\n"
    )
    noise = np.random.default_rng(0).normal(size=(300, 300)).astype(np.float32)
    for name, count in (("few.mrcs", 40), ("many.mrcs", 240)):
        with StackWriter(name, count, 300, PIXEL) as out:
            for k in range(count):
                out.write(np.roll(noise, k))
    command = [sys.executable, "-c", program, "few.mrcs", "many.mrcs"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    (one, few), (other, many) = (line.split() for line in lines if len(line.split()) == 2 and line[0] == "0")
    assert one == other == "0"
    assert (int(many) - int(few)) / 1024 < 20  # MB; the further images are 72 MB


def large_star(path, count):
    labels = ["ImageName", "DefocusU", "DefocusV", "DefocusAngle", "MicrographName", "CoordinateX", "CoordinateY"]
    labels += ["Voltage", "SphericalAberration", "AmplitudeContrast", "PixelSize"]
    with open(path, "w") as file:
        header = "".join(f"_rln{label} #{k}\n" for k, label in enumerate(labels, 1))
        file.write(f"data_\n\nloop_\n{header}")
        for k in range(count):
            defocus = f"{10000 + k % 9973}.1 {10100 + k % 9973}.1 {k % 180}.0"
            file.write(f"{k + 1:07d}@s.mrcs {defocus} m{k // 100:05d}.mrc {k % 4096}.5 {k % 997}.5 300 2.7 0.1 2\n")


def large_cs(path, count):
    texts, single, whole = ("blob/path", "location/micrograph_path"), "<f4", ("blob/idx", "blob/shape")
    numbers = [f"ctf/{name}" for name in ("df1_A", "df2_A", "df_angle_rad", "accel_kv", "cs_mm", "amp_contrast")]
    kinds = [("uid", "<u8"), *((name, "S20") for name in texts), *((name, single) for name in numbers)]
    kinds += [(whole[0], "<u4"), (whole[1], "<u4", 2), ("blob/psize_A", single)]
    array = np.zeros(count, kinds)
    array["uid"] = array["blob/idx"] = np.arange(count)
    array["blob/path"] = b"s.mrcs"
    array["location/micrograph_path"] = [b"J1/m%05d.mrc" % (k // 100) for k in range(count)]
    array["blob/shape"], array["blob/psize_A"], array["ctf/accel_kv"], array["ctf/cs_mm"] = 8, PIXEL, 300, 2.7
    array["ctf/df1_A"], array["ctf/df2_A"] = 10000 + np.arange(count) % 9973, 10000
    with open(path, "wb") as file:
        np.save(file, array, allow_pickle=False)


@needs_proc
@pytest.mark.parametrize(("write", "most"), [(large_star, 200), (large_cs, 400)])
def test_a_table_takes_few_bytes_for_each_row(project, write, most):
    """The table of a set of millions of particles is looked through in the memory of a laptop: some 70 bytes a row in
    the file of a STAR, 90 in that of a .cs, whose rows are kept; objects for the values took 1 KB and more."""
    program = PEAK + "code = cli.main(['check', sys.argv[1], '--quick'])\nprint(code, peak())\n"
    rows, peaks, path = (20_000, 160_000), [], f"t.{write.__name__.rpartition('_')[2]}"
    with StackWriter("s.mrcs", 1, 8, PIXEL) as out:
        out.write(np.eye(8, dtype=np.float32))
    with open("s.mrcs", "r+b") as file:  # a stack of so many images, whose values nobody reads
        file.seek(8)
        file.write(struct.pack("<i", max(rows)))
        file.truncate(1024 + max(rows) * 8 * 8 * 4)
    for count in rows:
        write(path, count)
        done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
        code, peak = done.stdout.splitlines()[-1].split()
        assert code == "0"
        peaks.append(int(peak))
    assert (peaks[1] - peaks[0]) * 1024 / (rows[1] - rows[0]) < most
