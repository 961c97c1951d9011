"""Statistics of a network: every row of `emqlang.grammar.inputs`, taken, kept and read again."""
