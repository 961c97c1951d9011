"""Benchmark tables: many configurations of a network, each quantized and tested, to judge proxies.

spec, sampling              what a table is built from, and which configurations it has
row_builder, composition    one row: a configuration quantized, tested, and measured
forward_order, output_cache what neighbouring rows share is run once
blockwise                   learned rounding of composed tables, unit by unit
build, facts, ledger        all rows by several workers, into an SQLite file that survives a kill
table, shelf                a table as it is read, and where tables are
exchange                    tables out and in: CSV, Parquet, a pickle
"""
