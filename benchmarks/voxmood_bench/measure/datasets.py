"""Labeled recordings: a CSV manifest, EmoDB as downloaded, IEMOCAP by the SUPERB protocol."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile

from voxmood.audio import Waveform, read_waveform
from voxmood.audio.listing import Recording, folder_of, read_manifest
from voxmood.errors import ManifestError, MissingFileError
from voxmood_bench.errors import DatasetError
from voxmood_export.clips import generated_clips

EMODB_NAME = re.compile(r"(?P<speaker>\d\d)[ab]\d\d(?P<emotion>[WLEAFTN])[a-z]")
EMODB_LABELS = {  # German initials: Wut, Langeweile, Ekel, Angst, Freude, Trauer, neutral
    "W": "ang", "L": "bor", "E": "dis", "A": "fea", "F": "hap", "T": "sad", "N": "neu"
}  # fmt: skip

IEMOCAP_LINE = re.compile(r"\[\d+\.\d+ - \d+\.\d+\]\t(?P<name>\S+)\t(?P<label>\w+)\t\[.*\]")
IEMOCAP_LABELS = {"neu": "neu", "hap": "hap", "exc": "hap", "ang": "ang", "sad": "sad"}
IEMOCAP_COUNTS = {1: 1085, 2: 1023, 3: 1151, 4: 1031, 5: 1241}
"""Utterances of the SUPERB protocol by session; 5,531 in all."""


@dataclass(frozen=True)
class Utterance(Recording):
    """A recording that cross-validation tests in one of its folds."""

    fold: str = ""


def read_emodb(root: Path) -> list[Recording]:
    """Return the Berlin Database of Emotional Speech as downloaded: `wav/03a01Fa.wav` and so on.

    Source: Burkhardt et al., A Database of German Emotional Speech, Interspeech 2005.

    Raises:
        DatasetError: there are no such files, or files with other names.
    """
    folder = root / "wav" if (root / "wav").is_dir() else root
    recordings = []
    for path in sorted(folder.glob("*.wav")):
        found = EMODB_NAME.fullmatch(path.stem)
        if found is None:
            raise DatasetError(
                f"{path}: is not named as the files of EmoDB, such as 03a01Fa.wav (speaker, "
                "sentence, emotion, version)."
            )
        label = EMODB_LABELS[found["emotion"]]
        recordings.append(Recording(path.name, path, label, found["speaker"]))
    if not recordings:
        raise DatasetError(f"{root}: holds no EmoDB, neither wav/03a01Fa.wav nor 03a01Fa.wav.")
    return recordings


def read_iemocap(root: Path, counts: Mapping[int, int] = IEMOCAP_COUNTS) -> list[Utterance]:
    """Return IEMOCAP by the SUPERB protocol: four classes, excited is happy, 5,531 utterances.

    Fold k tests session k with a model trained on the other four; the score is plain accuracy on
    whole utterances. Report all five folds: the 0.6564 that `wav2vec2-large-superb-er` reports is
    no multiple of 1/1085, so it cannot be a score of Session 1 alone.

    Sources: Busso et al., IEMOCAP, Language Resources and Evaluation 42, 2008; Yang et al.,
    SUPERB, Interspeech 2021.

    Args:
        root: the release's folder, which holds Session1 to Session5.
        counts: utterances that each session must have.

    Raises:
        DatasetError: a session is missing or incomplete, or an utterance has no audio.
    """
    if (root / "IEMOCAP_full_release").is_dir():
        root = root / "IEMOCAP_full_release"
    recordings: list[Utterance] = []
    incomplete = []
    for session, expected in counts.items():
        found = _read_session(root / f"Session{session}", str(session))
        missing = [recording for recording in found if not recording.path.is_file()]
        if len(found) != expected or missing:
            example = f", {len(missing)} without audio ({missing[0].path.name})" if missing else ""
            incomplete.append(
                f"Session{session} has {len(found)} of {expected} utterances{example}"
            )
        recordings += found
    if incomplete:
        raise DatasetError(
            f"{root}: is not complete: {'; '.join(incomplete)}. Expected: "
            "Session1/dialog/EmoEvaluation/*.txt and Session1/sentences/wav/*/*.wav, up to 5."
        )
    return recordings


def _read_session(folder: Path, fold: str) -> list[Utterance]:
    recordings = []
    for file in sorted((folder / "dialog" / "EmoEvaluation").glob("*.txt")):
        if file.name.startswith("."):  # the release has macOS's ._ files
            continue
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            found = IEMOCAP_LINE.fullmatch(line.rstrip())
            if found is None or found["label"] not in IEMOCAP_LABELS:
                continue
            name = found["name"]  # Ses01F_impro01_M003: dialogue and who speaks
            path = folder / "sentences" / "wav" / name.rpartition("_")[0] / f"{name}.wav"
            speaker = name[:5] + name.rpartition("_")[2][0]
            label = IEMOCAP_LABELS[found["label"]]
            recordings.append(Utterance(path.name, path, label, speaker, fold=fold))
    return recordings


def generated(folder: Path, rate: int) -> list[Recording]:
    """Write generated speech-like signals to a folder; return them as recordings without labels."""
    folder.mkdir(parents=True, exist_ok=True)
    recordings = []
    for index, waveform in enumerate(generated_clips(rate)):
        path = folder / f"generated-{index}.wav"
        soundfile.write(path, waveform, rate)
        recordings.append(Recording(path.name, path))
    return recordings


def manifest(root: Path) -> list[Recording]:
    """Return what a CSV manifest lists (path, label, speaker); of a folder, its `manifest.csv`.

    Raises:
        ManifestError: the file is not a manifest, or a row has no label or is about a stretch.
        MissingFileError: the file is missing, or a recording that it lists is.
    """
    file = root / "manifest.csv" if root.is_dir() else root
    recordings = read_manifest(file, folder_of(file))
    for recording in recordings:
        if recording.times:
            raise ManifestError(
                f"{recording.listed}: names a stretch of a recording, and benchmarks take whole "
                "ones; cut it out, or leave start and end empty."
            )
        if not recording.label:
            raise ManifestError(f"{recording.listed}: {recording.name} has no label.")
        if not recording.path.is_file():
            raise MissingFileError(f"{recording.listed}: {recording.name} is missing.")
    return recordings


DATASETS: dict[str, Callable[[Path], Sequence[Recording]]] = {
    "manifest": manifest,
    "emodb": read_emodb,
    "iemocap": read_iemocap,
}
"""Readers by the name that `--dataset` takes."""


def fit_labels(
    recordings: Iterable[Recording], labels: Sequence[str], mapping: Mapping[str, str]
) -> tuple[list[Recording], dict[str, int]]:
    """Return recordings with the labels of a model.

    Args:
        recordings: as a dataset labels them.
        labels: that the model has.
        mapping: from a dataset's label to a model's; an empty label leaves its recordings out.

    Returns:
        The recordings, and how many were left out by label.

    Raises:
        DatasetError: a label is neither the model's nor mapped to one, or no recording is left.
    """
    fitted: list[Recording] = []
    left_out: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    for recording in recordings:
        found = recording.label or ""
        label = mapping.get(found, found)
        if label in labels:
            fitted.append(replace(recording, label=label))
        elif label:
            unknown[label] += 1
        else:
            left_out[found] += 1
    if unknown:
        names = ", ".join(f"{label} ({count})" for label, count in unknown.items())
        some = next(iter(unknown))
        raise DatasetError(
            f"the model has no label {names}; it has {', '.join(labels)}. Map each with "
            f"--map-labels {some}={labels[0]},... or leave its recordings out with {some}= ."
        )
    if not fitted:
        raise DatasetError("no recording is left: --map-labels leaves all of them out.")
    return fitted, dict(left_out)


def joined(paths: Sequence[Path], rate: int, seconds: float) -> Waveform:
    """Return so many seconds of recordings in random order, repeated if they are too short.

    Raises:
        AudioError: a recording cannot be read.
    """
    clips: list[Waveform] = []
    for index in np.random.default_rng(0).permutation(len(paths)):
        clips.append(read_waveform(paths[index], rate=rate, max_seconds=3600))
        if sum(map(len, clips)) >= seconds * rate:
            break
    return np.resize(np.concatenate(clips), round(seconds * rate))
