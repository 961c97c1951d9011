"""Networks by name, their weights, and what is wrong with them."""

from __future__ import annotations

import hashlib
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import SHAPES, Chain, Functional, Tiny, ViT, images, seeded
from safetensors.torch import save_file
from torch import Tensor, nn

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.models import MODELS
from emqlang.quant.networks import network, weights
from emqlang.quant.networks.network import load, own_shape, prepare

SMALL = "resnet18-fmnist"


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty torch hub cache and no network; returns the cache's folder of checkpoints."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(weights, "_answers", lambda url: False)
    return tmp_path / "torch" / "hub" / "checkpoints"


def code(caught: pytest.ExceptionInfo[EmqError]) -> str:
    return caught.value.diagnostics[0].code


def message(caught: pytest.ExceptionInfo[EmqError]) -> str:
    return caught.value.diagnostics[0].message


def test_the_small_default_network() -> None:
    ready = load(SMALL)
    assert ready.weights == "embedded"
    assert (ready.input_shape, ready.classes, ready.name, ready.spec) == (
        (1, 28, 28),
        10,
        SMALL,
        MODELS[SMALL],
    )
    assert (len(ready.collection.layers), len(ready.collection.groups)) == (21, 18)
    assert len(ready.folded) == 20
    assert not ready.unfolded
    assert not ready.warnings


@pytest.mark.parametrize(
    ("name", "layers", "groups", "macs", "parameters"),
    [
        ("resnet18", 21, 18, 1_814_073_344, 11_689_512),
        ("resnet34", 37, 34, 3_663_761_408, 21_797_672),
        ("resnet50", 54, 50, 4_089_184_256, 25_557_032),
        ("mobilenet_v2", 53, 53, 300_774_272, 3_504_872),
    ],
)
def test_the_imagenet_networks_fold_wholly(
    name: str, layers: int, groups: int, macs: int, parameters: int
) -> None:
    ready = load(name, "random")
    assert (len(ready.collection.layers), len(ready.collection.groups)) == (layers, groups)
    assert (ready.collection.total_macs, ready.parameters) == (macs, parameters)
    assert (ready.input_shape, ready.classes, ready.unfolded) == ((3, 224, 224), 1000, ())


def test_random_weights_are_seeded_and_say_so() -> None:
    one, again, other = (
        load(SMALL, "random", seed=3),
        load(SMALL, "random", seed=3),
        load(SMALL, "random", seed=4),
    )
    assert one.weights == "random, seed 3"
    assert [d.code for d in one.warnings] == ["W603"]
    assert one.weights_sha256 == again.weights_sha256 != other.weights_sha256


def test_without_official_weights_the_default_is_random_and_says_so() -> None:
    ready = load("mobilenet_v2")
    assert ready.weights == "random, seed 0"
    assert [d.code for d in ready.warnings] == ["W603"]


@pytest.mark.parametrize("name", ["resnet18", SMALL])
def test_pretrained_asked_for_and_not_to_be_had(name: str) -> None:
    with pytest.raises(EmqError) as caught:
        load(name, "pretrained")
    assert code(caught) == "E307"
    assert caught.value.exit_status == 3


def test_the_torch_hub_cache_is_used(offline: Path) -> None:
    spec = MODELS["mobilenet_v2"]
    offline.mkdir(parents=True)
    state = spec.build(7).state_dict()
    torch.save(
        {name: value for name, value in state.items() if "num_batches_tracked" not in name},
        offline / spec.checkpoint,
    )
    for wanted in (None, "pretrained"):
        ready = load("mobilenet_v2", wanted)
        assert (ready.weights, ready.weights_sha256) == ("pretrained", weights.sha256(state))
        assert not ready.warnings


def test_a_damaged_cached_checkpoint_is_not_passed_over(offline: Path) -> None:
    offline.mkdir(parents=True)
    (offline / MODELS["mobilenet_v2"].checkpoint).write_bytes(b"half a file")
    with pytest.raises(EmqError) as caught:
        load("mobilenet_v2")
    assert code(caught) == "E301"


@pytest.mark.parametrize("form", ["safetensors", "plain", "state_dict", "module."])
def test_weights_from_a_file(tmp_path: Path, form: str) -> None:
    state = MODELS[SMALL].build(5).state_dict()
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pt")
    if form == "safetensors":
        save_file(state, path)
    else:
        prefixed = {f"module.{name}": value for name, value in state.items()}
        torch.save(
            {"plain": state, "state_dict": {"state_dict": state, "epoch": 3}, "module.": prefixed}[
                form
            ],
            path,
        )
    ready = load(SMALL, str(path))
    assert (ready.weights, ready.weights_sha256) == (
        str(path),
        load(SMALL, "random", seed=5).weights_sha256,
    )
    assert not ready.warnings


def test_weights_that_do_not_fit_name_the_first_differences(tmp_path: Path) -> None:
    state = MODELS[SMALL].build(0).state_dict()
    state["fc.weight"] = torch.zeros(10, 64)
    state["head.weight"] = state.pop("conv1.weight")
    save_file(state, path := tmp_path / "w.safetensors")
    with pytest.raises(EmqError) as caught:
        load(SMALL, str(path))
    assert code(caught) == "E302"
    for part in (
        "'conv1.weight' is missing",
        "'head.weight' is unknown",
        "'fc.weight' is (10, 64) and must be (10, 128)",
    ):
        assert part in message(caught)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_name_the_tensor(tmp_path: Path, value: float) -> None:
    state = MODELS[SMALL].build(0).state_dict()
    state["layer2.0.conv1.weight"][0, 0, 0, 0] = value
    save_file(state, path := tmp_path / "w.safetensors")
    with pytest.raises(EmqError) as caught:
        load(SMALL, str(path))
    assert code(caught) == "E302"
    assert "'layer2.0.conv1.weight'" in message(caught)


def test_a_given_module_that_is_not_finite_is_refused() -> None:
    net = seeded(Tiny)
    nn.init.constant_(net.one.weight, float("nan"))
    with pytest.raises(EmqError) as caught:
        prepare(net, images(Tiny))
    assert "'one.weight'" in message(caught)


@pytest.mark.parametrize(
    "name",
    [
        "none.pt",
        "none.safetensors",
        "text.pt",
        "text.safetensors",
        "module.pt",
        "list.pt",
        "folder",
    ],
)
def test_files_that_are_no_weights(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.pt").write_text("no weights")
    (tmp_path / "text.safetensors").write_text("no weights")
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")
    torch.save([torch.zeros(2)], tmp_path / "list.pt")
    (tmp_path / "folder").mkdir()
    with pytest.raises(EmqError) as caught:
        load(SMALL, str(tmp_path / name))
    assert code(caught) == "E301"
    assert caught.value.diagnostics[0].path == str(tmp_path / name)
    assert "\n" not in message(caught)


def test_the_hash_is_that_of_names_shapes_types_and_bytes() -> None:
    state = {"b": torch.tensor(3), "a": torch.arange(4.0).reshape(2, 2)}
    expected = hashlib.sha256()
    for name in ("a", "b"):
        expected.update(
            f"{name}\0{tuple(state[name].shape)}\0{state[name].dtype}\0".encode()
            + state[name].numpy().tobytes()
        )
    assert weights.sha256(state) == expected.hexdigest()
    changed = [
        {"b": state["b"], "a": state["a"].T},
        {"b": state["b"], "a": state["a"].reshape(4)},
        {"c": state["b"], "a": state["a"]},
    ]
    assert weights.sha256(state) not in {weights.sha256(other) for other in changed}
    assert weights.sha256({"x": torch.zeros(0), "y": torch.ones(2, dtype=torch.bfloat16)})


FACTORIES = """
import torch
from torch import nn

def plain():
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
    net.input_shape = (3, 2, 2)
    return net

def pair():
    return nn.Linear(4, 2), torch.zeros(2, 4)

def images():
    return nn.Sequential(nn.Conv2d(3, 4, 7, stride=16), nn.Flatten(), nn.Linear(4 * 196, 3))

def nothing():
    return None

def failing():
    raise KeyError("weights")

class Odd(Exception):
    pass

def odd_forward():
    class Net(nn.Linear):
        def forward(self, x):
            raise Odd("two\\nlines")
    return Net(4, 2), torch.zeros(2, 4)

constant = 3
"""


@pytest.fixture
def factories(tmp_path: Path) -> str:
    path = tmp_path / "nets.py"
    path.write_text(FACTORIES)
    return str(path)


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [("plain", (3, 2, 2), 5), ("pair", (4,), 2), ("images", (3, 224, 224), 3)],
)
def test_factories_in_a_file(
    factories: str, name: str, shape: tuple[int, ...], classes: int
) -> None:
    ready = load(f"{factories}:{name}")
    assert (ready.weights, ready.input_shape, ready.classes, ready.spec) == (
        "factory",
        shape,
        classes,
        None,
    )
    assert load(f"{factories}:{name}").weights_sha256 == ready.weights_sha256
    shuffled = load(f"{factories}:{name}", "random", seed=2)
    assert shuffled.weights == "random, seed 2"
    assert shuffled.weights_sha256 != ready.weights_sha256


def test_a_factory_in_a_package_that_has_nothing_to_quantize() -> None:
    with pytest.raises(EmqError) as caught:
        load("torch.nn:Identity")
    assert code(caught) == "E306"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nothing", "E305"),
        ("failing", "E305"),
        ("constant", "E305"),
        ("absent", "E301"),
        ("odd_forward", "E308"),
    ],
)
def test_factories_that_fail(factories: str, name: str, expected: str) -> None:
    with pytest.raises(EmqError) as caught:
        load(f"{factories}:{name}")
    assert code(caught) == expected
    assert "\n" not in message(caught)


@pytest.mark.parametrize("said", ["abc", 16, (), (-1, 2), (4.0,), (1, 100_000, 100_000)], ids=str)
def test_an_input_shape_that_is_none_is_refused(said: Any, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def build():\n"
        "    net = nn.Linear(4, 2)\n"
        f"    net.input_shape = {said!r}\n"
        "    return net\n"
    )
    with pytest.raises(EmqError) as caught:
        load(f"{tmp_path}/net.py:build")
    assert code(caught) == "E305" and "no shape of an image" in message(caught)


def test_the_input_shape_is_any_sequence_of_sizes_or_none() -> None:
    class Fails(nn.Linear):
        @property
        def input_shape(self) -> Any:
            raise ValueError("not yet")

    net = nn.Linear(4, 2)
    assert own_shape(net) is None
    for said in ((4,), [4], torch.Size([4])):
        net.input_shape = said  # type: ignore[assignment]
        assert own_shape(net) == (4,)
    with pytest.raises(EmqError) as caught:
        own_shape(Fails(4, 2))
    assert code(caught) == "E305" and "not yet" in message(caught)


def test_pretrained_is_for_built_in_networks(factories: str) -> None:
    with pytest.raises(EmqError) as caught:
        load(f"{factories}:pair", "pretrained")
    assert code(caught) == "E307"


def test_an_unknown_name_has_a_suggestion() -> None:
    with pytest.raises(EmqError) as caught:
        load("resnet81")
    assert code(caught) == "E305"
    assert "resnet18" in caught.value.diagnostics[0].help[0]


def test_a_vision_transformer_is_covered_wholly() -> None:
    ready = prepare(seeded(ViT), images(ViT))
    names = [layer.name for layer in ready.collection.layers]
    assert names[:5] == [
        "patches",
        *(f"encoder.layers.0.self_attn.{part}_proj" for part in ("q", "k", "v", "out")),
    ]
    assert len(names) == 1 + 2 * 6 + 1
    assert not ready.collection.uncovered
    assert not ready.warnings


def test_what_is_not_covered_is_warned_about_with_its_shares() -> None:
    ready = prepare(seeded(Functional), images(Functional))
    warnings = {d.code: d.message for d in ready.warnings}
    assert set(warnings) == {"W605", "W608"}
    assert "88.5% of the MACs" in warnings["W605"]
    assert "'bare'" in warnings["W605"]
    assert "'unused'" in warnings["W608"]


def test_a_layer_of_one_weight_and_equal_weights() -> None:
    ready = prepare(seeded(Tiny), images(Tiny))
    assert [layer.numel for layer in ready.collection.layers] == [1, 3]
    assert ready.collection.macs == (1, 3)


@pytest.mark.parametrize("net", SHAPES)
def test_the_copy_can_be_differentiated_whatever_was_frozen(net: type[nn.Module]) -> None:
    frozen = seeded(net).requires_grad_(False)
    ready = prepare(frozen, images(net))
    ready.module(ready.example).sum().backward()
    assert all(layer.weight.grad is not None for layer in ready.collection.layers)


def test_lazy_layers_are_made_of_the_example() -> None:
    ready = prepare(
        nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(2)), torch.randn(1, 3, 5, 5)
    )
    assert [layer.shape for layer in ready.collection.layers] == [(4, 3, 3, 3), (2, 36)]
    assert [warning.code for warning in ready.warnings] == ["W603"]


def test_lazy_layers_have_the_same_weights_whatever_they_are_made_of() -> None:
    net = nn.Sequential(nn.LazyLinear(5), nn.LazyLinear(2))
    state = torch.get_rng_state()
    one, other = (prepare(net, torch.randn(rows, 3)).weights_sha256 for rows in (1, 4))
    torch.set_rng_state(state)
    torch.manual_seed(9)
    assert one == other == prepare(net, torch.randn(2, 3)).weights_sha256
    assert nn.parameter.is_lazy(net[0].weight)


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(weights, "TIMEOUT", 0.05)
    answer = threading.Event()
    monkeypatch.setattr(weights, "urlopen", lambda *args, **kwargs: nullcontext(answer.wait(10)))
    assert not weights._answers("https://example.invalid/")
    answer.set()


def test_a_network_that_returns_no_tensor_is_refused() -> None:
    class Silent(nn.Linear):
        def forward(self, input: torch.Tensor) -> None:  # type: ignore[override]
            super().forward(input)

    with pytest.raises(EmqError) as caught:
        prepare(Silent(2, 2), torch.randn(1, 2))
    assert code(caught) == "E308"


def test_the_name_of_a_given_module_is_its_type() -> None:
    assert network.prepare(seeded(Chain), images(Chain)).name == "Chain"


class Noise(nn.Module):
    """A parametrization that draws."""

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight + torch.randn_like(weight)


class Fails(nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight if weight.sum() == 0 else weight.missing  # type: ignore[attr-defined,no-any-return]


def parametrized(part: nn.Module, name: str = "weight") -> nn.Linear:
    net = nn.Linear(6, 4)
    nn.utils.parametrize.register_parametrization(net, name, part, unsafe=True)
    return net


def test_a_weight_that_is_drawn_is_drawn_once() -> None:
    net, x = nn.Sequential(parametrized(Noise())), torch.randn(2, 6)
    one, other = prepare(net, x), prepare(net, x)
    assert torch.equal(one.module(x), one.module(x))
    assert torch.equal(one.module(x), other.module(x))


def test_a_parametrization_that_fails_is_named() -> None:
    net = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 4))
    nn.init.zeros_(net[1].weight)
    nn.utils.parametrize.register_parametrization(net[1], "weight", Fails(), unsafe=True)
    nn.init.ones_(net[1].parametrizations.weight.original)
    with pytest.raises(EmqError) as caught:
        prepare(net, torch.randn(2, 6))
    assert code(caught) == "E308" and "weight of '1'" in message(caught)


def test_parametrized_layers_that_share_a_parameter_go_on_sharing_it() -> None:
    one, two = nn.Linear(6, 6), nn.Linear(6, 6)
    two.weight = one.weight
    net, x = nn.Sequential(one, two).eval(), torch.randn(2, 6)
    for part in net:
        nn.utils.parametrize.register_parametrization(part, "weight", nn.Tanh(), unsafe=True)
    two.parametrizations.weight.original = one.parametrizations.weight.original
    ready = prepare(net, x)
    torch.testing.assert_close(ready.module(x), net(x))
    assert [layer.name for layer in ready.collection.layers] == ["0"]


def pruned() -> nn.Linear:
    return nn.utils.prune.l1_unstructured(nn.Linear(6, 4), "weight", 0.5)


PARAMETRIZED_BEFORE = {
    "weight norm": lambda: nn.utils.weight_norm(nn.Linear(6, 4)),
    "spectral norm": lambda: nn.utils.spectral_norm(nn.Linear(6, 4)),
    "pruning": pruned,
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("trained", [False, True], ids=["new", "after a forward"])
@pytest.mark.parametrize("name", PARAMETRIZED_BEFORE)
def test_weights_that_older_hooks_compute_are_layers(name: str, trained: bool) -> None:
    net, x = nn.Sequential(PARAMETRIZED_BEFORE[name]()), torch.randn(3, 6)
    if trained:
        net(x).sum().backward()
    net.eval()
    keys = list(net.state_dict())
    ready = prepare(net, x)
    torch.testing.assert_close(ready.module(x), net(x))
    assert list(net.state_dict()) == keys
    assert [(layer.name, layer.numel) for layer in ready.collection.layers] == [("0", 24)]
    assert sorted(ready.module.state_dict()) == ["0.bias", "0.weight"]
    assert not ready.warnings


PARAMETRIZED = {
    "weight norm": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(6, 4)),
    "spectral norm": lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(6, 4)),
    "orthogonal": lambda: nn.utils.parametrizations.orthogonal(nn.Linear(6, 4)),
    "a convolution": lambda: nn.utils.parametrizations.weight_norm(nn.Conv1d(6, 4, 1)),
}


@pytest.mark.parametrize("name", PARAMETRIZED)
def test_a_parametrized_network_is_left_as_it_was(name: str) -> None:
    """What is prepared is a copy that shares nothing with it, not even a class."""
    net = nn.Sequential(PARAMETRIZED[name]()).eval()
    values = torch.randn(3, 6, 1) if name == "a convolution" else torch.randn(3, 6)
    before, kind = net(values), type(net[0])
    state = {key: value.clone() for key, value in net.state_dict().items()}
    ready = prepare(net, values)
    assert type(net[0]) is kind and hasattr(net[0], "parametrizations")
    assert torch.equal(net(values), before)
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    torch.testing.assert_close(ready.module(values), before)
    assert "weight" in dict(ready.module[0].named_parameters())  # type: ignore[index]


class Growing(nn.Module):
    """Makes its first layer when it sees what it is given; if `anew`, in every forward."""

    def __init__(self, anew: bool = False) -> None:
        super().__init__()
        self.head, self.body, self.anew, self.count = nn.Linear(4, 2), None, anew, 0

    def forward(self, x: Tensor) -> Any:
        if self.body is None or self.anew:
            self.count += 1
            setattr(self, f"body{self.count}", nn.Linear(x.shape[1], 4))
            self.body = getattr(self, f"body{self.count}")
        return self.head(self.body(x))


def test_layers_that_the_forward_makes_are_layers_with_random_weights() -> None:
    net, x = Growing(), torch.ones(2, 3)
    first, second = prepare(net, x), prepare(net, x + 1)
    assert {layer.name for layer in first.collection.layers} == {"head", "body1"}
    assert first.weights_sha256 == second.weights_sha256
    assert [each.code for each in first.warnings] == ["W603"]
    assert net.body is None


def test_a_forward_that_makes_layers_every_time_is_refused() -> None:
    with pytest.raises(EmqError, match="every forward of Growing makes other parameters"):
        prepare(Growing(anew=True), torch.ones(2, 3))
