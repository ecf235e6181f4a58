"""Recordings are turned into waveforms here: float32, mono, at the model's rate, block by block.

libsndfile decodes what it can: WAV, RF64, W64, AIFF, AU, CAF, VOC, NIST SPHERE, FLAC, Ogg with
Vorbis, Opus or FLAC, MP3, MP2, MP1 and older formats. The waveform then equals the result of
``librosa.load(path, sr=rate, mono=True)`` to the bit, which is what the reference models get:
soundfile decodes, the channels are averaged, soxr resamples. PyAV (extra `av`) decodes what
libsndfile does not: m4a, mp4, 3gp, mov, AAC, WebM, Matroska, AMR, wma, AC-3, Monkey's Audio,
WavPack, True Audio, DSD, Speex, WAV with other codecs, and the sound of videos. The memory that
this takes depends neither on the length of a recording nor on what its header says.

Unusual audio is treated as follows. Warnings are those of the prediction; errors are `AudioError`.

| audio | what happens |
|---|---|
| NaN or infinite samples, or samples beyond ±2^31 | error |
| samples beyond ±1 | taken as they are; from ±2 on with a warning, since lossy codecs overshoot |
| silence, or a constant (DC) | labeled, with a warning that the answer means nothing |
| stereo whose channels cancel each other when averaged | labeled, with a warning |
| stereo whose channels are rarely loud together | labeled, with a warning |
| one sample, or fewer than the model takes | error |
| an empty file, or a header without samples | error |
| cut off, if the format shows it | labeled, with a warning |
| cut off before the first sample | error |
| a header that declares less audio than there is | read to the end of the file, with a warning |
| a header that declares more, or an unknown length | read to the end of the file |
| several MP3, Ogg or FLAC files put together | all of them are read |
| several files of other formats put together | all of them are read, with a warning |
| tags, padding or junk before, between or after MP3 frames | skipped |
| more than 64 channels, or a sampling rate outside 1 to 768 kHz | error |
| a format that only PyAV reads, without the extra `av` | error that names format and extra |
| an archive, a web page, text, or samples without a header | error that says what the file is |
"""

from voxmood.audio.channels import Channel
from voxmood.audio.converter import Converter
from voxmood.audio.reader import AudioReader, read_waveform
from voxmood.audio.sources import AudioSource, Waveform

__all__ = ["AudioReader", "AudioSource", "Channel", "Converter", "Waveform", "read_waveform"]
