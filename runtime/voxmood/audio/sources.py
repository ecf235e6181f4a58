"""What a caller may pass as a recording: files of any kind, and samples of any kind."""

from __future__ import annotations

import array
import inspect
import io
import numbers
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt
import soundfile

from voxmood.audio.hints import missing_file_hint
from voxmood.audio.pipes import seekable
from voxmood.errors import AudioError, MissingFileError

Waveform: TypeAlias = npt.NDArray[np.float32]
"""Mono samples, float32, -1 to 1."""

AudioSource: TypeAlias = Any
"""What can be labeled.

A path, the bytes of a file, or a binary file object; or samples: a NumPy array, a tensor, a list or
an `array.array` with their rate beside them, a pair of samples and rate in either order, or a
mapping with the keys `array` and `sampling_rate`, as datasets have it.
"""

MAX_CHANNELS = 64


@dataclass(frozen=True)
class Samples:
    """Samples that were passed as they are.

    Attributes:
        frames: [frames, channels], floats or int16 or int32 PCM.
        rate: in Hz.
    """

    frames: npt.NDArray[Any]
    rate: int


def name_of(source: object) -> str:
    """Return what to call an audio source in a message."""
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
    name = getattr(source, "name", None)
    return name if isinstance(name, str) and name else "<file object>"


def resolve(source: AudioSource, sampling_rate: object = None) -> Samples | BinaryIO:
    """Return the samples that a source stands for, or the file, which is then open.

    Args:
        source: see `AudioSource`.
        sampling_rate: the rate of samples, in Hz; files bring their own.

    Raises:
        AudioError: the source is none of these, or it takes a guess to read it.
        MissingFileError: the path does not exist.
    """
    name = name_of(source)
    if isinstance(source, Mapping):
        source, sampling_rate = _of_mapping(source, sampling_rate, name)
    elif isinstance(source, tuple):
        source, sampling_rate = _of_pair(source, sampling_rate, name)
    if _is_file(source):
        if sampling_rate is not None:
            raise AudioError(f"{name}: a file brings its own rate; leave out sampling_rate=.")
        return _open(source, name)
    frames = as_frames(source, name)
    if sampling_rate is None:
        raise AudioError(f"{name}: samples need their rate in Hz; pass sampling_rate=.")
    return Samples(frames, as_rate(sampling_rate, name))


def as_rate(sampling_rate: object, name: str) -> int:
    """Return a sampling rate as a whole number of Hz.

    Raises:
        AudioError: it is no such number.
    """
    if isinstance(sampling_rate, numbers.Real) and _is_number(sampling_rate):
        hertz = float(sampling_rate)
        if hertz.is_integer():
            return int(hertz)
    raise AudioError(
        f"{name}: sampling_rate is {sampling_rate!r}; pass a whole number of Hz, such as 16000."
    )


def as_frames(source: object, name: str, *, chunk: bool = False) -> npt.NDArray[Any]:
    """Return samples as an array [frames, channels] of a type that holds audio.

    Args:
        source: an array, a tensor, a list or an `array.array`: [samples], [frames, channels], or
            [channels, frames] where that is plain from the sizes.
        name: what to call it in messages.
        chunk: it is a part of a stream, which has channels last, however few frames there are.

    Raises:
        AudioError: it is none of these, or which axis is time cannot be told.
    """
    samples = _as_array(source, name)
    samples = samples.astype(samples.dtype.newbyteorder("="), copy=False)
    if samples.dtype not in (np.int16, np.int32) and not np.issubdtype(samples.dtype, np.floating):
        raise AudioError(
            f"{name}: is of type {samples.dtype}; pass floats of -1 to 1, or int16 or int32 PCM, "
            "for example numpy.asarray(samples, dtype='int16')."
        )
    if samples.ndim == 1:
        return samples[:, np.newaxis]
    if samples.ndim != 2:
        raise AudioError(
            f"{name}: has {samples.ndim} dimensions; pass one recording at a time, as [samples] or "
            "[frames, channels]."
        )
    rows, columns = samples.shape
    if 1 <= columns <= MAX_CHANNELS and (chunk or rows > MAX_CHANNELS or rows <= 1 == columns):
        return samples
    if 1 <= rows <= MAX_CHANNELS < columns or rows == 1:
        return samples.T
    raise AudioError(
        f"{name}: which axis is time cannot be told; pass [frames, channels] of at most "
        f"{MAX_CHANNELS} channels, or one channel of it: samples[:, 0] or samples[0]."
    )


def to_float(samples: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return floats as they are, and PCM scaled so that its full scale is 1."""
    if samples.dtype in (np.int16, np.int32):
        return samples.astype(np.float32) / np.float32(2 ** (8 * samples.dtype.itemsize - 1))
    with np.errstate(over="ignore"):  # to infinity, which is then refused
        return np.ascontiguousarray(samples, dtype=np.float32)


def _of_mapping(source: Mapping[Any, Any], sampling_rate: object, name: str) -> tuple[Any, object]:
    for key in ("array", "raw"):
        if source.get(key) is not None:
            return source[key], source.get("sampling_rate", sampling_rate)
    for key in ("bytes", "path"):
        if source.get(key) is not None:
            return source[key], None
    raise AudioError(
        f"{name}: a mapping needs the keys array and sampling_rate, and has "
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
            f"{name}: bytes do not say what their samples are; pass numpy.frombuffer(data, 'int16')"
            ", or another type."
        )
    if hasattr(source, "detach"):  # a PyTorch tensor, which may want gradients or lie on a GPU
        source = source.detach().cpu()
        if "bfloat16" in str(source.dtype):  # which NumPy does not have
            source = source.float()
    if not isinstance(source, (list, array.array)) and not hasattr(source, "__array__"):
        raise AudioError(
            f"{name}: is a {type(source).__name__}; pass a path, a file opened as 'rb', the bytes "
            "of a file, or samples with sampling_rate=."
        )
    if isinstance(source, list) and source and isinstance(source[0], (str, os.PathLike, bytes)):
        raise AudioError(f"{name}: is a list of recordings; use predict_batch.")
    try:
        return np.asarray(source)
    except (ValueError, TypeError) as error:
        raise AudioError(f"{name}: cannot be taken as an array of samples ({error}).") from error


def _open(source: Any, name: str) -> BinaryIO:
    if isinstance(source, (str, os.PathLike)):
        if not name:
            raise AudioError("the name of a recording is empty; is a variable not set?")
        try:
            # Unbuffered, since libsndfile takes the descriptor and not Python's position.
            opened = Path(source).open("rb", buffering=0)  # noqa: SIM115 - it is returned
        except FileNotFoundError:
            hint = missing_file_hint(name)
            raise MissingFileError(f"{name}: no such file. {hint}".rstrip()) from None
        except IsADirectoryError:
            raise AudioError(f"{name}: is a folder; name the recordings in it.") from None
        except (OSError, ValueError) as error:
            raise AudioError(f"{name}: cannot be opened ({error}).") from error
        if opened.seekable():
            return opened
        with opened:
            return seekable(opened, name)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return io.BytesIO(source)
    if isinstance(source, soundfile.SoundFile):
        raise AudioError(
            f"{name}: is an open SoundFile; pass its name, or its samples: "
            "predict(sound.read(), sampling_rate=sound.samplerate)."
        )
    return _checked(source, name)


def _checked(file: Any, name: str) -> BinaryIO:
    """Return a file object of the caller's, or a copy where it cannot be sought in.

    Wherever it is, it is read from its beginning.
    """
    if inspect.iscoroutinefunction(file.read):
        raise AudioError(f"{name}: reads asynchronously; pass the file in it, as upload.file.")
    try:
        nothing = file.read(0)
        can_seek = hasattr(file, "seek") and hasattr(file, "tell")
        # What has no such method, but can seek, is taken as it is.
        can_seek = can_seek and getattr(file, "seekable", lambda: True)()
    except (OSError, ValueError, TypeError) as error:
        raise AudioError(f"{name}: cannot be read ({error}); is it still open?") from error
    if isinstance(nothing, str):
        raise AudioError(f"{name}: is open as text; open it as 'rb'.")
    if not isinstance(nothing, (bytes, bytearray, memoryview)):
        raise AudioError(f"{name}: its read() gives {type(nothing).__name__} and not bytes.")
    checked: BinaryIO = file if can_seek else seekable(file, name)
    return checked
