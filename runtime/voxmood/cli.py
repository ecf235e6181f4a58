"""The command line. Exit status: 0 done, 1 a check failed or an input was bad, 2 wrong usage."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import onnxruntime

import voxmood
from voxmood.bundle import PRECISIONS, read_bundle
from voxmood.errors import MissingExtraError, VoxmoodError
from voxmood.model import Model, Prediction, shipped_bundle
from voxmood.session import PROVIDERS, default_threads

BAR_WIDTH = 30


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="voxmood", description="Speech emotion recognition.")
    parser.add_argument("--version", action="version", version=f"voxmood {voxmood.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_predict(commands.add_parser("predict", help="label recordings"))
    _add_info(commands.add_parser("info", help="what a bundle and this installation are"))
    _add_export(commands.add_parser("export", help="make a bundle of a checkpoint"))
    _add_bench(commands.add_parser("bench", help="speed, and where the time goes"))
    options = parser.parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except VoxmoodError as error:
        print(f"voxmood: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read our output has seen enough
        sys.stderr.close()
        return 1


def _add_predict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE")
    _add_model(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.set_defaults(run=_predict)


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", metavar="BUNDLE[@PRECISION]", help="default: the bundle that ships"
    )
    parser.add_argument("--provider", choices=PROVIDERS, default="cpu")
    parser.add_argument("--low-memory", action="store_true", help="for small boards; slower")
    parser.add_argument("--threads", type=_positive, metavar="N", help="default: all there are")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _load(options: argparse.Namespace) -> Model:
    folder, precision = split_precision(options.model)
    return voxmood.load(
        folder,
        precision=precision,
        provider=options.provider,
        threads=options.threads,
        low_memory=options.low_memory,
    )


def split_precision(name: str | None) -> tuple[str | None, str]:
    """`BUNDLE@int8` to ("BUNDLE", "int8"); without a precision that is `auto`."""
    if name is not None:
        folder, at, precision = name.rpartition("@")
        if at and precision in PRECISIONS:
            return folder, precision
    return name, "auto"


def _predict(options: argparse.Namespace) -> int:
    model = _load(options)
    status = 0
    for file in options.files:
        try:
            prediction = model.predict(file)
        except VoxmoodError as error:
            print(f"voxmood: {error}", file=sys.stderr)
            status = 1
            continue
        print(
            _as_json(file, prediction) if options.json else _as_text(file, prediction), flush=True
        )
    return status


def _as_json(file: str, prediction: Prediction) -> str:
    return json.dumps(
        {
            "file": file,
            "label": prediction.label,
            "probabilities": {
                label: round(value, 6) for label, value in prediction.probabilities.items()
            },
            "duration_s": round(prediction.duration, 3),
            "warnings": list(prediction.warnings),
        },
        ensure_ascii=False,
    )


def _as_text(file: str, prediction: Prediction) -> str:
    width = max(map(len, prediction.probabilities))
    lines = [f"{file}: {prediction.label} ({prediction.duration:.1f} s)"]
    for label, value in prediction.probabilities.items():
        lines.append(f"  {label:<{width}} {value:>6.1%} {'█' * round(value * BAR_WIDTH)}".rstrip())
    return "\n".join(lines + [f"  warning: {warning}" for warning in prediction.warnings])


def _add_info(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", metavar="BUNDLE", help="default: the one that ships")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=_info)


def _info(options: argparse.Namespace) -> int:
    folder, _ = split_precision(options.model)
    path = Path(folder) if folder else shipped_bundle()
    bundle = read_bundle(path)
    installation = {
        "voxmood": voxmood.__version__,
        "onnxruntime": onnxruntime.__version__,
        "providers": onnxruntime.get_available_providers(),
        "threads": default_threads(),
    }
    if options.json:
        print(json.dumps({"bundle": json.loads(bundle.to_json()), "installation": installation}))
        return 0
    for title, facts in (
        (
            f"{bundle.name} ({path})",
            {
                "labels": ", ".join(bundle.labels),
                "takes": f"{bundle.min_samples / bundle.sampling_rate:.3f} to "
                f"{bundle.max_samples / bundle.sampling_rate:g} s, {bundle.sampling_rate} Hz",
                "architecture": bundle.architecture,
                "source": f"{bundle.checkpoint} {bundle.revision}".strip(),
                "licence": bundle.licence,
            },
        ),
        *(
            (
                f"{name}, {entry.bytes / 1e6:.1f} MB",
                {key.replace("_", " "): value for key, value in entry.measured.items()},
            )
            for name, entry in bundle.precisions.items()
        ),
        ("this installation", installation),
    ):
        print(title)
        for key, value in facts.items():
            print(f"  {key:<16} {', '.join(value) if isinstance(value, list) else value}")
    return 0


def _add_export(parser: argparse.ArgumentParser) -> None:
    from voxmood_export.cli import add_arguments

    add_arguments(parser)
    parser.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> int:
    try:
        import optimum.exporters.onnx  # noqa: F401
        import torch  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"export needs {error.name}: pip install 'voxmood[export,cpu]'."
        ) from error
    from voxmood_export.cli import run

    return run(options)


def _add_bench(parser: argparse.ArgumentParser) -> None:
    from voxmood_bench.cli import add_arguments

    add_arguments(parser)
    parser.set_defaults(run=_bench)


def _bench(options: argparse.Namespace) -> int:
    # Found and not imported: what engines take in memory is measured in processes that begin as
    # copies of this one.
    for name in ("librosa", "onnx", "torch"):
        if find_spec(name) is None:
            raise MissingExtraError(f"bench needs {name}: pip install 'voxmood[bench,export,cpu]'.")
    from voxmood_bench.cli import run

    return run(options)
