"""`voxmood predict`: a label and bars, or a line of JSON, for each recording."""

from __future__ import annotations

import argparse
import json
import sys

from voxmood.commands.options import add_model, load
from voxmood.display import bars, rounded
from voxmood.errors import VoxmoodError
from voxmood.model import Prediction


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("files", nargs="+", metavar="FILE")
    add_model(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(options: argparse.Namespace) -> int:
    """Predicts; returns the exit status."""
    model = load(options)
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
            "probabilities": rounded(prediction.probabilities),
            "duration_s": round(prediction.duration, 3),
            "warnings": list(prediction.warnings),
        },
        ensure_ascii=False,
    )


def _as_text(file: str, prediction: Prediction) -> str:
    head = f"{file}: {prediction.label} ({prediction.duration:.1f} s)"
    warnings = [f"  warning: {warning}" for warning in prediction.warnings]
    return "\n".join([head, *bars(prediction.probabilities), *warnings])
