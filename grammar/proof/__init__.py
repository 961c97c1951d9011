"""Whether two programs are the same: equivalence at every level, graph hashes, exact arithmetic, sympy."""
