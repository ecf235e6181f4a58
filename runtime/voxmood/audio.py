"""Recordings to waveforms: float32, mono, at the model's sampling rate.

The waveform equals that of ``librosa.load(path, sr=rate, mono=True)`` to the bit, which is what
the reference models are fed with: soundfile decodes, the channels are averaged, soxr resamples.
"""

from __future__ import annotations

import io
import math
import os
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

BLOCK_FRAMES = 65536  # decoded at a time, so that a header's claims never decide an allocation


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
    """Decodes, downmixes and resamples a recording.

    Args:
        source: a path, the bytes of a file, a binary file object, or a one-dimensional array of
            samples (floats of -1 to 1, or int16 or int32 PCM).
        rate: the sampling rate wanted, in Hz.
        max_seconds: the longest recording to accept.
        sampling_rate: the rate of an array, in Hz; files bring their own.

    Returns:
        The waveform, float32 [samples].

    Raises:
        AudioError: the source is no audio, empty, too long, or holds NaN or infinities.
        MissingFileError: the path does not exist.
    """
    name = name_of(source)
    if isinstance(source, np.ndarray):
        samples, source_rate = _from_array(source, sampling_rate, name)
        if len(samples) > max_seconds * source_rate:
            raise _too_long(name, max_seconds)
    else:
        if sampling_rate is not None:
            raise AudioError(f"{name}: a file brings its own rate; leave out sampling_rate=.")
        samples, source_rate = _decode(source, name, max_seconds)
    if not len(samples):
        raise AudioError(f"{name}: holds no samples; was the recording cut off?")
    if not np.isfinite(samples).all():
        raise AudioError(f"{name}: holds NaN or infinite samples; write the file again.")
    return _resample(samples, source_rate, rate)


def _from_array(array: npt.NDArray[Any], rate: int | None, name: str) -> tuple[Waveform, int]:
    if rate is None:
        raise AudioError(f"{name}: an array needs its rate in Hz; pass sampling_rate=.")
    if rate <= 0:
        raise AudioError(f"{name}: sampling_rate is {rate} Hz, which is not positive.")
    if array.ndim != 1:
        raise AudioError(
            f"{name}: has {array.ndim} dimensions where 1 is expected, mono samples; "
            "average the channels first."
        )
    if array.dtype in (np.int16, np.int32):
        full_scale = np.float32(2 ** (8 * array.dtype.itemsize - 1))
        return array.astype(np.float32) / full_scale, rate
    if not np.issubdtype(array.dtype, np.floating):
        raise AudioError(f"{name}: is of type {array.dtype}; pass floats, int16 or int32.")
    return np.ascontiguousarray(array, dtype=np.float32), rate


def _decode(
    source: str | os.PathLike[str] | bytes | BinaryIO, name: str, max_seconds: float
) -> tuple[Waveform, int]:
    file: Path | BinaryIO
    if isinstance(source, (str, os.PathLike)):
        file = Path(source)
        if not file.exists():
            raise MissingFileError(f"{name}: no such file.")
        if file.is_dir():
            raise AudioError(f"{name}: is a folder; name the recordings in it.")
    else:
        file = io.BytesIO(source) if isinstance(source, (bytes, bytearray, memoryview)) else source
    blocks = []
    frames = 0
    try:
        with soundfile.SoundFile(file) as sound:
            rate: int = sound.samplerate
            while len(block := sound.read(BLOCK_FRAMES, dtype="float32", always_2d=True)):
                frames += len(block)
                if frames > max_seconds * rate:
                    raise _too_long(name, max_seconds)
                # Summed as librosa.to_mono does; another order gives other last bits.
                blocks.append(block.T.mean(axis=0) if block.shape[1] > 1 else block[:, 0])
    except (soundfile.LibsndfileError, OSError, TypeError) as error:
        raise AudioError(
            f"{name}: cannot be read as audio ({error}). Formats: WAV, FLAC, Ogg, Opus, MP3 and "
            "what else libsndfile reads; convert others, for example `ffmpeg -i IN OUT.wav`."
        ) from error
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32), rate


def _resample(samples: Waveform, source_rate: int, rate: int) -> Waveform:
    if source_rate == rate:
        return samples
    resampled: Waveform = soxr.resample(samples, source_rate, rate, quality="HQ")
    length = math.ceil(len(samples) * (float(rate) / source_rate))
    # soxr may round the length another way than librosa, which cuts or pads by a sample.
    return np.pad(resampled[:length], (0, max(0, length - len(resampled))))


def _too_long(name: str, max_seconds: float) -> AudioError:
    return AudioError(
        f"{name}: is longer than the {max_seconds:g} s that the model takes at once; "
        "cut it into pieces."
    )
