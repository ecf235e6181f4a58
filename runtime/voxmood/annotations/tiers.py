"""Tiers: the segments of one speaker or channel, in order and without overlaps."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from voxmood.results import UNSURE, Segment, shown_label


@dataclass
class Tier:
    """What is said of one speaker or channel, in the order of time and without overlaps.

    Attributes:
        name: the name of the speaker or the channel.
        parts: start and end in seconds, and the segment.
    """

    name: str
    parts: list[tuple[float, float, Segment]] = field(default_factory=list)


def text_of(segment: Segment) -> str:
    """Return the label of a segment or its values by name, and where it is unsure, that it is."""
    if segment.label is None:
        return numbers_of(segment) + (f" {UNSURE}" if segment.unsure else "")
    return shown_label(segment) or ""


def chance_of(segment: Segment) -> float | None:
    """Return the probability of the label of a segment; None if it is unsure or has no label."""
    return None if segment.unsure else (segment.probabilities or {}).get(segment.label or "")


def numbers_of(segment: Segment) -> str:
    """Return the probabilities or values of a segment by name, as a text."""
    return " ".join(f"{name} {number:.3f}" for name, number in segment.numbers.items())


def free_name(name: str, taken: Container[str]) -> str:
    """Return a name that is not taken, with a number behind it if need be."""
    unique, number = name, 2
    while unique in taken:
        unique, number = f"{name} ({number})", number + 1
    return unique


def written(
    tiers: Iterable[Tier], others: Iterable[str]
) -> Iterator[tuple[str, Tier, Callable[[Segment], str]]]:
    """Yield what is written of each tier: a tier of labels, and one of numbers.

    Args:
        tiers: the tiers.
        others: the names of tiers that the file has already, which keep their names.

    Yields:
        The name in the file, the tier, and what its texts say of a segment.
    """
    taken = set(others)
    for tier in tiers:
        label = f"{tier.name}: label" if tier.name in taken else tier.name
        for wanted, text in ((label, text_of), (f"{tier.name}: numbers", numbers_of)):
            name = free_name(wanted, taken)
            taken.add(name)
            yield name, tier, text


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
        unique = free_name(name, found)
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
