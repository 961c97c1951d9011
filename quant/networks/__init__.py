"""Any module made ready: its layers traced, batch norms folded, weights loaded."""
