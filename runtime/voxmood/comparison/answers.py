"""The answers of models for a list of recordings, and the numbers that a manifest states."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from voxmood.audio.listing import Recording
from voxmood.errors import AudioError
from voxmood.model import Model
from voxmood.results import Prediction


def answer_all(
    models: Sequence[Model],
    recordings: Sequence[Recording],
    unreadable: dict[str, str],
    *,
    place: str,
    progress: bool,
) -> Iterator[tuple[Recording, list[Prediction]]]:
    """Yield each recording that can be read, with the answer of each model.

    Args:
        models: the models.
        recordings: the recordings.
        unreadable: receives the cause for each recording that cannot be read, by name.
        place: the name of the list or the folder of the recordings, for messages.
        progress: show a progress bar on standard error, if that is a terminal.

    Raises:
        AudioError: no recording can be read.
    """
    from tqdm import tqdm  # imported late, since `import voxmood` must be quick

    # With disable=None, tqdm shows a bar only on a terminal, and none in the log of a CI job.
    for recording in tqdm(recordings, unit="recording", disable=None if progress else True):
        try:
            answers = [model.predict(recording.path) for model in models]
        except (AudioError, OSError, MemoryError) as error:
            cause = str(error).removeprefix(f"{recording.path}: ") or type(error).__name__
            listed = f" [{recording.listed}]" if recording.listed else ""
            unreadable[recording.name] = cause + listed
        else:
            yield recording, answers
    if len(unreadable) == len(recordings):
        name, cause = next(iter(unreadable.items()))
        raise AudioError(
            f"{place}: none of {len(recordings)} recordings can be read; for example, "
            f"{name}: {cause}"
        )


def number(text: str) -> float | None:
    """Return the number that a cell of a manifest states, or None if it states no finite one."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
