"""Reading of segments from CSV, RTTM, Praat TextGrids and ELAN files."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from voxmood.audio.hints import missing_file_hint
from voxmood.errors import AnnotationError, MissingFileError
from voxmood.results import Span

RTTM_FIELDS = 8
"""The least number of fields of a line that names a speaker."""


def read_spans(path: Path, *, tier: str | None = None, recording: str = "") -> list[Span]:
    """Return the segments that a file lists, in its order.

    Args:
        path: a `.csv`, `.rttm`, `.TextGrid` or `.eaf` file, in UTF-8.

            - CSV: columns `start` and `end` in seconds; `speaker`, `label` and `channel` are known,
              and all others are kept.
            - RTTM: the lines SPEAKER. The channel counts if the file names more than one.
            - TextGrid and ELAN (extra `annotations`): what is annotated for a length of time, and
              not empty; the speaker is the name of the tier, the label its text.
        tier: read only this tier of a TextGrid or an ELAN file; None reads all.
        recording: the name of the recording; of an RTTM file for several, only its lines are read.

    Raises:
        MissingFileError: the file does not exist.
        AnnotationError: the file is something else, or damaged, or has no such tier.
        MissingExtraError: the file needs the extra `annotations`, which is not installed.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file. {missing_file_hint(str(path))}".rstrip())
    suffix = path.suffix.lower()
    try:
        if suffix == ".csv":
            return _read_csv(path)
        if suffix == ".rttm":
            return _read_rttm(path, recording)
        if suffix == ".textgrid":
            from voxmood.annotations.praat import read_textgrid

            return _of_tiers(path, read_textgrid, tier)
        if suffix == ".eaf":
            from voxmood.annotations.elan import read_eaf

            return _of_tiers(path, read_eaf, tier)
    except (UnicodeDecodeError, csv.Error) as error:
        raise AnnotationError(f"{path}: is not a text in UTF-8 ({error}).") from None
    except OSError as error:
        if isinstance(error, MissingFileError):
            raise
        raise AnnotationError(f"{path}: cannot be read ({error.strerror}).") from error
    raise AnnotationError(f"{path}: segments are read from .csv, .rttm, .TextGrid and .eaf files.")


def span_of_row(row: Mapping[str, str], listed: str) -> Span:
    """Return the segment that a line of a table states.

    Args:
        row: the cells by column; `start` and `end` are seconds.
        listed: the file and the line, for messages.

    Raises:
        AnnotationError: a time or the channel is not a number.
    """
    times = []
    for column in ("start", "end"):
        text = row.get(column) or ""
        try:
            times.append(float(text))
        except ValueError:
            raise AnnotationError(
                f"{listed}: has {text[:40]!r} as its {column}; write seconds, such as 12.5."
            ) from None
    text = row.get("channel") or ""
    channel = None
    if text and text != "mix":
        if not text.isdecimal() or not int(text):
            raise AnnotationError(
                f"{listed}: has {text[:40]!r} as its channel; write a number from 1, or nothing."
            )
        channel = int(text)
    columns = {name: cell for name, cell in row.items() if name not in ("start", "end", "channel")}
    return Span(
        start=times[0],
        end=times[1],
        speaker=row.get("speaker") or None,
        label=row.get("label") or None,
        channel=channel,
        listed=listed,
        columns=columns,
    )


def _read_csv(path: Path) -> list[Span]:
    with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets write a BOM
        rows = csv.DictReader(file, strict=True)
        columns = rows.fieldnames or []
        for column in ("start", "end"):
            if column not in columns:
                raise AnnotationError(
                    f"{path}: has no column `{column}`; its first line must name the columns, "
                    f"separated by commas, and is {','.join(columns)[:80]!r}."
                )
        spans = []
        for row in rows:
            listed = f"{path}, line {rows.line_num}"
            if None in row or None in row.values():
                raise AnnotationError(
                    f"{listed}: does not have a cell for each of {','.join(columns)}."
                )
            spans.append(span_of_row(row, listed))
    return spans


def _read_rttm(path: Path, recording: str) -> list[Span]:
    found: list[tuple[str, str, Span]] = []
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            kind, *fields = line.split() or [";;"]
            if kind != "SPEAKER":  # a comment, or what is known about a speaker or other sounds
                continue
            listed = f"{path}, line {number}"
            try:
                name, channel, start, duration, _, _, speaker = fields[: RTTM_FIELDS - 1]
                begin, length = float(start), float(duration)
            except ValueError:
                raise AnnotationError(
                    f"{listed}: must be SPEAKER FILE CHANNEL START DURATION <NA> <NA> NAME, but is "
                    f"{line.strip()[:80]!r}."
                ) from None
            end = round(begin + length, 6)
            span = Span(begin, end, speaker, None, None, listed, {"speaker": speaker})
            found.append((name, channel, span))
    names = Counter(name for name, _, _ in found)
    if len(names) > 1:
        if recording not in names:
            raise AnnotationError(
                f"{path}: is for {', '.join(list(names)[:5])}, and none of them is {recording!r}."
            )
        found = [each for each in found if each[0] == recording]
    if len({channel for _, channel, _ in found}) < 2:
        return [span for _, _, span in found]
    for _, channel, span in found:
        if not channel.isdecimal() or not int(channel):
            raise AnnotationError(
                f"{span.listed}: its channel is {channel!r}; write a number from 1."
            )
    return [replace(span, channel=int(channel)) for _, channel, span in found]


def _of_tiers(
    path: Path, read: Callable[[Path], Mapping[str, list[Span]]], tier: str | None
) -> list[Span]:
    tiers = read(path)
    if tier is not None:
        if tier not in tiers:
            raise AnnotationError(
                f"{path}: has no tier {tier!r}; it has {', '.join(map(repr, tiers)) or 'none'}."
            )
        return tiers[tier]
    return [span for spans in tiers.values() for span in spans]
