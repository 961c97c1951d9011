"""`emqlang plot`: pictures."""

from __future__ import annotations

from emqlang.cli.base import LazyGroup

command = LazyGroup(
    "plot",
    package="emqlang.cli.plot",
    help="Pictures, SVG or PNG.",
    sections={
        "Draw": {
            "scores": "Draw what proxies say of each layer under each choice.",
            "scatter": "Draw scores of proxies against the accuracies of a table.",
            "pareto": "Draw accuracy over size, and what proxies prefer at each size.",
            "curves": "Draw the best fitness so far of searches.",
            "funnel": "Draw what became of a search's proposals.",
            "graph": "Draw a proxy as a graph.",
            "matrix": "Draw how the errors of layers meet.",
            "bits": "Draw the bits of every layer, for one recipe or several.",
        }
    },
    context_settings={"help_option_names": ["-h", "--help"]},
)
