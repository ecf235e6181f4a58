"""Decoding by PyAV, which is FFmpeg, of what libsndfile does not read (extra `av`).

FFmpeg reads whatever a file asks for, including playlists and the addresses of other files. So only
formats in which one file is one recording are opened, from bytes and never by name.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from voxmood.audio.content import Content, View
from voxmood.audio.decoders import Block, UnreadableError
from voxmood.audio.parts import Part, longer, unread_behind
from voxmood.audio.sources import MAX_CHANNELS, to_float
from voxmood.errors import AudioError, MissingExtraError

try:
    import av
except (ImportError, OSError) as error:  # it is missing, or a library of its own is
    raise MissingExtraError(f"PyAV cannot be used ({error}): pip install 'voxmood[av]'.") from error

FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,avi,caf,dsf,dts,dtshd,eac3,flac,flv,iff,loas,matroska,webm,mov,mp4,"
    "mp3,mpc,mpc8,mpeg,mpegts,ogg,oma,rm,tak,tta,voc,w64,wav,wv"
)
TIMED = {"ape", "avi", "caf", "dsf", "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2", "tta", "wv"}
"""Formats whose header states their length; for others, FFmpeg only estimates it."""

UNCHECKED = "amr"
"""A format without checksums, in which a packet that cannot be decoded does not mean damage."""

TYPES = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}
"""NumPy's types, by FFmpeg's names for the formats of samples."""

TOLERANCE_SECONDS = 0.1
TOLERANCE_FRAMES = 3  # for those that encoders add at the beginning, and for a short last one
LOSSLESS = {"ape", "dsf", "tta", "wv"}
"""Formats whose encoders add nothing, and whose frames are long."""

MICROSECONDS = 1_000_000


class PyAvDecoder:
    """A decoder for the files that FFmpeg reads; of a video, it decodes the sound. See `Decoder`.

    Args:
        content: the content of the file.
        name: the name of the file in messages.
        part: what the structure of the file says about it; None where it is not known.

    Raises:
        UnreadableError: FFmpeg does not know the file, or the file has no sound.
        AudioError: the file has more channels than any recording has.
    """

    def __init__(self, content: Content, name: str, part: Part | None = None) -> None:
        self._name = name
        self._part = part
        self.warnings: list[str] = []
        patches = part.patches if part and part.kind == "WAV" and part.declared_ratio < 1 else {}
        whole = View(content.file, [(0, content.size)], patches)
        try:
            self._container = av.open(
                whole,
                container_options={"format_whitelist": FORMATS, "protocol_whitelist": ""},
                metadata_errors="replace",
            )
        except (av.FFmpegError, ValueError, OSError) as error:
            raise UnreadableError(_words(error)) from error
        stream = self._container.streams.best("audio")
        if stream is None or stream.codec_context is None or not stream.rate:
            self.close()
            raise UnreadableError("has no sound")
        self._stream = stream
        self.rate: int = stream.rate
        self.duration = self._declared()

    def blocks(self) -> Iterator[Block]:
        """Yield all samples; raise UnreadableError if decoding fails before the first one."""
        seconds = longest = 0.0
        failure: Exception | None = None
        failed_at = 0.0
        damaged = False  # between samples; damage elsewhere may be a tag
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, ValueError, OSError) as error:
                failure = error
                break
            if packet is None:
                break
            try:
                frames = packet.decode()
            except (av.FFmpegError, ValueError) as error:
                failure, failed_at = error, seconds  # only this packet is lost, as in players
                continue
            for frame in frames:
                block = Block(self._samples(frame), frame.sample_rate)
                longest = max(longest, len(block.frames) / block.rate)
                seconds += len(block.frames) / block.rate
                damaged = damaged or (failure is not None and failed_at > 0)
                yield block
        if failure is not None and not seconds:
            raise UnreadableError(_words(failure)) from failure
        self._note_what_is_missing(seconds, longest, damaged=damaged)

    def close(self) -> None:
        """Close FFmpeg's handle of the file."""
        self._container.close()

    def _note_what_is_missing(self, seconds: float, longest: float, *, damaged: bool) -> None:
        """Add a warning if less was read than the file should have."""
        name, part = self._container.format.name, self._part
        tolerance = TOLERANCE_SECONDS
        if name not in LOSSLESS:
            tolerance += TOLERANCE_FRAMES * longest
        early = f"cut off or damaged: only {seconds:.1f} s could be read"
        declared = self.duration
        if part and part.declared_ratio > 1:
            declared, tolerance = seconds * part.declared_ratio, TOLERANCE_SECONDS
        if declared is not None and seconds < declared - tolerance:
            self.warnings.append(f"{early} of {declared:.1f} s that its header declares")
        elif part and part.held is not None and seconds < part.held - tolerance:
            self.warnings.append(f"{early} of {part.held:.1f} s")
        elif part and part.declared_ratio < 1:
            self.warnings.append(longer(seconds, seconds * part.declared_ratio))
        elif part and part.kind and part.left_out * seconds > TOLERANCE_SECONDS:
            self.warnings.append(unread_behind(seconds))
        elif (part and part.unfinished) or (declared is None and damaged and name != UNCHECKED):
            self.warnings.append(early)

    def _declared(self) -> float | None:
        container, stream = self._container, self._stream
        if container.format.name not in TIMED:
            return None
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        if container.duration and len(container.streams) == 1:  # else it is the video's
            return float(container.duration) / MICROSECONDS
        return None

    def _samples(self, frame: av.AudioFrame) -> npt.NDArray[np.float32]:
        channels = len(frame.layout.channels)
        if not 1 <= channels <= MAX_CHANNELS:
            raise AudioError(
                f"{self._name}: has {channels} channels, more than the {MAX_CHANNELS} that are "
                "read; is its header damaged?"
            )
        # frame.to_ndarray() would read beyond the planes that there are: PyAV looks for a mark at
        # their end that frames with eight channels or more do not have.
        kind = TYPES[frame.format.packed.name]
        if frame.format.is_planar:
            count = frame.samples
            planes = (np.frombuffer(plane, kind, count) for plane in frame.planes[:channels])
            samples = np.stack(list(planes), axis=1)
        else:
            count = frame.samples * channels
            samples = np.frombuffer(frame.planes[0], kind, count).reshape(-1, channels)
        if kind == "u1":
            return (samples.astype(np.float32) - 128) / np.float32(128)
        if kind == "i8":
            return samples.astype(np.float32) / np.float32(2**63)
        return to_float(samples)


def _words(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
