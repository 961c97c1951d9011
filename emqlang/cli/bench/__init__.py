"""`emqlang bench`: benchmark tables."""

from __future__ import annotations

from emqlang.cli.base import LazyGroup

command = LazyGroup(
    "bench",
    package="emqlang.cli.bench",
    help="Benchmark tables: many configurations of a network, each quantized and tested, "
    "to judge proxies by.",
    sections={
        "Make": {
            "build": "Quantize and test many configurations of a network.",
            "rerun": "Build some rows again with something changed, to see the noise.",
            "import": "Make a table of a CSV, or of the pickle that EMQ's authors use.",
        },
        "Read": {
            "list": "List the tables that come with the package.",
            "show": "Print the rows of a table.",
            "info": "Say what a table is, and how well anything could rank it.",
            "validate": "Check tables for damage, edits and other networks.",
            "card": "Write a table's data card.",
            "export": "Write a table as CSV or Parquet.",
        },
    },
    context_settings={"help_option_names": ["-h", "--help"]},
)
