"""How predictions and segments are printed."""

from __future__ import annotations

import json
from collections.abc import Mapping

from voxmood.results import UNSURE, Segment, segment_fields

BAR_WIDTH = 30
"""Length of the bar of probability 1, in characters."""


def numbers(values: Mapping[str, float]) -> list[str]:
    """Return one line for each value of a regression, with its name."""
    width = max(map(len, values))
    return [f"  {name:<{width}} {value:>7.3f}" for name, value in values.items()]


def bars(probabilities: Mapping[str, float]) -> list[str]:
    """Return one line for each label, with its probability and a bar."""
    width = max(map(len, probabilities))
    return [f"  {_bar(label, width, value)}".rstrip() for label, value in probabilities.items()]


def segment_json(segment: Segment) -> str:
    """Return a segment as one line of JSON, with the number of its channel if it has one."""
    channel = {} if segment.channel is None else {"channel": segment.channel}
    return json.dumps(channel | segment_fields(segment), ensure_ascii=False)


def segment_text(segment: Segment) -> str:
    """Return a segment as one line for people to read."""
    if segment.silent:
        return f"{span(segment)}  silence"
    doubt = f"  {UNSURE}" if segment.unsure else ""
    if segment.values is not None:
        named = (f"{name} {value:.3f}" for name, value in segment.values.items())
        return f"{span(segment)}  {', '.join(named)}{doubt}"
    label, probabilities = segment.label or "", segment.probabilities or {}
    width = max(map(len, probabilities))
    return f"{span(segment)}  {_bar(label, width, probabilities[label])}{doubt}"


def answer_text(label: str, unsure: bool | None) -> str:
    """Return a label for people to read, and whether it is unsure."""
    return f"{UNSURE}, perhaps {label}" if unsure else label


def span(segment: Segment) -> str:
    """Return the start and the end of a segment as text, with speaker and channel if known."""
    who = [segment.speaker or "", "" if segment.channel is None else f"channel {segment.channel}"]
    named = ", ".join(filter(None, who))
    return f"{clock(segment.start)} - {clock(segment.end)}" + (f"  {named}:" if named else "")


def clock(seconds: float) -> str:
    """Return a time as h:mm:ss.s."""
    tenths = round(seconds * 10)
    return f"{tenths // 36000}:{tenths // 600 % 60:02}:{tenths // 10 % 60:02}.{tenths % 10}"


def _bar(label: str, width: int, value: float) -> str:
    return f"{label:<{width}} {value:>6.1%} {'█' * round(value * BAR_WIDTH)}"
