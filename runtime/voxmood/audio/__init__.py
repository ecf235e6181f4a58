"""Recordings to waveforms: float32, mono, at the model's sampling rate, block by block.

The waveform equals that of ``librosa.load(path, sr=rate, mono=True)`` to the bit, which is what
the reference models are fed with: soundfile decodes, the channels are averaged, soxr resamples.
Memory does not depend on how long a recording is, nor on what its header says.

What unusual audio gets (a warning is one of the prediction's; an error is an `AudioError`):

| audio | answer |
|---|---|
| NaN or infinite samples, or beyond ±2^31 | error |
| beyond ±1 | taken as it is; a warning from ±2 on, since lossy codecs overshoot |
| silence; a constant (DC) | labelled, with a warning that the label means nothing |
| stereo whose channels cancel in the mean | labelled, with a warning |
| one sample, or fewer than the model takes | error |
| empty, or a header and no samples | error |
| cut off (WAV, FLAC, Ogg, MP3, AIFF and others whose header tells) | labelled, with a warning |
| cut off before the first sample, or CAF and HTK, whose tables are then invalid | error |
| a header that claims any length | read to where the file ends |
| more than 64 channels; a rate outside 1 to 768 kHz | error |
| m4a, aac, webm, amr, wma | error that names the format and says how to convert |
"""

from __future__ import annotations

import io
import math
import os
import re
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from voxmood.errors import AudioError, MissingFileError

Waveform: TypeAlias = npt.NDArray[np.float32]
"""Mono samples, float32, -1 to 1."""

AudioSource: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO | npt.NDArray[Any]
"""What can be labelled: a path, a file's bytes, a binary file object, or an array of samples."""

BLOCK_SAMPLES = 65536  # of all channels, decoded at a time
MAX_CHANNELS = 64
MIN_RATE, MAX_RATE = 1_000, 768_000  # Hz; a block becomes at most 16 times as long at 16 kHz
LOUD_PEAK = 2.0  # lossy codecs overshoot full scale, but hardly by 6 dB
MAX_PEAK = 2.0**31  # integer samples read as floats without scaling; beyond it, no audio
CANCELLED = 0.03  # of the channels' power left in their mean; of unrelated channels half is
UNKNOWN_FRAMES = 1 << 62  # libsndfile says 2^63 - 1 where it cannot know
UNKNOWN_BYTES = 0x7FFF0000  # what writes to a pipe declares 2 or 4 GB, not knowing the length

FOREIGN = {
    "MPEG-4 audio (m4a, mp4, 3gp)": re.compile(rb"....ftyp", re.DOTALL),
    "WebM or Matroska": re.compile(rb"\x1a\x45\xdf\xa3"),
    "AMR": re.compile(rb"#!AMR"),
    "AAC": re.compile(rb"ADIF|\xff[\xf0\xf1\xf8\xf9]"),
    "Windows Media (wma)": re.compile(rb"\x30\x26\xb2\x75"),
}
"""Formats that libsndfile does not read, by how their files begin."""

_DATA_CUT = re.compile(
    r"(?:\bdata|SSND|BODY|Data Size|riff|Riff size)\s*: (\d+) \(should be (\d+)\)"
)
"""libsndfile's log of a header that declares more bytes than the file has."""


def name_of(source: object) -> str:
    """What to call an audio source in a message."""
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source) if isinstance(source, str) else str(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"<{len(source)} bytes>"
    if isinstance(source, np.ndarray):
        return f"<array of shape {source.shape}>"
    return str(getattr(source, "name", "<file object>"))


def read_waveform(
    source: AudioSource, *, rate: int, max_seconds: float, sampling_rate: int | None = None
) -> Waveform:
    """Decodes, downmixes and resamples a recording as a whole.

    Args:
        source: a path, the bytes of a file, a binary file object, or a one-dimensional array of
            samples (floats of -1 to 1, or int16 or int32 PCM).
        rate: the sampling rate wanted, in Hz.
        max_seconds: the longest recording to accept.
        sampling_rate: the rate of an array, in Hz; files bring their own.

    Returns:
        The waveform, float32 [samples].

    Raises:
        AudioError: the source is no audio, empty, too long, or has unusable samples.
        MissingFileError: the path does not exist.
    """
    recording = Recording(source, rate=rate, sampling_rate=sampling_rate)
    blocks = []
    for block in recording:
        blocks.append(block)
        if recording.samples > max_seconds * rate:
            raise AudioError(
                f"{recording.name}: is longer than the {max_seconds:g} s that can be taken at "
                "once; cut it into pieces."
            )
    return np.concatenate(blocks)


class Converter:
    """Blocks of samples at one rate to mono at another.

    All it returns, put together, is what `librosa.to_mono` and `librosa.resample` make of the
    whole, to the bit, however the samples are cut into blocks.

    Args:
        name: what to call the audio in messages.
        sampling_rate: of the blocks, in Hz.
        rate: the sampling rate wanted, in Hz.

    Attributes:
        given: samples returned so far.

    Raises:
        AudioError: `sampling_rate` is out of bounds.
    """

    def __init__(self, name: str, sampling_rate: int, rate: int) -> None:
        if not MIN_RATE <= sampling_rate <= MAX_RATE:
            raise AudioError(
                f"{name}: its sampling rate of {sampling_rate} Hz is not one of speech "
                f"({MIN_RATE} to {MAX_RATE} Hz); correct the header or sampling_rate=."
            )
        self.name = name
        self._ratio = float(rate) / sampling_rate
        self._resampler = (
            None
            if sampling_rate == rate
            else soxr.ResampleStream(sampling_rate, rate, 1, dtype="float32", quality="HQ")
        )
        self._taken = 0
        self.given = 0
        self._peak = self._power = self._mono_power = 0.0

    def push(self, block: npt.NDArray[np.float32]) -> Waveform:
        """Takes samples [frames, channels]; returns as many as are ready, float32 [samples].

        Raises:
            AudioError: a sample is not finite, or too large for audio; the block is not taken.
        """
        peak = float(np.abs(block).max(initial=0))
        if not math.isfinite(peak):
            raise AudioError(f"{self.name}: holds NaN or infinite samples; write the file again.")
        if peak > MAX_PEAK:
            raise AudioError(f"{self.name}: samples of {peak:.3g} are no audio; 1 is full scale.")
        self._peak = max(self._peak, peak)
        mono: Waveform = block[:, 0]
        if block.shape[1] > 1:
            # Summed as librosa.to_mono does; another order gives other last bits.
            mono = block.T.mean(axis=0)
            self._power += float(np.vdot(block, block)) / block.shape[1]
            self._mono_power += float(np.vdot(mono, mono))
        self._taken += len(mono)
        if self._resampler is None:
            self.given += len(mono)
            return mono
        resampled: Waveform = self._resampler.resample_chunk(np.ascontiguousarray(mono))
        self.given += len(resampled)
        return resampled

    def close(self) -> Waveform:
        """The samples that the resampler still holds; nothing can be pushed after it."""
        if self._resampler is None:
            return np.zeros(0, np.float32)
        rest: Waveform = self._resampler.resample_chunk(np.zeros(0, np.float32), last=True)
        # soxr may round the length another way than librosa, which cuts or pads by a sample.
        length = math.ceil(self._taken * self._ratio) - self.given
        self.given += length
        return np.pad(rest[:length], (0, max(0, length - len(rest))))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was unusual so far."""
        warnings = []
        if self._peak > LOUD_PEAK:
            warnings.append(f"peaks at {self._peak:.3g} where 1 is full scale; taken as it is")
        if self._mono_power < CANCELLED * self._power:
            warnings.append("its channels cancel in their mean; label one of them instead")
        return tuple(warnings)


class Recording:
    """An audio source, converted block by block while it is iterated over, once.

    Attributes:
        name: what to call it in messages.
        duration: in seconds as the header claims, or None where it does not know.

    Raises:
        AudioError: the source is no audio, empty, or has unusable samples.
        MissingFileError: the path does not exist.
    """

    def __init__(self, source: AudioSource, *, rate: int, sampling_rate: int | None = None) -> None:
        self.name = name_of(source)
        self.duration: float | None
        self._cut: str | None = None
        self._blocks: Generator[npt.NDArray[np.float32], None, None]
        if isinstance(source, np.ndarray):
            if sampling_rate is None:
                raise AudioError(
                    f"{self.name}: an array needs its rate in Hz; pass sampling_rate=."
                )
            if source.ndim != 1:
                raise AudioError(
                    f"{self.name}: has {source.ndim} dimensions where 1 is expected, mono samples; "
                    "average the channels first."
                )
            check_samples(source, self.name)
            self._converter = Converter(self.name, sampling_rate, rate)
            self.duration = len(source) / sampling_rate
            self._blocks = _array_blocks(source)
        else:
            if sampling_rate is not None:
                raise AudioError(
                    f"{self.name}: a file brings its own rate; leave out sampling_rate=."
                )
            with ExitStack() as stack:
                file = _open(source, self.name)
                if file is not source:
                    stack.enter_context(file)
                sound = stack.enter_context(_open_sound(file, self.name))
                self._converter = Converter(self.name, sound.samplerate, rate)
                known = sound.frames < UNKNOWN_FRAMES
                self.duration = sound.frames / sound.samplerate if known else None
                self._blocks = self._file_blocks(file, sound, stack.pop_all())

    def __iter__(self) -> Iterator[Waveform]:
        empty = True
        with closing(self._blocks):
            for block in self._blocks:
                empty = False
                yield self._converter.push(block)
        if empty:
            raise AudioError(f"{self.name}: holds no samples; was the recording cut off?")
        yield self._converter.close()

    @property
    def samples(self) -> int:
        """How many samples iteration has yielded so far, at the rate wanted."""
        return self._converter.given

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a careful listener would want to know; complete once it is iterated over."""
        return self._converter.warnings + ((self._cut,) if self._cut else ())

    def _file_blocks(
        self, file: BinaryIO, sound: soundfile.SoundFile, opened: ExitStack
    ) -> Generator[npt.NDArray[np.float32], None, None]:
        frames = 0
        buffer = np.empty((BLOCK_SAMPLES // sound.channels, sound.channels), np.float32)
        failure: Exception | None = None
        with opened:
            while failure is None:
                try:
                    count = len(sound.read(out=buffer))
                except (soundfile.SoundFileError, OSError) as error:
                    failure = error
                    count = sound.tell() - frames  # what it decoded before it failed
                if not count:
                    break
                frames += count
                yield buffer[:count].copy()
            if failure is not None and not frames:
                raise _unreadable(file, self.name, failure) from failure
            self._cut = _cut_off(file, sound, frames, failure is not None)


def check_samples(array: npt.NDArray[Any], name: str) -> None:
    """Raises AudioError unless an array's type is one of samples."""
    if array.dtype not in (np.int16, np.int32) and not np.issubdtype(array.dtype, np.floating):
        raise AudioError(f"{name}: is of type {array.dtype}; pass floats, int16 or int32.")


def to_float(samples: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Floats as they are, PCM scaled so that its full scale is 1."""
    if samples.dtype in (np.int16, np.int32):
        return samples.astype(np.float32) / np.float32(2 ** (8 * samples.dtype.itemsize - 1))
    with np.errstate(over="ignore"):  # to infinity, which is then refused
        return np.ascontiguousarray(samples, dtype=np.float32)


def _array_blocks(samples: npt.NDArray[Any]) -> Generator[npt.NDArray[np.float32], None, None]:
    for start in range(0, len(samples), BLOCK_SAMPLES):
        yield to_float(samples[start : start + BLOCK_SAMPLES])[:, np.newaxis]


class _SoundFile(soundfile.SoundFile):  # type: ignore[misc]
    """Reads straight on.

    The parent seeks after each block to where it already is. That changes the samples of an MP3,
    and fails at the end of a FLAC file that was cut off.
    """

    def seekable(self) -> bool:
        return False


def _open(source: str | os.PathLike[str] | bytes | BinaryIO, name: str) -> BinaryIO:
    if isinstance(source, (str, os.PathLike)):
        try:
            # Unbuffered, since libsndfile takes the descriptor and not Python's position.
            return Path(source).open("rb", buffering=0)
        except FileNotFoundError:
            raise MissingFileError(f"{name}: no such file.") from None
        except IsADirectoryError:
            raise AudioError(f"{name}: is a folder; name the recordings in it.") from None
        except (OSError, ValueError) as error:
            raise AudioError(f"{name}: cannot be opened ({error}).") from error
    if isinstance(source, (bytes, bytearray, memoryview)):
        return io.BytesIO(source)
    if not hasattr(source, "read") or isinstance(source, io.TextIOBase):
        raise AudioError(f"{name}: is a {type(source).__name__}; open files as 'rb'.")
    if not source.seekable():
        raise AudioError(f"{name}: is a pipe or the like; pass what it gives: file.read().")
    return source


def _open_sound(file: BinaryIO, name: str) -> soundfile.SoundFile:
    try:
        # A descriptor where there is one: file objects are read through Python callbacks, which
        # cannot be interrupted.
        sound = _SoundFile(file.fileno() if isinstance(file, io.FileIO) else file, closefd=False)
    except (soundfile.SoundFileError, OSError, TypeError, ValueError) as error:
        raise _unreadable(file, name, error) from error
    if sound.channels > MAX_CHANNELS:
        raise AudioError(
            f"{name}: has {sound.channels} channels, more than the {MAX_CHANNELS} that are read; "
            "is its header damaged?"
        )
    return sound


def _unreadable(file: BinaryIO, name: str, error: Exception) -> AudioError:
    file.seek(0)
    head = file.read(16)
    if not head:
        return AudioError(f"{name}: is empty.")
    known = next((form for form, magic in FOREIGN.items() if magic.match(head)), None)
    cause = getattr(error, "error_string", error)  # libsndfile's, without the number of the file
    return AudioError(
        f"{name}: cannot be read as audio ({known or cause}). Formats: WAV, FLAC, Ogg, Opus, MP3 "
        "and what else libsndfile reads; convert others, for example `ffmpeg -i IN OUT.wav`."
    )


def _cut_off(file: BinaryIO, sound: soundfile.SoundFile, frames: int, failed: bool) -> str | None:
    """What to say of a recording that ends before its time, as far as its format tells."""
    seconds = frames / sound.samplerate
    early = f"cut off or damaged: only {seconds:.1f} s could be read"
    declared = sound.frames / sound.samplerate if sound.frames < UNKNOWN_FRAMES else 0
    if sound.format == "OGG":
        return early if failed or not _has_last_page(file) else None
    if sound.format == "MP3" and not failed:
        file.seek(0)
        if not re.search(b"Xing|Info", file.read(65536)):
            return None  # its length is libsndfile's guess
    if match := _DATA_CUT.search(sound.extra_info):
        claimed, there = map(int, match.groups())
        if claimed - there > 64 and claimed < UNKNOWN_BYTES and there > 0:
            declared = seconds * claimed / there
    if seconds < declared:
        return f"{early} of {declared:.1f} s that its header declares"
    return early if failed else None


def _has_last_page(file: BinaryIO) -> bool:
    # RFC 3533: flags are byte 5, 4 being that of the last page; from byte 26 the segment table.
    file.seek(max(0, file.seek(0, os.SEEK_END) - 65536))  # the longest page has 65,307
    tail = file.read(65536)
    page = tail[max(0, tail.rfind(b"OggS")) :]
    if len(page) < 27:
        return False
    segments = page[27 : 27 + page[26]]
    return bool(page[5] & 4) and len(page) >= 27 + page[26] + sum(segments)
