"""Whether a model decides as its reference does: figures, bounds and reports."""
