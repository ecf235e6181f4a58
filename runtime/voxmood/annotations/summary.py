"""A summary of the answers for each speaker or channel of a recording."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

from voxmood.annotations.tiers import Tier, tiers
from voxmood.results import Segment, shown_label

PARTS = 4
"""The parts of equal length of a recording, over which a speaker's course is told."""


@dataclass(frozen=True)
class Summary:
    """What the answers say about one speaker or channel.

    Attributes:
        speaker: the name of the speaker or the channel.
        seconds: the time for which there are answers.
        share: this time as a share of that of all speakers together.
        labels: the share of this time by label, largest first, with `unsure` for that of unsure
            answers; of a regression for nothing else.
        means: the mean of each probability or value, weighted by time.
        changes: how often the label differs from the one before, unsure ones left out; None of a
            regression.
        course: the same means in each quarter of the recording; None where there are no answers.
    """

    speaker: str
    seconds: float
    share: float
    labels: Mapping[str, float]
    means: Mapping[str, float]
    changes: int | None
    course: Sequence[Mapping[str, float] | None]


def summarize(segments: Iterable[Segment]) -> list[Summary]:
    """Return a summary for each speaker and channel, in the order in which they appear.

    Windows that overlap count for the time that is nearest to their middles. Segments without an
    answer, such as silent ones, do not count.
    """
    every = list(segments)
    lanes = tiers(segment for segment in every if segment.numbers)
    duration = max((segment.end for segment in every if not segment.error), default=0.0)
    total = sum(end - start for lane in lanes for start, end, _ in lane.parts)
    return [_summary(lane, total, duration) for lane in lanes]


def _summary(lane: Tier, total: float, duration: float) -> Summary:
    seconds = sum(end - start for start, end, _ in lane.parts)
    labels: dict[str, float] = {}
    for start, end, segment in lane.parts:
        label = shown_label(segment)
        if label is not None:
            labels[label] = labels.get(label, 0.0) + (end - start) / seconds
    named = any(segment.label is not None for _, _, segment in lane.parts)
    found = [segment.label for _, _, segment in lane.parts if not segment.unsure]
    step = duration / PARTS
    return Summary(
        speaker=lane.name,
        seconds=seconds,
        share=seconds / total,
        labels=dict(sorted(labels.items(), key=lambda pair: -pair[1])),
        means=_means(lane, 0.0, duration) or {},
        changes=sum(one != other for one, other in pairwise(found)) if named else None,
        course=[_means(lane, step * k, step * (k + 1)) for k in range(PARTS)],
    )


def _means(lane: Tier, begin: float, stop: float) -> dict[str, float] | None:
    """Return the means of the numbers between two times, or None if there are none."""
    sums: dict[str, float] = {}
    seconds = 0.0
    for start, end, segment in lane.parts:
        inside = min(end, stop) - max(start, begin)
        if inside > 0:
            seconds += inside
            for name, number in segment.numbers.items():
                sums[name] = sums.get(name, 0.0) + number * inside
    return {name: total / seconds for name, total in sums.items()} if seconds else None


def as_json(summaries: Sequence[Summary]) -> str:
    """Return summaries as JSON."""
    return json.dumps([asdict(each) for each in summaries], ensure_ascii=False, indent=2)


def as_text(summaries: Sequence[Summary]) -> str:
    """Return summaries as text for people to read."""
    lines = []
    for each in summaries:
        lines.append(f"{each.speaker}: {each.seconds:.1f} s, {each.share:.0%} of all speech")
        if each.labels:
            shares = ", ".join(f"{label} {share:.0%}" for label, share in each.labels.items())
            changes = "" if each.changes is None else f"; changes: {each.changes}"
            lines.append(f"  labels: {shares}{changes}")
        for name, mean in each.means.items():
            course = " ".join(
                "  -  " if part is None else f"{part[name]:.3f}" for part in each.course
            )
            lines.append(f"  {name:<12} mean {mean:.3f}, by quarters {course}")
    return "\n".join(lines) or "nobody speaks"
