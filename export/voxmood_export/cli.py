"""`voxmood export`: options, progress bar and summary. Imports PyTorch only when run."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tqdm import tqdm


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a folder or a hub id")
    parser.add_argument("output", metavar="BUNDLE", type=Path, help="the folder to write")
    parser.add_argument("--revision", help="branch, tag or commit of a hub id")
    parser.add_argument("--precisions", default="fp32,int8", help="default: %(default)s")
    parser.add_argument(
        "--audio", type=Path, metavar="DIR", help="recordings to verify on; default: generated"
    )
    parser.add_argument(
        "--max-clips", type=int, default=20, help="how many of them, default: %(default)s"
    )
    parser.add_argument("--force", action="store_true", help="replace an existing BUNDLE")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write what was measured")


def run(options: argparse.Namespace) -> int:
    """Exports; returns the exit status."""
    from voxmood import VoxmoodError
    from voxmood_export.export import PRECISIONS, export_bundle, steps

    precisions = options.precisions.split(",")
    unknown = [precision for precision in precisions if precision not in PRECISIONS]
    if unknown or options.max_clips < 1:
        what = f"--precisions {unknown[0]}" if unknown else f"--max-clips {options.max_clips}"
        raise VoxmoodError(f"{what}: take some of {', '.join(PRECISIONS)}, and at least one clip.")
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
            force=options.force,
            progress=progress,
        )
    for name, entry in bundle.precisions.items():
        measured = entry.measured
        print(
            f"{name}: {entry.bytes / 1e6:.1f} MB, largest logit error "
            f"{measured['max_logit_error']:.2g}, SQNR {measured['sqnr_db']} dB, same label on "
            f"{measured['label_agreement']:.1%} of {measured['audio']}"
        )
    if options.json:
        options.json.write_text(
            json.dumps(json.loads(bundle.to_json()), indent=2) + "\n", encoding="utf-8"
        )
    return 0
