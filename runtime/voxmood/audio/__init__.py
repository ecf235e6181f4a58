"""Recordings to waveforms: float32, mono, at the model's sampling rate, block by block.

libsndfile decodes what it can: WAV, RF64, W64, AIFF, AU, CAF, VOC, NIST SPHERE, FLAC, Ogg with
Vorbis, Opus or FLAC, MP3, MP2, MP1 and older formats. The waveform then equals that of
``librosa.load(path, sr=rate, mono=True)`` to the bit, which is what the reference models are fed
with: soundfile decodes, the channels are averaged, soxr resamples. PyAV (extra `av`) decodes what
libsndfile does not: m4a, mp4, 3gp, mov, AAC, WebM, Matroska, AMR, wma, AC-3, Monkey's Audio,
WavPack, True Audio, DSD, Speex, WAV with other codecs, and the sound of videos. Memory does not
depend on how long a recording is, nor on what its header says.

What unusual audio gets (a warning is one of the prediction's; an error is an `AudioError`):

| audio | answer |
|---|---|
| NaN or infinite samples, or beyond ±2^31 | error |
| beyond ±1 | taken as it is; a warning from ±2 on, since lossy codecs overshoot |
| silence; a constant (DC) | labeled, with a warning that the label means nothing |
| stereo whose channels cancel in the mean | labeled, with a warning |
| one sample, or fewer than the model takes | error |
| empty, or a header and no samples | error |
| cut off, as far as the format tells | labeled, with a warning |
| cut off before the first sample | error |
| a header that declares less than is there | read to the end of the file, with a warning |
| a header that declares more, or that it does not know | read to where the file ends |
| several MP3, Ogg or FLAC files put together | all of them are read |
| several files of other kinds put together | all of them are read, with a warning |
| tags, padding or junk in front of MP3 frames, between or behind them | skipped |
| more than 64 channels; a rate outside 1 to 768 kHz | error |
| what only PyAV reads, without the extra `av` | error that names the format and the extra |
| archives, web pages, text, samples without a header | error that says what it is |
"""

from voxmood.audio.converter import Converter
from voxmood.audio.reader import AudioReader, read_waveform
from voxmood.audio.sources import AudioSource, Waveform

__all__ = ["AudioReader", "AudioSource", "Converter", "Waveform", "read_waveform"]
