"""Predictions as a pandas table, a row for each recording: python table.py RECORDING."""

import sys

import pandas

import voxmood

paths = sys.argv[1:]
predictions = voxmood.load().predict_batch(paths)
rows = [{"label": each.label, **(each.probabilities or {})} for each in predictions]
print(pandas.DataFrame(rows, index=paths).to_string())
