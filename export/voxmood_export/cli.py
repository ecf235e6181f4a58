"""The command `voxmood export`; it imports PyTorch only when it runs."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from voxmood.commands.options import add_bounds, named, path, renamed

if TYPE_CHECKING:
    from voxmood_export.verify import Verification

FAR_DB = 20.0  # at which an error is a tenth of the answers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `voxmood export`."""
    parser.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        type=named,
        help="Checkpoint to export: a folder, or OWNER/NAME on a hub.",
    )
    parser.add_argument(
        "output", metavar="BUNDLE", type=path, help="Folder to write the bundle to."
    )
    parser.add_argument(
        "--revision", help="Branch, tag or commit of a checkpoint on a hub (default: main)."
    )
    parser.add_argument(
        "--precisions",
        metavar="NAME,...",
        default="fp32,int8",
        help="Precisions to write, of fp32, fp16 and int8 (default: %(default)s).",
    )
    parser.add_argument(
        "--audio",
        type=path,
        metavar="DIR",
        help="Folder of recordings. Some of them verify the export, and int8 is tuned on others "
        "(default: synthetic speech).",
    )
    parser.add_argument(
        "--max-clips",
        type=int,
        metavar="N",
        default=20,
        help="Largest number of recordings in DIR to verify the export on; int8 is tuned on "
        "others (default: %(default)s).",
    )
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument(
        "--weight-only",
        action="store_true",
        help="Let int8 compute in float, with weights of 8 bits: close to fp32 in answers and "
        "speed, a quarter of its size. For small models, which int8 products make no faster.",
    )
    weights.add_argument(
        "--weights",
        type=int,
        choices=(7, 8),
        default=8,
        help="Bits of int8's weights. With 7, int8 is faster on x86 CPUs without VNNI, and less "
        "exact (default: %(default)s).",
    )
    add_bounds(parser, None)
    parser.add_argument(
        "--labels",
        type=renamed,
        metavar="OLD=NEW,...",
        help="Another name for each label, such as LABEL_0=neutral,LABEL_1=angry (default: the "
        "names of the checkpoint).",
    )
    parser.add_argument("--force", action="store_true", help="Replace the bundle if it exists.")
    parser.add_argument(
        "--json",
        type=path,
        metavar="FILE",
        help="Also write the description of the bundle to FILE.",
    )


def run(options: argparse.Namespace) -> int:
    """Export a checkpoint and print a summary; return the exit status."""
    from voxmood.bundle.description import PRECISIONS
    from voxmood.commands.terminal.console import complain
    from voxmood.commands.terminal.progress import Steps
    from voxmood.errors import VoxmoodError
    from voxmood.files import write_whole
    from voxmood_export.export import export_bundle, steps
    from voxmood_export.output import check_report_output
    from voxmood_export.verify import Bounds, Verification

    precisions = options.precisions.split(",")
    for precision in precisions:
        if precision not in PRECISIONS:
            raise VoxmoodError(
                f"--precisions {precision}: is unknown; choose from {', '.join(PRECISIONS)}."
            )
    if options.max_clips < 1:
        raise VoxmoodError(f"--max-clips {options.max_clips}: must be at least 1.")
    if options.json:
        check_report_output(options.json, options.checkpoint, options.output, options.audio)
    with Steps(steps(precisions)) as progress:
        bundle = export_bundle(
            options.checkpoint,
            options.output,
            revision=options.revision,
            precisions=precisions,
            audio=options.audio,
            max_clips=options.max_clips,
            weight_only=options.weight_only,
            weight_bits=options.weights,
            bounds=Bounds(options.min_agreement, options.max_drift, options.min_sqnr),
            labels=options.labels,
            force=options.force,
            progress=progress.begin,
            warn=lambda reason: complain(f"warning: {reason}"),
        )
    for name, entry in bundle.precisions.items():
        print(_as_text(name, entry.bytes, Verification.from_json(entry.measured)))
    print(f"written to {options.output}; next: voxmood predict FILE --model {options.output}")
    if options.json:
        write_whole(options.json, bundle.to_json())
    return 0


def _as_text(precision: str, size: int, measured: Verification) -> str:
    if measured.ccc is None:
        close = f"same label on {measured.label_agreement:.1%} of {measured.audio}"
    else:
        known = ((name, value) for name, value in measured.ccc.items() if value is not None)
        figures = ", ".join(f"{name} {value:.4f}" for name, value in known)
        close = f"CCC {figures or 'not measured'} on {measured.audio}"
    lines = [
        f"{precision}: {size / 1e6:.1f} MB, largest logit error {measured.max_logit_error:.2g}, "
        f"SQNR {measured.sqnr_db} dB, {close}"
    ]
    if measured.tuned_on:
        how = "weights alone, tuned" if measured.weight_only else "tuned"
        if measured.seven_bits:
            how = f"weights of 7 bits, {how}"
        lines.append(f"  {how} on {measured.tuned_on}")
    if measured.in_float and measured.without:
        kept, plain = measured.in_float, measured.without
        some = ", ".join(kept[:5]) + (", …" if len(kept) > 5 else "")
        lines.append(
            f"  in float for the bounds: {len(kept)} linear layers ({some}); "
            f"{size / plain.bytes:.2f} times the size and "
            f"{measured.real_time_factor / plain.real_time_factor:.2f} times the time, "
            f"for {measured.sqnr_db} dB instead of {plain.sqnr_db} dB"
        )
    if precision == "int8" and measured.sqnr_db < FAR_DB:
        remedy = "--min-sqnr 25" + " or --weight-only" * (not measured.weight_only)
        lines.append(f"  far from the original; {remedy} brings it nearer")
    return "\n".join(lines)
