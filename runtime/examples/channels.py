"""Follow each channel of a call, and say how each one sounded: python channels.py RECORDING."""

import sys

import voxmood

model = voxmood.load()
segments = list(model.timeline(sys.argv[1], speech=True, channel="each"))
for segment in segments:
    print(f"{segment.start:6.1f} s  channel {segment.channel}  {segment.label}")
for summary in voxmood.summarize(segments):
    print(f"{summary.speaker}: {summary.seconds:.1f} s, {dict(summary.labels)}")
