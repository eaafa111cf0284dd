"""tools/type_check.py: new type errors are refused, and the number of known ones is never raised."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "tools" / "type_check.py"

pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="an installed package has no tools")

MYPY = """\
scipion_udl/io/tables.py:12: error: Item "None" of "Table | None" has no attribute "known"  [union-attr]
scipion_udl/io/tables.py:12: note: See the documentation
scipion_udl/io/tables.py:40: error: Missing return statement  [return]
scipion_udl/cli.py:7: error: "object" has no attribute "write"  [attr-defined]
Found 3 errors in 2 files (checked 212 source files)
""".splitlines()


@pytest.fixture
def script(tmp_path, monkeypatch):
    """The script, with a baseline of its own and with MYPY in place of mypy's answer."""
    spec = importlib.util.spec_from_file_location("type_check", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "BASELINE", tmp_path / "type_errors.txt")
    monkeypatch.setattr(module, "run_mypy", lambda: module.errors_by_file(MYPY))
    return module


def known(script, **counts):
    names = {"tables": "scipion_udl/io/tables.py", "cli": "scipion_udl/cli.py", "gone": "scipion_udl/gone.py"}
    script.write_baseline(script.BASELINE, Counter({names[name]: count for name, count in counts.items()}))


def test_known_errors_pass(script, capsys):
    known(script, tables=2, cli=1)
    assert script.main([]) == 0
    assert capsys.readouterr().out == "Type errors: 3 in 2 modules; 3 are known.\n"


def test_one_error_more_in_a_module_fails_and_is_shown(script, capsys):
    known(script, tables=1, cli=1, gone=5)
    assert script.main([]) == 1
    text = capsys.readouterr().out
    assert "tables.py:40: error: Missing return statement" in text
    assert "scipion_udl/io/tables.py: 2 type errors, of which 1 are known" in text
    assert "cli.py:7" not in text


def test_fewer_errors_pass_and_ask_for_a_lower_baseline(script, capsys):
    known(script, tables=4, cli=1)
    assert script.main([]) == 0
    assert "lower the baseline" in capsys.readouterr().out


def test_the_baseline_follows_modules_that_move_and_is_lowered(script):
    known(script, gone=3, cli=1)
    assert script.main(["--update"]) == 0
    assert script.read_baseline(script.BASELINE) == {"scipion_udl/io/tables.py": 2, "scipion_udl/cli.py": 1}


def test_the_baseline_is_never_raised(script, capsys):
    known(script, tables=2)
    before = script.BASELINE.read_bytes()
    assert script.main(["--update"]) == 1
    assert script.BASELINE.read_bytes() == before
    assert "not raised" in capsys.readouterr().out


def test_the_projects_own_baseline_names_modules_that_are_there(script):
    baseline = script.read_baseline(SCRIPT.with_name("type_errors.txt"))
    missing = [name for name in baseline if not (SCRIPT.parents[1] / name).exists()]
    assert not missing
