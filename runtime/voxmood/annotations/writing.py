"""Writing of answers in the forms of other programs: RTTM, subtitles, Praat, ELAN, audformat."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from voxmood.annotations.tiers import chance_of, text_of, tiers
from voxmood.results import Segment

TEXTS = ("textgrid", "eaf", "rttm", "srt")
"""The forms that are one text; `audformat` is a folder."""


def write_text(
    form: str,
    segments: Sequence[Segment],
    *,
    name: str,
    duration: float,
    base: Path | None = None,
) -> str:
    """Return the answers for the segments of a recording as a text.

    Segments without an answer, such as silent ones, are left out.

    Args:
        form: one of `TEXTS`.
        segments: the segments.
        name: the file name of the recording.
        duration: its length in seconds.
        base: the file that listed the segments; if it is of the same form, and has tiers, the text
            has them, too, as they are.

    Raises:
        MissingExtraError: the form needs the extra `annotations`, which is not installed.
    """
    answered = [segment for segment in segments if segment.numbers]
    if form == "rttm":
        return as_rttm(answered, Path(name).stem)
    if form == "srt":
        return as_srt(answered)
    duration = max([duration, *(segment.end for segment in segments)])
    if base and base.suffix.lower() != f".{form}":
        base = None
    if form == "textgrid":
        from voxmood.annotations.praat import as_textgrid

        return as_textgrid(tiers(answered), duration, base)
    from voxmood.annotations.elan import as_eaf

    return as_eaf(tiers(answered), name, base)


def as_rttm(segments: Iterable[Segment], name: str) -> str:
    """Return segments as RTTM: the speaker or else the label as name, the label as subtype too.

    The confidence is the probability of the label. Where the answer is unsure, that is the label,
    and there is no confidence.
    """
    lines = []
    for segment in segments:
        label = _word(text_of(segment))
        chance = chance_of(segment)
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
        chance = chance_of(segment)
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
