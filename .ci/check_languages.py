"""Run the examples in Rust and C# and compare them with the Python runtime.

Needs cargo and dotnet, which fetch what the examples need.
"""

import subprocess
from pathlib import Path

import voxmood
from voxmood.bundle.locate import shipped_bundle

EXAMPLES = Path(__file__).parents[1] / "runtime" / "examples"
COMMANDS = {
    "Rust": ("cargo", "run", "--quiet", "--manifest-path", str(EXAMPLES / "rust" / "Cargo.toml")),
    "C#": ("dotnet", "run", "--project", str(EXAMPLES / "csharp")),
}
TOLERANCE = 2e-4
"""Of a probability, which they print with four decimals."""

hello = EXAMPLES / "hello.wav"
expected = voxmood.load(precision="fp32").predict(hello).probabilities or {}
for language, command in COMMANDS.items():
    model = shipped_bundle() / "model.fp32.onnx"
    printed = subprocess.check_output([*command, "--", str(model), str(hello)], text=True)
    found = {label: float(number) for label, number in map(str.split, printed.splitlines())}
    print(f"{language}: {found}")
    assert found.keys() == expected.keys()
    assert all(abs(found[label] - expected[label]) < TOLERANCE for label in expected), expected
