"""Every benchmark with its target.

python benchmarks/run.py [WORD ...] [--rounds N] [--cpu] [--list]
"""

from __future__ import annotations

import assignment
import canonical_key
import eq5
import harness
import population
import quantized_forward

BENCHMARKS = (
    *eq5.BENCHMARKS,
    *population.BENCHMARKS,
    *canonical_key.BENCHMARKS,
    *assignment.BENCHMARKS,
    *quantized_forward.BENCHMARKS,
)

if __name__ == "__main__":
    harness.main(BENCHMARKS)
