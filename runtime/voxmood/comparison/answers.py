"""The answers of models for a list of recordings, and the numbers that a manifest states."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from voxmood.annotations.reading import span_of_row
from voxmood.audio import Channel
from voxmood.audio.listing import Recording
from voxmood.bundle.locate import bundle_files
from voxmood.errors import AudioError
from voxmood.files import check_outputs
from voxmood.model import Model
from voxmood.results import Prediction


def check_report_outputs(
    outputs: Sequence[str | os.PathLike[str]],
    recordings: Sequence[Recording],
    manifest: str | os.PathLike[str] | None,
    models: Sequence[str | os.PathLike[str] | None],
) -> None:
    """Check that no file that a report goes to is a recording, the manifest or part of a bundle.

    Args:
        outputs: the files of the report.
        recordings: the recordings that are read.
        manifest: the list of the recordings, if there is one.
        models: the names of the bundles; None is the one that ships.

    Raises:
        OutputError: an output is also an input.
    """
    if not outputs:
        return
    inputs = [recording.path for recording in recordings]
    inputs += [Path(manifest)] if manifest is not None else []
    for model in models:
        inputs += bundle_files(None if model is None else os.fspath(model))
    check_outputs([Path(output) for output in outputs], inputs)


def answer_all(
    models: Sequence[Model],
    recordings: Sequence[Recording],
    unreadable: dict[str, str],
    *,
    channel: Channel,
    place: str,
    progress: bool,
) -> Iterator[tuple[Recording, list[Prediction]]]:
    """Yield each recording that can be read, or each channel of it, with the models' answers.

    Args:
        models: the models.
        recordings: the recordings.
        unreadable: receives the cause for each recording that cannot be read, by name.
        channel: which channel, as `Model.predict` takes it.
        place: the name of the list or the folder of the recordings, for messages.
        progress: show a progress bar on standard error, if that is a terminal.

    Raises:
        AudioError: no recording can be read.
    """
    from tqdm import tqdm  # imported late, since `import voxmood` must be quick

    groups: dict[tuple[Path, bool], list[Recording]] = {}
    for recording in recordings:  # of one file, which is decoded once for all its stretches
        groups.setdefault((recording.path, recording.times is not None), []).append(recording)
    # With disable=None, tqdm shows a bar only on a terminal, and none in the log of a CI job.
    with tqdm(total=len(recordings), unit="recording", disable=None if progress else True) as bar:
        for listed in groups.values():
            try:
                answers = [_answers(model, listed, channel) for model in models]
            except (AudioError, OSError, MemoryError) as error:
                for recording in listed:
                    unreadable[recording.name] = _cause(recording, str(error), error)
                bar.update(len(listed))
                continue
            for recording, *each in zip(listed, *answers, strict=True):
                for both in zip(*each, strict=True):
                    found = [one for one in both if isinstance(one, Prediction)]
                    if len(found) == len(models):
                        yield recording, found
                    else:
                        unreadable[recording.name] = str(
                            next(e for e in both if isinstance(e, str))
                        )
                bar.update()
    if len(unreadable) == len(recordings):
        name, cause = next(iter(unreadable.items()))
        raise AudioError(
            f"{place}: none of {len(recordings)} recordings can be read; for example, "
            f"{name}: {cause}"
        )


def _answers(
    model: Model, recordings: Sequence[Recording], channel: Channel
) -> list[list[Prediction | str]]:
    """Return for each recording of one file the answers for its channels, or why there is none."""
    path = recordings[0].path
    spans = [span_of_row(each.columns, each.listed) for each in recordings if each.times]
    if not spans:
        return [[*model.predict_channels(path, channel=channel)]]
    found: list[list[Prediction | str]] = [[] for _ in recordings]
    for each in model.predict_spans(path, spans, channel=channel):
        found[each.order[0]].append(each.answer or each.error or "")
    return found


def _cause(recording: Recording, message: str, error: Exception | None = None) -> str:
    cause = message.removeprefix(f"{recording.path}: ") or type(error).__name__
    return cause + (f" [{recording.listed}]" if recording.listed else "")


def number(text: str) -> float | None:
    """Return the number that a cell of a manifest states, or None if it states no finite one."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
