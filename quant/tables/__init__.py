"""Benchmark tables: many configurations of one network, each really quantized and tested, for proxies to be judged by.

spec        what a table is built from, in the words of the command line
sampling    which configurations, and in which order
replay, composition, workshop      one configuration after another, quantized and tested
build       all of them, by several workers, into
ledger      one SQLite file, which a kill leaves whole, and which is read as a
table       for ranking; `exchange` brings tables in and out
"""
