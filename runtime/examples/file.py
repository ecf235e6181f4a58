"""Label recordings: python file.py RECORDING."""

import sys

import voxmood

model = voxmood.load()  # once: it takes longer than labeling a short recording
for path in sys.argv[1:]:
    prediction = model.predict(path)
    print(path, prediction.label, prediction.probabilities)
