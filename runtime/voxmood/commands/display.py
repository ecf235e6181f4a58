"""How predictions and segments are printed."""

from __future__ import annotations

import json
from collections.abc import Mapping

from voxmood.results import Segment, segment_fields

BAR_WIDTH = 30


def bars(probabilities: Mapping[str, float]) -> list[str]:
    """A line with a bar for each label."""
    width = max(map(len, probabilities))
    return [
        f"  {label:<{width}} {value:>6.1%} {'█' * round(value * BAR_WIDTH)}".rstrip()
        for label, value in probabilities.items()
    ]


def segment_json(segment: Segment) -> str:
    """A segment as one line of JSON."""
    return json.dumps(segment_fields(segment), ensure_ascii=False)


def segment_text(segment: Segment) -> str:
    """A segment as one line to read."""
    if segment.silent:
        return f"{span(segment)}  silence"
    value = segment.probabilities[segment.label]
    width = max(map(len, segment.probabilities))
    return (
        f"{span(segment)}  {segment.label:<{width}} {value:>6.1%} {'█' * round(value * BAR_WIDTH)}"
    )


def span(segment: Segment) -> str:
    """When a segment was."""
    return f"{clock(segment.start)} - {clock(segment.end)}"


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss.s."""
    tenths = round(seconds * 10)
    return f"{tenths // 36000}:{tenths // 600 % 60:02}:{tenths // 10 % 60:02}.{tenths % 10}"
