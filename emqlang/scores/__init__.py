"""Scores: S[group, choice], its correlation with measured accuracy, and bootstrap intervals."""
