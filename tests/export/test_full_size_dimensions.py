"""The layout of audeering's model of dimensions at full size: `pytest -n 0 -m full_size`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from exact import ROUNDING, error, exact_logits

import voxmood
from voxmood.audio import read_waveform
from voxmood.comparison.metrics import ccc, sqnr
from voxmood_export import export_bundle
from voxmood_export.testing import DIMENSIONS, LARGE, make_checkpoint

CORPUS = Path(__file__).parents[3] / "shared" / "corpora" / "emodb"
RATE = 16000


@pytest.mark.full_size
def test_twelve_layers_of_dimensions(tmp_path: Path) -> None:
    """12 layers, 1024 wide, random weights, on 40 recordings that calibration does not use."""
    if not CORPUS.is_dir():
        pytest.skip("the recordings of ../shared/corpora/emodb are not here")
    paths = sorted((CORPUS / "audio").glob("*.flac"))
    tested, others = paths[:: len(paths) // 40][:40], paths[1 :: len(paths) // 40][:12]
    folder = tmp_path / "others"
    folder.mkdir()
    for path in others:
        (folder / path.name).symlink_to(path)
    scaling = [read_waveform(path, rate=RATE, max_seconds=30) for path in others]
    settings = LARGE | {"num_hidden_layers": 12}
    make_checkpoint(tmp_path / "model", settings, architecture="audeering", waveforms=scaling)
    export_bundle(tmp_path / "model", tmp_path / "bundle", audio=folder, max_clips=2)

    waves = [read_waveform(path, rate=RATE, max_seconds=30) for path in tested]
    expected = exact_logits(tmp_path / "model", waves)
    float32, int8 = (voxmood.load(tmp_path / "bundle", precision=p) for p in ("fp32", "int8"))
    single = np.stack([float32.predict(path).logits for path in tested])
    batch = np.stack([prediction.logits for prediction in float32.predict_batch(tested)])
    quantized = np.stack([int8.predict(path).logits for path in tested])
    largest = np.abs(single - expected).max()
    errors = [error(found, expected) for found in (single, batch)]
    noise = sqnr(single, quantized, "regression")
    concordance = [ccc(*pair) for pair in zip(single.T, quantized.T, strict=True)]
    print(
        f"fp32 error {largest:.1e}, of the spread {errors[0]:.1e}, in a batch {errors[1]:.1e}, "
        f"int8 {noise:.2f} dB, CCC "
        + ", ".join(f"{name} {c:.4f}" for name, c in zip(DIMENSIONS, concordance, strict=True))
    )
    assert largest < 1e-4
    assert max(errors) < ROUNDING
    assert noise >= 28
    assert min(c or 0.0 for c in concordance) >= 0.99
