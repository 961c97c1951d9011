"""Our search: a typed grammar, islands, variation and selection."""
