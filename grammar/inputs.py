"""THE table of statistics: every name a proxy may read, with its one definition.

Collection (`emqlang.quant.statistics`) must produce exactly the rows of this table, and a test says
so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from emqlang.grammar.signs import ANY, NONNEGATIVE, POSITIVE, Sign


class Kind(StrEnum):
    """A kind says how many values there are for one layer, or, after `total`, for all of them."""

    LAYER = "layer"  # one number
    WEIGHT = "weight"  # one for each weight, in the weight's shape, output channels first
    ACTIVATION = "activation"  # elements of the layer's output, sampled where all statistics are
    MATRIX = "matrix"  # C_out x C_out, what `@` makes of two weight values
    IMAGE = "image"  # one for each image of the statistics and each label drawn for it


class Axis(StrEnum):
    """An axis is the part of a menu's choice that a statistic depends on."""

    NONE = ""
    WEIGHT_BITS = "weight bits"
    ACT_BITS = "activation bits"
    CHOICE = "weight and activation bits"


class Cost(StrEnum):
    """A cost is what it takes to collect a statistic."""

    FREE = "free"
    FORWARD = "one forward"
    BACKWARD = "one backward"
    BACKWARDS = "N backwards"
    FORWARDS = "N forwards"


@dataclass(frozen=True, slots=True)
class Input:
    """An input is one statistic that a proxy may read."""

    name: str
    kind: Kind
    sign: Sign
    unit: str
    cost: Cost
    definition: str
    source: str
    axis: Axis = Axis.NONE
    needs_data: bool = True

    @property
    def of_shape(self) -> bool:
        """Whether the network's shape and the choice say it, so that nothing is measured."""
        return self.kind is Kind.LAYER and not self.needs_data


W, A, L, I = Kind.WEIGHT, Kind.ACTIVATION, Kind.LAYER, Kind.IMAGE
# fmt: off
_TABLE = (
    # one value for each weight
    Input("w", W, ANY, "weight", Cost.FREE,
        "the weight, batch norm folded where proven", "-", needs_data=False),
    Input("grad", W, ANY, "loss/weight", Cost.BACKWARD,
        "gradient of the mean loss over the images", "SNIP, arXiv 1810.02340"),
    Input("grad_synflow", W, NONNEGATIVE, "R/weight", Cost.BACKWARD,
        "absolute gradient of R = sum of logits for one all-ones input, "
        "on the linearised network of |w|, float64", "Synflow, arXiv 2006.05467", needs_data=False),
    Input("hess", W, ANY, "loss/weight^2", Cost.BACKWARDS,
        "Hutchinson's estimate of the Hessian's diagonal, Rademacher probes",
        "HAWQ-V2, arXiv 1911.03852"),
    Input("fisher", W, NONNEGATIVE, "loss^2/weight^2", Cost.BACKWARDS,
        "mean over images of the squared gradient of that image's loss", "arXiv 1801.05787"),
    Input("x2", W, NONNEGATIVE, "input^2", Cost.FORWARD,
        "mean over images and positions of the squared input that meets the weight",
        "OBQ, arXiv 2208.11580"),
    Input("qerr", W, ANY, "weight", Cost.FREE,
        "quantized minus original weight, for the quantizer in use",
        "HAWQ-V2, arXiv 1911.03852", axis=Axis.WEIGHT_BITS, needs_data=False),
    # elements of the layer's output
    Input("act", A, ANY, "output", Cost.FORWARD,
        "the layer's output, sampled", "Table 2"),
    Input("grad_act", A, ANY, "loss/output", Cost.BACKWARD,
        "gradient of the mean loss with respect to that output, the same sample", "Table 2"),
    # one number per layer
    Input("hess_trace", L, ANY, "loss/weight^2", Cost.BACKWARDS,
        "trace of the layer's Hessian block, Hutchinson's estimate", "HAWQ-V2, arXiv 1911.03852"),
    Input("hess_eig", L, ANY, "loss/weight^2", Cost.BACKWARDS,
        "eigenvalue of largest magnitude of the layer's own Hessian block, Lanczos' method",
        "HAWQ, ICCV 2019"),
    Input("orm", L, NONNEGATIVE, "1", Cost.FORWARD,
        "sum over the other layers of the linear CKA between the features",
        "OMPQ, arXiv 2109.07865"),
    Input("act_var", L, NONNEGATIVE, "output^2", Cost.FORWARD,
        "variance of the layer's output over all images and elements", "QE, NeurIPS 2022"),
    Input("fisher_act", L, NONNEGATIVE, "loss^2", Cost.BACKWARDS,
        "mean over images of sum over channels "
        "of (sum over space of act * grad_act)^2, per-image loss", "arXiv 1801.05787"),
    Input("numel", L, POSITIVE, "weights", Cost.FREE,
        "number of weights", "-", needs_data=False),
    Input("act_numel", L, POSITIVE, "elements", Cost.FREE,
        "number of output elements for one image", "-", needs_data=False),
    Input("fan_in", L, POSITIVE, "weights", Cost.FREE,
        "weights that meet in one output element", "-", needs_data=False),
    Input("channels_in", L, POSITIVE, "channels", Cost.FREE,
        "input channels", "-", needs_data=False),
    Input("channels_out", L, POSITIVE, "channels", Cost.FREE,
        "output channels", "-", needs_data=False),
    Input("macs", L, POSITIVE, "MACs", Cost.FREE,
        "multiply-accumulates for one image", "-", needs_data=False),
    Input("depth", L, NONNEGATIVE, "layers", Cost.FREE,
        "position in named_modules order, from 0", "-", needs_data=False),
    # one number per layer and choice
    Input("bits", L, POSITIVE, "bits", Cost.FREE,
        "the choice's weight bits", "Eq. 3", axis=Axis.WEIGHT_BITS, needs_data=False),
    Input("act_bits", L, POSITIVE, "bits", Cost.FREE,
        "the choice's activation bits; 8 where they are not chosen",
        "-", axis=Axis.ACT_BITS, needs_data=False),
    Input("act_qerr", L, NONNEGATIVE, "input^2", Cost.FORWARD,
        "mean squared error of quantizing the layer's input; the network's own input has 8 bits",
        "-", axis=Axis.ACT_BITS),
    Input("fisher_qerr", L, NONNEGATIVE, "loss^2", Cost.BACKWARDS,
        "mean over images of (gradient of that image's loss . quantization error)^2: "
        "the quadratic form of the layer's whole Fisher matrix",
        "BRECQ, arXiv 2102.05426", axis=Axis.WEIGHT_BITS),
    Input("out_mse", L, NONNEGATIVE, "1", Cost.FORWARDS,
        "squared error of the layer's own output over its squared norm, "
        "only this group quantized; each of its layers has its own", "Sony MCT", axis=Axis.CHOICE),
    Input("kl", L, NONNEGATIVE, "nats", Cost.FORWARDS,
        "mean KL of the softmax output from float, only this group quantized, or of outputs "
        "without classes the squared error over the squared norm; "
        "the group's main layer has it, the others 0", "NVIDIA ModelOpt", axis=Axis.CHOICE),
    Input("loss_inc", L, ANY, "loss", Cost.FORWARDS,
        "increase of the mean loss, only this group quantized; "
        "the group's main layer has it, the others 0", "MQBench, LIMPQ", axis=Axis.CHOICE),
    # one value for each image and label draw, per layer and choice
    Input("shift", I, ANY, "nats", Cost.BACKWARDS,
        "change to first order of log p(label of the image), only this layer's weights quantized: "
        "gradient of log p(label) . quantization error",
        "the terms of BRECQ's Fisher form, arXiv 2102.05426", axis=Axis.WEIGHT_BITS),
    Input("act_shift", I, ANY, "nats", Cost.BACKWARDS,
        "change to first order of log p(label of the image), only this layer's input quantized; "
        "the network's own input has 8 bits",
        "-", axis=Axis.ACT_BITS),
    Input("loss_shift", I, ANY, "nats", Cost.FORWARDS,
        "change of log p(label of the image) as measured, only this group quantized; "
        "the group's main layer has it, the others 0", "-", axis=Axis.CHOICE),
)
# fmt: on

INPUTS: Final = {row.name: row for row in _TABLE}
assert len(INPUTS) == len(_TABLE)


def dearest(names: Iterable[str]) -> Cost:
    """What the most expensive of these statistics costs."""
    return max((INPUTS[name].cost for name in names), key=tuple(Cost).index, default=Cost.FREE)
