"""Training-free proxies of mixed-precision quantization: scores, bits, and the quantized network.

    import emqlang as emq

    statistics = emq.collect(model, batches)
    recipe = emq.assign(statistics, avg_bits=3)
    quantized = emq.quantize(model, recipe, batches)

Bits are chosen by the proxy that is named, as `emq.assign("fisher_form", statistics, ...)`, or else
by `fisher_length`, which sees in each image how the errors of all layers meet. The paper's formula,
Eq. 5 of EMQ, is `emq` in the library: it needs no images, and ranks bits worse.

Names are imported when they are first used, so that `import emqlang` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emqlang.api import collect, costs, evaluate, load_quantized, qat, quantize, score
    from emqlang.api.bits import assign
    from emqlang.api.evidence import load_table, rank, tables
    from emqlang.api.integers import integers
    from emqlang.api.measured import assign_scores
    from emqlang.api.pictures import plot
    from emqlang.api.search import front, search
    from emqlang.grammar.canonical.form import key
    from emqlang.grammar.diagnostics import EmqError, EmqWarning
    from emqlang.grammar.files import load_file
    from emqlang.grammar.program import parse
    from emqlang.quant.networks.network import load
    from emqlang.quant.ptq.recipe import load_recipe

__all__ = [
    "EmqError",
    "EmqWarning",
    "assign",
    "assign_scores",
    "collect",
    "costs",
    "evaluate",
    "front",
    "integers",
    "key",
    "load",
    "load_file",
    "load_quantized",
    "load_recipe",
    "load_table",
    "parse",
    "plot",
    "qat",
    "quantize",
    "rank",
    "score",
    "search",
    "tables",
]

__version__ = "0.1.0"

if (checkout := Path(__file__).parents[1]).joinpath("grammar", "emq.lark").is_file():
    __path__.append(str(checkout))  # `emqlang.grammar` is the checkout's `grammar/`

_HOMES = {
    "EmqError": "grammar.diagnostics",
    "EmqWarning": "grammar.diagnostics",
    "assign": "api.bits",
    "assign_scores": "api.measured",
    "integers": "api.integers",
    "key": "grammar.canonical.form",
    **dict.fromkeys(("load_table", "rank", "tables"), "api.evidence"),
    **dict.fromkeys(("front", "search"), "api.search"),
    "load": "api.networks",
    "load_file": "grammar.files",
    "load_recipe": "quant.ptq.recipe",
    "parse": "grammar.program",
    "plot": "api.pictures",
    **dict.fromkeys(("collect", "costs", "evaluate"), "api"),
    **dict.fromkeys(("load_quantized", "qat", "quantize", "score"), "api"),
}
assert sorted(_HOMES) == sorted(__all__)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'emqlang' has no attribute '{name}'")
    return getattr(import_module(f"emqlang.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__]
