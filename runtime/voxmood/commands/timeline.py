"""`voxmood timeline` prints the segments of one recording as soon as they are known."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from tqdm import tqdm

from voxmood.audio.pipes import seekable
from voxmood.bundle.locate import bundle_files
from voxmood.commands.options import (
    add_channel,
    add_model,
    add_silence,
    add_speech,
    add_windows,
    load,
    named,
    open_source,
    path,
)
from voxmood.commands.terminal.console import complain, quiet_libraries
from voxmood.commands.terminal.display import segment_text
from voxmood.errors import AnnotationError
from voxmood.files import check_outputs, write_whole
from voxmood.results import UNSURE, shown_label

if TYPE_CHECKING:
    from voxmood.archive.rows import Row
    from voxmood.model import Model
    from voxmood.results import Segment, Span
    from voxmood.timeline import Timeline

TEXTS = ("textgrid", "eaf", "rttm", "srt")
BAR = "{percentage:3.0f}% |{bar}| {n:.0f} of {total:.0f} s, {remaining} to go"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to its parser."""
    parser.epilog = (
        "Exit status: 0 if the recording is labeled, 1 if it is bad or nothing could be done."
    )
    parser.add_argument(
        "file", type=named, metavar="FILE", help="The recording to label; - is standard input."
    )
    add_windows(parser)
    add_speech(parser)
    add_silence(parser)
    parser.add_argument(
        "--segments",
        type=path,
        metavar="FILE",
        help="Label the segments that a .csv, .rttm, .TextGrid or .eaf file lists, instead of "
        "windows (the last two need the extra annotations).",
    )
    parser.add_argument(
        "--tier", help="Read only this tier of a TextGrid or an ELAN file (default: all)."
    )
    add_model(parser)
    add_channel(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--format",
        choices=("text", "json", "csv", *TEXTS, "audformat"),
        default="text",
        help="Form of the output. Text, JSON lines and CSV are printed as soon as they are known; "
        "a Praat TextGrid, an ELAN file (eaf), RTTM, subtitles (srt) and a folder of "
        "audformat at the end. textgrid, eaf and audformat need the extra annotations; the first "
        "two keep all tiers of --segments in the same form (default: %(default)s).",
    )
    form.add_argument(
        "--json", dest="format", action="store_const", const="json", help="As --format json."
    )
    form.add_argument(
        "--csv", dest="format", action="store_const", const="csv", help="As --format csv."
    )
    parser.add_argument(
        "--output",
        type=path,
        metavar="FILE",
        help="File, or folder of audformat, to write the output to instead of printing it.",
    )
    parser.add_argument(
        "--summary",
        action="store_true",
        help="Print a summary for each speaker or channel instead of the segments.",
    )
    parser.add_argument(
        "--plot",
        type=_picture,
        metavar="FILE",
        help="Also draw the timeline to a .png, .svg or .pdf file (needs the extra plot).",
    )


def run(options: argparse.Namespace) -> int:
    """Print the segments and return the exit status."""
    from voxmood.archive.rows import FAILURES, Entry, Labeler, as_csv, as_json, csv_head

    if options.format == "audformat" and not options.output:
        options.wrong_usage("--format audformat is a folder; name it by --output")
    if options.output and options.format not in (*TEXTS, "audformat"):
        options.wrong_usage(f"--output is for {', '.join(TEXTS)} and audformat")
    outputs = [each for each in (options.plot, options.output) if each]
    recording = Path("/dev/stdin" if options.file == "-" else options.file)
    listed = [options.segments] if options.segments else []
    if outputs:
        check_outputs(outputs, [recording, *listed, *bundle_files(options.model)])
    if options.summary and options.format not in ("text", "json"):
        options.wrong_usage("--summary is text or JSON")
    spans: list[Span] | None = None
    if options.segments:
        if options.speech:
            options.wrong_usage("--speech finds segments, and --segments names them; choose one")
        from voxmood.annotations.reading import read_spans

        spans = read_spans(options.segments, tier=options.tier, recording=Path(options.file).stem)
        if not spans:
            raise AnnotationError(f"{options.segments}: lists no segments.")
    elif options.tier is not None:
        options.wrong_usage("--tier names a tier of --segments")
    model = load(options)
    labeler = Labeler(
        model,
        None if spans else (options.window, options.hop),
        dict.fromkeys(column for span in spans or () for column in span.columns),
        options.channel,
        given=spans is not None,
        speech=options.speech,
    )
    entry = Entry(options.file, spans=spans or ())

    def show(row: Row, text: str | None) -> None:
        """Print a row as CSV or JSON, or else the text, if there is one."""
        line = text
        if options.summary and not row["error"]:
            return
        if options.format == "csv":
            line = as_csv(row, model.labels)
        elif options.format == "json":
            line = as_json(row)
        elif options.format != "text":
            line = None
        if line is not None:
            tqdm.write(line.removesuffix("\n"))
            sys.stdout.flush()

    def fail(error: Exception) -> int:
        row = labeler.failed(entry, error)
        show(row, None)
        complain(row["error"])
        return 1

    if options.format == "csv":
        print(csv_head(labeler.fields, model.labels), end="", flush=True)
    if spans:
        status = 0
        with quiet_libraries():
            try:
                given = model.predict_segments(
                    open_source(options.file), spans, channel=options.channel
                )
            except FAILURES as error:
                return fail(error)
        for each in given:
            show(labeler.segment(entry, each, ()), None if each.error else segment_text(each))
            if each.error:
                complain(each.error)
                status = 1
        _write(options, given, model)
        return status
    with quiet_libraries(), ExitStack() as opened:
        try:
            source = _open(options, opened)
            timeline = model.timeline(
                source,
                options.window,
                options.hop,
                channel=options.channel,
                speech=options.speech,
                run_silence=options.run_silence,
            )
        except FAILURES as error:
            return fail(error)
        segments: list[Segment] = []
        summary = Summary()
        # tqdm writes to standard error; with disable=None, only if that is a terminal.
        with tqdm(
            total=timeline.duration,
            disable=None,
            unit="s",
            bar_format=BAR if timeline.duration else None,
        ) as progress:
            for segment in _until_it_fails(timeline):
                if isinstance(segment, Exception):
                    return fail(segment)
                show(labeler.segment(entry, segment, timeline.warnings), segment_text(segment))
                progress.update(max(0, segment.end - progress.n))
                summary.add(segment)
                if options.plot or options.summary or options.format in (*TEXTS, "audformat"):
                    segments.append(segment)
        if options.format == "text" and not options.summary:
            print(summary.text())
        _write(options, segments, model)
        for warning in timeline.warnings:
            complain(f"{options.file}: warning: {warning}")
        if options.plot and options.channel != "each":
            from voxmood.plot import save

            if not isinstance(source, str):
                source.seek(0)
            name = Path(options.file).name
            rate = model.bundle.sampling_rate
            save(options.plot, source, segments, rate, name, options.channel)
    return 0


def _write(options: argparse.Namespace, segments: Sequence[Segment], model: Model) -> None:
    """Write what is known only at the end, if it was chosen."""
    name = Path(options.file).name
    if options.plot and (options.channel == "each" or options.segments):
        from voxmood.annotations.plot import save_lanes

        save_lanes(options.plot, segments, name)
    if options.summary:
        from voxmood.annotations.summary import as_json, as_text, summarize

        summaries = summarize(segments)
        print(as_json(summaries) if options.format == "json" else as_text(summaries))
    elif options.format == "audformat":
        from voxmood.annotations.tables import write_audformat

        write_audformat(options.output, segments, name=name, model=model.bundle.name)
    elif options.format in TEXTS:
        from voxmood.annotations.writing import write_text

        duration = max((segment.end for segment in segments), default=0.0)
        text = write_text(
            options.format, segments, name=name, duration=duration, base=options.segments
        )
        if options.output:
            write_whole(options.output, text)
        else:
            print(text, end="")


def _open(options: argparse.Namespace, opened: ExitStack) -> str | BinaryIO:
    """Return the source to read. A plot reads it a second time, so then it can be read twice."""
    source = open_source(options.file)
    if not options.plot:
        return source
    if isinstance(source, str):
        if not Path(source).is_fifo():
            return source
        source = opened.enter_context(Path(source).open("rb"))  # noqa: SIM115 - `opened` closes it
    return source if source.seekable() else opened.enter_context(seekable(source, options.file))


def _until_it_fails(timeline: Timeline) -> Iterator[Segment | Exception]:
    """Yield the segments, and after them the error if the recording cannot be read to its end.

    Each segment waits for the next one, so that all warnings are known when the last one is
    yielded.
    """
    from voxmood.archive.rows import FAILURES

    last: Segment | None = None
    failure: Exception | None = None
    try:
        for segment in timeline:
            if last:
                yield last
            last = segment
    except FAILURES as error:
        failure = error
    if last:
        yield last
    if failure:
        yield failure


class Summary:
    """The shares of the labels of a timeline, or the means of the values of a regression."""

    def __init__(self) -> None:
        self._labels = Counter[str]()
        self._sums = dict[str, float]()
        self._count = self._heard = 0

    def add(self, segment: Segment) -> None:
        """Count a segment."""
        self._count += 1
        if segment.silent:
            self._labels["silence"] += 1
        elif segment.values is None:
            self._labels[shown_label(segment) or ""] += 1
        else:
            self._labels[UNSURE] += bool(segment.unsure)
            self._heard += 1
            for name, value in segment.values.items():
                self._sums[name] = self._sums.get(name, 0.0) + value

    def text(self) -> str:
        """Return the summary as one line."""
        shares = [f"{label} {n / self._count:.0%}" for label, n in self._labels.most_common() if n]
        means = [f"mean {name} {total / self._heard:.3f}" for name, total in self._sums.items()]
        return f"{self._count} segments: {', '.join(means + shares)}"


def _picture(text: str) -> Path:
    picture = path(text)
    if picture.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise argparse.ArgumentTypeError("must end in .png, .svg or .pdf")
    return picture
