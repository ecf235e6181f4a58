"""`voxmood export`: options, progress bar and summary. Imports PyTorch only when run."""

from __future__ import annotations

import argparse

from tqdm import tqdm

from voxmood.bundle.description import Precision
from voxmood.commands.options import add_bounds, named, path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=named, help="a folder or a hub id")
    parser.add_argument("output", metavar="BUNDLE", type=path, help="the folder to write")
    parser.add_argument("--revision", help="branch, tag or commit of a hub id")
    parser.add_argument(
        "--precisions", default="fp32,int8", help="of fp32, fp16, int8; default: %(default)s"
    )
    parser.add_argument(
        "--audio", type=path, metavar="DIR", help="recordings to verify on; default: generated"
    )
    parser.add_argument(
        "--max-clips", type=int, default=20, help="how many of them, default: %(default)s"
    )
    add_bounds(parser, None)
    parser.add_argument("--force", action="store_true", help="replace a bundle that is there")
    parser.add_argument("--json", type=path, metavar="FILE", help="also write what was measured")


def run(options: argparse.Namespace) -> int:
    """Exports; returns the exit status."""
    from voxmood.errors import VoxmoodError
    from voxmood.files import write_whole
    from voxmood_export.export import PRECISIONS, export_bundle, steps
    from voxmood_export.output import check_report_output
    from voxmood_export.verify import Bounds

    precisions = options.precisions.split(",")
    unknown = [precision for precision in precisions if precision not in PRECISIONS]
    if unknown or options.max_clips < 1:
        what = f"--precisions {unknown[0]}" if unknown else f"--max-clips {options.max_clips}"
        raise VoxmoodError(f"{what}: take some of {', '.join(PRECISIONS)}, and at least one clip.")
    if options.json:
        check_report_output(options.json, options.checkpoint, options.output, options.audio)
    with tqdm(total=steps(precisions), bar_format="{l_bar}{bar}| {elapsed} {postfix}") as bar:

        def progress(step: str) -> None:
            bar.set_postfix_str(step)
            bar.update()

        bundle = export_bundle(
            options.checkpoint,
            options.output,
            revision=options.revision,
            precisions=precisions,
            audio=options.audio,
            max_clips=options.max_clips,
            bounds=Bounds(options.min_agreement, options.max_drift, options.min_sqnr),
            force=options.force,
            progress=progress,
        )
    for name, entry in bundle.precisions.items():
        print(_as_text(name, entry))
    if options.json:
        write_whole(options.json, bundle.to_json())
    return 0


def _as_text(name: str, entry: Precision) -> str:
    measured = entry.measured
    lines = [
        f"{name}: {entry.bytes / 1e6:.1f} MB, largest logit error "
        f"{measured['max_logit_error']:.2g}, SQNR {measured['sqnr_db']} dB, same label on "
        f"{measured['label_agreement']:.1%} of {measured['audio']}"
    ]
    balanced = [each for each in measured.get("outliers", []) if each["after"] is not None]
    if balanced:
        worst = max(balanced, key=lambda each: float(each["before"]))
        left = len(measured["outliers"]) - len(balanced)
        lines.append(
            f"  outliers: {worst['tensor']} {worst['before']} times the median channel, "
            f"{worst['after']} balanced; {len(balanced)} tensors balanced, {left} left, which feed "
            "more than products"
        )
    if kept := measured.get("in_float"):
        plain = measured["without"]
        lines.append(
            f"  in float for the bounds: {len(kept)} products ({', '.join(kept[:5])}"
            f"{', …' if len(kept) > 5 else ''}); {entry.bytes / plain['bytes']:.2f} times the size "
            f"and {measured['real_time_factor'] / plain['real_time_factor']:.2f} times the time, "
            f"for {measured['sqnr_db']} dB instead of {plain['sqnr_db']} dB"
        )
    return "\n".join(lines)
