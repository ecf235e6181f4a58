"""Comparison of a model with a reference model: figures, bounds and reports."""
