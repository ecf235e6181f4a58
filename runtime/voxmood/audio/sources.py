"""What a caller may pass as a recording: a file of any kind, or samples of any kind."""

from __future__ import annotations

import array
import inspect
import io
import numbers
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import soundfile

from voxmood.audio.content import CallersFile
from voxmood.audio.hints import missing_file_hint
from voxmood.audio.pipes import seekable
from voxmood.errors import AudioError, MissingFileError

Waveform: TypeAlias = npt.NDArray[np.float32]
"""Mono samples, float32 [samples], from -1 to 1."""

AudioSource: TypeAlias = Any
"""What can be labeled.

It is a path, the bytes of a file, or a binary file object. Or it is samples: a NumPy array, a
tensor, a list or an `array.array`, with the sampling rate as another argument; a pair of samples
and sampling rate in either order; or a mapping with the keys `array` and `sampling_rate`, as
datasets have it.
"""

MAX_CHANNELS = 64


@dataclass(frozen=True)
class Samples:
    """Samples that the caller passed, not yet scaled.

    Attributes:
        frames: the samples, [frames, channels], floats or int16 or int32 PCM.
        rate: the sampling rate in Hz.
    """

    frames: npt.NDArray[Any]
    rate: int


def name_of(source: object) -> str:
    """Return the name of an audio source for messages."""
    if isinstance(source, (str, os.PathLike)):
        return str(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"<{len(source)} bytes>"
    if isinstance(source, Mapping):
        inner = source.get("array")
        return name_of(inner) if inner is not None else str(source.get("path") or "<mapping>")
    if isinstance(source, tuple):
        return name_of(next((each for each in source if not _is_number(each)), None))
    shape = getattr(source, "shape", None)
    if shape is not None:
        kind = "array" if isinstance(source, np.ndarray) else type(source).__name__
        return f"<{kind} of shape {tuple(shape)}>"
    if isinstance(source, (list, array.array)):
        return f"<{type(source).__name__} of {len(source)}>"
    if not hasattr(source, "read"):
        return f"<{type(source).__name__}>"
    name = getattr(source, "name", None)
    return name if isinstance(name, str) and name else "<file object>"


def resolve(source: AudioSource, sampling_rate: object = None) -> Samples | BinaryIO:
    """Return the samples that a source consists of, or an open file.

    Args:
        source: the recording; see `AudioSource`.
        sampling_rate: the sampling rate of samples, in Hz; files state their own.

    Raises:
        AudioError: the source is something else, or could be read in more than one way.
        MissingFileError: the path does not exist.
    """
    name = name_of(source)
    if isinstance(source, Mapping):
        source, sampling_rate = _of_mapping(source, sampling_rate, name)
    elif isinstance(source, tuple):
        source, sampling_rate = _of_pair(source, sampling_rate, name)
    if _is_file(source):
        if sampling_rate is not None and isinstance(source, (bytes, bytearray, memoryview)):
            raise AudioError(
                f"{name}: bytes are the content of a file, which states its own rate. For samples "
                "without a header, pass numpy.frombuffer(data, 'int16'), or another type."
            )
        if sampling_rate is not None:
            raise AudioError(f"{name}: a file states its own rate; leave out sampling_rate=.")
        return _open(source, name)
    frames = as_frames(source, name)
    if sampling_rate is None:
        raise AudioError(f"{name}: samples need their rate in Hz; pass sampling_rate=.")
    return Samples(frames, as_rate(sampling_rate, name))


def as_rate(sampling_rate: object, name: str) -> int:
    """Return a sampling rate as a whole number of Hz.

    Raises:
        AudioError: it is not a whole number.
    """
    if isinstance(sampling_rate, numbers.Real) and _is_number(sampling_rate):
        with suppress(OverflowError):
            hertz = float(sampling_rate)
            if hertz.is_integer():
                return int(hertz)
    raise AudioError(
        f"{name}: sampling_rate is {sampling_rate!r}; pass a whole number of Hz, such as 16000."
    )


def as_frames(source: object, name: str, *, chunk: bool = False) -> npt.NDArray[Any]:
    """Return samples as an array [frames, channels] of floats, int16 or int32.

    Args:
        source: an array, a tensor, a list or an `array.array`: [samples], [frames, channels], or
            [channels, frames] if the sizes leave no doubt.
        name: the name of the audio in messages.
        chunk: whether it is a chunk of a stream, which always has channels last, even if it has
            only a few frames.

    Raises:
        AudioError: the source is something else, or its sizes do not show which axis is time.
    """
    samples = _as_array(source, name)
    samples = samples.astype(samples.dtype.newbyteorder("="), copy=False)
    if samples.dtype not in (np.int16, np.int32) and not np.issubdtype(samples.dtype, np.floating):
        raise AudioError(
            f"{name}: is of type {samples.dtype}; pass floats from -1 to 1, or signed PCM of the "
            "type int16 or int32."
        )
    if samples.ndim == 1:
        return samples[:, np.newaxis]
    if samples.ndim != 2:
        raise AudioError(
            f"{name}: has {samples.ndim} dimensions; pass one recording at a time, as [samples] or "
            "[frames, channels]."
        )
    rows, columns = samples.shape
    if not samples.size and not chunk:
        return np.zeros((0, 1), np.float32)
    if 1 <= columns <= MAX_CHANNELS and (chunk or rows > MAX_CHANNELS or rows <= 1 == columns):
        return samples
    if rows == 1 or (rows <= MAX_CHANNELS < columns and not chunk):
        return samples.T
    raise AudioError(
        f"{name}: its shape does not show which axis is time; pass [frames, channels] with at most "
        f"{MAX_CHANNELS} channels, or one channel alone: samples[:, 0] or samples[0]."
    )


def to_float(samples: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return float32 samples: floats as they are, and PCM scaled so that its full scale is 1."""
    if samples.dtype in (np.int16, np.int32):
        return samples.astype(np.float32) / np.float32(2 ** (8 * samples.dtype.itemsize - 1))
    with np.errstate(over="ignore"):  # what overflows becomes infinite, which is refused later
        return np.ascontiguousarray(samples, dtype=np.float32)


def _of_mapping(source: Mapping[Any, Any], sampling_rate: object, name: str) -> tuple[Any, object]:
    rate = source.get("sampling_rate")
    if None not in (rate, sampling_rate) and rate != sampling_rate:
        raise AudioError(f"{name}: its sampling_rate is {rate}, and sampling_rate={sampling_rate}.")
    for key in ("array", "raw", "bytes", "path"):
        if source.get(key) is not None:
            return source[key], sampling_rate if rate is None else rate
    raise AudioError(
        f"{name}: a mapping needs the keys array and sampling_rate, but has "
        f"{', '.join(map(str, source)) or 'none'}."
    )


def _of_pair(source: tuple[Any, ...], sampling_rate: object, name: str) -> tuple[Any, object]:
    are_rates = [_is_number(each) for each in source]
    if len(source) != 2 or sum(are_rates) != 1 or sampling_rate is not None:
        raise AudioError(f"{name}: a tuple must be samples and their rate in Hz: (samples, 16000).")
    return (source[1], source[0]) if are_rates[0] else (source[0], source[1])


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))


def _is_file(source: object) -> bool:
    return isinstance(source, (str, os.PathLike, bytes, bytearray, memoryview)) or (
        hasattr(source, "read") and not hasattr(source, "__array__")
    )


def _as_array(source: Any, name: str) -> npt.NDArray[Any]:
    if isinstance(source, (bytes, bytearray, memoryview)):
        raise AudioError(
            f"{name}: bytes do not say of which type their samples are; pass "
            "numpy.frombuffer(data, 'int16'), or another type."
        )
    if type(source).__module__.partition(".")[0] == "torch":
        try:
            source = source.detach().resolve_neg().cpu()  # it may need gradients or be on a GPU
            source = source.float() if "bfloat16" in str(source.dtype) else source
        except (AttributeError, RuntimeError) as error:
            raise AudioError(f"{name}: has no samples that can be read ({error}).") from error
    if not isinstance(source, (list, array.array)) and not hasattr(source, "__array__"):
        raise AudioError(
            f"{name}: is a {type(source).__name__}; pass a path, a file opened as 'rb', the bytes "
            "of a file, or samples with sampling_rate=."
        )
    if isinstance(source, list) and source and isinstance(source[0], (str, os.PathLike, bytes)):
        raise AudioError(f"{name}: is a list of recordings; use predict_batch.")
    try:
        return np.asarray(source)
    except (ValueError, TypeError, RuntimeError) as error:
        raise AudioError(f"{name}: cannot be made into an array of samples ({error}).") from error


def _open(source: Any, name: str) -> BinaryIO:
    if isinstance(source, (str, os.PathLike)):
        if not name:
            raise AudioError("the name of a recording is empty; is a variable not set?")
        try:
            # It is unbuffered, since libsndfile uses the descriptor, and not Python's position.
            opened = Path(source).open("rb", buffering=0)  # noqa: SIM115 - it is returned
        except FileNotFoundError:
            hint = missing_file_hint(name)
            raise MissingFileError(f"{name}: no such file. {hint}".rstrip()) from None
        except (OSError, ValueError) as error:
            if os.path.isdir(source):  # noqa: PTH112 - Windows has no error of its own for folders
                raise AudioError(f"{name}: is a folder; name the recordings in it.") from None
            raise AudioError(f"{name}: cannot be opened ({error}).") from error
        if not opened.seekable():
            with opened:
                return seekable(opened, name)
        if stat.S_ISCHR(os.fstat(opened.fileno()).st_mode) and opened.read(1):
            opened.close()  # /dev/zero and its like; /dev/null is empty
            raise AudioError(f"{name}: is a device without an end, not a recording.")
        return opened
    if isinstance(source, (bytes, bytearray, memoryview)):
        return io.BytesIO(bytes(source))
    if isinstance(source, soundfile.SoundFile):
        raise AudioError(
            f"{name}: is an open SoundFile; pass its name, or its samples: "
            "predict(sound.read(), sampling_rate=sound.samplerate)."
        )
    return _checked(source, name)


def _checked(file: Any, name: str) -> BinaryIO:
    """Return a file object of the caller, or a copy if it cannot go back and forth.

    Whatever its present position is, it is read from its beginning.
    """
    if inspect.iscoroutinefunction(file.read):
        raise AudioError(f"{name}: reads asynchronously; pass the file in it, as upload.file.")
    try:
        nothing = file.read(0)
    except Exception as error:  # whatever the caller's object raises
        raise AudioError(f"{name}: cannot be read ({error}); is it still open?") from error
    if isinstance(nothing, str):
        raise AudioError(f"{name}: is open as text; open it as 'rb'.")
    if not isinstance(nothing, (bytes, bytearray, memoryview)):
        raise AudioError(f"{name}: its read() returns {type(nothing).__name__} and not bytes.")
    guarded = CallersFile(file)
    return cast(BinaryIO, guarded) if _can_seek(file) else seekable(cast(BinaryIO, guarded), name)


def _can_seek(file: Any) -> bool:
    """Return whether a file object goes back and forth, by trying it."""
    try:
        if not getattr(file, "seekable", lambda: True)():
            return False
        position = file.tell()
        file.seek(0, os.SEEK_END)
        file.seek(position)
    except Exception:  # whatever the caller's object raises
        return False
    return True
