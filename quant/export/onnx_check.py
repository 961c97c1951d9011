"""An ONNX file run by onnxruntime beside the quantized network, optimizations off and on.

Edge by edge: the network is run with the integers that the runtime has put on each edge, so that
what it would have put there is compared given the same integers before. One step apart is the
rounding of sums; more is a fault. Then both run on their own, and their answers are compared.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import onnx
import onnxruntime as runtime
import torch
from torch import Tensor, nn

from emqlang.grammar.diagnostics import error
from emqlang.quant.export.program import fed
from emqlang.quant.export.subject import DIFFERS, Subject
from emqlang.quant.networks.batches import (
    chunks,
    first_rows,
    pass_through,
    rows,
    slice_rows,
    take,
)
from emqlang.quant.networks.nested import mapped, tensors
from emqlang.quant.networks.signature import Signature
from emqlang.quant.ptq.evaluate import Evaluation, evaluate, predict
from emqlang.quant.ptq.grids import ActivationGrid

CODES = ".input_codes"  # after a site's name: the integers of its input
STEPS = 1  # that an edge may be apart
STEPPED = 8  # images whose edges are compared
AGREEMENT = 0.99  # of classes, at least; sums round differently, and few bits make much of it
FIDELITY = 0.05  # of outputs without classes: the relative error at most
BATCH = 32
LEVELS = {
    "off": runtime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "on": runtime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


@dataclass(frozen=True)
class Found:
    """What the comparison showed, in lines and in figures."""

    lines: tuple[str, ...]
    figures: dict[str, Any]


class Runtime(nn.Module):
    """A session as a network that takes batches and answers as the one that it was made from.

    like  what the network returns: its nest is used
    """

    def __init__(self, session: runtime.InferenceSession, like: Any, signature: Signature) -> None:
        super().__init__()
        self.session, self.like, self.network_signature = session, like, signature
        self.names = [each.name for each in session.get_inputs()]

    @property
    def signature(self) -> Signature:
        """How it is fed."""
        return replace(self.network_signature, own=lambda module, batch: module(batch))

    def outputs(self, batch: Any) -> list[Tensor]:
        """All outputs of the graph, in their order."""
        leaves = tensors(fed(batch, self.network_signature))
        given = {name: leaf.numpy() for name, leaf in zip(self.names, leaves, strict=True)}
        return [torch.from_numpy(each) for each in self.session.run(None, given)]

    def forward(self, batch: Any) -> Any:
        outputs = iter(self.outputs(batch))
        return mapped(lambda leaf: next(outputs), self.like)


@dataclass
class Forced:
    """A quantizer that puts out the runtime's integers, and notes how far its own are from them.

    theirs  integers of each time that it is called in a forward; of a site whose edge the graph has
            under another's name there are none
    """

    grid: ActivationGrid
    theirs: list[Tensor] = field(default_factory=list)
    largest: int = 0
    apart: int = 0
    count: int = 0

    def __call__(self, tensor: Tensor) -> Tensor:
        own, grid = self.grid(tensor), self.grid
        if not self.theirs:
            return own
        said = (self.theirs.pop(0).float() - grid.zero_point) * grid.scale
        steps = ((own - said) / grid.scale).round().abs()
        self.largest = max(self.largest, int(steps.max()) if steps.numel() else 0)
        self.apart += int(steps.count_nonzero())
        self.count += steps.numel()
        return said


@torch.inference_mode()
def compare(subject: Subject, data: bytes, images: int) -> Found:
    """Raises E504 where an edge is more than a step apart, or too few answers agree."""
    network, module = subject.network, subject.quantized.module
    like = pass_through(module, network.example, network.forward)
    model = onnx.load_from_string(data)
    fixed = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value  # 0 for any number of rows
    given = take(first_rows(subject.images(), images), None)  # of fewer, all
    batches = [b for b in chunks(given, fixed or BATCH) if rows(b) == fixed or not fixed]
    if not batches:
        message = f"the network takes {fixed} images at a time, and the data has fewer"
        raise error("E304", message, "give more images with --test, or leave it out: --no-verify")
    reference = predict(module, batches, signature=network.signature)
    lines, figures = [_versions()], dict[str, Any]()
    for level in LEVELS:
        steps = _steps(subject, model, slice_rows(batches[0], 0, fixed or STEPPED), level)
        answers = Runtime(_session(data, level), like, network.signature)
        found = evaluate(answers, batches, reference=reference, signature=answers.signature)
        _check(level, steps, found)
        agreement = _agreement(found)
        lines.append(f"optimizations {level}: {agreement}; {steps.line}")
        figures[level] = {
            "agreement": found.agreement,
            "accuracy": found.accuracy,
            "relative_error": found.relative_error,
            **vars(steps),
        }
    return Found(tuple(lines), {"images": sum(map(rows, batches)), "optimizations": figures})


@dataclass(frozen=True)
class Steps:
    """How far apart the edges are: the largest distance, and how many of all integers are apart."""

    largest: int
    apart: int
    count: int
    site: str

    @property
    def line(self) -> str:
        return (
            f"edges at most {self.largest} step{'s' * (self.largest != 1)} apart, "
            f"{self.apart:,} of {self.count:,} integers"
        )


def _steps(subject: Subject, model: onnx.ModelProto, batch: Any, level: str) -> Steps:
    """The edges of one batch."""
    network, quantized = subject.network, subject.quantized
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    edges = [name for node in model.graph.node for name in node.output if CODES in name]
    shown.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, None) for name in edges
    )
    session = Runtime(_session(shown.SerializeToString(), level), None, network.signature)
    said = session.outputs(batch)[len(model.graph.output) :]
    forced = {site.name: Forced(grid) for site, grid in quantized.inputs}
    for name, codes in zip(edges, said, strict=True):
        forced[name.rpartition(CODES)[0]].theirs.append(codes)
    pass_through(quantized.rebuilt(network, forced), batch, network.forward)
    worst = max(forced, key=lambda name: forced[name].largest, default="")
    every = forced.values()
    largest = max((each.largest for each in every), default=0)
    return Steps(largest, sum(e.apart for e in every), sum(e.count for e in every), worst)


def _session(data: bytes, level: str) -> runtime.InferenceSession:
    """Raises E504 for a file that the runtime does not load."""
    options = runtime.SessionOptions()
    options.graph_optimization_level = LEVELS[level]
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4
    try:
        return runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as reason:  # the runtime has classes of its own for every status
        said = " ".join(str(reason).split())[:200]
        message = f"onnxruntime {runtime.__version__} does not load it, optimizations {level}"
        raise error("E504", f"{message}: {said}") from reason


def _check(level: str, steps: Steps, found: Evaluation) -> None:
    """Raises E504."""
    if steps.largest > STEPS:
        far = f"the input of '{steps.site}' is up to {steps.largest} steps off"
        raise error("E504", f"with optimizations {level}, {far}", *DIFFERS)
    agreement, off = found.agreement, found.relative_error
    if (agreement is not None and agreement < AGREEMENT) or (
        agreement is None and off is not None and off > FIDELITY
    ):
        raise error("E504", f"with optimizations {level}, {_agreement(found)}", *DIFFERS)


def _agreement(found: Evaluation) -> str:
    if found.agreement is None:
        return f"outputs {found.relative_error:.2%} apart on {found.images:,} images"
    return f"{found.agreement:.2%} of {found.predictions:,} answers agree"


def _versions() -> str:
    return f"onnxruntime {runtime.__version__} on the CPU"
