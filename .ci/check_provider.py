"""Compare the float graph on a provider with the CPU's, or check how the provider is refused.

    check_provider.py NAME DEVICE    the provider must run on this device: cpu, gpu or npu
    check_provider.py NAME none      the provider is a plug-in that must offer no device
    check_provider.py NAME any       the plug-in runs, or is refused in the same words

The environment needs voxmood and the provider, and no more. Everything runs in this process, which
may be emulated.
"""

import io
import json
import sys
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

import voxmood
from voxmood.cli import main as command

MAX_ERROR = 1e-3  # of a logit
ROOT = Path(__file__).parents[1]
RECORDING = ROOT / "runtime" / "examples" / "hello.wav"
BUNDLE = ROOT / "models" / "voxmood-small" / "bundle"  # the wheel has no fp32
LENGTHS = (1000, 24000)  # WebGPU compiles its programs for each


def main(provider: str, expected: str) -> None:
    """Check one provider.

    Raises:
        AssertionError: it does not run, or its answers are not the CPU's.
    """
    plugins = {each["name"]: each for each in described()["plugins"]}
    print(f"plug-ins: {json.dumps(plugins, indent=2)}")
    offered = [each["type"] for each in plugins.get(provider, {}).get("devices", [])]
    if expected in ("none", "any") and not offered:
        error = refusal(provider, None)
        assert provider in plugins, error
        assert "offers no device here" in error, error
        return
    assert expected != "none", "the provider offers a device"
    device = offered[0] if offered else expected  # a provider that is built in lists none
    assert expected in ("any", device), offered
    compare(provider, device)
    refusal(provider, "npu" if device != "npu" else "cpu")


def described() -> dict[str, Any]:
    """Return what `voxmood info --json` prints."""
    with redirect_stdout(io.StringIO()) as printed:
        assert command(["info", "--json"]) == 0
    facts: dict[str, Any] = json.loads(printed.getvalue())
    return facts


def refusal(provider: str, device: str | None) -> str:
    """Return the error for a device that is not there, after checking that it is one."""
    try:
        voxmood.load(BUNDLE, precision="fp32", provider=provider, device=device)
    except voxmood.ProviderError as error:
        print(f"device {device}: {error}")
        return str(error)
    raise AssertionError("a device that is not there started")


def compare(provider: str, device: str) -> None:
    """Check answers, nodes, and the gate `voxmood compare`."""
    on_cpu = voxmood.load(BUNDLE, precision="fp32")
    model = voxmood.load(BUNDLE, provider=provider, device=device)
    assert model.precision == "fp32"
    print(f"nodes: {model.nodes}")
    assert max(model.nodes, key=lambda name: model.nodes[name]) != "CPUExecutionProvider"
    samples, rate = soundfile.read(RECORDING, frames=max(LENGTHS))
    for length in LENGTHS:
        clip = samples[:length]
        answers = [each.predict(clip, sampling_rate=rate) for each in (on_cpu, model)]
        error = float(np.abs(answers[0].logits - answers[1].logits).max())
        print(f"{length} samples: logits differ by {error:.1e}")
        assert error < MAX_ERROR
    for name, each in (("cpu", on_cpu), (provider, model)):
        begin = time.perf_counter()
        each.predict(samples, sampling_rate=rate)
        took = time.perf_counter() - begin
        print(f"{name}: {1000 * took:.0f} ms for {len(samples) / rate:.1f} s")
    with tempfile.TemporaryDirectory() as folder:
        soundfile.write(Path(folder) / "part.wav", samples, rate)
        same = [
            f"{BUNDLE}@fp32",
            f"{BUNDLE}@fp32",
            "--audio",
            folder,
            "--max-drift",
            "0.001",
        ]
        assert command(["compare", *same, "--provider", provider, "--device", device]) == 0


if __name__ == "__main__":
    main(*sys.argv[1:])
