"""`voxmood info`: what a bundle and this installation are."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import onnxruntime

import voxmood
from voxmood import hub
from voxmood.bundle import DESCRIPTION, read_bundle, split_precision
from voxmood.model import shipped_bundle
from voxmood.session import default_threads


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("model", nargs="?", metavar="BUNDLE", help="default: the one that ships")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(options: argparse.Namespace) -> int:
    """Prints it; returns the exit status."""
    folder, _ = split_precision(options.model)
    repository = hub.find(folder) if folder else None
    if repository:
        path = repository.fetch([DESCRIPTION])
    else:
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
