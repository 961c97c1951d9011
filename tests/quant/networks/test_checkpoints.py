"""Files of weights as people have them, and damaged ones."""

from __future__ import annotations

import argparse
import json
import pickle
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.networks.checkpoints import parted
from emqlang.quant.networks.checkpoints import read as read_saved
from emqlang.quant.networks.network import load
from emqlang.quant.networks.weights import install

State = dict[str, Tensor]


class Network(nn.Module):
    """Pickled whole by some."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)


class Shouts:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return print, ("code was run",)


@pytest.fixture
def state() -> State:
    return OrderedDict(Network().state_dict())


def saved(content: Any, path: Path, **settings: Any) -> Path:
    torch.save(content, path, **settings)
    return path


def read(path: Path) -> State:
    return read_saved(path).state


def refusal(path: Path) -> str:
    with pytest.raises(EmqError) as failure:
        read(path)
    (diagnostic,) = failure.value.diagnostics
    assert diagnostic.code == "E301"
    return diagnostic.message


EXTRAS = {
    "epoch": 3,
    "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1}]},
    "args": argparse.Namespace(lr=0.1),
    "best": np.float64(3.5),
    "curve": np.arange(3.0),
    "hooks": defaultdict(list, a=[1]),
    "shouts": Shouts(),
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("beside", [(), ("epoch", "optimizer"), tuple(EXTRAS)])
@pytest.mark.parametrize(
    "keys",
    [
        ("state_dict",),
        ("model_state_dict",),
        ("model",),
        ("net",),
        ("state_dict_ema",),
        ("model", "state_dict"),
        ("weights",),
    ],
)
def test_a_state_dict_is_found_in_its_wrapper(
    state: State,
    keys: tuple[str, ...],
    beside: tuple[str, ...],
    legacy: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content: Any = state
    for key in reversed(keys):
        content = {**{name: EXTRAS[name] for name in beside}, key: content}
    path = saved(content, tmp_path / "w.pth", _use_new_zipfile_serialization=not legacy)
    found = read(path)
    assert list(found) == list(state) and all(torch.equal(found[k], state[k]) for k in state)
    assert capsys.readouterr().out == ""


def test_the_trained_weights_are_taken_before_their_average(state: State, tmp_path: Path) -> None:
    average = {name: tensor + 1 for name, tensor in state.items()}
    path = saved({"state_dict_ema": average, "state_dict": state}, tmp_path / "w.pth")
    assert torch.equal(read(path)["fc.weight"], state["fc.weight"])


@pytest.mark.parametrize("place", ["ema", "trainer.ema", "state_dict.module", "a.b.c"])
def test_a_state_dict_is_found_at_its_place(state: State, place: str, tmp_path: Path) -> None:
    content: Any = {name: tensor + 1 for name, tensor in state.items()}
    for key in reversed(place.split(".")):
        content = {key: content, "model": state, "epoch": 3}
    path = saved(content, tmp_path / "w.pth")
    found = read_saved(*parted(f"{path}:{place}"))
    assert torch.equal(found.state["fc.weight"], state["fc.weight"] + 1)
    assert found.place == place and "model" in found.beside


def test_a_place_that_is_not_there(state: State, tmp_path: Path) -> None:
    path = saved({"model": state, "model_ema": state}, tmp_path / "w.pth")
    with pytest.raises(EmqError, match="no state dict 'model_emma'") as caught:
        read_saved(*parted(f"{path}:model_emma"))
    help = caught.value.diagnostics[0].help
    assert "model_ema" in help[0] and help[1] == "it holds 'model', 'model_ema'"
    with pytest.raises(EmqError, match="no such file"):
        read_saved(*parted(f"{tmp_path / 'other.pth'}:model"))


def test_of_several_state_dicts_one_is_to_be_named(state: State, tmp_path: Path) -> None:
    path = saved({"a": state, "b": state}, tmp_path / "w.pth")
    with pytest.raises(EmqError, match="holds 2 state dicts: 'a', 'b'") as caught:
        read(path)
    assert caught.value.diagnostics[0].help == ("say which: --weights w.pth:a",)


def test_a_colon_in_a_file_name(state: State, tmp_path: Path) -> None:
    path = saved(state, tmp_path / "12:30.pth")
    assert parted(str(path)) == (path, "")
    assert parted(f"{path}:ema") == (path, "ema")


FACTORY = """
import torch
def build():
    return torch.nn.Sequential(torch.nn.Linear(3, 2)), torch.zeros(1, 3)
"""


@pytest.mark.parametrize("keys", ["model model_ema", "state_dict ema_state_dict", "net ema.module"])
def test_of_two_sets_of_weights_it_is_said_which_was_taken(keys: str, tmp_path: Path) -> None:
    """Other tools' users loaded the one and thought of the other."""
    (tmp_path / "f.py").write_text(FACTORY)
    first, second = keys.split()
    weights = {"0.weight": torch.ones(2, 3), "0.bias": torch.zeros(2)}
    average = {f"module.{name}": tensor + 1 for name, tensor in weights.items()}
    content: Any = {"n_averaged": torch.tensor(3), **average}
    for key in reversed(second.split(".")):
        content = {key: content}
    path = saved({first: weights, "epoch": 3, **content}, tmp_path / "w.pth")
    network = load(f"{tmp_path}/f.py:build", str(path))
    assert torch.equal(network.module.state_dict()["0.weight"], weights["0.weight"])
    (warning,) = (each for each in network.warnings if each.code == "W621")
    assert f"under '{first}'" in warning.message and f"'{second}'" in warning.message
    other = load(f"{tmp_path}/f.py:build", warning.help[0].split()[-1].replace("w.pth", str(path)))
    assert torch.equal(other.module.state_dict()["0.weight"], weights["0.weight"] + 1)
    assert "W621" not in {each.code for each in other.warnings}


def test_what_is_no_other_set_of_weights_is_not_named(tmp_path: Path) -> None:
    (tmp_path / "f.py").write_text(FACTORY)
    weights = {"0.weight": torch.ones(2, 3), "0.bias": torch.zeros(2)}
    content = {"state_dict": weights, "criterion": {"weight": torch.ones(2)}, "model": weights}
    network = load(f"{tmp_path}/f.py:build", str(saved(content, tmp_path / "w.pth")))
    assert "W621" not in {each.code for each in network.warnings}


def test_a_file_is_what_it_holds_whatever_its_name(state: State, tmp_path: Path) -> None:
    save_file(dict(state), tmp_path / "a.pth")
    torch.save(state, tmp_path / "b.safetensors")
    for name in ("a.pth", "b.safetensors"):
        assert torch.equal(read(tmp_path / name)["fc.weight"], state["fc.weight"])


def test_a_model_in_shards(state: State, tmp_path: Path) -> None:
    names = {key: f"model-0000{i + 1}-of-00002.safetensors" for i, key in enumerate(state)}
    for key, name in names.items():
        save_file({key: state[key]}, tmp_path / name)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 32}, "weight_map": names}))
    found = read(index)
    assert list(found) == list(state) and all(torch.equal(found[k], state[k]) for k in state)
    with pytest.raises(EmqError, match="do not fit") as caught:
        install(Network(), read(tmp_path / names["fc.bias"]), str(tmp_path / names["fc.bias"]))
    assert caught.value.diagnostics[0].help == (f"this is one shard: give {index}",)
    (tmp_path / names["fc.bias"]).unlink()
    assert refusal(index) == f"its shard '{names['fc.bias']}' is not beside it"
    index.write_text(json.dumps({"weight_map": {"fc.bias": "../elsewhere.safetensors"}}))
    assert "is not beside it" in refusal(index)
    index.write_text(json.dumps({"weight_map": {**names, "fc.bias": names["fc.weight"]}}))
    assert refusal(index) == "its shards lack 1 tensors, such as 'fc.bias'"
    index.write_text("[]")
    assert "no index of shards" in refusal(index)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_names_under_a_part_are_taken_where_others_lie_beside_them(
    state: State, suffix: str, tmp_path: Path
) -> None:
    named = {f"model.{name}": tensor for name, tensor in state.items()}
    average = {f"ema.{name}": tensor + 1 for name, tensor in state.items()}
    path = tmp_path / f"w{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)({**named, **average}, path)
    with pytest.raises(EmqError, match="do not fit") as caught:
        install(Network(), read(path), str(path))
    helps = caught.value.diagnostics[0].help
    assert sorted(helps) == [
        f"the weights under '{part}' fit: --weights {path}:{part}" for part in ("ema", "model")
    ]
    found = read_saved(*parted(f"{path}:ema"))
    assert found.place == "ema" and torch.equal(found.state["fc.bias"], state["fc.bias"] + 1)


@pytest.mark.parametrize("part", ["module", "backbone", "student.encoder", "model.module"])
def test_a_first_part_that_all_names_share_is_dropped(part: str) -> None:
    network, other = Network(), Network()
    install(other, {f"{part}.{name}": t for name, t in network.state_dict().items()}, "w.pth")
    assert torch.equal(other.fc.weight, network.fc.weight)


def test_weights_of_another_number_of_classes_say_what_to_do() -> None:
    state = {"fc.weight": torch.zeros(9, 3), "fc.bias": torch.zeros(9)}
    with pytest.raises(EmqError, match="must be") as caught:
        install(Network(), state, "w.pth")
    assert "its classes" in caught.value.diagnostics[0].help[0]


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "this is a folder: name the file in it"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (Network(), f"a pickled object of class {__name__}.Network"),
        ({"model": Network(), "epoch": 3}, "'model' (Network), 'epoch' (int)"),
        ([torch.zeros(2)], "an object of type list"),
        ({}, "an empty dict"),
        ({"state_dict": {}}, "'state_dict' (dict)"),
        ({0: torch.zeros(2)}, "0 (Tensor)"),
        ({"w": torch.zeros(2), "epoch": 3}, "'epoch' (int) beside tensors"),
        (Shouts(), "a pickled object of class __builtin__.print"),
    ],
)
def test_what_holds_no_state_dict_says_what_it_holds(
    content: Any, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refusal(saved(content, tmp_path / "w.pth"))
    assert message == f"the file holds {said}, and no state dict of tensors"
    assert capsys.readouterr().out == ""


def test_a_file_that_holds_itself_ends(tmp_path: Path) -> None:
    content: dict[str, Any] = {"epoch": 3}
    content["state_dict"] = content
    assert "no state dict" in refusal(saved(content, tmp_path / "w.pth"))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_path_that_no_file_can_have(suffix: str) -> None:
    assert refusal(Path("w" * 5000 + suffix)) == "there is no such file"


def test_a_flipped_bit_is_seen(state: State, tmp_path: Path) -> None:
    path = saved(state, tmp_path / "w.pth")
    with ZipFile(path) as archive:
        (entry,) = (each for each in archive.infolist() if each.filename.endswith("data/0"))
    data = bytearray(path.read_bytes())
    place = data.index(state["fc.weight"].numpy().tobytes())
    data[place + 2] ^= 4
    path.write_bytes(data)
    assert entry.filename in refusal(path) and "is damaged" in refusal(path)


def test_no_single_byte_of_an_archive_changes_the_weights(state: State, tmp_path: Path) -> None:
    path = saved(state, tmp_path / "w.pth")
    data = path.read_bytes()
    for place in range(0, len(data), 7):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        try:
            found = read(path)
        except EmqError as failure:
            assert failure.diagnostics[0].code == "E301"
        else:
            assert list(found) == list(state)
            assert all(torch.equal(found[name], state[name]) for name in state), place


def test_an_archive_without_checksums_is_read(state: State, tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        path = saved(state, tmp_path / "w.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(read(path)["fc.weight"], state["fc.weight"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-1], "the file is cut off"),
        (lambda data: data[: len(data) // 2], "the file is cut off"),
        (lambda data: b"", "the file is empty"),
        (lambda data: b"version https://git-lfs.github.com/spec/v1\n", "torch.save did not write"),
    ],
)
def test_what_torch_did_not_write_whole(
    state: State, tmp_path: Path, change: Callable[[bytes], bytes], message: str
) -> None:
    torch.save(state, path := tmp_path / "w.pth")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(EmqError, match=message) as caught:
        read(path)
    assert caught.value.diagnostics[0].help[0] == "fetch or save it again"


def test_files_of_older_versions_are_read(state: State, tmp_path: Path) -> None:
    torch.save(state, path := tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    assert read(path).keys() == state.keys()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_script_archive_says_so(tmp_path: Path) -> None:
    torch.jit.script(Network()).save(tmp_path / "w.pt")
    assert "TorchScript archive" in refusal(tmp_path / "w.pt")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_pickle_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(pickle.dumps({"a": 1}))
    assert "\n" not in refusal(tmp_path / "w.pth")


def test_safetensors_as_libraries_save_them(state: State, tmp_path: Path) -> None:
    save_file(dict(state), tmp_path / "model.safetensors", {"format": "pt"})
    assert list(read(tmp_path / "model.safetensors")) == sorted(state)
