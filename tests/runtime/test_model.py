"""Loading bundles and predicting with them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile
from near import LAYER, NETWORK, near

import voxmood
from voxmood import AudioError, BundleError, MissingFileError, ProviderError
from voxmood.engine import session
from voxmood.engine.providers import PROVIDERS

RATE = 16000


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return shutil.copytree(bundle, tmp_path / "bundle")


def clips(seed: int, *lengths: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.normal(0, 0.1, length).astype(np.float32) for length in lengths]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_prediction_is_consistent(bundle: Path, precision: str) -> None:
    model = voxmood.load(bundle, precision=precision)
    (clip,) = clips(0, 3 * RATE)
    prediction = model.predict(clip, sampling_rate=RATE)
    assert list(prediction.numbers) == ["neu", "hap", "ang", "sad"] == list(model.labels)
    values = np.array(list(prediction.numbers.values()))
    exponents = np.exp(prediction.logits.astype(np.float64))
    assert values == pytest.approx(exponents / exponents.sum(), abs=1e-6)
    assert prediction.label == model.labels[int(prediction.logits.argmax())]
    assert prediction.embedding.shape == (24,)
    assert prediction.duration == 3.0
    assert prediction.warnings == ()


def test_fp32_batch_equals_single_runs(bundle: Path) -> None:
    model = voxmood.load(bundle, precision="fp32")
    sources = clips(1, *np.random.default_rng(2).integers(400, 40000, 70))
    batch = model.predict_batch(sources, sampling_rate=RATE)
    for source, together in zip(sources, batch, strict=True):
        alone = model.predict(source, sampling_rate=RATE)
        assert together.logits == near(alone.logits)
        assert together.embedding == near(alone.embedding, LAYER)
        assert together.duration == alone.duration


@pytest.mark.parametrize("padding", [0.0, 7.0, np.nan, np.inf])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_padding_is_never_heard(bundle: Path, precision: str, padding: float) -> None:
    session = onnxruntime.InferenceSession(bundle / f"model.{precision}.onnx")
    for length in (400, 719, 720, 5000):
        (clip,) = clips(length, length)
        padded = np.full((1, 6000), padding, np.float32)
        padded[0, :length] = clip
        lengths = np.array([length])
        alone = session.run(["logits"], {"waveform": clip[None], "lengths": lengths})[0]
        among = session.run(["logits"], {"waveform": padded, "lengths": lengths})[0]
        assert among == near(alone, 0 if precision == "int8" else NETWORK)


def test_int8_gives_the_same_bits_twice(bundle: Path) -> None:
    sources = clips(3, 400, 16000, 48000)
    runs = [
        voxmood.load(bundle, precision="int8").predict_batch(sources, sampling_rate=RATE)
        for _ in range(2)
    ]
    for first, second in zip(*runs, strict=True):
        assert first.logits.tobytes() == second.logits.tobytes()


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_low_memory_predicts_the_same(bundle: Path, precision: str) -> None:
    (clip,) = clips(4, 20000)
    usual, low = (
        voxmood.load(bundle, precision=precision, low_memory=low).predict(clip, sampling_rate=RATE)
        for low in (False, True)
    )
    # In int8, a value between two steps may be rounded to the other one.
    assert low.logits == near(usual.logits, 5e-3 if precision == "int8" else NETWORK)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("length", [-1, 0, 399, 6001])
def test_graph_refuses_a_length_out_of_range(bundle: Path, precision: str, length: int) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(bundle / f"model.{precision}.onnx", options)
    inputs = {"waveform": np.zeros((1, 6000), np.float32), "lengths": np.array([length])}
    with pytest.raises(Exception, match="lengths_must_be_400_to_samples"):
        session.run(None, inputs)


def test_shorter_than_the_smallest_input(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "blip.wav"
    soundfile.write(path, np.zeros(399), RATE)
    with pytest.raises(AudioError, match=r"blip\.wav.*shorter"):
        voxmood.load(bundle).predict(path)


def test_auto_precision_and_what_is_there(bundle: Path, copy: Path) -> None:
    assert voxmood.load(bundle).precision == "int8"
    with pytest.raises(BundleError, match="fp16; there are fp32, int8"):
        voxmood.load(bundle, precision="fp16")
    description = json.loads((copy / "bundle.json").read_text())
    del description["precisions"]["int8"]
    (copy / "bundle.json").write_text(json.dumps(description))
    assert voxmood.load(copy).precision == "fp32"


def test_only_the_asked_precision_must_be_there(copy: Path) -> None:
    (copy / "model.fp32.onnx").unlink()
    voxmood.load(copy, precision="int8")
    with pytest.raises(MissingFileError, match=r"model\.fp32\.onnx"):
        voxmood.load(copy, precision="fp32")


def test_altered_model_file(copy: Path) -> None:
    path = copy / "model.int8.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"model\.int8\.onnx.*differs"):
        voxmood.load(copy)
    path.write_bytes(content[:-1])
    with pytest.raises(BundleError, match=r"model\.int8\.onnx.*differs"):
        voxmood.load(copy, verify=False)  # the size is checked all the same


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(schema=99), "schema 99.*install a newer voxmood"),
        (lambda d: d.update(schema="1"), "schema is missing, or is not of type int"),
        (lambda d: d.pop("labels"), "labels is missing"),
        (lambda d: d.pop("licence"), "licence is missing"),
        (lambda d: d.update(labels=["neu", 3]), "labels must be a list of strings"),
        (lambda d: d.update(labels=["hap", "neu", "ang", "sad"]), "voxmood.labels.*one bundle"),
        (lambda d: d.update(sampling_rate=8000), "voxmood.sampling_rate.*one bundle"),
        (lambda d: d.update(min_samples=-1), "do not fit together"),
        (lambda d: d.update(normalisation="loud"), "normalisation 'loud' is not known"),
        (lambda d: d.update(normalisation="none"), "voxmood.normalisation.*one bundle"),
        (lambda d: d.update(licence="mit"), "voxmood.licence.*one bundle"),
        (lambda d: d.update(precisions={}), "precisions is empty"),
        (lambda d: d["precisions"].update(int4=d["precisions"]["int8"]), "'int4'"),
        (
            lambda d: d["precisions"]["int8"]["files"].update({"../x": {"bytes": 1, "sha256": ""}}),
            "the files of int8 must be",
        ),
    ],
)
def test_wrong_description(copy: Path, change: Callable[[Any], Any], message: str) -> None:
    path = copy / "bundle.json"
    description = json.loads(path.read_text())
    change(description)
    path.write_text(json.dumps(description))
    with pytest.raises(BundleError, match=message) as caught:
        voxmood.load(copy)
    assert isinstance(caught.value, ValueError)


def test_damaged_and_missing_description(copy: Path, tmp_path: Path) -> None:
    (copy / "bundle.json").write_text('{"schema": 1, "labels"')
    with pytest.raises(BundleError, match="is not valid JSON"):
        voxmood.load(copy)
    (copy / "bundle.json").write_text(" " * (1 << 21))
    with pytest.raises(BundleError, match="larger than"):
        voxmood.load(copy)
    (copy / "bundle.json").unlink()
    with pytest.raises(MissingFileError, match=r"has no bundle\.json"):
        voxmood.load(copy)
    with pytest.raises(MissingFileError, match="no such bundle"):
        voxmood.load(tmp_path / "gone")


def test_a_model_file_that_is_none(copy: Path) -> None:
    content = b"not a graph"
    (copy / "model.int8.onnx").write_bytes(content)
    path = copy / "bundle.json"
    description = json.loads(path.read_text())
    description["precisions"]["int8"]["files"]["model.int8.onnx"]["bytes"] = len(content)
    path.write_text(json.dumps(description))
    with pytest.raises(BundleError, match="refused before it was opened"):
        voxmood.load(copy, verify=False)


def test_providers(bundle: Path) -> None:
    explicit: list[tuple[str, dict[str, str]]] = [("CPUExecutionProvider", {})]
    assert voxmood.load(bundle, provider=explicit).precision == "int8"
    with pytest.raises(ProviderError, match="'tpu' is not known; there are cpu, cuda, openvino"):
        voxmood.load(bundle, provider="tpu")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(ProviderError, match=r"voxmood\[gpu\]") as caught:
            voxmood.load(bundle, provider="cuda")
        assert isinstance(caught.value, RuntimeError)


def test_a_provider_that_takes_nothing_is_no_silent_fallback(bundle: Path) -> None:
    nothing: list[tuple[str, dict[str, str]]] = [("AzureExecutionProvider", {})]
    if nothing[0][0] not in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has no provider that runs no node of a speech model")
    with pytest.raises(ProviderError, match=r"leaves all of model\.fp32\.onnx to CPU"):
        voxmood.load(bundle, provider=nothing)
    assert voxmood.load(bundle, provider=[*nothing, ("CPUExecutionProvider", {})])


def test_a_provider_that_fails_is_told_from_a_file_that_does(
    bundle: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider that fails inside ONNX Runtime, which none here can be made to do."""
    open_session = session._open

    def fail(path: Path, options: Any, providers: Any) -> Any:
        if providers[0][0] == "AzureExecutionProvider":
            raise RuntimeError("no driver")
        return open_session(path, options, providers)

    monkeypatch.setattr(session, "_open", fail)
    monkeypatch.setattr(session, "resolve_provider", lambda provider: provider)
    failing: list[tuple[str, dict[str, str]]] = [("AzureExecutionProvider", {})]
    with pytest.raises(ProviderError, match=r"no driver.*provider='cpu'"):
        voxmood.load(bundle, provider=failing)
    path = copy / "model.fp32.onnx"
    graph = onnx.load(path)
    graph.graph.node[-1].input[0] = "nowhere"
    path.write_bytes(graph.SerializeToString())
    description = json.loads((copy / "bundle.json").read_text())
    description["precisions"]["fp32"]["files"][path.name]["bytes"] = path.stat().st_size
    (copy / "bundle.json").write_text(json.dumps(description))
    with pytest.raises(BundleError, match=r"model\.fp32\.onnx: ONNX Runtime cannot load it"):
        voxmood.load(copy, provider=failing, verify=False)


@pytest.mark.parametrize("provider", ["cuda", "openvino"])
def test_float_graph_on_another_provider(bundle: Path, provider: str) -> None:
    """Runs where there is one: a GPU, or OpenVINO in the environment that `.ci/run` makes."""
    name = PROVIDERS[provider][0]
    if name not in onnxruntime.get_available_providers():
        pytest.skip(f"{name} is not in the installed ONNX Runtime")
    (clip,) = clips(9, 2 * RATE)
    expected = voxmood.load(bundle, precision="fp32").predict(clip, sampling_rate=RATE)
    model = voxmood.load(bundle, precision="fp32", provider=provider)
    assert model.nodes[name] > 100
    prediction = model.predict(clip, sampling_rate=RATE)
    assert prediction.logits == near(expected.logits, 5e-4)


def python(code: str, **environment: str) -> str:
    variables = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    finished = subprocess.run(
        [sys.executable, "-c", code], env=variables | environment, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip()


def test_telemetry_is_off_unless_the_user_set_it() -> None:
    code = (
        "import sys, importlib.abc, os\n"
        "class Spy(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'onnxruntime': print(os.environ.get('ORT_DISABLE_TELEMETRY'))\n"
        "sys.meta_path.insert(0, Spy())\n"
        "import voxmood.api"
    )
    assert python(code) == "1"
    assert python(code, ORT_DISABLE_TELEMETRY="0") == "0"


def test_the_runtime_opens_no_connection(bundle: Path) -> None:
    code = (
        "import sys\n"
        "seen = []\n"
        "sys.addaudithook(lambda event, args: seen.append(event)"
        " if event.startswith('socket.') else None)\n"
        "import numpy, voxmood\n"
        f"model = voxmood.load({str(bundle)!r})\n"
        "model.predict(numpy.zeros(16000), sampling_rate=16000)\n"
        "print(seen)"
    )
    assert python(code) == "[]"


def test_the_runtime_needs_none_of_the_export_stage(bundle: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'onnx', 'librosa', 'scipy', 'optimum'):\n"
        "    sys.modules[name] = None\n"
        "import numpy, voxmood\n"
        f"model = voxmood.load({str(bundle)!r})\n"
        "print(model.predict(numpy.ones(16000), sampling_rate=16000).label)"
    )
    assert python(code) in ("neu", "hap", "ang", "sad")
