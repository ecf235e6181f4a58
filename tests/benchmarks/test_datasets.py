"""Readers of datasets, on small trees with real names and formats."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from voxmood import AudioError, MissingFileError, VoxmoodError
from voxmood.audio.listing import Recording
from voxmood_bench.errors import DatasetError
from voxmood_bench.measure.datasets import (
    IEMOCAP_COUNTS,
    Utterance,
    fit_labels,
    generated,
    joined,
    manifest,
    read_emodb,
    read_iemocap,
)

EVALUATION = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[6.2901 - 8.2357]\t{0}_F000\tneu\t[2.5000, 2.5000, 2.5000]
C-E2:\tNeutral;\t()
C-F1:\tNeutral;\t(curious)
A-E3:\tval 3; act 2; dom  2;\t()

[10.0100 - 11.3925]\t{0}_F001\txxx\t[2.5000, 2.5000, 2.5000]
C-E2:\tNeutral;\t()

[14.8872 - 18.0175]\t{0}_M000\texc\t[4.0000, 3.5000, 2.5000]
[19.2900 - 20.7875]\t{0}_M001\tfru\t[2.0000, 3.5000, 3.5000]
[21.3257 - 24.7400]\t{0}_F002\tang\t[1.5000, 4.0000, 4.0000]
[27.4600 - 31.4900]\t{0}_F003\thap\t[4.5000, 3.0000, 2.5000]
[38.9650 - 43.5900]\t{0}_M002\tsad\t[2.0000, 2.0000, 2.0000]
"""


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(160, np.float32), 16000)


@pytest.fixture
def iemocap(tmp_path: Path) -> Path:
    """Sessions 1 and 2 of one dialogue each, as the release lays them out."""
    for session in (1, 2):
        folder = tmp_path / f"Session{session}"
        dialogue = f"Ses0{session}F_impro01"
        evaluation = folder / "dialog" / "EmoEvaluation" / f"{dialogue}.txt"
        evaluation.parent.mkdir(parents=True)
        evaluation.write_text(EVALUATION.format(dialogue))
        (evaluation.parent / f"._{dialogue}.txt").write_bytes(b"\x00\x05\x16\x07")
        (evaluation.parent / "Categorical").mkdir()
        for turn in ("F000", "F001", "M000", "M001", "F002", "F003", "M002"):
            touch(folder / "sentences" / "wav" / dialogue / f"{dialogue}_{turn}.wav")
    return tmp_path


def test_iemocap_by_the_superb_protocol(iemocap: Path) -> None:
    found = read_iemocap(iemocap, {1: 5, 2: 5})
    assert [(one.path.name, one.label, one.speaker, one.fold) for one in found[:5]] == [
        ("Ses01F_impro01_F000.wav", "neu", "Ses01F", "1"),
        ("Ses01F_impro01_M000.wav", "hap", "Ses01M", "1"),  # excited counts as happy
        ("Ses01F_impro01_F002.wav", "ang", "Ses01F", "1"),
        ("Ses01F_impro01_F003.wav", "hap", "Ses01F", "1"),
        ("Ses01F_impro01_M002.wav", "sad", "Ses01M", "1"),
    ]
    assert Counter(one.fold for one in found) == {"1": 5, "2": 5}
    assert all(one.path.is_file() for one in found)


def test_iemocap_is_found_a_folder_further_down(iemocap: Path) -> None:
    parent = iemocap / "download"
    (parent / "IEMOCAP_full_release").mkdir(parents=True)
    (iemocap / "Session1").rename(parent / "IEMOCAP_full_release" / "Session1")
    assert len(read_iemocap(parent, {1: 5})) == 5


def test_iemocap_counts_are_those_of_superb(iemocap: Path) -> None:
    assert sum(IEMOCAP_COUNTS.values()) == 5531
    with pytest.raises(DatasetError) as caught:
        read_iemocap(iemocap)
    text = str(caught.value)
    for session, count in ((1, "5 of 1085"), (2, "5 of 1023"), (3, "0 of 1151"), (5, "0 of 1241")):
        assert f"Session{session} has {count} utterances" in text


def test_iemocap_names_the_session_without_audio(iemocap: Path) -> None:
    (iemocap / "Session2/sentences/wav/Ses02F_impro01/Ses02F_impro01_F002.wav").unlink()
    with pytest.raises(DatasetError, match=r"Session2 has 5 of 5.*1 without audio.*_F002") as error:
        read_iemocap(iemocap, {1: 5, 2: 5})
    assert "Session1 has" not in str(error.value)


def test_reported_score_is_none_of_session_1() -> None:
    """What the documentation of the reader says of 0.6564."""
    scores = {round(right / IEMOCAP_COUNTS[1], 4) for right in range(IEMOCAP_COUNTS[1] + 1)}
    assert 0.6564 not in scores


def test_emodb_as_downloaded(tmp_path: Path) -> None:
    for name in ("03a01Fa", "08b10Wb", "16a07Nc", "10a02La"):
        touch(tmp_path / "wav" / f"{name}.wav")
    (tmp_path / "erklaerung.txt").write_text("readme")
    found = {one.path.stem: (one.label, one.speaker) for one in read_emodb(tmp_path)}
    assert found["03a01Fa"] == ("hap", "03")
    assert found["08b10Wb"] == ("ang", "08")
    assert found["16a07Nc"] == ("neu", "16")
    assert found["10a02La"] == ("bor", "10")
    touch(tmp_path / "wav" / "intro.wav")
    with pytest.raises(DatasetError, match=r"intro\.wav"):
        read_emodb(tmp_path)


def test_another_layout_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no EmoDB"):
        read_emodb(tmp_path)
    with pytest.raises(DatasetError, match="Session4 has 0 of 1031"):
        read_iemocap(tmp_path)


def test_a_manifest_through_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its paths are relative to the current folder, and it can be read only once."""
    monkeypatch.chdir(tmp_path)
    touch(tmp_path / "a.wav")
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as pipe:
        pipe.write("path,label\na.wav,ang\n")
    with os.fdopen(reading):
        (recording,) = manifest(Path(f"/dev/fd/{reading}"))
    assert (recording.name, recording.label) == ("a.wav", "ang")


def test_manifest(tmp_path: Path) -> None:
    touch(tmp_path / "clips" / "a.wav")
    touch(tmp_path / "clips" / "b.wav")
    file = tmp_path / "manifest.csv"
    file.write_text("path,label,speaker\nclips/a.wav,ang,03\nclips/b.wav,neu,\n")
    for root in (tmp_path, file):
        assert [(one.name, one.label) for one in manifest(root)] == [
            ("clips/a.wav", "ang"), ("clips/b.wav", "neu")
        ]  # fmt: skip
    file.write_text("path,label\nclips/gone.wav,ang\n")
    with pytest.raises(MissingFileError, match=r"gone\.wav"):
        manifest(tmp_path)
    file.write_text("path,label\nclips/a.wav,\n")
    with pytest.raises(VoxmoodError, match=r"a\.wav"):
        manifest(tmp_path)


LABELS = ("neu", "hap", "ang", "sad")


def recordings(*labels: str) -> list[Recording]:
    return [
        Recording(f"{index}.wav", Path(f"{index}.wav"), label) for index, label in enumerate(labels)
    ]


def test_a_manifest_of_stretches_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "manifest.csv"
    file.write_text("path,label,start,end\na.wav,ang,0,1\n")
    with pytest.raises(VoxmoodError, match="line 2: names a stretch of a recording"):
        manifest(file)


def test_labels_are_mapped_or_refused_but_never_dropped() -> None:
    some = recordings("neu", "happy", "bor", "bor")
    with pytest.raises(DatasetError, match=r"happy \(1\), bor \(2\).*--map-labels happy=neu"):
        fit_labels(some, LABELS, {})
    with pytest.raises(DatasetError, match=r"no label bor \(2\)"):
        fit_labels(some, LABELS, {"happy": "hap"})
    fitted, left_out = fit_labels(some, LABELS, {"happy": "hap", "bor": ""})
    assert [one.label for one in fitted] == ["neu", "hap"]
    assert left_out == {"bor": 2}
    with pytest.raises(DatasetError, match=r"no label bored"):
        fit_labels(some, LABELS, {"happy": "hap", "bor": "bored"})
    with pytest.raises(DatasetError, match="no recording is left"):
        fit_labels(recordings("bor"), LABELS, {"bor": ""})


def test_mapping_keeps_folds() -> None:
    one = Utterance("a.wav", Path("a.wav"), "exc", "Ses01F", fold="1")
    (fitted,), _ = fit_labels([one], LABELS, {"exc": "hap"})
    assert fitted == Utterance("a.wav", Path("a.wav"), "hap", "Ses01F", fold="1")


def test_generated_recordings_can_be_read(tmp_path: Path) -> None:
    found = generated(tmp_path / "made", 16000)
    assert {soundfile.info(one.path).samplerate for one in found} == {16000}
    assert {one.label for one in found} == {None}


def test_recordings_are_joined_to_a_length(tmp_path: Path) -> None:
    paths = [one.path for one in generated(tmp_path, 16000)]
    assert len(joined(paths, 16000, 2.5)) == 40000
    assert len(joined(paths[:1], 16000, 2.5)) == 40000  # repeated
    (tmp_path / "notes.wav").write_text("no recording")
    with pytest.raises(AudioError, match=r"notes\.wav"):
        joined([tmp_path / "notes.wav"], 16000, 1.0)
