"""STAR and XMD tables: every value comes back as it was, and what is wrong gets one sentence."""

import pytest

from scipion_udl.errors import UdlError
from scipion_udl.io.tables import Table, quote, read_tables, unquote, write_tables

STAR31 = """
# version 30001

data_particles

loop_
_rlnImageName #1
_rlnDefocusU #2 [defocus, the researcher's "U"]
_rlnOpticsGroup\t#3
_rlnComment #4
000001@a.mrcs\t0 1   "two words"
 000002@a.mrcs   0.50000   1 it's
000003@a.mrcs 1.421115e+05 01 ""
#

data_optics

loop_
_rlnOpticsGroup #1
_rlnImagePixelSize #2
1 1.400000
"""


@pytest.fixture
def write(tmp_path):
    def write_text(text, name="t.star"):
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write_text


def test_values_stay_the_text_they_were(write):
    particles, optics = read_tables(write(STAR31))
    assert (particles.name, optics.name) == ("particles", "optics")
    assert list(particles.columns) == ["rlnImageName", "rlnDefocusU", "rlnOpticsGroup", "rlnComment"]
    assert particles.columns["rlnDefocusU"] == ["0", "0.50000", "1.421115e+05"]
    assert particles.columns["rlnOpticsGroup"] == ["1", "1", "01"]
    assert particles.columns["rlnComment"] == ['"two words"', "it's", '""']
    assert particles.texts("rlnComment") == ["two words", "it's", ""]
    assert particles.numbers("rlnDefocusU").tolist() == [0.0, 0.5, 142111.5]


def test_writing_and_reading_changes_nothing(write, tmp_path):
    tables = read_tables(write(STAR31))
    write_tables(str(tmp_path / "out.star"), tables)
    again = read_tables(str(tmp_path / "out.star"))
    assert [(table.name, table.columns) for table in again] == [(table.name, table.columns) for table in tables]


def test_tables_of_31_form_say_so(write, tmp_path):
    path = tmp_path / "out.star"
    write_tables(str(path), read_tables(write(STAR31)))
    assert path.read_text().count("# version 30001") == 2
    write_tables(str(path), [Table("", {"rlnImageName": ["1@a.mrcs"]})])
    assert "version" not in path.read_text()


def test_an_xmd_begins_with_its_signature(tmp_path):
    path = tmp_path / "out.xmd"
    write_tables(str(path), [Table("noname", {"image": ["1@a.mrcs"]})], xmipp=True)
    assert path.read_text().startswith("# XMIPP_STAR_1 * \n")
    assert read_tables(str(path))[0].texts("image") == ["1@a.mrcs"]


def test_blocks_without_a_loop_are_tables_of_one_row(write):
    (table,) = read_tables(write("data_job\n\n_rlnJobType  5 # comment\n_rlnName 'a b'\n"))
    assert len(table) == 1
    assert table.texts("rlnJobType") == ["5"]
    assert table.texts("rlnName") == ["a b"]


def test_a_table_of_one_row_can_be_written_as_pairs(tmp_path):
    path = str(tmp_path / "t.star")
    table = Table("general", {"rlnName": [quote("a b")], "rlnCount": ["3"]})
    table.in_pairs = True
    write_tables(path, [table, Table("rows", {"rlnCount": ["1", "2"]})])
    assert {'_rlnName "a b"', "_rlnCount 3"} <= set((tmp_path / "t.star").read_text().splitlines())
    general, rows = read_tables(path)
    assert (general.texts("rlnName"), general.texts("rlnCount")) == (["a b"], ["3"])
    assert rows.texts("rlnCount") == ["1", "2"]


def test_an_empty_table_keeps_its_labels(write):
    (table,) = read_tables(write("data_\nloop_\n_rlnImageName\n_rlnAnglePsi\n"))
    assert len(table) == 0
    assert list(table.columns) == ["rlnImageName", "rlnAnglePsi"]


def test_a_folder_called_data_is_no_new_table(write):
    (table,) = read_tables(write("data_\nloop_\n_image\n_flip\ndata_1/a.mrc 0\ndata_2/b.mrc 1\n"))
    assert table.columns == {"image": ["data_1/a.mrc", "data_2/b.mrc"], "flip": ["0", "1"]}


def test_windows_line_ends_and_tabs_are_white_space(write):
    (table,) = read_tables(write("data_\r\nloop_\r\n_a\r\n_b\r\n1\t2\r\n3\t4\r\n"))
    assert table.columns == {"a": ["1", "3"], "b": ["2", "4"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no table"),
        ("just words\n", "line 1 stands before any data_ line"),
        ("data_\nloop_\n_a\n_b\n1 2\n1 my file.mrcs\n", "line 6 has 3 values for the 2 labels"),
        ("data_\nloop_\n_a\n_b\n1 2\n1\n", "line 6 has 1 values for the 2 labels"),
        ("data_\nloop_\n_a\n_a\n1 2\n", "label _a twice"),
        ("data_\nloop_\n_a\n1\nloop_\n_b\n2\n", "second table"),
        ("data_\n_a\n", "_a has no value"),
        ("data_\nloop_\n_a-b\n1\n", "cannot be read"),
        ("data_\n_a 1\nwords\n", "line 3 is neither"),
        ("MAP \0\0", "not a text table"),
    ],
)
def test_what_is_wrong_gets_one_sentence(write, text, message):
    with pytest.raises(UdlError, match=r"t\.star") as error:
        read_tables(write(text))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_gets_one_sentence():
    with pytest.raises(UdlError, match=r"nowhere\.star cannot be read: No such file"):
        read_tables("nowhere.star")


def test_a_word_where_a_number_should_be_names_the_row():
    table = Table("t", {"rlnAnglePsi": ["1.0", "nan", "x"]}, "p.star")
    with pytest.raises(UdlError, match=r"p\.star: row 2 has 'nan' in column _rlnAnglePsi"):
        table.numbers("rlnAnglePsi")
    with pytest.raises(UdlError, match="no column _rlnOriginX"):
        table.texts("rlnOriginX")


def test_columns_must_fit():
    table = Table("t", {"a": ["1", "2"]})
    table.set("b", "0")
    assert table.columns["b"] == ["0", "0"]
    with pytest.raises(ValueError, match="3 values for 2 rows"):
        table.set("c", ["1", "2", "3"])
    copy = table.copy()
    assert copy.drop(["a", "nothing"]) == ["a"]
    assert "a" in table
    assert "a" not in copy


def test_quotes_are_put_where_they_are_needed():
    assert quote("a.mrcs") == "a.mrcs"
    assert quote("a b.mrcs") == '"a b.mrcs"'
    assert quote("") == '""'
    assert unquote(quote("a b")) == "a b"
    assert unquote("it's") == "it's"


def test_control_characters_come_back_as_they_were(tmp_path):
    path = str(tmp_path / "t.star")
    columns = {"rlnImageName": ["\x010", "\x01x.5", "'a b'"], "rlnVoltage": ["\x01", "300", "\x017"]}
    write_tables(path, [Table("particles", columns)])
    assert read_tables(path)[0].columns == columns


@pytest.mark.parametrize("loop", [True, False])
def test_a_table_of_very_many_labels_is_read(write, loop):
    """Each label is looked up, not compared with all others: that would be 800 million times."""
    labels = [f"_l{k}" for k in range(40_000)]
    lines = ["loop_", *labels, " ".join("1" * len(labels))] if loop else [f"{label} 1" for label in labels]
    (table,) = read_tables(write("\n".join(["data_", *lines, ""])))
    assert len(table.columns) == len(labels)
    assert table.texts("l39999") == ["1"]
