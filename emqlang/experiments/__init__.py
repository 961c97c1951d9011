"""The paper's experiments and ours: trials of several seeds, as a table and a picture."""

NAMES = (
    *("table3", "table8", "figure4", "figure5", "qat"),
    *("layerwise", "variants", "truth", "transfer"),
)
