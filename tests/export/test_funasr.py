"""emotion2vec against FunASR's own class, through FunASR's own `generate`.

It needs an environment with FunASR beside the extras cpu and export; CI has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exact import ROUNDING, error, exact_logits
from near import near

import voxmood
from voxmood.audio import read_waveform
from voxmood.comparison.metrics import sqnr
from voxmood_export import export_bundle
from voxmood_export.clips import generated_clips
from voxmood_export.testing_emotion2vec import (
    BASE,
    FIVE,
    LARGE,
    NINE,
    SMALL,
    make_emotion2vec,
    random_state,
    settings,
)

pytest.importorskip("funasr", reason="FunASR is not installed; `pip install funasr` brings it")

RATE = 16000
SIZES = {"base": BASE, "large": LARGE}


class Original:
    """A folder in FunASR, which shows logits only to a hook."""

    def __init__(self, folder: Path) -> None:
        from funasr import AutoModel

        self.model = AutoModel(
            model=str(folder), device="cpu", disable_update=True, disable_pbar=True
        )
        self.model.model.proj.register_forward_hook(self._hook)

    def _hook(self, _module: Any, _inputs: Any, output: torch.Tensor) -> None:
        # FunASR writes minus infinity into this tensor later.
        self.logits = output[0].clone().numpy()

    def generate(self, wave: np.ndarray) -> dict[str, Any]:
        (result,) = self.model.generate(
            torch.from_numpy(wave), granularity="utterance", extract_embedding=True
        )
        return dict(result)


def logits_of_funasr(folder: Path, waves: Sequence[np.ndarray]) -> np.ndarray:
    original = Original(folder)
    rows = []
    for wave in waves:
        original.generate(wave)
        rows.append(original.logits)
    return np.stack(rows)


def clips() -> list[np.ndarray]:
    """Signals of several lengths, also of each side of a frame boundary, and quiet ones."""
    waves = generated_clips(RATE)[:5]
    lengths = (400, 719, 720, 1039, 1040)
    return [*waves, *(waves[0][4000 : 4000 + length] for length in lengths), 0.003 * waves[1]]


@pytest.mark.parametrize(("tokens", "normalize"), [(NINE, True), (FIVE, True), (NINE, False)])
def test_small(tmp_path: Path, tokens: Sequence[str], normalize: bool) -> None:
    make_emotion2vec(tmp_path / "small", SMALL, tokens=tokens, normalize=normalize)
    export_bundle(str(tmp_path / "small"), tmp_path / "bundle", precisions=["fp32"])
    original, model = Original(tmp_path / "small"), voxmood.load(tmp_path / "bundle")
    used = [row for row, token in enumerate(tokens) if not token.startswith("unuse")]
    waves = clips()
    alone = []
    for wave in waves:
        answer = original.generate(wave)
        found = model.predict(wave, sampling_rate=RATE)
        alone.append(found.logits)
        assert found.probabilities is not None
        assert answer["labels"] == [tokens[row] for row in used]
        assert list(found.probabilities) == [each.split("/")[-1] for each in answer["labels"]]
        assert found.logits == near(original.logits[used])
        assert list(found.probabilities.values()) == pytest.approx(answer["scores"], abs=1e-5)
        assert found.embedding == near(answer["feats"])
    for row, together in zip(alone, model.predict_batch(waves, sampling_rate=RATE), strict=True):
        assert together.logits == near(row)


def test_random_weights_have_the_names_and_shapes_of_funasr() -> None:
    from funasr.models.emotion2vec.model import Emotion2vec

    expected = Emotion2vec(**settings(SMALL, normalize=True), vocab_size=9).state_dict()
    found = random_state(SMALL, 9, seed=0)
    assert {name: each.shape for name, each in found.items()} == {
        name: each.shape for name, each in expected.items()
    }


@pytest.mark.full_size
@pytest.mark.parametrize("name", SIZES)
def test_full_size(name: str, emodb: list[Path], tmp_path: Path) -> None:
    waves = [read_waveform(path, rate=RATE, max_seconds=30) for path in emodb]
    make_emotion2vec(tmp_path / "checkpoint", SIZES[name], waveforms=waves[1::2])
    export_bundle(str(tmp_path / "checkpoint"), tmp_path / "bundle", audio=emodb[0].parent)
    tested = waves[::2]
    expected = logits_of_funasr(tmp_path / "checkpoint", tested)
    fp32, int8 = (
        voxmood.load(tmp_path / "bundle", precision=precision) for precision in ("fp32", "int8")
    )
    alone, batch, rounded = (
        np.stack([each.logits for each in predictions])
        for predictions in (
            [fp32.predict(wave, sampling_rate=RATE) for wave in tested],
            fp32.predict_batch(tested, sampling_rate=RATE),
            int8.predict_batch(tested, sampling_rate=RATE),
        )
    )
    largest = np.abs(alone - expected).max()
    exact = exact_logits(tmp_path / "checkpoint", tested)
    errors = [error(found, exact) for found in (expected, alone, batch)]
    print(
        f"{name}: fp32 error {largest:.1e}, int8 {sqnr(alone, rounded):.1f} dB; to float64, of the "
        "spread: FunASR {:.1e}, fp32 {:.1e}, in a batch {:.1e}".format(*errors)
    )
    assert largest < 1e-4
    assert max(errors) < ROUNDING
    assert sqnr(alone, rounded) >= 28
