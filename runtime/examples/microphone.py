"""Label what the microphone hears, second by second, until Ctrl-C."""

import queue

import numpy as np
import sounddevice

import voxmood

RATE = 16000
blocks = queue.SimpleQueue[np.ndarray]()
stream = voxmood.Stream(voxmood.load(), RATE, window=3.0, hop=1.0, newest_only=True)
with sounddevice.InputStream(
    samplerate=RATE, channels=1, callback=lambda samples, *_: blocks.put(samples.copy())
):
    while True:
        for segment in stream.push(blocks.get()):
            print(f"{segment.start:6.1f} s  {segment.label or 'silence'}", flush=True)
