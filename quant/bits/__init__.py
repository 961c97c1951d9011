"""Bit-widths: the menu, what choices cost, budgets, and the exact assignment."""
