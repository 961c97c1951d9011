"""The canonical form: rewrite rules and the normal form of products, sums, functions and reductions."""
