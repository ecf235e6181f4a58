"""Install and run the lean wheel on an emulated Raspberry Pi 4, and compare it with this machine.

    python runtime/examples/raspberry-pi/run.py [--audio DIR]

The script builds the wheel of the checkout, installs it with pip for Debian's arm64 Python, and
runs the usual commands there as on a Cortex-A72. It takes two minutes.
`benchmarks/scripts/emulator.py` says what it needs. The exit status is 1 if the answers differ from
those of this machine: another label, segment or verdict, fp32 probabilities that differ by more
than 1e-3, or int8 probabilities that differ by more than twice the drift between int8 and fp32.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from voxmood.bundle.locate import shipped_bundle

ROOT = Path(__file__).parents[3]
sys.path.append(str(ROOT / "benchmarks" / "scripts"))  # which are not in the wheel
from emulator import CPUS, arm_environment, call, emulator  # noqa: E402

HELLO = ROOT / "runtime" / "examples" / "hello.wav"
FP32_TOLERANCE = 1e-3

Answers = list[dict[str, Any]]


def main() -> int:
    """Run the commands on both machines and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--audio",
        type=Path,
        metavar="DIR",
        help="Folder of FLAC or WAV files (default: the folder of hello.wav).",
    )
    audio = (parser.parse_args().audio or HELLO.parent).resolve()
    clips = sorted(str(path) for path in audio.glob("*") if path.suffix in (".flac", ".wav"))
    if not clips:
        parser.error(f"{audio}: holds no FLAC or WAV files")
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        call(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", f"--wheel-dir={work}",
             str(ROOT))  # fmt: skip
        (wheel,) = work.glob("*.whl")
        python = arm_environment(work / "pi", f"{wheel}[cpu]")
        bundle = shipped_bundle()  # of the checkout, since the wheel has no fp32
        pi = [*emulator(CPUS["cortex-a72"]), str(python), str(python.with_name("voxmood"))]

        def both(*arguments: str) -> list[Answers]:
            """Return the answers of this machine and of the emulated one."""
            here = [sys.executable, "-m", "voxmood"]
            answers = [_objects(_output(*each, *arguments, "--json")) for each in (here, pi)]
            print(f"$ voxmood {' '.join(arguments)} --json")
            for answer in answers[1]:
                print(json.dumps(answer))
            return answers

        kind = _output(*pi[:-1], "-c", "import platform; print(platform.machine())").strip()
        info = _output(*pi, "info")
        print("$ voxmood info", info, sep="\n", end="", flush=True)
        fp32 = both("predict", *clips, "--model", f"{bundle}@fp32")
        int8 = both("predict", *clips, "--model", f"{bundle}@int8")
        timeline = both("timeline", clips[0], "--window", "2")
        compare = both("compare", f"{bundle}@fp32", f"{bundle}@int8", "--audio", str(audio))
    drift = _distance(fp32[0], int8[0])
    checks = {
        f"the machine is {kind}": kind == "aarch64",
        "info: int8 products are exact": re.search(r"int8 products +exact\n", info),
        "predict: the labels are the same": (
            _labels(fp32[0] + int8[0]) == _labels(fp32[1] + int8[1])
        ),
        f"predict, fp32: differs by {_distance(*fp32):.1e}": _distance(*fp32) <= FP32_TOLERANCE,
        f"predict, int8: differs by {_distance(*int8):.1e}, and from fp32 by {drift:.1e}": (
            _distance(*int8) <= 2 * drift
        ),
        f"timeline: the {len(timeline[0])} segments are the same": (
            _labels(timeline[0]) == _labels(timeline[1])
        ),
        "compare: passed": compare[0][0]["passed"] and compare[1][0]["passed"],
    }
    for what, met in checks.items():
        print(f"{'ok ' if met else 'NOT'} {what}")
    return 0 if all(checks.values()) else 1


def _output(*command: str) -> str:
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def _objects(text: str) -> Answers:
    """Return the JSON objects in a text, which follow one another."""
    found, position = [], 0
    while position < len(text):
        value, position = json.JSONDecoder().raw_decode(text, position)
        found.append(value)
        position += 1  # skip the end of the line
    return found


def _labels(answers: Answers) -> list[tuple[Any, ...]]:
    return [tuple(map(answer.get, ("path", "start", "end", "label"))) for answer in answers]


def _distance(one: Answers, other: Answers) -> Any:
    """Return the largest difference of a probability."""
    return max(
        abs(probability - right["probabilities"][label])
        for left, right in zip(one, other, strict=True)
        for label, probability in left["probabilities"].items()
    )


if __name__ == "__main__":
    sys.exit(main())
