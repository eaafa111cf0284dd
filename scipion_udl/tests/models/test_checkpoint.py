"""Model files: what is written comes back, and anything else ends in one sentence."""

from __future__ import annotations

import json
import math
import resource
from dataclasses import asdict

import pytest

pytest.importorskip("torch")

import torch
from safetensors.torch import save_file

from scipion_udl.constants import __version__
from scipion_udl.errors import UdlError
from scipion_udl.models.checkpoint import (
    CARD_FORMAT,
    ModelCard,
    card_format,
    check_answers,
    load_card,
    load_model,
    save_model,
)
from scipion_udl.models.polar_network import PolarNetwork
from scipion_udl.models.registry import network_class
from scipion_udl.settings.networks import ROWS
from scipion_udl.tests.engine_helpers import CPU, turned_spectra

SIZE = 16
# Of every network: its arguments, the settings of its input, and what it takes.
SHAPES = {
    "polar": ({"radii": 12, "angles": 64, "channels": 8}, {"box": 64, "r_min": 2, "r_max": 13, "angles": 64}),
    "polar-free": ({"radii": 12, "angles": 64, "channels": 8}, {"box": 64, "r_min": 2, "r_max": 13, "angles": 64}),
    "resnet": (
        {"size": SIZE, "widths": [4, 8], "hidden": [8], "mask": [2], "head": "circular"},
        {"box": 64, "size": SIZE, "r_max": 7, "mask": 0.4, "scaling": "rings"},
    ),
    "matching": ({"box": SIZE, "channels": [4, 8], "squeeze": [8], "hidden": [8], "grid": 4}, {}),
    "classes": (
        {"classes": 3, "rings": 6, "orders": 14, "angles": 64},
        {"box": 64, "rings": 8, "angles": 64, "mask": 0.4},
    ),
}


def answer(name: str, network: torch.nn.Module) -> torch.Tensor:
    if name.startswith("polar"):
        return network.rotations(turned_spectra(5, 0.5)[0])
    if name == "classes":
        seen = torch.randn(5, 2, 6, 14, dtype=torch.complex64, generator=torch.Generator().manual_seed(4))
        return network(seen, torch.ones(5, 6)).gain
    images = torch.randn(10, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(4))
    return network.rotations(images) if name == "resnet" else network(*images.chunk(2))


def card_of(name: str, network: torch.nn.Module) -> ModelCard:
    return ModelCard(
        method="judl" if name == "polar" else "udl",
        network=name,
        config=network.config,
        spectra=SHAPES[name][1],
        box=128,
        pixel_size=1.5,
        contrast="bright",
        training={"epochs": 3, "converged": True},
        format=card_format(name, network.config),
    )


@pytest.fixture(params=ROWS)
def network(request):
    torch.manual_seed(2)
    network = network_class(request.param)(**SHAPES[request.param][0])
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return request.param, network.eval()


@pytest.fixture
def path(tmp_path, network):
    file = str(tmp_path / "model.safetensors")
    save_model(file, network[1], card_of(*network))
    return file


@torch.no_grad()
def test_a_model_comes_back_bit_by_bit_and_answers_alike(path, network):
    name, before = network
    after, card = load_model(path, CPU)
    assert card == card_of(name, before)
    assert card.made_by == __version__
    assert not after.training
    for label, value in before.state_dict().items():
        assert torch.equal(value, after.state_dict()[label])
    assert torch.equal(answer(name, before), answer(name, after))


def test_the_same_model_is_the_same_file(path, network, tmp_path):
    for number in range(5):
        again = tmp_path / f"{number}.safetensors"
        save_model(str(again), network[1], card_of(*network))
        with open(path, "rb") as file:
            assert again.read_bytes() == file.read()


def test_nothing_unfinished_is_left_beside_a_model(path, tmp_path):
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def one_sentence(action, *arguments):
    """The message of the UdlError that ``action`` ends in."""
    with pytest.raises(UdlError) as error:
        action(*arguments)
    message = str(error.value)
    assert "\n" not in message
    assert message.endswith((".", ")"))
    return message


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    assert "no model file" in one_sentence(load_card, str(tmp_path / "model.safetensors"))
    assert str(tmp_path) in one_sentence(load_card, str(tmp_path))


@pytest.mark.parametrize("left", [0, 5, 200, -1])
def test_a_cut_file_is_refused(path, left):
    with open(path, "rb") as file:
        content = file.read()
    with open(path, "wb") as file:
        file.write(content[:left])
    message = one_sentence(load_model, path, CPU)
    assert path in message
    assert "damaged" in message


@pytest.mark.parametrize("content", [b"import this", b"PK\x03\x04" + bytes(300), bytes(4096)])
def test_a_file_of_another_program_is_refused(tmp_path, content):
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    assert "not a model of scipion-udl" in one_sentence(load_model, str(path), CPU)


def test_weights_of_another_program_are_refused(tmp_path):
    path = str(tmp_path / "other.safetensors")
    save_file({"weight": torch.zeros(3)}, path, metadata={"format": "pt"})
    assert "not a model of scipion-udl" in one_sentence(load_model, path, CPU)
    save_file({"weight": torch.zeros(3)}, path)
    assert "not a model of scipion-udl" in one_sentence(load_model, path, CPU)


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.bool])
def test_weights_of_another_kind_of_number_are_refused(path, network, kind):
    state = {name: value.to(kind) for name, value in network[1].state_dict().items()}
    save_file(state, path, metadata={"udl": json.dumps(asdict(card_of(*network)))})
    assert "do not fit" in one_sentence(load_model, path, CPU)


_NO_CARDS = ["", "{", "[]", "3", '{"method": "judl"}', '{"format": "new"}', '{"format": null}', '{"format": Infinity}']


@pytest.mark.parametrize("text", [*_NO_CARDS, pytest.param("[" * 100000, id="deep")])
def test_a_card_that_makes_no_sense_is_refused(tmp_path, text):
    path = str(tmp_path / "model.safetensors")
    save_file({"weight": torch.zeros(3)}, path, metadata={"udl": text})
    assert path in one_sentence(load_card, path)


def rewrite(path: str, **changes: object) -> None:
    """The model file with other entries in its card."""
    network, card = load_model(path, CPU)
    fields = {**asdict(card), **changes}
    save_file(network.state_dict(), path, metadata={"udl": json.dumps(fields)})


def test_a_file_of_a_newer_version_asks_for_an_update(path):
    rewrite(path, format=CARD_FORMAT + 1, made_by="9.1", flavour="unheard of")
    message = one_sentence(load_model, path, CPU)
    assert "newer version (9.1)" in message
    assert "update" in message


@pytest.mark.parametrize("network", ["classes"], indirect=True)
def test_classes_of_an_earlier_version_whose_templates_are_of_another_length_are_to_be_learned_anew(path):
    rewrite(path, format=2)
    assert "classify the particles anew" in one_sentence(load_model, path, CPU)


@pytest.mark.parametrize(
    "changes", [{"network": "resnet-900"}, {"config": {"radii": 5, "angles": 64}}, {"config": {"a": 1}}]
)
def test_weights_that_do_not_fit_their_card_are_refused(path, changes):
    rewrite(path, **changes)
    assert "do not fit" in one_sentence(load_model, path, CPU)


@pytest.mark.parametrize(
    "entries",
    [
        {"widths": [20_000, 20_000], "size": 1 << 20},
        {"hidden": [10**9], "channels": [10**6]},
        {"box": 10**6, "radii": 10**9, "widths": [10**30]},
        {"widths": [], "squeeze": [], "angles": 10**30},
        {"widths": [-4], "grid": 0, "channels": -8},
    ],
)
def test_a_card_that_asks_for_more_than_a_machine_has_takes_no_memory(path, network, entries):
    own = {name: value for name, value in entries.items() if name in network[1].config}
    if not own:
        pytest.skip("not of this network")
    fields = {**asdict(card_of(*network)), "config": {**network[1].config, **own}}
    save_file(network[1].state_dict(), path, metadata={"udl": json.dumps(fields)})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "do not fit" in one_sentence(load_model, path, CPU)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_a_model_fits_particles_of_its_field_of_view(path):
    card = load_card(path)
    card.check_fits(128, 1.5, path)
    card.check_fits(64, 3.0, path)  # binned
    card.check_fits(256, 0.75, path)
    card.check_fits(129, 1.5, path)


@pytest.mark.parametrize(("box", "pixel_size"), [(128, 1.0), (128, 3.0), (64, 1.5), (140, 1.5)])
def test_particles_of_another_field_of_view_are_refused(path, box, pixel_size):
    message = one_sentence(load_card(path).check_fits, box, pixel_size, path)
    for word in ("128 px at 1.5", f"{box} px at {pixel_size:g}", "192 A", path):
        assert word in message


@pytest.mark.parametrize(
    "wrong",
    [
        {"spectra": {}},
        {"spectra": {"colour": 3}},
        {"spectra": {"box": 64, "r_min": 2, "r_max": "13", "angles": 64, "mask": 0.4}},
        {"spectra": {"box": 16, "r_min": 2, "r_max": 13, "angles": 64, "mask": 0.4}},
        {"spectra": {"box": 10**6, "r_min": 2, "r_max": 13, "angles": 64}},
        {"spectra": {"box": 10**6, "size": SIZE, "r_max": 7}},
        {"spectra": {"box": 64, "size": SIZE, "r_max": 7, "mask": 1e9}},
        {"box": 0},
        {"box": math.inf},
        {"box": "64"},
        {"pixel_size": -1.0},
        {"method": "guess"},
        {"method": ["judl"]},
        {"network": {}},
        {"config": []},
        {"spectra": None},
        {"training": "converged"},
        {"training": None},
        {"contrast": 1},
        {"pixel_size": "3.0"},
        {"box": True},
    ],
)
def test_a_card_whose_fields_do_not_fit_is_refused(path, network, wrong):
    fields = {**asdict(card_of(*network)), **wrong}
    if fields == asdict(card_of(*network)):
        pytest.skip("right for this network")
    save_file(network[1].state_dict(), path, metadata={"udl": json.dumps(fields)})
    with pytest.raises(UdlError, match="changed or is damaged"):
        load_model(path, CPU)


def test_weights_that_are_no_numbers_are_refused(path, network):
    with torch.no_grad():
        next(network[1].parameters()).view(-1)[3] = float("nan")
    save_model(path, network[1], card_of(*network))
    with pytest.raises(UdlError, match="not all finite"):
        load_model(path, CPU)


def test_answers_beyond_all_numbers_are_refused():
    network = PolarNetwork(radii=4, angles=32)
    for weight in network.parameters():
        torch.nn.init.constant_(weight, 3e38)
    with pytest.raises(UdlError, match="train a model anew"):
        check_answers(network.rotations(torch.ones(2, 4, 32)))
    assert check_answers(torch.zeros(3)).shape == (3,)
