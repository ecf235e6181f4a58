"""Bundles of a stranger: mutations of the shipped one, loaded and run in child processes.

    python tests/runtime/fuzz_bundle.py 1000 --seed 1

Each is refused with an error of ours or gives an answer. Anything else is printed and fails:
another exception, a crash, a case that takes longer than `TIMEOUT`, a file opened or written
outside, an answer from weights that lie outside.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import select
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TIMEOUT = 60.0  # seconds; a case takes milliseconds
RUN_BYTES = 1 << 30  # instead of the runtime's bound, so that the machine has room for others
WEIRD: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**63, 10**400, 1e308, "", "\x1b[2J", "../x", "/etc/passwd", "0",
    "1", [], {}, [[]], ["a"] * 5000, {"a": {}}, "é" * 3000,
)  # fmt: skip
ENTRIES = (
    "session.save_model_format", "session.optimized_model_filepath", "ep.context_enable",
    "ep.context_file_path", "session.load_model_format", "session.custom_ops_library",
    "session.use_env_allocators", "session.disable_prepacking", "session.intra_op.allow_spinning",
    "session.model_external_initializers_file_folder_path", "session.set_denormal_as_zero",
)  # fmt: skip

Random = np.random.Generator


def flip_bytes(random: Random, folder: Path) -> None:
    path = _some_file(random, folder)
    content = bytearray(path.read_bytes())
    # Most of a file is weights; what decides is in front of and behind them.
    edge = min(len(content), int(random.choice([200, 5000, 60000, len(content)])))
    for _ in range(random.integers(1, 9)):
        at = int(random.integers(edge))
        content[-1 - at if random.random() < 0.5 else at] = random.integers(256)
    path.write_bytes(content)


def cut_or_grow(random: Random, folder: Path) -> None:
    path = _some_file(random, folder)
    content = path.read_bytes()
    at, length = (int(value) for value in random.integers(len(content), size=2))
    path.write_bytes(
        [content[:at], content[at:], content[:at] + content[at : at + length] + content[at:], b""][
            random.integers(4)
        ]
    )


def change_json(random: Random, folder: Path) -> None:
    path = folder / "bundle.json"
    content = json.loads(path.read_bytes())
    for _ in range(random.integers(1, 4)):
        parent, key = _some_place(random, content)
        weird = WEIRD[random.integers(len(WEIRD))]
        match random.integers(5):
            case 0 if isinstance(parent, dict):
                del parent[key]
            case 1 if isinstance(parent, dict):
                parent[str(weird)] = parent[key]
            case _:
                parent[key] = weird
    path.write_text(json.dumps(content))


def change_json_text(random: Random, folder: Path) -> None:
    path = folder / "bundle.json"
    text = path.read_text()
    at = int(random.integers(len(text)))
    insert = [
        "[" * 100_000,
        '{"a":' * 5000,
        "NaN",
        '"labels": 1,',
        "9" * 5000,
        "\x00",
        "\\ud800",
        ",",
    ]
    path.write_text(text[:at] + insert[random.integers(len(insert))] + text[at:])


def ask_for_an_option(random: Random, folder: Path) -> None:
    """Also in the graph's metadata, so that only the option itself can be what is refused."""
    path = folder / "bundle.json"
    content = json.loads(path.read_bytes())
    value = ["0", "1", str(folder.parent / "outside" / "written"), 1][random.integers(4)]
    content["session_options"] = {ENTRIES[random.integers(len(ENTRIES))]: value}
    path.write_text(json.dumps(content))
    for model in _models(folder):
        graph = _onnx().load(model, load_external_data=False)
        for entry in graph.metadata_props:
            if entry.key == "voxmood.session_options":
                entry.value = json.dumps(content["session_options"], sort_keys=True)
        model.write_bytes(graph.SerializeToString())


def link_outside(random: Random, folder: Path) -> None:
    path = _some_file(random, folder)
    moved = folder.parent / "outside" / path.name
    shutil.move(path, moved)
    path.symlink_to([moved, Path("../outside") / path.name][random.integers(2)])


def name_outside(random: Random, folder: Path) -> None:
    """A tensor's data in a file outside, which is there and has the right size."""
    model = _models(folder)[random.integers(2)]
    graph = _onnx().load(model, load_external_data=False)
    tensors = [tensor for tensor in graph.graph.initializer if tensor.raw_data]
    tensor = tensors[random.integers(len(tensors))]
    outside = folder.parent / "outside" / "weights"
    outside.write_bytes(tensor.raw_data)
    places = ("../outside/weights", str(outside), "./../outside/weights", "x/../../outside/weights")
    place = places[random.integers(len(places))]
    if random.random() < 0.3:  # a name that may be there, and is a link
        place = f"{model.name}.data"
        (folder / place).symlink_to(outside)
        description = json.loads((folder / "bundle.json").read_bytes())
        precision = model.name.split(".")[1]
        description["precisions"][precision]["files"][place] = {"bytes": 0, "sha256": ""}
        (folder / "bundle.json").write_text(json.dumps(description))
    tensor.data_location = 1
    tensor.external_data.add(key="location", value=place)
    tensor.ClearField("raw_data")
    model.write_bytes(graph.SerializeToString())


def change_graph(random: Random, folder: Path) -> None:
    """Valid protocol buffers whose graph says something else."""
    model = _models(folder)[random.integers(2)]
    proto = _onnx().load(model, load_external_data=False)
    graph = proto.graph
    for _ in range(random.integers(1, 4)):
        node = graph.node[random.integers(len(graph.node))]
        other = graph.node[random.integers(len(graph.node))]
        tensor = graph.initializer[random.integers(len(graph.initializer))]
        number = int(random.choice([-(2**63), -1, 0, 1, 7, 2**20, 2**31, 2**40, 2**62, 2**63 - 1]))
        match random.integers(10):
            case 0:
                kinds = ["Loop", "If", "EPContext", "PyOp", "Tile", "Expand", other.op_type]
                node.op_type = kinds[random.integers(len(kinds))]
            case 1:
                node.domain = ["", "com.microsoft", "evil.ops"][random.integers(3)]
            case 2 if node.input and other.output:
                node.input[random.integers(len(node.input))] = other.output[0]
            case 3 if tensor.dims:
                tensor.dims[random.integers(len(tensor.dims))] = number
            case 4:
                tensor.data_type = int(random.integers(-1, 25))
            case 5:
                numbers = [item for item in graph.initializer if item.data_type == 7]
                numbers += [a.t for n in graph.node for a in n.attribute if a.t.data_type == 7]
                numbers = [item for item in numbers if item.raw_data]
                item = numbers[random.integers(len(numbers))]
                item.raw_data = np.full(len(item.raw_data) // 8, number, np.int64).tobytes()
            case 6 if node.attribute:
                attribute = node.attribute[random.integers(len(node.attribute))]
                attribute.i = number
                attribute.ints[:] = [number] * len(attribute.ints)
            case 7 if tensor.raw_data:
                tensor.raw_data = random.bytes(len(tensor.raw_data))
            case 8:
                tensor.data_location = 1
                tensor.external_data.add(key="location", value=f"{model.name}.data")
                tensor.external_data.add(key="length", value=str(number))
                tensor.external_data.add(key="offset", value=str(number))
            case _:
                graph.node.remove(node)
    model.write_bytes(proto.SerializeToString())


MUTATIONS: dict[str, tuple[Callable[[Random, Path], None], bool]] = {
    "flip bytes": (flip_bytes, False),
    "cut or grow": (cut_or_grow, False),
    "change JSON": (change_json, False),
    "change JSON's text": (change_json_text, False),
    "ask for an option": (ask_for_an_option, False),
    "link outside": (link_outside, True),
    "name outside": (name_outside, True),
    "change graph": (change_graph, False),
}
"""The second says that whoever answers has read outside, if all files of a precision are told."""


def _onnx() -> Any:
    import onnx

    return onnx


def _models(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.onnx"))


def _some_file(random: Random, folder: Path) -> Path:
    files = sorted(folder.iterdir())
    return files[random.integers(len(files))]


def _some_place(random: Random, content: Any) -> tuple[Any, Any]:
    while True:
        keys = list(content) if isinstance(content, dict) else list(range(len(content)))
        key = keys[random.integers(len(keys))]
        below = content[key]
        if not isinstance(below, (dict, list)) or not below or random.random() < 0.2:
            return content, key
        content = below


def rehash(folder: Path) -> None:
    """What a stranger does who changes a file."""
    from voxmood.bundle.description import sha256

    try:
        content = json.loads((folder / "bundle.json").read_bytes())
        for entry in content["precisions"].values():
            for name, facts in entry["files"].items():
                path = folder / name
                facts["bytes"], facts["sha256"] = path.stat().st_size, sha256(path)
        (folder / "bundle.json").write_text(json.dumps(content))
    except (AttributeError, KeyError, OSError, RecursionError, TypeError, ValueError):
        pass  # the description is no longer one


def child(seed: int, first: int, last: int, scratch: Path) -> None:
    """Runs cases, a line of JSON before and after each."""
    import voxmood
    import voxmood.engine.session
    from voxmood.bundle.locate import shipped_bundle

    voxmood.engine.session.MAX_RUN_BYTES = RUN_BYTES
    shipped = shipped_bundle()
    clip = np.random.default_rng(0).normal(0, 0.1, 8000)
    voxmood.load(shipped).predict(clip, sampling_rate=16000)  # imports what it will
    _onnx()
    watched: list[str] = []
    watching = False
    folder = scratch / "bundle"
    outside = scratch / "outside"

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not watching:
            return
        if event == "open":
            path, mode = str(arguments[0]), arguments[1]
            inside = os.path.realpath(path).startswith(str(folder) + os.sep)
            if not inside or (mode and set(mode) & set("wax+")):
                watched.append(f"{event} {path} {mode}")
        elif event.split(".")[0] in ("socket", "subprocess", "ctypes", "shutil") or event in (
            "os.system", "os.remove", "os.rename", "os.mkdir", "os.symlink", "os.exec",
        ):  # fmt: skip
            watched.append(event)

    sys.addaudithook(hook)
    for case in range(first, last):
        random = np.random.default_rng([seed, case])
        for path in (folder, outside):
            shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(shipped, folder)
        outside.mkdir()
        kind = list(MUTATIONS)[case % len(MUTATIONS)]
        mutate, reads_outside = MUTATIONS[kind]
        print(json.dumps({"case": case, "kind": kind}), flush=True)
        mutate(random, folder)
        if case // len(MUTATIONS) % 2:
            rehash(folder)
        before = {path: path.read_bytes() for path in outside.iterdir()}
        precision = ["int8", "fp32"][random.integers(2)]
        low_memory = bool(random.random() < 0.2)
        outcome, watching = "", True
        try:
            model = voxmood.load(
                folder,
                precision=precision,
                threads=2,
                verify=bool(random.random() < 0.5),
                low_memory=low_memory,
            )
            prediction = model.predict(clip, sampling_rate=16000)
            outcome = "answer"
            assert prediction.label in (*prediction.numbers, None)
        except voxmood.VoxmoodError as error:
            outcome = f"refused: {type(error).__name__}"
            message = str(error)
        except BaseException as error:
            outcome = f"WRONG: {type(error).__name__}: {error}"
        watching = False
        if outcome == "answer" and reads_outside:
            touched = [path for path in folder.iterdir() if path.is_symlink()]
            own = any(path.name.startswith(("bundle", f"model.{precision}")) for path in touched)
            named = (
                kind == "name outside"
                and b"outside" in (folder / f"model.{precision}.onnx").read_bytes()
            )
            if own or named:
                outcome = "WRONG: an answer from outside"
        if watched:
            outcome = f"WRONG: {watched}"
            watched.clear()
        if {path: path.read_bytes() for path in outside.iterdir()} != before:
            outcome = "WRONG: wrote outside"
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000
        facts = {"case": case, "outcome": outcome, "peak_mb": peak}
        if outcome.startswith("refused"):
            facts["message"] = message[:300]
        print(json.dumps(facts), flush=True)


def fuzz(count: int, seed: int) -> tuple[Counter[str], list[str], int]:
    """Runs so many cases; returns outcomes by kind, what went wrong, and the peak memory in MB."""
    outcomes: Counter[str] = Counter()
    wrong: list[str] = []
    case, peak = 0, 0
    with tempfile.TemporaryDirectory() as scratch:
        while case < count:
            last = min(count, case + 200)  # a fresh process now and then, as memory is measured
            command = [sys.executable, __file__, "--child", str(case), str(last)]
            process = subprocess.Popen(
                [*command, "--seed", str(seed), "--scratch", os.path.realpath(scratch)],
                stdout=subprocess.PIPE,
                text=True,
            )
            assert process.stdout is not None
            kind = "start"
            while True:
                ready, _, _ = select.select([process.stdout], [], [], TIMEOUT)
                line = process.stdout.readline() if ready else ""
                if not line:
                    process.kill()
                    status = process.wait()
                    if case < last:
                        reason = f"status {status}" if ready else f"longer than {TIMEOUT:g} s"
                        wrong.append(f"case {case} ({kind}): {reason}")
                        outcomes[f"{kind}: WRONG"] += 1
                        case += 1
                    break
                facts = json.loads(line)
                kind = facts.get("kind", kind)
                if "outcome" in facts:
                    outcomes[f"{kind}: {facts['outcome'].split(':')[0]}"] += 1
                    if facts["outcome"].startswith("WRONG"):
                        wrong.append(f"case {facts['case']} ({kind}): {facts['outcome']}")
                    peak = max(peak, facts["peak_mb"])
                    case = facts["case"] + 1
            process.stdout.close()
    return outcomes, wrong, peak


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("count", type=int, nargs="?", default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", type=int, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        first, last = options.child
        child(options.seed, first, last, options.scratch)
        return 0
    outcomes, wrong, peak = fuzz(options.count, options.seed)
    for name, times in sorted(outcomes.items()):
        print(f"{name:<32} {times:>6}")
    print(f"peak memory of a child: {peak} MB", *wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
