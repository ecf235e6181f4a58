"""`voxmood listen`: a live display of what a microphone hears."""

from __future__ import annotations

import argparse
import math
import queue
import sys
from collections.abc import Iterator
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from voxmood.commands.display import bars, segment_json, segment_text, span
from voxmood.commands.options import add_model, add_windows, load
from voxmood.errors import AudioError, MissingExtraError

if TYPE_CHECKING:
    from voxmood.model import Model
    from voxmood.results import Segment

Samples: TypeAlias = npt.NDArray[np.float32]
_Block: TypeAlias = tuple[Samples, int]
"""Samples [frames, channels], and how many frames were lost before them."""

BLOCK_SECONDS = 0.1
BACKLOG_SECONDS = 30.0  # of audio that waits while the model runs; what comes on top is lost
PATIENCE_SECONDS = 5.0  # without a block, after which the microphone counts as gone


class Microphone:
    """Blocks of samples from an input device, [frames, channels], through a bounded queue.

    Raises:
        MissingExtraError: PortAudio is not installed.
        AudioError: there is no such microphone, or it does not start.
    """

    def __init__(self, device: str | int | None) -> None:
        try:
            import sounddevice
        except OSError as error:  # the module is there, the library that it wraps is not
            raise MissingExtraError(
                f"listen needs the PortAudio library ({error}): for example "
                "`apt-get install libportaudio2`."
            ) from error
        try:
            about = sounddevice.query_devices(device, "input")
            self.name = str(about["name"])
            self.sampling_rate = round(about["default_samplerate"])
            self._stream = sounddevice.InputStream(
                device=device,
                channels=min(2, about["max_input_channels"]),
                samplerate=self.sampling_rate,
                blocksize=round(BLOCK_SECONDS * self.sampling_rate),
                dtype="float32",
                callback=self._callback,
            )
        except (sounddevice.PortAudioError, ValueError) as error:
            raise AudioError(
                f"no microphone{'' if device is None else f' {device!r}'} ({error}); connect one, "
                "or choose one with --device; `python -m sounddevice` lists them."
            ) from error
        self._blocks = queue.Queue[_Block](round(BACKLOG_SECONDS / BLOCK_SECONDS))
        self._lost = 0  # frames since the last block in the queue; the callback's own
        self._next: _Block | None = None

    def __enter__(self) -> Self:
        self._stream.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._stream.close()

    def read(self) -> tuple[Samples, int]:
        """Waits for audio; returns all there is, and how many frames were lost before it."""
        if self._next is None:
            try:
                self._next = self._blocks.get(timeout=PATIENCE_SECONDS)
            except queue.Empty:
                raise AudioError(
                    f"{self.name}: the microphone stopped; is it still connected?"
                ) from None
        (samples, lost), self._next = self._next, None
        blocks = [samples]
        while not self._blocks.empty():
            block = self._blocks.get()
            if block[1]:  # what comes after a gap is for the next call
                self._next = block
                break
            blocks.append(block[0])
        return np.concatenate(blocks), lost

    def _callback(self, samples: Samples, frames: int, time: Any, status: Any) -> None:
        if status.input_overflow:  # how much PortAudio dropped it does not say
            self._lost += frames
        try:
            self._blocks.put_nowait((samples.copy(), self._lost))
            self._lost = 0
        except queue.Full:
            self._lost += frames


def segments(
    model: Model, microphone: Microphone, window: float, hop: float
) -> Iterator[tuple[Segment, int]]:
    """Yields segments without end, each with the number of hops dropped so far.

    A machine that is slower than the microphone labels the newest window and drops the others;
    after a gap in the audio, windows begin anew, so that none spans it.
    """
    from voxmood.stream import Stream

    rate = microphone.sampling_rate
    stream = Stream(model, rate, window, hop, newest_only=True)
    heard = begun = 0  # frames: so far, and when the stream began
    dropped = 0  # hops of the streams before this one
    while True:
        samples, lost = microphone.read()
        if lost:
            dropped += stream.dropped + math.ceil(lost / rate / hop)
            stream = Stream(model, rate, window, hop, newest_only=True)
            begun = heard + lost
            heard += lost
        heard += len(samples)
        for segment in stream.push(samples):
            start, end = (begun / rate + time for time in (segment.start, segment.end))
            yield replace(segment, start=start, end=end), dropped + stream.dropped


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument(
        "--device",
        type=lambda text: int(text) if text.isdecimal() else text,
        help="name or number of a microphone, as `python -m sounddevice` lists them",
    )
    add_windows(parser)
    add_model(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(options: argparse.Namespace) -> int:
    """Listens until Ctrl-C; returns the exit status."""
    microphone = Microphone(options.device)  # first, so that a missing one is told at once
    model = load(options)
    live = sys.stdout.isatty() and not options.json
    told = dropped = 0
    height = 0  # of the panel on the terminal
    try:
        with microphone:
            print(
                f"{microphone.name}, {microphone.sampling_rate} Hz; Ctrl-C stops.", file=sys.stderr
            )
            for segment, dropped in segments(model, microphone, options.window, options.hop):
                if live:
                    panel = _panel(segment, dropped)
                    print(f"\x1b[{height}F\x1b[J" * bool(height) + "\n".join(panel), flush=True)
                    height = len(panel)
                    continue
                print((segment_json if options.json else segment_text)(segment), flush=True)
                if dropped >= 2 * told + 1:  # now and then, not at every one
                    print(f"voxmood: {_behind(dropped)}", file=sys.stderr)
                    told = dropped
    except KeyboardInterrupt:
        pass
    finally:
        if dropped > told:
            print(f"voxmood: {_behind(dropped)}", file=sys.stderr)
    return 0


def _panel(segment: Segment, dropped: int) -> list[str]:
    mood = "silence" if segment.silent else segment.label
    lines = bars(
        dict.fromkeys(segment.probabilities, 0.0) if segment.silent else segment.probabilities
    )
    return [f"{span(segment)}  {mood}", *lines, *([_behind(dropped)] if dropped else [])]


def _behind(dropped: int) -> str:
    return f"fell behind: {dropped} hops dropped so far; a longer --hop would keep up."
