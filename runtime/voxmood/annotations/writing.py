"""Writing of answers in the forms of other programs: RTTM, subtitles, Praat, ELAN, audformat."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from voxmood.results import Segment

TEXTS = ("textgrid", "eaf", "rttm", "srt")
"""The forms that are one text; `audformat` is a folder."""


@dataclass
class Tier:
    """What is said of one speaker or channel, in the order of time and without overlaps.

    Attributes:
        name: the name of the speaker or the channel.
        parts: start and end in seconds, and the segment.
    """

    name: str
    parts: list[tuple[float, float, Segment]] = field(default_factory=list)


def write_text(form: str, segments: Sequence[Segment], *, name: str, duration: float) -> str:
    """Return the answers for the segments of a recording as a text.

    Segments without an answer, such as silent ones, are left out.

    Args:
        form: one of `TEXTS`.
        segments: the segments.
        name: the file name of the recording.
        duration: its length in seconds.

    Raises:
        MissingExtraError: the form needs the extra `annotations`, which is not installed.
    """
    answered = [segment for segment in segments if segment.numbers]
    if form == "rttm":
        return as_rttm(answered, Path(name).stem)
    if form == "srt":
        return as_srt(answered)
    duration = max([duration, *(segment.end for segment in segments)])
    if form == "textgrid":
        from voxmood.annotations.praat import as_textgrid

        return as_textgrid(tiers(answered), duration)
    from voxmood.annotations.elan import as_eaf

    return as_eaf(tiers(answered), name)


def text_of(segment: Segment) -> str:
    """Return the label of a segment, or its values by name."""
    return numbers_of(segment) if segment.label is None else segment.label


def numbers_of(segment: Segment) -> str:
    """Return the probabilities or values of a segment by name, as a text."""
    return " ".join(f"{name} {number:.3f}" for name, number in segment.numbers.items())


def tiers(segments: Iterable[Segment]) -> list[Tier]:
    """Return the segments as tiers, one for each speaker and channel.

    Windows that overlap get the time that is nearest to their middles. Given segments keep their
    times; where they overlap, there is another tier for the same speaker.
    """
    lanes: dict[tuple[str | None, int | None], list[Segment]] = {}
    for segment in segments:
        lanes.setdefault((segment.speaker, segment.channel), []).append(segment)
    speakers = [speaker for speaker, _ in lanes]
    found: dict[str, Tier] = {}

    def tier(name: str) -> Tier:
        unique, number = name, 2
        while unique in found:
            unique, number = f"{name} ({number})", number + 1
        return found.setdefault(unique, Tier(unique))

    for (speaker, channel), lane in lanes.items():
        named = speaker if channel is None else f"channel {channel}"
        if speaker is not None and speakers.count(speaker) > 1:
            named = f"{speaker} [channel {channel}]"
        elif speaker is not None:
            named = speaker
        lane.sort(key=lambda segment: (segment.start, segment.end))
        if all(segment.span is None for segment in lane):
            tier(named or "voxmood").parts = _apart(lane)
            continue
        own: list[Tier] = []
        for segment in lane:
            free = [each for each in own if each.parts[-1][1] <= segment.start]
            if not free:
                own.append(tier(named or "voxmood"))
                free = own[-1:]
            free[0].parts.append((segment.start, segment.end, segment))
    return list(found.values())


def _apart(lane: Sequence[Segment]) -> list[tuple[float, float, Segment]]:
    """Return segments, sorted by time, with the boundaries of overlapping ones in the middle."""
    starts = [segment.start for segment in lane]
    ends = [segment.end for segment in lane]
    for index in range(len(lane) - 1):
        if starts[index + 1] < ends[index]:
            middle = (lane[index + 1].start + lane[index].end) / 2
            starts[index + 1] = ends[index] = middle
    parts = zip(starts, ends, lane, strict=True)
    return [(start, end, segment) for start, end, segment in parts if start < end]


def as_rttm(segments: Iterable[Segment], name: str) -> str:
    """Return segments as RTTM: the speaker or else the label as name, the label as subtype too.

    The confidence is the probability of the label.
    """
    lines = []
    for segment in segments:
        label = _word(text_of(segment))
        chance = (segment.probabilities or {}).get(segment.label or "")
        fields = (
            "SPEAKER",
            _word(name),
            str(segment.channel or 1),
            f"{segment.start:.3f}",
            f"{round(segment.end, 3) - round(segment.start, 3):.3f}",
            "<NA>",
            label,
            label if segment.speaker is None else _word(segment.speaker),
            "<NA>" if chance is None else f"{chance:.3f}",
            "<NA>",
        )
        lines.append(" ".join(fields) + "\n")
    return "".join(lines)


def as_srt(segments: Iterable[Segment]) -> str:
    """Return segments as SubRip subtitles, with the speaker or the channel before the answer."""
    several = tiers(segments)
    parts = [(start, end, tier.name, each) for tier in several for start, end, each in tier.parts]
    parts.sort(key=lambda part: part[:3])
    blocks = []
    for number, (start, end, name, segment) in enumerate(parts, 1):
        chance = (segment.probabilities or {}).get(segment.label or "")
        text = text_of(segment) + ("" if chance is None else f" {chance:.0%}")
        if len(several) > 1 or segment.speaker is not None:
            text = f"{name}: {text}"
        blocks.append(f"{number}\n{_srt_time(start)} --> {_srt_time(end)}\n{text}\n\n")
    return "".join(blocks)


def _srt_time(seconds: float) -> str:
    milliseconds = round(1000 * seconds)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02},{rest % 1000:03}"


def _word(text: str) -> str:
    """Return a text as one field of RTTM, which are separated by spaces."""
    return "_".join(text.split()) or "<NA>"


def columns_of(segments: Sequence[Segment]) -> Mapping[str, Sequence[object]]:
    """Return speaker, channel, label and numbers of segments as columns, without unused ones."""
    names = list(dict.fromkeys(name for segment in segments for name in segment.numbers))
    columns: dict[str, list[object]] = {
        "speaker": [segment.speaker for segment in segments],
        "channel": [segment.channel for segment in segments],
        "label": [segment.label for segment in segments],
    }
    used = {name: cells for name, cells in columns.items() if any(cells)}
    return used | {name: [segment.numbers.get(name) for segment in segments] for name in names}
