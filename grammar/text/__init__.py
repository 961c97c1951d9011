"""Between text and expressions: tokens, syntax tree, reader, printer, formatter, LaTeX."""
