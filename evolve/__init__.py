"""The search for proxies: a space of programs, variation, screening, fitness, selection, a ledger, and the loop."""
