"""Reading of a recording, which is converted to a waveform block by block."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, suppress

import numpy as np

from voxmood.audio.channels import Channel, Channels
from voxmood.audio.content import CallersFile, Content
from voxmood.audio.decoders import BLOCK_SAMPLES, Block, Decoder, UnreadableError
from voxmood.audio.formats import coded_audio, is_audio, is_wav, other_kind, refusal
from voxmood.audio.libsndfile import LibsndfileDecoder
from voxmood.audio.sources import AudioSource, Samples, Waveform, name_of, resolve, to_float
from voxmood.audio.structure import find_parts
from voxmood.errors import AudioError, MissingExtraError, VoxmoodError


def read_waveform(
    source: AudioSource, *, rate: int, max_seconds: float, sampling_rate: int | None = None
) -> Waveform:
    """Return the whole waveform of a recording, decoded, mixed to mono and resampled.

    Args:
        source: the recording; see `AudioSource`.
        rate: the sampling rate of the waveform, in Hz.
        max_seconds: the length of the longest recording to accept.
        sampling_rate: the sampling rate of samples, in Hz; files state their own.

    Returns:
        The waveform, float32 [samples].

    Raises:
        AudioError: the source is not audio, is empty or too long, or has unusable samples.
        MissingFileError: the path does not exist.
    """
    reader = AudioReader(source, rate=rate, sampling_rate=sampling_rate)
    blocks = []
    for block in reader:
        blocks.append(block)
        if reader.samples > max_seconds * rate:
            raise AudioError(
                f"{reader.name}: is longer than the {max_seconds:g} s that can be read at "
                "once; cut it into pieces."
            )
    return np.concatenate(blocks)


class AudioReader:
    """A reader yields a recording as blocks of its waveform, float32 [samples].

    It can be iterated over once, by itself or by `tracks`. This raises AudioError if the recording
    turns out to be empty, to have unusable samples, or not to have a chosen channel.

    Args:
        source: the recording; see `AudioSource`.
        rate: the sampling rate of the waveform, in Hz.
        sampling_rate: the sampling rate of samples, in Hz; files state their own.
        chosen: which channels `tracks` yields.
        optional: the numbers of channels that it yields, too, if the recording has them.

    Attributes:
        name: the name of the recording in messages.
        duration: the length in seconds as the header states it; None if it does not.

    Raises:
        AudioError: the source is not audio.
        MissingFileError: the path does not exist.
    """

    def __init__(
        self,
        source: AudioSource,
        *,
        rate: int,
        sampling_rate: int | None = None,
        chosen: Sequence[Channel] = ("mix",),
        optional: Sequence[int] = (),
    ) -> None:
        self.name = name_of(source)
        self.duration: float | None
        self._decoder: Decoder | None = None
        self._callers: CallersFile | None = None
        self._blocks: Generator[Block, None, None]
        resolved = resolve(source, sampling_rate)
        if isinstance(resolved, Samples):
            self.duration = len(resolved.frames) / resolved.rate if resolved.rate else None
            self._blocks = _sample_blocks(resolved)
            self._channels = Channels(self.name, resolved.rate, rate, chosen, optional)
            return
        with ExitStack() as stack:
            if hasattr(resolved, "close"):  # a file object of the caller stays open
                stack.enter_context(resolved)
            self._callers = resolved if isinstance(resolved, CallersFile) else None
            try:
                content = Content(resolved)
                decoder = stack.enter_context(closing(open_decoder(content, self.name)))
            except OSError as error:
                if isinstance(error, VoxmoodError):
                    raise
                raise AudioError(f"{self.name}: cannot be read ({error.strerror}).") from error
            finally:
                self._check_callers()
            self._channels = Channels(self.name, decoder.rate, rate, chosen, optional)
            self.duration = decoder.duration
            self._decoder = decoder
            self._blocks = self._file_blocks(content, decoder, stack.pop_all())

    def __iter__(self) -> Iterator[Waveform]:
        for waveform, *_ in self.tracks():
            yield waveform

    def tracks(self) -> Iterator[list[Waveform]]:
        """Yield blocks of the waveforms of all chosen channels; `numbers` says which they are."""
        empty = True
        with closing(self._blocks):
            for block in self._blocks:
                empty = False
                yield self._channels.push(block.frames, block.rate)
        self._check_callers()
        if empty:
            raise AudioError(f"{self.name}: has no samples; was the recording cut off?")
        yield self._channels.close()

    @property
    def numbers(self) -> tuple[int | None, ...]:
        """The number of the channel of each track, or None for the mean; known with a block."""
        return self._channels.numbers

    @property
    def samples(self) -> int:
        """The number of samples of each waveform that have been yielded so far."""
        return self._channels.samples

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is unusual about the recording; complete after the last block."""
        of_file = self._decoder.warnings if self._decoder else ()
        return tuple(dict.fromkeys([*self._channels.warnings, *of_file]))

    def _check_callers(self) -> None:
        """Raise AudioError if a file object of the caller failed, where libsndfile saw an end."""
        if self._callers and self._callers.failure:
            raise AudioError(
                f"{self.name}: cannot be read to its end ({self._callers.failure})."
            ) from self._callers.failure

    def _file_blocks(
        self, content: Content, decoder: Decoder, opened: ExitStack
    ) -> Generator[Block, None, None]:
        with opened:
            try:
                yield from decoder.blocks()
            except UnreadableError as error:
                # libsndfile can read its header, but not its samples.
                if not isinstance(decoder, LibsndfileDecoder):
                    raise refusal(content, self.name) from error
                other = opened.enter_context(closing(_open_pyav(content, self.name, error)))
                self._decoder = other
                try:
                    yield from other.blocks()
                except UnreadableError as reason:
                    raise refusal(content, self.name) from reason


def open_decoder(content: Content, name: str) -> Decoder:
    """Return a decoder for a file: libsndfile's if it reads the file, else PyAV's.

    Args:
        content: the content of the file.
        name: the name of the file in messages.

    Raises:
        AudioError: neither reads the file; the message says what the file is.
    """
    if not content.size or other_kind(content):
        raise refusal(content, name)
    if coded_audio(content) is not None:
        return _open_pyav(content, name, None)
    parts = find_parts(content)
    if any(part.mixed for part in parts):
        with suppress(AudioError):  # else libsndfile reads as far as the stream stays the same
            return _open_pyav(content, name, None)
    try:
        return LibsndfileDecoder(content, parts, name)
    except UnreadableError as error:
        return _open_pyav(content, name, error)


def _open_pyav(content: Content, name: str, cause: Exception | None) -> Decoder:
    if not is_audio(content, name):  # FFmpeg would find some format even in noise
        raise refusal(content, name) from cause
    parts = find_parts(content)
    if is_wav(content) and not parts[0].kind:  # FFmpeg would allocate what its chunks declare
        raise refusal(content, name) from cause
    try:
        from voxmood.audio.pyav import PyAvDecoder

        return PyAvDecoder(content, name, parts[0] if len(parts) == 1 else None)
    except (UnreadableError, MissingExtraError) as error:
        raise refusal(content, name, error) from error


def _sample_blocks(samples: Samples) -> Generator[Block, None, None]:
    step = max(1, BLOCK_SAMPLES // samples.frames.shape[1])
    for start in range(0, len(samples.frames), step):
        yield Block(to_float(samples.frames[start : start + step]), samples.rate)
