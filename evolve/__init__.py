"""The search for proxies.

settings    everything that the result of a search depends on
search      steps of all islands until the budget is spent
ledger      one run on disk; history: what it says afterwards
archive     the programs that a run has seen
candidate   what travels between a run and its islands
arena       what candidates are scored on; fitness: how well they rank it
reasons     why a candidate is not scored, or does not count
typed/      our search, over a grammar in which every program is well-kinded
emq/        the paper's search, part by part
"""
