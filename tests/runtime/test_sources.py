"""What may be passed as a recording: it works, or the message says what does."""

from __future__ import annotations

import array
import asyncio
import copy
import io
import multiprocessing
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import voxmood
from voxmood import AudioError, ForkError, Model, Prediction, ProviderError, Stream

RATE = 16000
HELLO = Path(__file__).parents[2] / "runtime/examples/hello.wav"
SAMPLES = np.random.default_rng(0).uniform(-0.3, 0.3, RATE).astype(np.float32)
STEREO = np.stack([SAMPLES, 0.5 * SAMPLES], axis=1)
PCM = (SAMPLES * 32767).astype(np.int16)


@pytest.fixture(scope="module")
def model(bundle: Path) -> Model:
    return voxmood.load(bundle, threads=1)


def logits(model: Model, source: Any, **options: Any) -> np.ndarray:
    prediction: Prediction = model.predict(source, **options)
    return prediction.logits


def gradient() -> torch.Tensor:
    return torch.from_numpy(SAMPLES).requires_grad_()


MONO: dict[str, Callable[[], tuple[Any, dict[str, Any]]]] = {
    "a row": lambda: (SAMPLES[None], {"sampling_rate": RATE}),
    "a column": lambda: (SAMPLES[:, None], {"sampling_rate": RATE}),
    "a tensor": lambda: (torch.from_numpy(SAMPLES), {"sampling_rate": RATE}),
    "a tensor's row": lambda: (torch.from_numpy(SAMPLES)[None], {"sampling_rate": RATE}),
    "a tensor with gradients": lambda: (gradient(), {"sampling_rate": RATE}),
    "a list": lambda: (SAMPLES.tolist(), {"sampling_rate": RATE}),
    "an array of floats": lambda: (array.array("f", SAMPLES.tolist()), {"sampling_rate": RATE}),
    "a pair": lambda: ((SAMPLES, RATE), {}),
    "a pair as SciPy has it": lambda: ((RATE, SAMPLES), {}),
    "a pair of a tensor": lambda: ((torch.from_numpy(SAMPLES), RATE), {}),
    "a dataset's entry": lambda: ({"array": SAMPLES, "sampling_rate": RATE, "path": None}, {}),
    "a pipeline's entry": lambda: ({"raw": SAMPLES, "sampling_rate": RATE}, {}),
    "a rate of NumPy": lambda: (SAMPLES, {"sampling_rate": np.int64(RATE)}),
    "a rate as float": lambda: (SAMPLES, {"sampling_rate": 16000.0}),
    "double": lambda: (SAMPLES.astype(np.float64), {"sampling_rate": RATE}),
    "big-endian": lambda: (SAMPLES.astype(">f4"), {"sampling_rate": RATE}),
    "every second of a longer one": lambda: (
        np.repeat(SAMPLES, 2)[::2],
        {"sampling_rate": RATE},
    ),
}


@pytest.mark.parametrize("case", MONO)
def test_mono_samples(model: Model, case: str) -> None:
    source, options = MONO[case]()
    expected = logits(model, SAMPLES, sampling_rate=RATE)
    assert np.array_equal(logits(model, source, **options), expected)
    assert np.array_equal(model.predict_batch([source], **options)[0].logits, expected)
    (segment,) = model.timeline(source, **options)
    assert segment.end == 1.0


@pytest.mark.parametrize(
    "source",
    [
        array.array("h", PCM.tolist()),
        PCM.astype(">i2"),
        (PCM.astype(np.int32) << 16)[None],
        torch.from_numpy(PCM),
    ],
    ids=["array", "big-endian", "int32", "tensor"],
)
def test_pcm(model: Model, source: Any) -> None:
    expected = logits(model, PCM / np.float32(32768), sampling_rate=RATE)
    assert np.array_equal(logits(model, source, sampling_rate=RATE), expected)


@pytest.mark.parametrize("source", [STEREO, STEREO.T, torch.from_numpy(STEREO.T), STEREO.tolist()])
def test_channels_are_averaged(model: Model, source: Any) -> None:
    expected = logits(model, STEREO.mean(axis=1), sampling_rate=RATE)
    assert np.allclose(logits(model, source, sampling_rate=RATE), expected, rtol=0, atol=1e-6)
    stream = Stream(model, RATE, 1.0, 1.0)
    assert len(stream.push(STEREO)) == 1


BAD: dict[str, tuple[Any, dict[str, Any], str]] = {
    "no rate": (SAMPLES, {}, "pass sampling_rate="),
    "a tensor without a rate": (torch.from_numpy(SAMPLES), {}, "pass sampling_rate="),
    "a rate as text": (SAMPLES, {"sampling_rate": "16000"}, "whole number of Hz"),
    "a rate of half a hertz": (SAMPLES, {"sampling_rate": 16000.5}, "whole number of Hz"),
    "a rate that is true": (SAMPLES, {"sampling_rate": True}, "whole number of Hz"),
    "a rate that is not a number": (SAMPLES, {"sampling_rate": float("nan")}, "whole number of Hz"),
    "a rate of a file": (HELLO, {"sampling_rate": RATE}, "leave out sampling_rate"),
    "square": (np.zeros((300, 300)), {"sampling_rate": RATE}, "which axis is time"),
    "small": (np.zeros((2, 2)), {"sampling_rate": RATE}, "which axis is time"),
    "three axes": (np.zeros((1, 2, 999)), {"sampling_rate": RATE}, "one recording at a time"),
    "bytes as samples": (np.zeros(999, np.uint8), {"sampling_rate": RATE}, "of type uint8"),
    "whole numbers": ([1, 2, 3] * 999, {"sampling_rate": RATE}, "of type int64.*int16"),
    "complex": (np.zeros(999, complex), {"sampling_rate": RATE}, "of type complex"),
    "objects": (np.array([None] * 9), {"sampling_rate": RATE}, "of type object"),
    "lists of other lengths": ([[0.0], [0.0, 1.0]], {"sampling_rate": RATE}, "array of samples"),
    "paths": (["a.wav", "b.wav"], {}, "use predict_batch"),
    "a mapping without samples": ({"audio": SAMPLES}, {}, "keys array and sampling_rate.*audio"),
    "a mapping without a rate": ({"array": SAMPLES}, {}, "pass sampling_rate="),
    "three": ((SAMPLES, RATE, 1), {}, r"\(samples, 16000\)"),
    "two arrays": ((SAMPLES, SAMPLES), {}, r"\(samples, 16000\)"),
    "two rates": ((SAMPLES, RATE), {"sampling_rate": RATE}, r"\(samples, 16000\)"),
    "None": (None, {}, "is a NoneType; pass a path"),
    "a number": (3, {}, "is a int; pass a path"),
    "an empty name": ("", {}, "name of a recording is empty"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_sources(model: Model, case: str) -> None:
    source, options, message = BAD[case]
    with pytest.raises(AudioError, match=message):
        model.predict(source, **options)


class Minimal:
    """A file object with the fewest methods."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    def read(self, count: int = -1) -> bytes:
        return self._file.read(count)

    def seek(self, offset: int, whence: int = 0) -> None:
        self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


class OnlyRead:
    """A file object that gives its bytes once."""

    name = None

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    def read(self, count: int = -1) -> bytes:
        return self._file.read(count)


def at_its_end(content: bytes) -> io.BytesIO:
    file = io.BytesIO(content)
    file.read()
    return file


@pytest.mark.parametrize("kind", [Minimal, OnlyRead, at_its_end, io.BytesIO, memoryview, bytearray])
def test_file_objects(model: Model, kind: Callable[[bytes], Any]) -> None:
    expected = logits(model, HELLO)
    assert np.array_equal(logits(model, kind(HELLO.read_bytes())), expected)
    with pytest.raises(AudioError, match=r"<(file object|4 bytes)>: is not audio"):
        model.predict(kind(b"\xff\x00\xff\x00"))


class Upload:
    """A file of a web service, which reads asynchronously."""

    file = io.BytesIO()

    async def read(self, count: int = -1) -> bytes:
        await asyncio.sleep(0)
        return b""


def test_file_objects_that_are_none(model: Model, tmp_path: Path) -> None:
    closed = HELLO.open("rb")
    closed.close()
    with HELLO.open(encoding="latin-1") as text, soundfile.SoundFile(HELLO) as sound:
        for source, message in (
            (text, "is open as text; open it as 'rb'"),
            (io.StringIO("text"), "is open as text; open it as 'rb'"),
            (sound, "is an open SoundFile; pass its name"),
            (Upload(), r"pass the file in it, as upload\.file"),
            (closed, "is it still open"),
            (tmp_path, "is a folder"),
        ):
            with pytest.raises(AudioError, match=message):
                model.predict(source)


@pytest.mark.parametrize(
    ("chunk", "message"),
    [
        (b"\0\0" * 999, r"numpy\.frombuffer"),
        (bytearray(999), r"numpy\.frombuffer"),
        ("text", "is a str; pass"),
        (None, "is a NoneType; pass"),
        (np.zeros((2, 2, 2)), "one recording at a time"),
        (np.zeros((999, 65)), "which axis is time"),
        (np.zeros(9, np.int64), "of type int64"),
    ],
)
def test_bad_chunks(model: Model, chunk: Any, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        Stream(model, RATE).push(chunk)


def test_chunks_of_every_kind(model: Model) -> None:
    expected = Stream(model, RATE, 1.0, 1.0).push(SAMPLES)
    chunks: list[Any] = [
        SAMPLES.tolist(),
        torch.from_numpy(SAMPLES),
        SAMPLES[None],
        SAMPLES[:, None],
    ]
    for chunk in chunks:
        assert Stream(model, RATE, 1.0, 1.0).push(chunk) == expected
    assert Stream(model, RATE).push(np.zeros((2, 2), np.float32)) == []
    with pytest.raises(AudioError, match="whole number of Hz"):
        Stream(model, "16000")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "provider",
    [
        "CPUExecutionProvider",
        ["CPUExecutionProvider"],
        ["cpu"],
        ("CPUExecutionProvider", {}),
        [("CPUExecutionProvider", {})],
        ("CPUExecutionProvider",),
    ],
)
def test_providers(provider: Any) -> None:
    assert voxmood.load(provider=provider, threads=1).precision == "fp32"


@pytest.mark.parametrize("provider", [None, 3, [], [3], [("cpu", {}, {})], "gpu", ["x"], b"cpu"])
def test_bad_providers(provider: Any) -> None:
    with pytest.raises(ProviderError, match="provider"):
        voxmood.load(provider=provider)


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True, 10**6])
def test_bad_threads(threads: Any) -> None:
    with pytest.raises(ProviderError, match="whole number from 1 to 1024"):
        voxmood.load(threads=threads)


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_copies_are_loaded_again(precision: str) -> None:
    model = voxmood.load(precision=precision, threads=1, low_memory=True)
    expected = logits(model, HELLO)
    for other in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other is not model
        assert other.precision == precision
        assert np.array_equal(logits(other, HELLO), expected)


@pytest.mark.posix
def test_other_processes_load_again(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the error of a forked process advises."""
    monkeypatch.setitem(INHERITED, "model", model)
    with (
        multiprocessing.get_context("fork").Pool(1) as pool,
        pytest.raises(ForkError, match=r"get_context\('spawn'\)\.Pool\(\)"),
    ):
        pool.apply(predict_with_the_inherited)
    expected = model.predict(HELLO)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        (found,) = pool.map(model.predict, [HELLO])
    assert np.array_equal(found.logits, expected.logits)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        assert executor.submit(model.predict, HELLO).result().label == expected.label


INHERITED: dict[str, Model] = {}
"""What a forked process finds as it was."""


def predict_with_the_inherited() -> str | None:
    return INHERITED["model"].predict(HELLO).label


def test_a_pickle_without_its_bundle(tmp_path: Path) -> None:
    import shutil

    from voxmood.bundle.locate import shipped_bundle

    folder = tmp_path / "bundle"
    shutil.copytree(shipped_bundle(), folder)
    pickled = pickle.dumps(voxmood.load(folder, threads=1))
    shutil.rmtree(folder)
    with pytest.raises(voxmood.MissingFileError, match=str(folder)):
        pickle.loads(pickled)


class Failing(Minimal):
    """A file object on a connection that breaks."""

    def read(self, count: int = -1) -> bytes:
        if self.tell() > 70_000:
            raise RuntimeError("the connection broke")
        return super().read(min(count, 1000) if count > 0 else 1000)


class Slow(Minimal):
    """A file object that gives a little at a time, as raw files may."""

    def read(self, count: int = -1) -> bytes:
        return super().read(min(count, 1000) if count >= 0 else count)


class FailingPipe(OnlyRead):
    def read(self, count: int = -1) -> bytes:
        if count:
            raise RuntimeError("the connection broke")
        return b""


@pytest.mark.parametrize("form", ["WAV", "FLAC", "AIFF", "MP3", "OGG"])
def test_file_objects_that_fail_on_the_way(
    model: Model, form: str, capfd: pytest.CaptureFixture[str]
) -> None:
    file = io.BytesIO()
    samples = np.random.default_rng(0).normal(0, 0.1, 30 * RATE)
    soundfile.write(file, samples, RATE, format=form)
    with pytest.raises(AudioError, match=r"cannot be read to its end \(the connection broke\)"):
        model.predict(Failing(file.getvalue()))
    assert capfd.readouterr() == ("", "")
    expected = model.predict(file.getvalue())
    found = model.predict(Slow(file.getvalue()))
    assert found.warnings == expected.warnings
    assert np.array_equal(found.logits, expected.logits)


def test_pipes_that_fail(model: Model) -> None:
    with pytest.raises(AudioError, match="cannot be read"):
        model.predict(FailingPipe(b""))


@pytest.mark.parametrize(
    "sources", ["a.wav", Path("a.wav"), b"RIFF", io.BytesIO(b"RIFF"), {"array": SAMPLES}, None, 5]
)
def test_a_batch_is_a_list(model: Model, sources: Any) -> None:
    with pytest.raises(AudioError, match=r"is one recording; use predict|no list of recordings"):
        model.predict_batch(sources)


@pytest.mark.parametrize("name", [b"bundle", 5, ["bundle"], {"a": 1}, True, "n" * 5000, "a\0b"])
def test_what_names_no_bundle(name: Any) -> None:
    with pytest.raises(voxmood.VoxmoodError, match="bundle"):
        voxmood.load(name)


@pytest.mark.parametrize("window", ["5", None, [5], 1j, True, float("nan")])
def test_what_is_no_window(model: Model, window: Any) -> None:
    for windows in ((window, 1.0), (1.0, window)):
        with pytest.raises(AudioError, match=r"pass a number of seconds|nan"):
            model.timeline(SAMPLES, *windows, sampling_rate=RATE)
        with pytest.raises(AudioError, match=r"pass a number of seconds|nan"):
            Stream(model, RATE, *windows)


@pytest.mark.parametrize("not_a_model", [None, "bundle", 3])
def test_a_stream_needs_a_model(not_a_model: Any) -> None:
    with pytest.raises(AudioError, match=r"pass what voxmood\.load returns"):
        Stream(not_a_model, RATE)


def test_a_stream_keeps_its_channels(model: Model) -> None:
    stream = Stream(model, RATE)
    stream.push(STEREO)
    with pytest.raises(AudioError, match="a chunk has 1 channels, and the first one had 2"):
        stream.push(SAMPLES)
    with pytest.raises(AudioError, match="which axis is time"):
        Stream(model, RATE).push(STEREO.T)


def test_rates_that_contradict_each_other(model: Model) -> None:
    entry = {"array": SAMPLES, "sampling_rate": RATE}
    with pytest.raises(AudioError, match="its sampling_rate is 16000, and sampling_rate=8000"):
        model.predict(entry, sampling_rate=8000)
    expected = logits(model, SAMPLES, sampling_rate=RATE)
    assert np.array_equal(logits(model, entry, sampling_rate=RATE), expected)
    assert np.array_equal(
        logits(model, {"array": SAMPLES, "sampling_rate": None}, sampling_rate=RATE), expected
    )
    with pytest.raises(AudioError, match="states its own rate"):
        model.predict({"path": str(HELLO)}, sampling_rate=8000)
    with pytest.raises(AudioError, match=r"numpy\.frombuffer"):
        model.predict(PCM.tobytes(), sampling_rate=RATE)
