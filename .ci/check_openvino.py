"""Compare the float graph on OpenVINO with the CPU's; needs the extra `openvino`."""

import time
from pathlib import Path

import numpy as np

import voxmood

MAX_ERROR = 1e-3  # of a logit
RECORDING = Path(__file__).parents[1] / "runtime" / "examples" / "hello.wav"

random = np.random.default_rng(0)
clips = [random.normal(0, 0.1, length) for length in (400, 16000, 50000)]
models = {name: voxmood.load(precision="fp32", provider=name) for name in ("cpu", "openvino")}
nodes = models["openvino"].nodes
print(f"nodes: {nodes}")
assert nodes.get("OpenVINOExecutionProvider", 0) > 100, "the graph does not run on OpenVINO"
assert voxmood.load(provider="openvino").precision == "fp32"
for clip in clips:
    logits = [model.predict(clip, sampling_rate=16000).logits for model in models.values()]
    error = float(np.abs(logits[0] - logits[1]).max())
    print(f"{len(clip)} samples: logits differ by {error:.1e}")
    assert error < MAX_ERROR
first, second = (model.predict_batch([RECORDING] * 3) for model in models.values())
assert [entry.label for entry in first] == [entry.label for entry in second]
try:
    voxmood.load(precision="fp32", provider=[("OpenVINOExecutionProvider", {"device_type": "No"})])
except voxmood.ProviderError as error:
    print(f"a device that is not there: {str(error)[:120]}")
else:
    raise AssertionError("a device that is not there started")
for name, model in models.items():
    begin = time.perf_counter()
    for _ in range(20):
        model.predict(RECORDING)
    print(f"{name}: {50 * (time.perf_counter() - begin):.1f} ms for {RECORDING.name}")
