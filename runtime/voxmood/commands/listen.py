"""`voxmood listen` labels live audio from a microphone."""

from __future__ import annotations

import argparse
import math
import queue
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from voxmood.audio.sources import MAX_CHANNELS
from voxmood.commands.options import (
    add_channel,
    add_model,
    add_silence,
    add_speech,
    add_windows,
    load,
)
from voxmood.commands.terminal.display import (
    answer_text,
    bars,
    numbers,
    segment_json,
    segment_text,
    span,
)
from voxmood.errors import AudioError, MissingExtraError
from voxmood.results import UNSURE

if TYPE_CHECKING:
    from voxmood.audio import Channel
    from voxmood.model import Model
    from voxmood.results import Segment

Samples: TypeAlias = npt.NDArray[np.float32]
_Block: TypeAlias = tuple[Samples, int]
"""Samples [frames, channels], and the number of frames that were lost before them."""

BLOCK_SECONDS = 0.1
BACKLOG_SECONDS = 30.0
"""The most audio that waits while the model runs; further audio is lost."""

PATIENCE_SECONDS = 5.0
"""The longest wait for audio, after which the microphone counts as disconnected."""


class Microphone:
    """A microphone, whose blocks of samples [frames, channels] pass through a bounded queue.

    Args:
        device: name or number of the input device; None takes the default device.
        channel: the channel that will be labeled. Its mean is that of the first two.

    Raises:
        MissingExtraError: PortAudio is not installed.
        AudioError: the microphone is missing, does not start or does not have the channel.
    """

    def __init__(self, device: str | int | None, channel: Channel = "mix") -> None:
        try:
            import sounddevice
        except OSError as error:  # the module is installed, but the library that it wraps is not
            raise MissingExtraError(
                f"listen needs the PortAudio library, which is not installed ({error}): for "
                "example `apt-get install libportaudio2`."
            ) from error
        try:
            about = sounddevice.query_devices(device, "input")
            self.name = str(about["name"])
            self.sampling_rate = round(about["default_samplerate"])
            channels = _channels(self.name, about["max_input_channels"], channel)
            self._stream = sounddevice.InputStream(
                device=device,
                channels=channels,
                samplerate=self.sampling_rate,
                blocksize=round(BLOCK_SECONDS * self.sampling_rate),
                dtype="float32",
                callback=self._callback,
            )
        except (sounddevice.PortAudioError, ValueError) as error:
            name = "no microphone" if device is None else f"no microphone {device!r}"
            raise AudioError(
                f"{name} ({error}); connect one, or choose one with --microphone. "
                "`python -m sounddevice` lists them."
            ) from error
        self._blocks = queue.Queue[_Block](round(BACKLOG_SECONDS / BLOCK_SECONDS))
        self._lost = 0  # frames since the last block in the queue; only the callback uses it
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
        """Wait for audio; return all that is there, and the number of frames lost before it.

        Raises:
            AudioError: no audio has come for some seconds.
        """
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
            if block[1]:  # audio after a gap is left for the next call
                self._next = block
                break
            blocks.append(block[0])
        return np.concatenate(blocks), lost

    def _callback(self, samples: Samples, frames: int, time: Any, status: Any) -> None:
        if status.input_overflow:  # PortAudio does not say how much it dropped
            self._lost += frames
        try:
            self._blocks.put_nowait((samples.copy(), self._lost))
            self._lost = 0
        except queue.Full:
            self._lost += frames


def _channels(name: str, there: int, channel: Channel) -> int:
    """Return how many of a microphone's channels are recorded, so that one of them is there."""
    if channel == "each":
        return min(there, MAX_CHANNELS)
    first = 1 if channel == "mix" else channel
    if first > there:
        has = "1 channel" if there == 1 else f"{there} channels"
        raise AudioError(f"{name}: has {has}, and no channel {channel}.")
    return max(first, min(there, 2))  # one alone could be the mean of both


def segments(
    model: Model,
    microphone: Microphone,
    window: float,
    hop: float,
    *,
    channel: Channel = "mix",
    speech: bool = False,
    run_silence: bool = False,
) -> Iterator[tuple[Segment, int]]:
    """Yield segments without end, each with the number of hops dropped so far.

    A machine that is too slow labels the newest window and drops the others. After a gap in the
    audio a new window begins, so that no window spans the gap.

    Args:
        model: the model.
        microphone: the microphone, which is open.
        window: length of a window in seconds.
        hop: time from the start of one window to the next in seconds.
        channel: which channel to label.
        speech: whether to label stretches of speech instead of windows.
        run_silence: whether to run the model on silent windows.
    """
    from voxmood.stream import Stream

    rate = microphone.sampling_rate
    begin = partial(
        Stream,
        model,
        rate,
        window,
        hop,
        channel=channel,
        speech=speech,
        run_silence=run_silence,
        newest_only=True,
    )
    stream = begin()
    heard = begun = 0  # frames that came so far, and that came before the stream began
    dropped = 0  # hops that were dropped before the stream began
    while True:
        samples, lost = microphone.read()
        if lost:
            dropped += stream.dropped + math.ceil(lost / rate / hop)
            stream = begin()
            begun = heard + lost
            heard += lost
        heard += len(samples)
        for segment in stream.push(samples):
            start, end = (begun / rate + time for time in (segment.start, segment.end))
            yield replace(segment, start=start, end=end), dropped + stream.dropped


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to its parser."""
    parser.add_argument(
        "--microphone",
        metavar="NAME",
        type=lambda text: int(text) if text.isdecimal() else text,
        help="Name or number of a microphone, as `python -m sounddevice` lists them (default: the "
        "system's default microphone).",
    )
    add_windows(parser)
    add_speech(parser)
    add_silence(parser)
    add_model(parser)
    add_channel(parser)
    parser.add_argument(
        "--json", action="store_true", help="Print one JSON object per line instead of text."
    )


def run(options: argparse.Namespace) -> int:
    """Label what the microphone hears until Ctrl-C, and return the exit status."""
    # First, so that a missing one is reported at once.
    microphone = Microphone(options.microphone, options.channel)
    model = load(options)
    # Consoles of Windows may print what moves the cursor instead of doing it.
    live = sys.stdout.isatty() and not options.json and sys.platform != "win32"
    line = segment_json if options.json else segment_text
    reported = dropped = 0
    panels: dict[int | None, list[str]] = {}  # on the terminal, one for each channel
    try:
        with microphone:
            print(
                f"{microphone.name}, {microphone.sampling_rate} Hz; Ctrl-C stops.", file=sys.stderr
            )
            for segment, dropped in segments(
                model,
                microphone,
                options.window,
                options.hop,
                channel=options.channel,
                speech=options.speech,
                run_silence=options.run_silence,
            ):
                if live:
                    height = sum(map(len, panels.values()))
                    if height:  # move up and clear the panels before
                        print(f"\x1b[{height}F\x1b[J", end="")
                    panels[segment.channel] = _panel(segment, dropped, model.labels)
                    for number in sorted(panels, key=lambda number: number or 0):
                        print("\n".join(panels[number]), flush=True)
                    continue
                print(line(segment), flush=True)
                if dropped > 2 * reported:  # from time to time, and not at every drop
                    print(f"voxmood: {_behind(dropped)}", file=sys.stderr)
                    reported = dropped
    except KeyboardInterrupt:
        pass
    finally:
        if dropped > reported:
            print(f"voxmood: {_behind(dropped)}", file=sys.stderr)
    return 0


def _panel(segment: Segment, dropped: int, labels: Sequence[str]) -> list[str]:
    """Return the lines of the display; in silence all bars are empty, and values are left out."""
    mood = "silence" if segment.silent else answer_text(segment.label or "", segment.unsure)
    head = f"{span(segment)}  {mood}".rstrip()
    if segment.values is not None:
        head = f"{span(segment)}  {UNSURE}" if segment.unsure else head
        lines = [head, *([] if segment.silent else numbers(segment.values))]
    else:
        probabilities = segment.probabilities or {}
        empty = dict.fromkeys(labels, 0.0)
        lines = [head, *bars(empty if segment.silent else probabilities)]
    if dropped:
        lines.append(_behind(dropped))
    return lines


def _behind(dropped: int) -> str:
    return f"fell behind: {dropped} hops dropped so far; use a longer --hop to keep up."
