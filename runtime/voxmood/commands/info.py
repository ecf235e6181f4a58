"""`voxmood info`: what a bundle and this installation are."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import voxmood
from voxmood.bundle.description import DESCRIPTION, read_bundle
from voxmood.bundle.locate import locate
from voxmood.commands.options import named
from voxmood.engine.providers import PROVIDERS
from voxmood.engine.threads import default_threads
from voxmood.errors import VoxmoodError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument(
        "model",
        nargs="?",
        type=named,
        metavar="BUNDLE[@PRECISION]",
        help="default: the one that ships",
    )
    parser.add_argument("--provider", choices=PROVIDERS, default="cpu", help="to load it with")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(options: argparse.Namespace) -> int:
    """Print it; return the exit status."""
    import onnxruntime

    from voxmood.engine.int8_probe import describe_products

    location = locate(options.model)
    path = location.fetch([DESCRIPTION])
    bundle = read_bundle(path)
    installation: dict[str, Any] = {
        "voxmood": voxmood.__version__,
        "onnxruntime": onnxruntime.__version__,
        "providers": onnxruntime.get_available_providers(),
        "threads": default_threads(),
        "int8_products": describe_products(),
    }
    loaded: dict[str, Any] = {}
    error = None
    if isinstance(location.place, Path):  # of a hub's the description alone was fetched
        try:
            model = voxmood.load(
                path, precision=location.precision, provider=options.provider, verify=False
            )
            loaded = {"precision": model.precision, "nodes": model.nodes}
        except VoxmoodError as reason:
            error = reason
    if options.json:
        facts = {"bundle": json.loads(bundle.to_json()), "installation": installation}
        print(json.dumps(facts | {"loaded": loaded, "error": error and str(error)}))
        return 1 if error else 0
    counts = [f"{count} on {name}" for name, count in loaded.get("nodes", {}).items()]
    for title, lines in (
        (
            f"{bundle.name} ({path})",
            {
                "labels": ", ".join(bundle.labels),
                "takes": f"{bundle.min_samples / bundle.sampling_rate:.3f} to "
                f"{bundle.max_samples / bundle.sampling_rate:g} s, {bundle.sampling_rate} Hz",
                "architecture": bundle.architecture,
                "source": f"{bundle.checkpoint} {bundle.revision}".strip(),
                "licence": bundle.license,
            },
        ),
        *(
            (
                f"{name}, {entry.bytes / 1e6:.1f} MB",
                {key: value for key, value in entry.measured.items() if not _nested(value)},
            )
            for name, entry in bundle.precisions.items()
        ),
        ("this installation", installation),
        *([(f"loaded, {loaded['precision']}", {"nodes": counts or "not told"})] if loaded else []),
        *([("does not load", {"because": error})] if error else []),
    ):
        print(title)
        for key, value in lines.items():
            name = key.replace("_", " ")
            print(f"  {name:<21} {_shown(value)}")
    return 1 if error else 0


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _nested(value: object) -> bool:
    """Whether it is more than a line can show; `--json` prints it."""
    return isinstance(value, (list, dict))
