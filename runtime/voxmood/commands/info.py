"""`voxmood info` describes a bundle and this installation."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import voxmood
from voxmood.bundle.description import DESCRIPTION, read_bundle
from voxmood.bundle.locate import locate
from voxmood.commands.options import add_provider, named
from voxmood.engine.threads import default_threads
from voxmood.errors import ProviderError, VoxmoodError

if TYPE_CHECKING:
    from voxmood.bundle.calibration import Calibration
    from voxmood.engine.plugins import Plugin


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to its parser."""
    model = parser.add_mutually_exclusive_group()
    model.add_argument(
        "bundle",
        nargs="?",
        type=named,
        metavar="BUNDLE[@PRECISION]",
        help="The bundle to describe (default: the model that ships).",
    )
    model.add_argument(
        "--model",
        type=named,
        metavar="BUNDLE[@PRECISION]",
        help="The same, as other commands name it.",
    )
    add_provider(parser)
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")


def run(options: argparse.Namespace) -> int:
    """Print the facts and return the exit status."""
    from voxmood.engine.int8_probe import describe_products
    from voxmood.engine.ort import onnxruntime
    from voxmood.engine.plugins import built_in_providers, installed_plugins
    from voxmood.engine.precision import int8_share

    location = locate(options.model or options.bundle)
    path = location.fetch([DESCRIPTION])
    bundle = read_bundle(path)
    seven_bits = "int8" in bundle.precisions and bundle.precisions["int8"].seven_bits
    installation: dict[str, Any] = {
        "voxmood": voxmood.__version__,
        "onnxruntime": onnxruntime.__version__,
        "providers": built_in_providers(),
        "threads": default_threads(),
        "int8_products": describe_products(seven_bits=seven_bits),
    }
    share = int8_share(bundle)
    plugins = [_describe(plugin) for plugin in installed_plugins()]
    loaded: dict[str, Any] = {}
    error = None
    if isinstance(location.place, Path):  # from a hub, only the description was fetched
        try:
            model = voxmood.load(
                path,
                precision=location.precision,
                provider=options.provider,
                device=options.device,
                verify=False,
            )
            loaded = {"precision": model.precision, "nodes": model.nodes}
        except VoxmoodError as reason:
            error = str(reason)
    if options.json:
        facts = {
            "bundle": json.loads(bundle.to_json()),
            "installation": installation,
            "plugins": plugins,
            "int8_share": share,
        }
        print(json.dumps(facts | {"loaded": loaded, "error": error}))
        return 1 if error else 0
    shortest, longest = (
        samples / bundle.sampling_rate for samples in (bundle.min_samples, bundle.max_samples)
    )
    _print_section(
        f"{bundle.name} ({path})",
        {
            "task": bundle.task,
            "values" if bundle.task == "regression" else "labels": ", ".join(bundle.labels),
            "takes": f"{shortest:.3f} to {longest:g} s, {bundle.sampling_rate} Hz",
            "architecture": bundle.architecture,
            "source": f"{bundle.checkpoint} {bundle.revision}".strip(),
            "license": bundle.license,
        },
    )
    if bundle.calibration:
        _print_section("calibration", _of_calibration(bundle.calibration))
    for name, entry in bundle.precisions.items():
        # `--json` prints the values that do not fit on a line.
        short = {
            key: value
            for key, value in entry.measured.items()
            if not isinstance(value, (list, dict))
        }
        _print_section(f"{name}, {entry.bytes / 1e6:.1f} MB", short)
    _print_section("this installation", installation)
    if plugins:
        _print_section("plug-in providers", {each["name"]: _as_text(each) for each in plugins})
    if loaded:
        counts = [f"{count} on {name}" for name, count in loaded["nodes"].items()]
        facts = {"nodes": counts or "not known"}
        if share is not None:
            gain = "" if share < 1 else ", so it gains nothing"
            facts["int8"] = f"takes about {share:.2f} of fp32's time on this CPU{gain}"
        _print_section(f"loaded, {loaded['precision']}", facts)
    if error:
        _print_section("does not load", {"because": error})
    return 1 if error else 0


def _of_calibration(calibration: Calibration) -> dict[str, Any]:
    """Return the facts about a calibration, without its tables of numbers."""
    people = "" if calibration.speakers is None else f" of {calibration.speakers} speakers"
    return {
        "fitted on": f"{calibration.manifest}, {calibration.recordings} recordings{people}",
        **({} if calibration.scales else {"temperature": calibration.temperature}),
        **{
            name: " before, ".join(f"{number:.4g}" for number in pair) + " after"
            for name, pair in calibration.measured.items()
        },
    }


def _describe(plugin: Plugin) -> dict[str, Any]:
    """Return what `--json` prints about a plug-in, whose library is loaded for that."""
    from voxmood.engine.plugins import device_type

    facts: dict[str, Any] = {
        "name": plugin.name,
        "package": plugin.package,
        "version": plugin.version,
        "devices": [],
        "error": None,
    }
    try:
        facts["devices"] = [
            {"type": device_type(each), "vendor": each.device.vendor} for each in plugin.devices()
        ]
    except ProviderError as reason:
        facts["error"] = str(reason)
    return facts


def _as_text(plugin: Mapping[str, Any]) -> str:
    """Return a line about a plug-in, of what `_describe` returned."""
    if plugin["error"]:
        return f"does not work: {plugin['error']}"
    devices = ", ".join(f"{each['type']} ({each['vendor']})" for each in plugin["devices"])
    return f"{devices or 'offers no device here'}; {plugin['package']} {plugin['version']}".strip()


def _print_section(title: str, facts: Mapping[str, Any]) -> None:
    """Print a title and one line for each fact."""
    width = max(21, *map(len, facts))
    print(title)
    for key, value in facts.items():
        if isinstance(value, list):
            text = ", ".join(value)
        else:
            text = f"{value:.4g}" if isinstance(value, float) else str(value)
        print(f"  {key.replace('_', ' '):<{width}} {text}")
