"""The labeling of given stretches of a recording, in one pass over it."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from voxmood.audio import AudioReader, Channel, Waveform
from voxmood.results import SILENT, Prediction, Segment, Span

TOLERANCE_SECONDS = 0.05
"""How far a stretch may reach beyond the end, since other programs round."""


class Pass(Protocol):
    """The labeling of a waveform that arrives in blocks."""

    def push(self, samples: Waveform) -> None:
        """Add samples."""
        ...

    def answer(self) -> Prediction:
        """Return the answer for all samples."""
        ...


@dataclass(eq=False)
class Given:
    """A stretch of one channel, and its answer or the error why there is none.

    Attributes:
        order: the place in the list of stretches, and the place among the channels.
        span: the stretch.
        channel: the number of the channel; None is the mean of all.
        start: its first sample, at the model's rate.
        end: the sample after its last one.
        answer: the answer.
        error: why there is no answer.
    """

    order: tuple[int, int]
    span: Span
    channel: int | None
    start: int
    end: int
    answer: Prediction | None = None
    error: str | None = None
    labeling: Pass | None = None

    def segment(self) -> Segment:
        """Return the answer as a segment."""
        answer = self.answer
        return Segment(
            start=self.span.start,
            end=self.span.end,
            label=answer.label if answer else None,
            probabilities=answer.probabilities if answer else None,
            silent=bool(answer and SILENT in answer.warnings),
            values=answer.values if answer else None,
            channel=self.channel,
            span=self.span,
            error=self.error,
            unsure=answer.unsure if answer else None,
            novelty=answer.novelty if answer else None,
        )


def label_spans(
    reader: AudioReader,
    spans: Sequence[Span],
    channel: Channel,
    begin: Callable[[int | None], Pass],
    *,
    rate: int,
    min_samples: int,
) -> list[Given]:
    """Return the answer for each stretch, in their order, and for `each` one for each channel.

    Stretches may overlap and come in any order. The recording is read once; only what stretches
    that are not complete still need is kept.

    Args:
        reader: reads the recording with all channels that are asked for.
        spans: the stretches.
        channel: the channel of those that name none.
        begin: begins the labeling of a stretch of a channel.
        rate: the model's sampling rate, in Hz.
        min_samples: the samples of the shortest waveform that the model takes.
    """
    jobs: list[Given] = []
    waiting: list[Given] = []
    active: list[tuple[int, tuple[int, int], Given]] = []
    done = 0  # samples of the recording so far
    for tracks in reader.tracks():
        by_number = dict(zip(reader.numbers, tracks, strict=True))
        if not done:
            jobs = [
                job
                for order, span in enumerate(spans)
                for job in _jobs(order, span, channel, reader, rate, min_samples)
            ]
            waiting = [job for job in jobs if job.error is None]
            waiting.sort(key=lambda job: (job.start, job.order), reverse=True)
        length = len(tracks[0])
        while waiting and waiting[-1].start < done + length:
            job = waiting.pop()
            job.labeling = begin(job.channel)
            heapq.heappush(active, (job.end, job.order, job))
        for _, _, job in active:
            low, high = max(job.start - done, 0), min(job.end - done, length)
            if job.labeling is not None and low < high:
                job.labeling.push(by_number[job.channel][low:high])
        done += length
        while active and active[0][0] <= done:
            _finish(heapq.heappop(active)[-1])
    for job in [*waiting, *(each for _, _, each in active)]:
        if job.end > done + TOLERANCE_SECONDS * rate:
            problem = f"reaches beyond the end of the recording at {done / rate:.3f} s"
            job.labeling, job.error = None, _error(reader, job.span, problem)
        elif done - job.start < min_samples:
            problem = _short(max(0, done - job.start), rate, min_samples)
            job.labeling, job.error = None, _error(reader, job.span, problem)
        else:
            _finish(job)
    return jobs


def _jobs(
    order: int, span: Span, channel: Channel, reader: AudioReader, rate: int, min_samples: int
) -> list[Given]:
    chosen = span.channel if span.channel is not None else channel
    numbers: list[int | None] = [None]
    if chosen == "each":
        numbers = list(reader.numbers)
    elif chosen != "mix":
        numbers = [chosen]
    problem = None
    start = end = 0
    if not (math.isfinite(span.start) and math.isfinite(span.end)):
        problem = "does not begin and end at a time"
    elif span.start < 0:
        problem = "begins before the recording"
    elif span.end < span.start:
        problem = "ends before it begins"
    else:
        start, end = round(span.start * rate), round(span.end * rate)
        if end - start < min_samples:
            problem = _short(end - start, rate, min_samples)
    jobs = []
    for place, number in enumerate(numbers):
        job = Given((order, place), span, number, start, end)
        missing = number is not None and number not in reader.numbers
        if missing or problem:
            job.error = _error(reader, span, problem or f"has no channel {number}")
        jobs.append(job)
    return jobs


def _short(samples: int, rate: int, min_samples: int) -> str:
    return (
        f"is {samples / rate:.4f} s long, shorter than the {min_samples / rate:.4f} s that the "
        "model needs"
    )


def _finish(job: Given) -> None:
    if job.labeling is not None:
        job.answer, job.labeling = job.labeling.answer(), None


def _error(reader: AudioReader, span: Span, problem: str) -> str:
    listed = f" [{span.listed}]" if span.listed else ""
    times = f"{span.start:g} to {span.end:g} s"
    return f"{reader.name}: the segment {times} cannot be labeled, because it {problem}.{listed}"
