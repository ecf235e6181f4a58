"""Labeling archives: from what is named on the command line to a table."""
