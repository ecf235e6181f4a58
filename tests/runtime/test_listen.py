"""`voxmood listen` with a microphone that is made up."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import voxmood
from voxmood import Model
from voxmood.cli import main

RATE = 48000
SOUND = np.random.default_rng(0).normal(0, 0.1, (6 * RATE + 9600, 2)).astype(np.float32)


class PortAudioError(Exception):
    pass


@pytest.fixture
def sounddevice(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module that plays SOUND into the callback at once, then presses Ctrl-C."""
    module: Any = ModuleType("sounddevice")
    module.__spec__ = SimpleNamespace(name="sounddevice")
    module.PortAudioError = PortAudioError
    module.opened = {}
    module.between = lambda number: None  # called before each block
    module.inputs = 8

    def query_devices(device: object, kind: str) -> dict[str, object]:
        assert kind == "input"
        if device == "gone":
            raise ValueError("No input device matching 'gone'")
        return {
            "name": "Test",
            "default_samplerate": float(RATE),
            "max_input_channels": module.inputs,
        }

    class InputStream:
        def __init__(self, callback: Callable[..., None], blocksize: int, **options: Any) -> None:
            module.opened = options
            self.play = threading.Thread(target=self.run, args=(callback, blocksize))

        def run(self, callback: Callable[..., None], blocksize: int) -> None:
            buffer = np.empty((blocksize, 2), np.float32)
            for number in range(len(SOUND) // blocksize):
                module.between(number)
                buffer[:] = SOUND[number * blocksize :][:blocksize]
                callback(buffer, blocksize, None, SimpleNamespace(input_overflow=False))
                buffer[:] = np.nan  # PortAudio uses its buffer again
            module.done = True

        def start(self) -> None:
            self.play.start()

        def close(self) -> None:
            self.play.join()

    module.query_devices = query_devices
    module.InputStream = InputStream
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    monkeypatch.setattr("voxmood.commands.listen.PATIENCE_SECONDS", 1.0)
    return module


def rows(captured: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in captured.splitlines()]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.001)


def test_segments_equal_those_of_the_timeline(
    sounddevice: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from voxmood.commands import listen

    read = listen.Microphone.read
    heard = 0

    def one_by_one(self: Any) -> Any:
        nonlocal heard
        samples, lost = read(self)
        heard += len(samples)
        return samples, lost

    monkeypatch.setattr(listen.Microphone, "read", one_by_one)
    # The model keeps up: a block comes once the one before it was read.
    sounddevice.between = lambda number: wait_for(lambda: heard >= number * 4800)
    assert main(["listen", "--json", "--window", "2", "--hop", "1", "--threads", "1"]) == 1
    captured = capsys.readouterr()
    assert "Test, 48000 Hz" in captured.err
    assert "the microphone stopped" in captured.err  # when SOUND was over
    assert "behind" not in captured.err
    expected = list(voxmood.load(threads=1).timeline(_wav(), 2, 1))
    found = rows(captured.out)
    assert [row["start"] for row in found] == [0, 1, 2, 3, 4]
    for row, segment in zip(found, expected[:5], strict=True):
        assert row["probabilities"] == pytest.approx(segment.probabilities, abs=1e-6)
    assert sounddevice.opened["channels"] == 2
    assert sounddevice.opened["samplerate"] == RATE


def _wav() -> bytes:
    import io

    import soundfile

    file = io.BytesIO()
    soundfile.write(file, SOUND, RATE, format="WAV", subtype="FLOAT")
    return file.getvalue()


@pytest.mark.parametrize("channel", ["1", "2", "each"])
def test_channels_equal_those_of_the_timeline(
    channel: str, sounddevice: Any, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from voxmood.commands import listen

    read = listen.Microphone.read
    heard = 0

    def one_by_one(self: Any) -> Any:
        nonlocal heard
        samples, lost = read(self)
        heard += len(samples)
        return samples, lost

    monkeypatch.setattr(listen.Microphone, "read", one_by_one)
    sounddevice.between = lambda number: wait_for(lambda: heard >= number * 4800)
    sounddevice.inputs = 2
    assert main(["listen", "--json", "--window", "2", "--hop", "2", "--channel", channel]) == 1
    found = rows(capsys.readouterr().out)
    wanted: Any = channel if channel == "each" else int(channel)
    timeline = voxmood.load().timeline(_wav(), 2, 2, channel=wanted)
    expected = {(each.channel, each.start): each.probabilities for each in timeline}
    whole = {key: each for key, each in expected.items() if key[1] + 2 <= len(SOUND) / RATE}
    assert {(row["channel"], row["start"]) for row in found} == set(whole)
    for row in found:
        key = row["channel"], row["start"]
        assert row["probabilities"] == pytest.approx(expected[key], abs=1e-6)


def test_a_channel_that_the_microphone_lacks(
    sounddevice: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["listen", "--channel", "9"]) == 1
    assert "Test: has 8 channels, and no channel 9." in capsys.readouterr().err


def test_every_channel_has_a_panel(
    sounddevice: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sounddevice.inputs = 2
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    main(["listen", "--window", "2", "--hop", "2", "--channel", "each"])
    last = capsys.readouterr().out.split("\x1b[J")[-1].splitlines()
    heads = [line.split() for line in last if line.startswith("0:00:0")]
    assert [head[3:5] for head in heads] == [["channel", "1:"], ["channel", "2:"]]
    assert len(last) >= 10


def test_a_slow_machine_drops_hops_and_says_so(
    sounddevice: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    label = Model.label_window

    def slow(self: Model, *window: Any, **options: Any) -> Any:
        wait_for(lambda: hasattr(sounddevice, "done"))  # all else comes in the meantime
        return label(self, *window, **options)

    monkeypatch.setattr(Model, "label_window", slow)
    main(["listen", "--json", "--window", "1", "--hop", "0.5", "--threads", "1"])
    captured = capsys.readouterr()
    starts = [row["start"] for row in rows(captured.out)]
    assert starts[-1] == 5  # the newest
    assert len(starts) <= 3
    assert f"fell behind: {11 - len(starts)} hops dropped" in captured.err


def test_a_full_queue_loses_audio_and_no_window_spans_the_gap(
    sounddevice: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from voxmood.commands import listen

    monkeypatch.setattr(listen, "BACKLOG_SECONDS", 1.5)
    read = listen.Microphone.read
    reads: list[tuple[Any, int]] = []
    microphones = []

    def late(self: Any) -> Any:
        if not reads:
            microphones.append(self)
            wait_for(lambda: self._lost == 1.5 * RATE)
        reads.append(read(self))
        return reads[-1]

    def between(number: int) -> None:
        if number >= 30:
            wait_for(lambda: microphones != [] and microphones[0]._blocks.empty())

    sounddevice.between = between
    monkeypatch.setattr(listen.Microphone, "read", late)
    main(["listen", "--json", "--window", "1", "--hop", "1", "--threads", "1"])
    captured = capsys.readouterr()
    starts = [row["start"] for row in rows(captured.out)]
    lost = sum(lost for _, lost in reads)
    assert lost == 1.5 * RATE
    assert starts[:2] == [0, 3.0]  # 1.5 s were kept, 1.5 s lost
    assert "hops dropped" in captured.err
    total = sum(len(samples) for samples, _ in reads)
    assert total + lost == len(SOUND)


def test_ctrl_c_ends_it(
    sounddevice: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Model, *window: Any, **options: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Model, "label_window", interrupted)
    assert main(["listen", "--window", "1"]) == 0


def test_the_live_panel(
    sounddevice: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    main(["listen", "--window", "2", "--hop", "2", "--threads", "1"])
    panels = capsys.readouterr().out.split("\x1b[J")
    assert panels[0].splitlines()[0].startswith("0:00:0")
    for panel in panels:
        assert [line.split()[0] for line in panel.splitlines()[1:5]] == ["neu", "hap", "ang", "sad"]


def test_no_such_microphone(sounddevice: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["listen", "--microphone", "gone"]) == 1
    assert "no microphone 'gone'" in capsys.readouterr().err


def test_no_microphone_at_all(
    sounddevice: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(device: object, kind: str) -> None:
        raise PortAudioError("Error querying device -1")

    monkeypatch.setattr(sounddevice, "query_devices", fail)
    assert main(["listen"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("voxmood: no microphone (Error querying device -1); connect one")
    assert error.count("\n") == 1


def test_no_sounddevice(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert main(["listen"]) == 1
    assert capsys.readouterr().err == (
        "voxmood: listen needs sounddevice, which is not installed: pip install 'voxmood[mic]'.\n"
    )


def test_no_portaudio(
    sounddevice: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import builtins

    original = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "sounddevice":
            raise OSError("PortAudio library not found")
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert main(["listen"]) == 1
    assert "apt-get install libportaudio2" in capsys.readouterr().err
