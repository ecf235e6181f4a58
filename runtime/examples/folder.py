"""Label the recordings of a folder into a CSV file: python folder.py FOLDER OUT.csv."""

import sys

import voxmood

folder, table = sys.argv[1:]
tally = voxmood.batch([folder], table)
print(f"{table}: {tally.recordings} recordings, {tally.failed} of them with an error")
