"""The full-size network: `pytest -m full_size`, about ten minutes and 8 GB.

The real checkpoint of superb/wav2vec2-large-superb-er has this architecture; the weights are
random, with a classifier scaled so that its logits have mean 0 and spread 1 on recordings.
"""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import pytest
import torch
from near import near
from transformers4 import Transformers4

import voxmood
from voxmood.audio import read_waveform
from voxmood.comparison.metrics import sqnr
from voxmood.engine.session import create_session, resolve_provider
from voxmood_export.checkpoint import load_checkpoint
from voxmood_export.clips import recorded_clips
from voxmood_export.export import describe, export_bundle
from voxmood_export.int8.quantizer import Quantizer
from voxmood_export.testing import LARGE, add_outliers, make_checkpoint
from voxmood_export.verify import reference_logits

CORPUS = Path(__file__).parents[3] / "shared" / "corpora" / "emodb"

pytestmark = pytest.mark.full_size


@pytest.fixture(scope="module")
def large(emodb: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    waveforms = [read_waveform(path, rate=16000, max_seconds=30) for path in emodb[::2]]
    make_checkpoint(folder / "checkpoint", LARGE, waveforms=waveforms)
    export_bundle(str(folder / "checkpoint"), folder / "bundle")
    return folder


def test_fp32_is_what_transformers_computes(large: Path, emodb: list[Path]) -> None:
    loaded = load_checkpoint(str(large / "checkpoint"))
    original = Transformers4(large / "checkpoint")
    model = voxmood.load(large / "bundle", precision="fp32")
    found, expected = [], []
    for path in emodb:
        waveform, _ = librosa.load(path, sr=16000, mono=True)
        inputs = loaded.extractor(waveform, sampling_rate=16000, return_tensors="pt")
        with torch.inference_mode():
            expected.append(original(inputs.input_values)[0].numpy())
        found.append(model.predict(path).logits)
    worst = np.abs(np.array(found) - np.array(expected)).max()
    print(f"largest logit error over {len(emodb)} recordings: {worst:.2e}")
    assert np.array(found) == near(expected)


def test_fp32_batch_equals_single_runs(large: Path, emodb: list[Path]) -> None:
    model = voxmood.load(large / "bundle", precision="fp32")
    paths = emodb[::3]
    for path, together in zip(paths, model.predict_batch(paths), strict=True):
        assert together.logits == near(model.predict(path).logits)


def test_int8_gives_the_same_bits_twice(large: Path, emodb: list[Path]) -> None:
    first = voxmood.load(large / "bundle", precision="int8")
    second = voxmood.load(large / "bundle", precision="int8")
    for path in emodb[::5]:
        assert first.predict(path).logits.tobytes() == second.predict(path).logits.tobytes()


def test_int8_keeps_29_db_with_and_without_outliers(tmp_path: Path) -> None:
    """SQNR of centred logits against the original, mean over three seeds; half an hour."""
    if not CORPUS.is_dir():
        pytest.skip("the recordings of ../shared/corpora/emodb are not here")
    clips = recorded_clips(CORPUS, 16000, 12)
    found: dict[bool, list[float]] = {False: [], True: []}
    for seed in range(3):
        folder = tmp_path / str(seed)
        make_checkpoint(folder, LARGE, seed=seed, waveforms=clips.waveforms)
        reference = np.stack(list(reference_logits(load_checkpoint(str(folder)), clips.waveforms)))
        for loud in found:
            loaded = load_checkpoint(str(folder))
            if loud:
                add_outliers(loaded.model)
            path = tmp_path / "model.int8.onnx"
            Quantizer(loaded, clips.calibration).write(path, describe(loaded))
            session = create_session(
                path, providers=resolve_provider("cpu"), threads=None, config={}, int8=True
            )
            rows = [
                session.run(["logits"], {"waveform": wave[None], "lengths": np.array([len(wave)])})[
                    0
                ][0]
                for wave in clips.waveforms
            ]
            found[loud].append(sqnr(reference, np.stack(rows)))
            over_clips = sqnr(reference.T, np.stack(rows).T)
            print(
                f"seed {seed}, outliers {loud}: {found[loud][-1]:.2f} dB, centered over clips "
                f"instead of labels {over_clips:.2f} dB",
                flush=True,
            )
    assert np.mean(found[False]) >= 29
    assert np.mean(found[True]) >= 28
