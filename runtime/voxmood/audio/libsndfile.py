"""Decoding by libsndfile, part by part."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import BinaryIO

import numpy as np
import soundfile

from voxmood.audio.content import Content, View
from voxmood.audio.decoders import BLOCK_SAMPLES, Block, UnreadableError
from voxmood.audio.parts import Part, longer, unread_behind
from voxmood.audio.sources import MAX_CHANNELS
from voxmood.errors import AudioError

UNKNOWN_FRAMES = 1 << 62  # libsndfile says 2^63 - 1 if it cannot know the number
TOLERANCE_SECONDS = 0.1  # for what codecs add and remove at both ends
UNSIZED = {"AVR", "IRCAM", "PAF", "PVF"}
"""Formats that players read to the end of the file, whatever is there."""

_COUNTED = re.compile(r"(?:Frames|Cols)\s*: (\d+)")
"""The lines of libsndfile's log that say how many frames the headers of other formats declare."""


class LibsndfileDecoder:
    """A decoder for the files that libsndfile reads; see `Decoder`.

    Args:
        content: the content of the file.
        parts: the recordings in the file, as `find_parts` returned them.
        name: the name of the file in messages.

    Raises:
        UnreadableError: libsndfile does not know the file.
        AudioError: the file has more channels than any recording has.
    """

    def __init__(self, content: Content, parts: Sequence[Part], name: str) -> None:
        self._content = content
        self._name = name
        self._parts = parts
        self.warnings: list[str] = []
        self._sound = self._open(self._parts[0])
        self.rate: int = self._sound.samplerate
        self.duration = _duration(self._parts[0], self._sound)

    def blocks(self) -> Iterator[Block]:
        """Yield all samples; raise UnreadableError if decoding fails before the first one."""
        seconds = 0.0
        for number, part in enumerate(self._parts):
            try:
                if number:
                    self._sound = self._open(part)
                for block in self._part(part):
                    seconds += len(block.frames) / block.rate
                    yield block
            except UnreadableError:
                if not number:
                    raise
                self.warnings.append(
                    f"contains {len(self._parts)} recordings one after the other; number "
                    f"{number + 1}, which begins at {seconds:.1f} s, cannot be read"
                )
                return
        if not _is_stream(self._parts):
            self.warnings.append(
                f"contains {len(self._parts)} recordings one after the other, {seconds:.1f} s in "
                "all; all of them were read"
            )

    def close(self) -> None:
        """Close libsndfile's handle of the file."""
        self._sound.close()

    def _open(self, part: Part) -> soundfile.SoundFile:
        file = self._content.file
        source: int | BinaryIO | View
        if part.pieces == ((0, self._content.size),) and not (part.patches or part.claimed):
            file.seek(0)
            # A descriptor is preferred, since libsndfile reads file objects through Python
            # callbacks, which cannot be interrupted. On Windows, a descriptor of Python may mean
            # nothing to libsndfile, which can bring a C library of its own.
            by_number = isinstance(file, io.FileIO) and sys.platform != "win32"
            source = file.fileno() if by_number else file
        else:
            source = View(file, part.pieces, part.patches, part.claimed)
        try:
            sound = _SoundFile(source, closefd=False)
        except (soundfile.SoundFileError, OSError, TypeError, ValueError) as error:
            # The message of libsndfile alone, without the number or address of the file.
            raise UnreadableError(getattr(error, "error_string", str(error))) from error
        if sound.channels > MAX_CHANNELS:
            sound.close()
            raise AudioError(
                f"{self._name}: has {sound.channels} channels, more than the {MAX_CHANNELS} that "
                "are read; is its header damaged?"
            )
        return sound

    def _part(self, part: Part) -> Iterator[Block]:
        sound = self._sound
        frames = 0
        buffer = np.empty((BLOCK_SAMPLES // sound.channels, sound.channels), np.float32)
        failure: Exception | None = None
        while failure is None:
            try:
                count = len(sound.read(out=buffer))
            except (soundfile.SoundFileError, OSError) as error:
                failure = error
                count = sound.tell() - frames  # what it decoded before it failed
            if not count:
                break
            frames += count
            yield Block(buffer[:count].copy(), sound.samplerate)
        if failure is not None and not frames:
            raise UnreadableError(getattr(failure, "error_string", str(failure))) from failure
        if warning := _missing(part, sound, frames, failure is not None):
            self.warnings.append(warning)
        if part.remark:
            self.warnings.append(part.remark)
        sound.close()


class _SoundFile(soundfile.SoundFile):  # type: ignore[misc]
    """A sound file that is read from its beginning to its end without seeking.

    The parent class seeks to its present position after each block. This changes the samples of an
    MP3, and fails at the end of a FLAC file that was cut off.
    """

    def seekable(self) -> bool:
        return False


def _is_stream(parts: Sequence[Part]) -> bool:
    """Return whether players, too, continue from each part to the next."""
    return len(parts) == 1 or all(
        first.kind == second.kind
        and first.form == second.form
        and (
            first.kind == "MP3"
            or (first.kind in ("Ogg", "FLAC") and first.stop == second.pieces[0][0])
        )
        for first, second in pairwise(parts)
    )


def _duration(part: Part, sound: soundfile.SoundFile) -> float | None:
    if part.kind == "MP3":  # for which libsndfile only estimates it
        return part.held
    known = sound.frames < UNKNOWN_FRAMES
    return sound.frames / sound.samplerate if known else None


def _missing(part: Part, sound: soundfile.SoundFile, frames: int, failed: bool) -> str | None:
    """Return the warning for a recording of which something is missing, or None."""
    seconds = frames / sound.samplerate
    if part.mixed:
        return (
            f"its sampling rate changes, or several files were put together: only "
            f"{seconds:.1f} s could be read, of {max(part.held or 0, seconds):.1f} s or more"
        )
    if part.declared_ratio < 1:
        return longer(seconds, seconds * part.declared_ratio)
    if part.kind == "SDS" and part.held is not None and part.held < seconds - TOLERANCE_SECONDS:
        return f"cut off: only {part.held:.1f} s of its {seconds:.1f} s exist, the rest is silent"
    # Players do not know PAF with 24 bits.
    known = sound.format in UNSIZED and sound.subtype != "PCM_24"
    unsized = bool(part.kind) or known
    if unsized and part.left_out * seconds > TOLERANCE_SECONDS:
        return unread_behind(seconds)
    early = f"cut off or damaged: only {seconds:.1f} s could be read"
    if part.declared_ratio > 1:
        return f"{early} of {seconds * part.declared_ratio:.1f} s that its header declares"
    declared = part.declared
    if not part.kind:
        counted = _COUNTED.findall(sound.extra_info)
        known = sound.frames if sound.frames < UNKNOWN_FRAMES else 0
        count = int(counted[-1]) if counted else 0
        declared = max(known, count) / sound.samplerate
        if 0 < count < frames - TOLERANCE_SECONDS * sound.samplerate:
            return longer(seconds, count / sound.samplerate)
    if declared is not None and seconds < declared - _tolerance(part):
        return f"{early} of {declared:.1f} s that its header declares"
    if part.held is not None and seconds < part.held - TOLERANCE_SECONDS:
        return f"{early} of {part.held:.1f} s"
    if part.unfinished or (failed and declared is None and part.held is None):
        return early
    return None


def _tolerance(part: Part) -> float:
    return TOLERANCE_SECONDS if part.kind in ("MP3", "", "SDS") else 0.0
