"""The canonical form: rewrite rules, and normal forms of products, sums and reductions."""
