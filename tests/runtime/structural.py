"""Structurally changed recordings, each answer judged by FFmpeg, and by what they were made of.

`python structural.py SEED COUNT [FIRST]` makes COUNT files from valid ones of every format that can
be written here (`structural_files.py`) by one or two changes of their structure
(`structural_changes.py`) and reads each of them. It prints what went wrong, grouped, and a JSON
object of how many had which verdict, and ends with status 1 where one is a failure. Number N of a
seed is always the same case with the same libraries. The valid files themselves are the numbers
below zero; `--originals` reads them first. `--keep DIR` writes the files that failed into DIR.

FFmpeg itself loses sound, for example the beginning of a FLAC file behind a tag. So a second judge
is asked where an answer differs from FFmpeg's: it knows of which valid files a case was made. It
accepts an answer that is as long as all of them together (or as the first, where FFmpeg has no more
than that), and in which their tone goes on from the beginning to the end. Where a valid file lost
some of its sound, it takes the length that FFmpeg reads of what is left, without what was put
before and behind that. How often it overruled FFmpeg is printed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing.connection import Connection
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from structural_changes import CHANGES, Case, Valid, unchanged
from structural_files import TONE_HERTZ, originals

import voxmood
from voxmood.audio import AudioReader

RATE = 16000
HANG_SECONDS = 5  # of processor time, which a busy machine does not change
WAIT_SECONDS = 120  # of any time, for a reader that waits and computes nothing
LIMITS = (signal.SIGPROF, signal.SIGALRM)
TOLERANCE_SECONDS = 0.1
MISREAD = ("NMS_ADPCM", "ALAC_20")
"""What FFmpeg does not read rightly: it takes the first for another codec and cuts the second."""


class Verdict(StrEnum):
    """What an answer is worth."""

    OK = "ok"
    WRONG_DURATION = "answered with a wrong duration and no warning"
    FALSE_ALARM = "warned though nothing is missing"
    NO_AUDIO = "answered what is no audio"
    REFUSED_WHOLE = "refused a valid file"
    FOREIGN = "foreign exception"
    HANG = "hang"
    CRASH = "crash"
    REFUSED = "refused, and FFmpeg reads it"
    UNNOTICED = "no warning though audio is missing"
    OVERRULED = "holds all of its sound, and FFmpeg reads another duration"

    @property
    def fails(self) -> bool:
        """Whether it must not be; the others are only counted."""
        counted = (Verdict.REFUSED, Verdict.UNNOTICED, Verdict.OVERRULED)
        return self is not Verdict.OK and self not in counted


@dataclass(frozen=True)
class Answer:
    """What a reader made of a file.

    Attributes:
        seconds: how much it read.
        warnings: what it said of it.
        refusal: why it did not read it, or None.
        gaps: how many windows of a tenth of a second do not have the tone of the valid files.
    """

    seconds: float = 0.0
    gaps: int = 0
    warnings: tuple[str, ...] = ()
    refusal: str | None = None


@dataclass(frozen=True)
class Result:
    """How a case went.

    Attributes:
        number: of the case.
        verdict: what the answer is worth.
        form: the format that the case was made from.
        changes: what was done to it.
        detail: what was said and what was expected.
    """

    number: int
    verdict: Verdict
    form: str
    changes: str
    detail: str


def make_case(seed: int, number: int, files: Sequence[Case]) -> Case:
    """Returns case `number` of a seed; each format is as probable as the others.

    A number below zero is the valid file at that place from the end.
    """
    if number < 0:
        return files[number]
    random = np.random.default_rng([seed, number])
    forms = sorted({file.form for file in files})
    form = forms[int(random.integers(len(forms)))]
    variants = [file for file in files if file.form == form]
    case = variants[int(random.integers(len(variants)))]
    for _ in range(int(random.integers(1, 3))):
        changed = None
        while changed is None:
            changed = CHANGES[int(random.integers(len(CHANGES)))](case, files, random)
        case = changed
        if not case.audio:
            break
    return case


def ffmpeg_reads(path: Path) -> tuple[str, float]:
    """Returns what FFmpeg takes a file for, and how many seconds of its first stream it decodes.

    Packets that it cannot decode are skipped, as the command ffmpeg does. The name is empty where
    it cannot open the file or finds no audio in it.
    """
    name, seconds = "", 0.0
    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            if not container.streams.audio:
                return name, seconds
            name = container.format.name
            for packet in container.demux(container.streams.audio[0]):
                try:
                    for frame in packet.decode():
                        seconds += frame.samples / frame.sample_rate
                except av.error.FFmpegError:
                    continue
    except (av.error.FFmpegError, ValueError):
        pass
    return name, seconds


@dataclass(frozen=True)
class Alone:
    """What a valid file is by itself.

    Attributes:
        name: what FFmpeg takes it for; empty if FFmpeg cannot read it.
        seconds: how long it is.
    """

    name: str
    seconds: float


def read_alone(files: Sequence[Case], folder: Path) -> dict[Valid, Alone]:
    """Returns what each valid file is by itself, according to FFmpeg where it reads the format."""
    alone = {}
    for file in files:
        path = folder / f"valid.{file.suffix}"
        path.write_bytes(file.content)
        name, seconds = ffmpeg_reads(path)
        rightly = seconds and not any(each in file.form for each in MISREAD)
        alone[file.form, file.seconds] = Alone(name, seconds if rightly else file.seconds)
    return alone


def gaps(waveform: npt.NDArray[np.float32]) -> int:
    """Returns in how many windows of a tenth of a second the tone of the valid files is missing.

    Args:
        waveform: samples at `RATE` [samples].
    """
    length = RATE // 10
    windows = waveform[: len(waveform) // length * length].reshape(-1, length)
    turns = np.exp(-2j * np.pi * TONE_HERTZ * np.arange(length) / RATE)
    amplitudes = 2 * np.abs(windows @ turns) / length
    pure = amplitudes**2 / 2 > 0.5 * np.mean(windows**2, axis=1)
    return int(np.sum(~pure | (amplitudes < 0.1)))


def answer(path: Path) -> Answer:
    """Reads a file as a user would."""
    try:
        recording = AudioReader(path, rate=RATE)
        waveform = np.concatenate(list(recording))
        return Answer(len(waveform) / RATE, gaps(waveform), recording.warnings)
    except voxmood.VoxmoodError as error:
        return Answer(refusal=str(error))


def judge(case: Case, given: Answer, expected: float | None, whole: Sequence[float]) -> Verdict:
    """Returns what an answer is worth.

    Args:
        case: the file.
        given: the answer.
        expected: how many seconds FFmpeg decodes; None where it is no judge of the file.
        whole: how many seconds each of the valid files has of which it was made, in order; where
            some of their sound may be missing, how many are left of the first one, or empty.
    """
    if given.refusal is not None:
        if not case.changes:
            return Verdict.REFUSED_WHOLE
        readable = case.audio and (expected or 0) >= TOLERANCE_SECONDS
        return Verdict.REFUSED if readable else Verdict.OK
    if not case.audio:
        return Verdict.NO_AUDIO
    if not given.warnings and not _agrees(given, case.seconds if expected is None else expected):
        if expected is not None and whole and _holds_all(given, expected, whole):
            return Verdict.OVERRULED
        known = expected is not None or (not case.changes and case.missing is False)
        return Verdict.WRONG_DURATION if known else Verdict.OK
    # Where FFmpeg finds more or less, a warning is due whatever is right.
    agreed = (case.seconds,) if expected is None else (case.seconds, expected)
    if case.missing is False and given.warnings and all(_agrees(given, each) for each in agreed):
        return Verdict.FALSE_ALARM
    if case.missing and not given.warnings:
        return Verdict.UNNOTICED
    return Verdict.OK


def _holds_all(given: Answer, expected: float, whole: Sequence[float]) -> bool:
    """Whether an answer holds all sound of the valid files, whatever FFmpeg makes of them.

    Of several files, it may be that of the first one alone where FFmpeg, too, has no more.
    """
    first, *others = whole
    alone = _agrees(given, first) and (not others or expected <= first + TOLERANCE_SECONDS)
    # Where two files meet, a window may hold the end of one and the beginning of the other.
    return (alone or _agrees(given, sum(whole))) and given.gaps <= len(whole)


def _agrees(given: Answer, seconds: float) -> bool:
    return abs(given.seconds - seconds) <= TOLERANCE_SECONDS


def try_case(number: int, case: Case, path: Path, alone: Mapping[Valid, Alone]) -> Result:
    """Writes a case to a path, reads it and judges what came out.

    Args:
        number: of the case.
        case: the file.
        path: where to write it.
        alone: what each valid file is by itself. Where FFmpeg takes the case for something else
            than the valid files of its format, such as what was put behind it, it is no judge of
            it.
    """
    path.write_bytes(case.whole)
    left = ffmpeg_reads(path)[1] if case.pieces is None else 0.0
    path.write_bytes(case.content)
    name, seconds = ffmpeg_reads(path)
    misread = any(each in case.form for each in MISREAD)
    names = {each.name for (form, _), each in alone.items() if form == case.form}
    judges = name in names and seconds and not misread
    expected = seconds if judges else None
    if case.pieces is not None:
        whole = [alone[piece].seconds for piece in case.pieces]
    else:  # where FFmpeg has more, there may be more sound behind what is left
        whole = [left] if seconds <= left + TOLERANCE_SECONDS else []
    signal.setitimer(signal.ITIMER_PROF, HANG_SECONDS)
    signal.alarm(WAIT_SECONDS)
    try:
        given = answer(path)
        verdict = judge(case, given, expected, whole)
        said = given.refusal or f"{given.seconds:.2f} s {'; '.join(given.warnings)}"
    except Exception as error:
        verdict, said = Verdict.FOREIGN, repr(error)
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.alarm(0)
    known = "cannot read it" if expected is None else f"reads {expected:.2f} s"
    detail = f"FFmpeg {known}; voxmood: {said.replace(f'{path}: ', '')[:160]}"
    return Result(number, verdict, case.form, "; ".join(case.changes), detail)


def _work(numbers: range, seed: int, files: Sequence[Case], results: Connection) -> None:
    for limit in LIMITS:
        signal.signal(limit, signal.SIG_DFL)  # kills, also inside a decoder
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # some decoders write on standard output
    with tempfile.TemporaryDirectory() as folder:
        alone = read_alone(files, Path(folder))
        for number in numbers:
            case = make_case(seed, number, files)
            path = Path(folder) / f"recording.{case.suffix}"
            results.send(try_case(number, case, path, alone))


def try_all(numbers: range, seed: int, files: Sequence[Case]) -> Iterator[Result]:
    """Tries cases in a process of their own; where one of them ends it, another process goes on."""
    fork = multiprocessing.get_context("fork")
    while numbers:
        receiver, sender = fork.Pipe(duplex=False)
        process = fork.Process(target=_work, args=(numbers, seed, files, sender))
        process.start()
        sender.close()
        try:
            while True:
                yield receiver.recv()
                numbers = numbers[1:]
        except EOFError:
            process.join()
        if numbers:
            case = make_case(seed, numbers[0], files)
            hangs = process.exitcode in [-limit for limit in LIMITS]
            verdict = Verdict.HANG if hangs else Verdict.CRASH
            changes = "; ".join(case.changes)
            yield Result(numbers[0], verdict, case.form, changes, f"status {process.exitcode}")
            numbers = numbers[1:]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("first", type=int, nargs="?", default=0)
    parser.add_argument("--originals", action="store_true", help="Read the valid files, too.")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="Write the files that failed here."
    )
    arguments = parser.parse_args()
    began = time.perf_counter()
    files = [unchanged(file) for file in originals()]
    first = -len(files) if arguments.originals else arguments.first
    groups = defaultdict[Verdict, defaultdict[tuple[str, str], list[Result]]](
        lambda: defaultdict(list)
    )
    counts = dict.fromkeys(Verdict, 0)
    for result in try_all(range(first, arguments.first + arguments.count), arguments.seed, files):
        counts[result.verdict] += 1
        groups[result.verdict][result.changes, result.form].append(result)
        if arguments.keep and result.verdict.fails:
            arguments.keep.mkdir(parents=True, exist_ok=True)
            case = make_case(arguments.seed, result.number, files)
            name = f"{arguments.seed}-{result.number}.{case.suffix}"
            (arguments.keep / name).write_bytes(case.content)
    for verdict in Verdict:
        if verdict is Verdict.OK or not groups[verdict]:
            continue
        print(f"{verdict}: {counts[verdict]}")
        for (changes, form), results in sorted(groups[verdict].items()):
            numbers = ", ".join(str(result.number) for result in results)
            what = f"{form}: {changes}" if changes else form
            print(f"  {what}. Numbers {numbers}; the first: {results[0].detail}")
    totals: dict[str, float] = {str(verdict): count for verdict, count in counts.items() if count}
    totals["formats"] = len({file.form for file in files})
    totals["seconds"] = round(time.perf_counter() - began, 1)
    print(json.dumps(totals))
    return int(any(count for verdict, count in counts.items() if verdict.fails))


if __name__ == "__main__":
    sys.exit(main())
