"""Whether two programs are the same: graph hashes, 60-digit arithmetic, sympy."""
