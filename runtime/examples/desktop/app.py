"""Show the mood of a recording over time, or of what the microphone hears, in a desktop app."""

from __future__ import annotations

import argparse
import queue
import sys
from collections.abc import Callable, Iterator
from functools import partial
from html import escape
from itertools import pairwise, takewhile
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PySide6.QtCore import QPointF, QRectF, QSize, Qt, QThread, QTimer, Signal
from PySide6.QtGui import (
    QBrush,
    QCloseEvent,
    QColor,
    QDragEnterEvent,
    QDropEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPalette,
)
from PySide6.QtWidgets import (
    QApplication,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QProgressBar,
    QPushButton,
    QToolTip,
    QVBoxLayout,
    QWidget,
)

import voxmood

WINDOW, HOP = 5.0, 1.0  # length of a window and time from one to the next, in seconds
SHORT_WINDOW, SHORT_HOP = 1.0, 0.2  # of files that are shorter than two windows
STEPS = (1, 2, 5, 10, 30, 60, 300, 900, 3600, 14400)  # possible times between marks, in seconds
LINE = 3.0  # thickness of a line in pixels
NOTE = (
    f"Each label covers {WINDOW:g} s, or {SHORT_WINDOW:g} s of a short recording. It describes a "
    "tone of voice, not what somebody feels."
)
COLORS = ["#8d99ae", "#f2b134", "#d1495b", "#3d78b8", "#5c9e6b", "#9467bd", "#e07a3f", "#4fb0ae"]
HATCH = QBrush(QColor("#5c5c5c"), Qt.BrushStyle.BDiagPattern)  # of what is unsure

Source: TypeAlias = Callable[[Callable[[], bool]], Iterator[voxmood.Segment]]
"""A function that yields segments. Its argument is a function that returns whether to stop."""


class Labeling(QThread):
    """A thread that runs the model, so that the window stays responsive."""

    segment = Signal(object)
    failed = Signal(str)

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source

    def run(self) -> None:
        """Emit the segments of the source, and the message if an error ends them."""
        try:
            for segment in self._source(self.isInterruptionRequested):
                self.segment.emit(segment)
        except voxmood.VoxmoodError as error:
            self.failed.emit(str(error))
        except Exception as error:  # the thread must not end without a message
            self.failed.emit(f"{type(error).__name__}: {error}")


def microphone(model: voxmood.Model, stopped: Callable[[], bool]) -> Iterator[voxmood.Segment]:
    """Yield segments of what the microphone hears, until `stopped` returns true."""
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise voxmood.MissingExtraError(
            f"Recording needs sounddevice and PortAudio ({error}): pip install 'voxmood[mic]'; on "
            "Linux, install the package libportaudio2 too."
        ) from error
    chunks = queue.SimpleQueue[np.ndarray]()
    try:
        rate = int(sounddevice.query_devices(kind="input")["default_samplerate"])
        device = sounddevice.InputStream(
            rate, channels=1, callback=lambda samples, *_: chunks.put(samples.copy())
        )
    except (sounddevice.PortAudioError, ValueError) as error:
        raise voxmood.AudioError(f"No microphone can be used ({error}); connect one.") from error
    stream = voxmood.Stream(model, rate, WINDOW, HOP, newest_only=True)
    with device:
        while not stopped():
            try:
                heard = [chunks.get(timeout=0.2)]
            except queue.Empty:
                continue
            while not chunks.empty():
                heard.append(chunks.get())
            yield from stream.push(np.concatenate(heard))
    yield from stream.close()


class TimelineView(QWidget):
    """A chart of the answers over time: stacked probabilities, or else a line for each number."""

    def __init__(self, labels: tuple[str, ...], *, stacked: bool) -> None:
        super().__init__()
        self.setMouseTracking(True)
        self.stacked = stacked
        self.colors = dict(zip(labels, map(QColor, COLORS * len(labels)), strict=False))
        self.segments: list[voxmood.Segment] = []

    def minimumSizeHint(self) -> QSize:  # noqa: N802, as Qt calls it
        """Return a size with room for a few seconds."""
        return QSize(320, 160)

    def _edges(self) -> list[float]:
        """Return the edges of the columns in seconds: halfway between the middles of windows."""
        middles = [(segment.start + segment.end) / 2 for segment in self.segments]
        return [
            self.segments[0].start,
            *((left + right) / 2 for left, right in pairwise(middles)),
            self.segments[-1].end,
        ]

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw the chart."""
        painter = QPainter(self)
        area = QRectF(self.rect()).adjusted(0, 0, 0, -24)
        faint = self.palette().color(QPalette.ColorRole.PlaceholderText)
        empty = self.palette().color(QPalette.ColorRole.Midlight)
        pale = self.palette().color(QPalette.ColorRole.Window)
        pale.setAlphaF(0.6)
        if not self.segments:
            painter.setPen(faint)
            painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, "Drop a recording here")
            return
        edges = self._edges()
        begin, scale = edges[0], area.width() / (edges[-1] - edges[0])
        numbers = [number for segment in self.segments for number in segment.numbers.values()]
        low, high = min([0.0, *numbers]), max([1.0, *numbers])
        for segment, (left, right) in zip(self.segments, pairwise(edges), strict=True):
            # Columns are a little wider than needed, or gaps would show between them.
            x, width = (left - begin) * scale, (right - left) * scale + 0.5
            if segment.silent:
                painter.fillRect(QRectF(x, area.top(), width, area.height()), empty)
                continue
            bottom = area.bottom()
            for label, number in segment.numbers.items():
                height = (number - low) / (high - low) * area.height()
                if self.stacked:
                    bar = QRectF(x, bottom - height, width, height)
                    bottom -= height
                else:
                    bar = QRectF(x, area.bottom() - height - LINE / 2, width, LINE)
                painter.fillRect(bar, self.colors[label])
            if segment.unsure:
                for cover in (pale, HATCH):
                    painter.fillRect(QRectF(x, area.top(), width, area.height()), cover)
        painter.setPen(faint)
        step = next((s for s in STEPS if s * scale > 60), STEPS[-1])
        for second in range(-int(-begin // step) * step, int(edges[-1]) + 1, step):
            x = (second - begin) * scale
            painter.drawLine(QPointF(x, area.bottom()), QPointF(x, area.bottom() + 5))
            if x < area.right() - 40:
                painter.drawText(QPointF(x + 3, self.height() - 5), clock(second))

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Show the numbers of the column under the pointer."""
        if not self.segments:
            return
        edges = self._edges()
        time = edges[0] + event.position().x() / self.width() * (edges[-1] - edges[0])
        column = min(int(np.searchsorted(edges[1:], time)), len(self.segments) - 1)
        segment = self.segments[column]
        QToolTip.showText(event.globalPosition().toPoint(), description(segment), self)


def description(segment: voxmood.Segment) -> str:
    """Return what the model answers for a segment, as lines of text."""
    lines = [f"{clock(segment.start)} to {clock(segment.end)}"]
    if segment.silent:
        lines.append("silence")
    else:
        if segment.unsure:
            lines.append(f"unsure, perhaps {segment.label}" if segment.label else "unsure")
        lines += [f"{name}: {shown(segment, n)}" for name, n in segment.numbers.items()]
    return "\n".join(lines)


def shown(segment: voxmood.Segment, number: float) -> str:
    """Return a probability or a value of a segment as text."""
    return f"{number:.0%}" if segment.values is None else f"{number:.2f}"


def clock(seconds: float) -> str:
    """Return a time as m:ss."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02}"


class Window(QMainWindow):
    """The main window of the app."""

    done = Signal()

    def __init__(self, model: voxmood.Model) -> None:
        super().__init__()
        self.model = model
        self.labeling: Labeling | None = None
        self.duration: float | None = None
        self.failed = False

        choose = QPushButton("&Open…")
        choose.clicked.connect(self.choose)
        self.record = QPushButton("&Record", checkable=True)
        self.record.clicked.connect(self.toggle_recording)
        self.view = TimelineView(model.labels, stacked=model.bundle.task == "classification")
        self.progress = QProgressBar(textVisible=False, maximumHeight=6, visible=False)
        self.message = QLabel(NOTE, textFormat=Qt.TextFormat.PlainText, wordWrap=True)
        self.legend = {label: QLabel() for label in model.labels}
        self.unsure = QLabel()

        top, bottom, layout = QHBoxLayout(), QHBoxLayout(), QVBoxLayout()
        top.addWidget(choose)
        top.addWidget(self.record)
        top.addStretch()
        top.addWidget(QLabel(f"{model.bundle.name}, {model.precision}"))
        for entry in self.legend.values():
            bottom.addWidget(entry)
        bottom.addWidget(self.unsure)
        bottom.addStretch()
        layout.addLayout(top)
        layout.addWidget(self.view, stretch=1)
        layout.addLayout(bottom)
        layout.addWidget(self.progress)
        layout.addWidget(self.message)
        self.setCentralWidget(QWidget())
        self.centralWidget().setLayout(layout)
        self.setWindowTitle("voxmood")
        self.setAcceptDrops(True)
        self.resize(760, 420)
        self._show([])

    def choose(self) -> None:
        """Let the user choose a file, and label it."""
        path, _ = QFileDialog.getOpenFileName(self, "Open a recording")
        if path:
            self.open(path)

    def open(self, path: str) -> None:
        """Label a file."""

        def segments(stopped: Callable[[], bool]) -> Iterator[voxmood.Segment]:
            timeline = self.model.timeline(path, WINDOW, HOP)
            if timeline.duration and timeline.duration < 2 * WINDOW:
                timeline = self.model.timeline(path, SHORT_WINDOW, SHORT_HOP)
            self.duration = timeline.duration
            yield from takewhile(lambda _: not stopped(), timeline)

        self.setWindowTitle(f"{Path(path).name} - voxmood")
        self._start(segments, f"Listening to {path}…")

    def toggle_recording(self, on: bool) -> None:
        """Start or stop recording; after the stop, the last audio is still labeled."""
        if on:
            self.setWindowTitle("Recording - voxmood")
            message = f"Recording; the first label comes after {WINDOW:g} s."
            self._start(partial(microphone, self.model), message)
            self.record.setChecked(True)
        elif self.labeling:
            self.labeling.requestInterruption()

    def _start(self, source: Source, message: str) -> None:
        self._stop()
        self.duration, self.failed = None, False
        self.message.setText(message)
        self.progress.setRange(0, 0)
        self.progress.show()
        self._show([])
        self.labeling = Labeling(source)
        self.labeling.segment.connect(self._add)
        self.labeling.failed.connect(self._fail)
        self.labeling.finished.connect(self._finish)
        self.labeling.start()

    def _stop(self) -> None:
        """Stop the current job; later signals of its thread are ignored by their sender."""
        self.record.setChecked(False)
        if self.labeling:
            self.labeling.requestInterruption()
            self.labeling.wait()
            self.labeling = None

    def _add(self, segment: voxmood.Segment) -> None:
        if self.sender() is self.labeling:
            if self.duration:
                self.progress.setRange(0, 1000)
                self.progress.setValue(int(1000 * segment.end / self.duration))
            self._show([*self.view.segments, segment])

    def _fail(self, message: str) -> None:
        if self.sender() is self.labeling:
            self.failed = True
            self.message.setText(message)

    def _finish(self) -> None:
        if self.sender() is self.labeling:
            self.record.setChecked(False)
            self.progress.hide()
            if not self.failed:
                self.message.setText(NOTE)
            self.done.emit()

    def _show(self, segments: list[voxmood.Segment]) -> None:
        self.view.segments = segments
        self.view.update()
        heard = [segment for segment in segments if not segment.silent]
        for label, entry in self.legend.items():
            mean = ""
            if heard:
                numbers = [segment.numbers[label] for segment in heard]
                mean = f" {shown(heard[0], float(np.mean(numbers)))}"
            color = self.view.colors[label].name()
            entry.setText(f'<span style="color: {color}">■</span> {escape(label)}{mean}')
        count = sum(bool(segment.unsure) for segment in heard)
        self.unsure.setText(f"▨ unsure {count} of {len(heard)}" if count else "")

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802
        """Accept files."""
        if event.mimeData().hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802
        """Label the first file that is dropped."""
        self.open(event.mimeData().urls()[0].toLocalFile())

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802
        """Stop the current job."""
        self._stop()


def main() -> int:
    """Run the app and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", help="A recording to open (default: none).")
    parser.add_argument(
        "--model", metavar="BUNDLE", help="Bundle to use (default: the one that ships)."
    )
    parser.add_argument(
        "--screenshot", metavar="PNG", help="Save a picture of the labeled FILE, and exit."
    )
    options = parser.parse_args()
    app = QApplication(sys.argv[:1])
    window = Window(voxmood.load(options.model))
    window.show()
    if options.file:
        window.open(options.file)
    if options.screenshot:

        def save() -> None:
            saved = window.screen().grabWindow(window.winId()).save(options.screenshot)
            app.exit(0 if saved and not window.failed else 1)

        window.done.connect(lambda: QTimer.singleShot(200, save))  # once it is drawn
    return int(app.exec())


if __name__ == "__main__":
    sys.exit(main())
