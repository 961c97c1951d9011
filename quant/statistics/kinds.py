"""Which statistics depend on a loss, on drawn numbers, on probes, on how weights are rounded."""

from __future__ import annotations

from typing import Final

from emqlang.grammar.inputs import INPUTS, Axis, Kind

# Statistics of a loss, those with numbers drawn by the seed, and those with probes.
HESSIAN: Final = frozenset({"hess", "hess_trace", "hess_eig"})
SHIFTS: Final = frozenset(name for name, row in INPUTS.items() if row.kind is Kind.IMAGE)
LOSSES: Final = (
    HESSIAN | SHIFTS | {"grad", "fisher", "fisher_qerr", "grad_act", "fisher_act", "loss_inc"}
)
SEEDED = HESSIAN | {"act", "grad_act", "act_qerr", "out_mse", "kl", "loss_inc"}
SEEDED |= SHIFTS - {"shift"}
PROBED: Final = HESSIAN - {"hess_eig"}
# Those that see the errors of quantized weights.
ROUNDED: Final = frozenset(
    name
    for name, row in INPUTS.items()
    if row.axis in (Axis.WEIGHT_BITS, Axis.CHOICE) and name != "bits"
)
