"""The paper's experiments and ours: trials of several seeds that go on where they were stopped, as a table and a picture."""

NAMES = ("table3", "table8", "figure4", "layerwise", "variants", "truth")
