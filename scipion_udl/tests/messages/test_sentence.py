"""Messages: a sentence made of a template and values, options called as the reader knows them."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scipion_udl.errors import UdlError, in_one_sentence
from scipion_udl.messages import Message, entries, message, restored

PACKAGE = Path(__file__).resolve().parents[3]


def label(option):
    return f"*{option.strip('-')}*"


def test_a_message_is_its_sentence_and_knows_code_and_values():
    told = message("max_shift_too_large", value=99.0, most=16.0)
    assert told == (
        "--max-shift 99 is more than half the box, 16 px: give how far off the centre of its box a particle may lie, "
        "or nothing for an automatic limit."
    )
    assert (told.code, told.values) == ("max_shift_too_large", {"value": 99.0, "most": 16.0})


def test_options_are_called_as_the_reader_knows_them():
    told = message("max_shift_too_large", value=99.0, most=16.0)
    assert told.said(label).startswith("*max-shift* 99 is more than")
    assert message("flips_not_clear").said(label).endswith("give *ctf flipped*.")
    way = message("flips_contradicted", says="that they are flipped", seen="not phase-flipped", way="signed")
    assert way.endswith("give --ctf signed.")
    assert way.said(label).endswith("give *ctf signed*.")
    several = message("defocus_without_microscope", path="p.star", lacking="voltage", options=["--voltage", "--cs"])
    assert several.endswith("give --voltage and --cs.")
    assert several.said(label).endswith("give *voltage* and *cs*.")


@pytest.mark.parametrize(
    ("value", "said"), [(3, "--seed 3"), (None, "no --seed"), (False, "no --seed"), (True, "--seed")]
)
def test_an_option_that_was_given_stands_with_its_value(value, said):
    told = message("model_of_other_options", path="m", before=("--seed", value), now=("--seed", 4))
    assert told.startswith(f"m was learned with {said}, not with --seed 4: ")


def test_values_are_those_of_json():
    told = message("duplicate_images", count=np.int64(3), total=np.float32(0.5), again=Path("a"), first=[np.int8(1)])
    assert told.values == {"count": 3, "total": 0.5, "again": "a", "first": [1]}
    assert json.loads(json.dumps(told.entry()))["values"] == told.values


def test_a_message_that_was_written_is_the_same_again():
    told = message("flips_unknown", words="flipped", choice="signed")
    (entry,) = json.loads(json.dumps(entries([told])))
    assert entry["level"] == "warning"
    again = restored(entry)
    assert again == told
    assert again.said(label) == told.said(label)
    assert pickle.loads(pickle.dumps(told)).entry() == told.entry()


def test_what_this_version_does_not_know_keeps_its_text():
    assert restored({"code": "of_another_version", "values": {}, "text": "Something."}) == "Something."
    assert restored({"code": "flips_unknown", "values": {}, "text": "Something."}) == "Something."


def test_a_value_with_braces_is_a_value():
    assert message("no_such_phantom", name="{--ctf}", known="{0}") == "there is no phantom '{--ctf}'; choose one of {0}"


def test_an_error_has_its_message():
    error = UdlError(message("no_model_file", what="gone"))
    assert str(error) == error.message
    assert error.message.code == "no_model_file"
    assert UdlError("a sentence").message.code == "other"
    assert in_one_sentence(OSError(28, "No space left")).code == "disk_error"
    assert in_one_sentence(MemoryError()).code == "not_enough_memory"
    assert isinstance(in_one_sentence(KeyboardInterrupt()), Message)


def test_messages_need_nothing_but_python():
    program = (
        "import sys; import scipion_udl.messages; "
        "print([name for name in sys.modules if name.startswith('scipion_udl.') and 'messages' not in name"
        " and name != 'scipion_udl.constants']"
        " + [name for name in ('numpy', 'torch', 'pyworkflow') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
