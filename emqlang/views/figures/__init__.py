"""Pictures: one file a figure, each of which draws a result; `canvas` has their one style."""
