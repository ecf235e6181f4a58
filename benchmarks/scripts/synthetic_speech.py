"""Make the synthetic speech that int8 is calibrated on where there are no recordings.

    python benchmarks/scripts/synthetic_speech.py [FOLDER]

eSpeak NG (`apt install espeak-ng`) speaks sentences in many languages and voices. Rooms, noise,
pauses and levels are added here, since recordings have them. The package holds the result, so this
is run only to change it: the same seed and the same eSpeak NG give the same files.
"""

from __future__ import annotations

import argparse
import io
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.signal
import soundfile
import soxr

from voxmood.audio import Waveform
from voxmood_export.clips import SPEECH

RATE = 16_000
SEED = 0
SENTENCES = [  # voice, and what it says
    ("en-us", "I never said that you could leave so early."),
    ("de+f2", "Das will sie am Mittwoch abgeben."),
    ("fr-fr+m3", "Je ne sais pas pourquoi elle est partie sans rien dire."),
    ("cmn+f4", "今天的天气非常好。"),
    ("es+m5", "No quiero hablar de eso ahora, por favor."),
    ("ru+f3", "Я не понимаю, почему ты так говоришь."),
    ("hi+m7", "मुझे आज घर जल्दी जाना है।"),
    ("tr+croak", "Bugün seni gördüğüme çok sevindim."),
    ("en-us+klatt2", "What on earth happened here? Tell me everything."),
    ("it+f5", "Non riesco a credere che sia finita."),
    ("pl+whisper", "Nie wiem, co mam teraz zrobić."),
    ("ar", "أريد أن أذهب إلى المنزل الآن."),
    ("pt-br+f2", "Eu gostaria de um copo de água, por favor."),
    ("sv+m3", "Det var det bästa jag har hört på länge."),
    ("sw+f4", "Habari ya asubuhi, rafiki yangu."),
    ("nl+m5", "Ik heb er de hele nacht over nagedacht."),
    ("en-gb-x-rp+f3", "The weather will be cold and rather windy tomorrow."),
    ("de+m7", "Warum hast du mir das nicht gleich gesagt?"),
    ("fr-fr+f5", "C'est vraiment une belle journée."),
    ("es+klatt2", "Mañana vamos todos juntos a la playa."),
    ("fi+m1", "Odotin sinua melkein kaksi tuntia."),
    ("cy+f2", "Dydw i ddim eisiau clywed hynny eto."),
    ("en-us+f4", "Thank you, that is wonderful news!"),
    ("hu+m4", "Nem értem, miért történt ez velünk."),
]


def main() -> None:
    """Write a file for each sentence."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "folder", type=Path, nargs="?", default=SPEECH, help="Folder (default: the package's)."
    )
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(SEED)
    for number, (voice, text) in enumerate(SENTENCES):
        waveform = in_a_room(speak(voice, text, random), random)
        path = folder / f"{number:02}-{voice.partition('+')[0]}.opus"
        soundfile.write(path, waveform, RATE, format="OGG", subtype="OPUS", compression_level=0.9)
        print(path, f"{len(waveform) / RATE:.1f} s")


def speak(voice: str, text: str, random: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return a sentence as eSpeak NG speaks it, at a random speed and pitch, [samples]."""
    speed, pitch = random.integers(110, 220), random.integers(20, 80)
    command = ["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "--stdout", text]
    wav = subprocess.run(command, check=True, capture_output=True).stdout
    samples, rate = soundfile.read(io.BytesIO(wav), dtype="float64")
    resampled: npt.NDArray[np.float64] = soxr.resample(samples, rate, RATE)
    return resampled


def in_a_room(speech: npt.NDArray[np.float64], random: np.random.Generator) -> Waveform:
    """Return speech with reverberation, silence on both sides, colored noise and a level."""
    time = np.arange(int(0.4 * RATE)) / RATE
    fading = np.exp(-6.9 * time / random.uniform(0.08, 0.5))  # by 60 dB in so many seconds
    echo = random.standard_normal(len(time)) * fading
    echo *= random.uniform(0.0, 0.5) / np.sqrt((echo**2).sum())
    echo[0] = 1  # the direct sound
    before, after = (int(RATE * random.uniform(0.1, 0.6)) for _ in range(2))
    signal = np.pad(scipy.signal.fftconvolve(speech, echo), (before, after))
    signal = signal[: before + len(speech) + after]
    noise = random.standard_normal(len(signal))
    noise = scipy.signal.lfilter([1], [1, -random.uniform(0, 0.97)], noise)
    ratio = 10 ** (-random.uniform(15, 50) / 20)
    signal += noise * ratio * np.sqrt((signal**2).mean() / (noise**2).mean())
    level = 10 ** random.uniform(-1.5, -0.1)
    return np.asarray(signal * level / np.abs(signal).max(), np.float32)


if __name__ == "__main__":
    main()
