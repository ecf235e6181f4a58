"""The report as a person sees it: complete in itself, in a browser, by day, by night, narrow."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import fields, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from variations import first_of

from voxmood_bench.errors import ReportError
from voxmood_bench.measure.accuracy import closeness
from voxmood_bench.report.files import read_report, write_report
from voxmood_bench.report.html import as_html
from voxmood_bench.report.schema import (
    AGAIN,
    Answered,
    AnswersFailure,
    BenchmarkReport,
    Closeness,
    ConfidenceBin,
    Intervals,
    Ratio,
    Scores,
    StartupFailure,
)
from voxmood_bench.report.tables import as_markdown, ratio_text

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
REPORTS = sorted(
    path for path in RESULTS.glob("*.json") if "speed" in json.loads(path.read_bytes())
)
SHIPPED = RESULTS / "voxmood-small-zen5.json"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]


@pytest.fixture(
    scope="module",
    params=first_of(dict.fromkeys([SHIPPED, *REPORTS]), 3),
    ids=lambda path: path.stem,
)
def report(request: pytest.FixtureRequest) -> BenchmarkReport:
    return read_report(request.param)


@pytest.fixture(scope="module")
def html(report: BenchmarkReport) -> str:
    return as_html(report)


@pytest.fixture(scope="module")
def small() -> BenchmarkReport:
    return read_report(SHIPPED)


class Page(HTMLParser):
    """Counts tags, and collects what would be loaded."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href") and value and not value.startswith("#"):
                self.links.append(value)


def test_page_needs_nothing_else(report: BenchmarkReport, html: str) -> None:
    page = Page(html)
    assert page.links == []
    assert "script" not in page.tags
    assert not re.search(r"url\((?!#)|@import", html)
    plots = len({cell.threads for cell in report.speed}) + 3
    plots += 2 * any(row.bins for row in report.scores.values())
    assert page.tags.count("svg") == plots
    identifiers = re.findall(r'<(?:clipPath|path) id="([^"]+)"', html)
    assert len(set(identifiers)) == len(identifiers)  # a plot must not use another one's parts
    assert "#0304" not in html  # every color has become one of the page's
    assert "#010101" not in html


def test_confidence_is_drawn_where_it_was_measured(small: BenchmarkReport) -> None:
    share, count = (0.0, 1.0), len(small.labels)

    def scored(**confidence: Any) -> str:
        rows = [
            Scores(
                **{each.name: getattr(row, each.name) for each in fields(Closeness)},
                accuracy=0.7,
                uar=0.7,
                ece=0.1,
                confusion=[[1] * count] * count,
                intervals=Intervals("speaker", share, share, share),
                mcnemar_p=1.0,
                **confidence,
            )
            for row in small.accuracy
            if isinstance(row, Closeness)
        ]
        return as_html(replace(small, accuracy=rows))

    without = scored()  # as an older release wrote it
    risk = [Answered(0.5, 0.9), Answered(1.0, 0.7)]
    drawn = scored(bins=[ConfidenceBin(3, 0.5, 0.6)], risk=risk)
    assert drawn.count("<svg") == without.count("<svg") + 2
    assert ("<h3>Reliability</h3>" in drawn, "<h3>Reliability</h3>" in without) == (True, False)


def test_one_length_is_drawn_as_bars(small: BenchmarkReport) -> None:
    cells = [cell for cell in small.speed if cell.seconds == small.headline.seconds]
    page = as_html(replace(small, speed=cells))
    assert "Latency against length" not in page
    engines = [name for name in cells[0].engines if not name.endswith(AGAIN)]
    plot = page[page.index("<svg") : page.index("</svg>")]
    assert all(f">{name}<" in plot for name in engines)


def test_the_page_says_how_fast_the_other_precisions_are(small: BenchmarkReport) -> None:
    cell, page = small.headline_cell, as_html(small)
    for name in ("voxmood fp32", small.reference.engine):
        factor = cell.engines[small.main].median_ms / cell.engines[name].median_ms
        assert f"<b>{1 / factor:.1f} times</b><span>as fast as {name} (" in page
    fp32 = cell.engines["voxmood fp32"]
    unsure = replace(fp32, main_of_it=Ratio(0.99, (0.9, 1.1), in_noise=True))
    cell = replace(cell, engines={**cell.engines, "voxmood fp32": unsure})
    assert "within the noise of this machine" in as_html(replace(small, speed=[cell]))


def test_names_are_escaped(small: BenchmarkReport) -> None:
    assert "<script>" not in as_html(replace(small, bundle="<script>alert(1)</script>"))


def test_every_engine_is_in_every_form(report: BenchmarkReport, html: str) -> None:
    markdown = as_markdown(report)
    for name in report.engines:
        assert name in html
        assert f"| {name} |" in markdown


def test_a_failed_engine_says_why(small: BenchmarkReport) -> None:
    name, why = list(small.engines)[-1], "its process ended with status -9."
    cells = [
        replace(
            cell,
            engines={key: each for key, each in cell.engines.items() if key != name},
            errors={**cell.errors, name: why},
        )
        for cell in small.speed
    ]
    start = [row for row in small.start if row.engine != name]
    accuracy = [row for row in small.accuracy if row.engine != name]
    failed = replace(
        small,
        speed=cells,
        start=[*start, StartupFailure(name, "", why)],
        accuracy=[*accuracy, AnswersFailure(name, why)],
    )
    assert as_html(failed).count(f"failed: {why}") >= 2
    assert as_markdown(failed).count(f"failed: {why}") >= 2


def test_folds_are_shown(small: BenchmarkReport) -> None:
    rows = [row for row in small.accuracy if isinstance(row, Scores)]
    folds = {"1": 0.65, "2": 0.7}
    report = replace(small, accuracy=[replace(row, folds=folds) for row in rows])
    assert "| voxmood int8 | 0.6500 | 0.7000 |" in as_markdown(report)
    assert "Accuracy by fold" in as_html(report)


def test_exact_answers_are_called_exact_and_are_valid_json(
    report: BenchmarkReport, tmp_path: Path
) -> None:
    logits = np.eye(4)
    found = closeness(report.main, logits, logits)
    exact = replace(report, accuracy=[report.accuracy[0], found])
    assert "exact" in as_markdown(exact)
    write_report(tmp_path / "report.json", exact)
    assert "Infinity" not in (tmp_path / "report.json").read_text(encoding="utf-8")


def test_a_ratio_within_the_noise_is_marked() -> None:
    ratio = Ratio(1.011, (0.97, 1.05), in_noise=True)
    assert ratio_text(ratio) == "≈ 1.01 (0.97 to 1.05)"
    assert ratio_text(replace(ratio, in_noise=False)) == "1.01 (0.97 to 1.05)"


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_what_is_written_is_what_was_read(path: Path, tmp_path: Path) -> None:
    write_report(tmp_path / "report.json", read_report(path))
    assert (tmp_path / "report.json").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("machine",), "a machine"),
        (("labels",), {}),
        (("headline", "seconds"), "5"),
        (("engines", "voxmood int8"), None),
        (("speed", 0, "rounds"), None),
        (("speed", 0, "engines", "voxmood int8", "median_ms"), [1.0]),
        (("speed", 0, "engines", "voxmood int8", "of_reference"), {"ratio": 1.0}),
        (("speed", 0, "engines", "voxmood int8", "of_reference", "interval"), [1.0]),
        (("start", 0), {"engine": "voxmood int8"}),
        (("accuracy", 1), {"agreement": 1.0}),
        (("profile",), None),
    ],
)
def test_a_damaged_report_is_refused(
    keys: tuple[str | int, ...], value: object, tmp_path: Path
) -> None:
    content = json.loads(SHIPPED.read_bytes())
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    damaged = tmp_path / "report.json"
    damaged.write_text(json.dumps(content))
    with pytest.raises(ReportError, match=r"report\.json: is a damaged report"):
        read_report(damaged)


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
def test_in_a_browser(tmp_path: Path) -> None:
    from PIL import Image

    page = tmp_path / "report.html"
    probe = "<script>document.title = document.documentElement.scrollWidth</script></body>"
    text = as_html(read_report(REPORTS[0]))
    page.write_text(text.replace("</body>", probe), encoding="utf-8")

    def chromium(*arguments: str) -> str:
        profile = f"--user-data-dir={tmp_path / 'profile'}"
        command = [str(CHROMIUM), *FLAGS, profile, *arguments, page.as_uri()]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=120
        ).stdout

    def brightness(scheme: int) -> float:
        picture = tmp_path / f"{scheme}.png"
        chromium(
            "--window-size=1280,1600",
            f"--screenshot={picture}",
            f"--blink-settings=preferredColorScheme={scheme}",
        )
        pixels = np.asarray(Image.open(picture).convert("L"))
        assert pixels.std() > 5  # there is something to see
        return float(np.median(pixels))

    narrow = 500  # a headless window is no narrower
    dom = chromium(f"--window-size={narrow},900", "--dump-dom")
    title = re.search(r"<title>(\d+)</title>", dom)
    assert title
    assert int(title[1]) <= narrow  # nothing sticks out
    day, night = brightness(1), brightness(0)
    assert day > 200
    assert night < 60
