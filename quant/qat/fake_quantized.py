"""A quantized network that can be trained: latent weights, learned steps, and the rest in float."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from emqlang.grammar.diagnostics import error
from emqlang.quant.networks.batches import rows, run
from emqlang.quant.networks.layers import norms
from emqlang.quant.networks.network import Network
from emqlang.quant.ptq.quantized import Quantized, QuantizedWeight, blank, install, restore
from emqlang.quant.ptq.recipe import Recipe
from emqlang.quant.ptq.sites import attach
from emqlang.quant.qat.lsq import LearnedInput, LearnedWeight
from emqlang.quant.qat.norms import LearnedNorm, put_back


class FakeQuantized:
    """A copy of a quantized network, whose first forward gives what that network gives.

    Learned are the quantized layers' weights and steps, and every other parameter: biases, layers
    that stay in float, norms. Batch norms are folded, or stay as they are where they were not; or
    they are put back by `train_norms`, and trained like the rest. All else runs in eval mode:
    dropout is off.
    """

    def __init__(self, network: Network, quantized: Quantized, device: torch.device) -> None:
        self.network, self.source, self.device = network, quantized, device
        layers = network.collection.layers
        self.layers = {layer.name: layer for layer in layers if layer.name in quantized.weights}
        self.weights = {
            name: LearnedWeight(layer.rows(layer.weight.detach()), weight.codes, weight.grid)
            for name, layer in self.layers.items()
            for weight in [quantized.weights[name]]
        }
        self.inputs = {site.name: LearnedInput(grid) for site, grid in quantized.inputs}
        self.norms: dict[str, LearnedNorm] = {}
        self.module = blank(network)
        restore(self.module, quantized.module.state_dict(), partial(error, "E302"))
        attach(self.module, layers, [site for site, _ in quantized.inputs], self.inputs)
        self.module.eval().to(device)
        for learned in self._learned:
            learned.to(device)
        self.unfolded: dict[str, nn.Module] = {}  # those that are trained
        left = {id(self.module.get_submodule(name).weight) for name in self.weights}
        left |= {id(each) for norm in norms(self.module).values() for each in norm.parameters()}
        self.others = {
            name: parameter
            for name, parameter in self.module.named_parameters()
            if id(parameter) not in left and parameter.is_floating_point()
        }
        for parameter in self.others.values():
            parameter.requires_grad_()
        self._fed = _Fed(self.module)

    def train_norms(self, batches: Iterable[Any]) -> None:
        """Put folded batch norms back, with the mean and variance of these batches.

        Those that were not folded are trained, too.
        """
        folded = {name: self.module.get_submodule(name) for name in self._folded}
        with torch.no_grad():
            self.norms = put_back(folded, map(self, batches))
        self.unfolded = dict(norms(self.module))
        for name, norm in self.unfolded.items():
            for last, parameter in norm.named_parameters(recurse=False):
                parameter.requires_grad_()
                self.others[_name(name, last)] = parameter

    @property
    def _folded(self) -> list[str]:
        """The quantized layers that a batch norm was folded into."""
        return [
            name for name in dict.fromkeys(self.network.folded.values()) if name in self.weights
        ]

    def __call__(self, batch: Any, seed: int = 0) -> Any:
        """What the network returns for a batch on its device. Raises E308."""
        for learned in self.inputs.values():
            learned.rows = rows(batch)
        given = {
            _name("module", name, "weight"): self.layers[name]
            .unrows(weight.values())
            .to(self.layers[name].weight.dtype)
            for name, weight in self.weights.items()
        }

        def forward(_: nn.Module, batch: Any) -> Any:
            return functional_call(self._fed, given, (batch, self.network.forward))

        return run(self.module, batch, forward, seed)

    def parameters(self) -> dict[str, nn.Parameter]:
        """Everything that is trained, by a name that says what it is."""
        return dict(self._parameters())

    def _parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        for name, weight in self.weights.items():
            yield f"weight:{name}", weight.latent
            yield f"step:{name}", weight.step
        for name, learned in self.inputs.items():
            yield f"input:{name}", learned.step
        for name, norm in self.norms.items():
            yield f"scale:{name}", norm.scale
            yield f"shift:{name}", norm.shift
        for name, parameter in self.others.items():
            yield f"other:{name}", parameter

    def state(self) -> dict[str, Tensor]:
        """Everything that training changes; the live tensors."""
        state = {name: parameter.detach() for name, parameter in self._parameters()}
        for name, norm in self.norms.items():
            state |= {f"mean:{name}": norm.mean, f"variance:{name}": norm.variance}
        for name, each in self.unfolded.items():
            floating = ((last, part) for last, part in each.named_buffers() if _is_float(part))
            state |= {f"buffer:{name}.{last}": part for last, part in floating}
        return state

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take up a state of the same network. Raises KeyError for another's."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])

    @torch.no_grad()
    def keep_positive(self) -> None:
        """After every change of the steps."""
        for learned in self._learned:
            learned.step.clamp_(min=learned.smallest)

    @property
    def _learned(self) -> list[LearnedWeight | LearnedInput]:
        return [*self.weights.values(), *self.inputs.values()]

    def training(self, on: bool) -> None:
        """Whether batch norms that are trained take the batch's own mean and variance."""
        for norm in self.norms.values():
            norm.training = on
        for each in self.unfolded.values():
            each.train(on)

    @torch.no_grad()
    def quantized(self, recipe: Recipe) -> Quantized:
        """The network as it is now, its weights as integers, with batch norms folded."""
        module, weights = blank(self.network), dict[str, QuantizedWeight]()
        state = {name: tensor.cpu() for name, tensor in self.module.state_dict().items()}
        for name, weight in self.weights.items():
            codes, grid = weight.quantized()
            weights[name] = QuantizedWeight(codes, grid)
        for name, norm in self.norms.items():
            bias = state[_name(name, "bias")]
            weights[name], folded = norm.fold(weights[name], bias)
            state[_name(name, "bias")] = folded.to(bias.dtype)
        restore(module, state, partial(error, "E302"))
        for name, layer in self.layers.items():
            install(module, layer, weights[name].values)
        grids = {name: learned.quantized() for name, learned in self.inputs.items()}
        sites = [site for site, _ in self.source.inputs]
        attach(module, self.network.collection.layers, sites, grids)
        inputs = [(site, grids[site.name]) for site in sites]
        return Quantized(module, recipe, weights, inputs)


class _Fed(nn.Module):
    """A network that is fed by a function of it and a batch."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, batch: Any, forward: Any) -> Any:
        return forward(self.module, batch)


def _is_float(tensor: Tensor) -> bool:
    return tensor.is_floating_point()


def _name(*parts: str) -> str:
    return ".".join(filter(None, parts))
