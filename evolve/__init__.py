"""The search for proxies: over the typed grammar, where every program is well-kinded, or as the EMQ paper does it.

space          which programs there are; every one of them is well-kinded by construction
variation      offspring from parents
archive        what has been seen; screen: why a candidate is not scored
arena          what candidates are scored on; fitness: how well they rank it
selection      who survives
island, emq    one step of a population: of the typed grammar's, and of the paper's
genotype       the paper's structures; unprotected: its formulas as its authors coded them
ledger         one run on disk; search: steps until the budget is used up
experiments    studies of searches and of their parts
"""
