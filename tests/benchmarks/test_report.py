"""The report as a person sees it: complete in itself, in a browser, by day, by night, narrow."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxmood_bench.accuracy import closeness
from voxmood_bench.report_html import as_html
from voxmood_bench.tables import as_markdown, ratio

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
REPORTS = sorted(
    path for path in RESULTS.glob("*.json") if "speed" in json.loads(path.read_bytes())
)
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


@pytest.fixture(params=REPORTS, ids=lambda path: path.stem)
def report(request: pytest.FixtureRequest) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(request.param.read_bytes())
    return content


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


def test_page_needs_nothing_else(report: dict[str, Any]) -> None:
    text = as_html(report)
    page = Page(text)
    assert page.links == []
    assert "script" not in page.tags
    assert not re.search(r"url\((?!#)|@import", text)
    plots = len({cell["threads"] for cell in report["speed"]}) + 3
    assert page.tags.count("svg") == plots
    identifiers = re.findall(r'<(?:clipPath|path) id="([^"]+)"', text)
    assert len(set(identifiers)) == len(identifiers)  # a plot must not use another one's parts
    assert "#0304" not in text  # every colour has become one of the page's
    assert "#010101" not in text


def test_names_are_escaped(report: dict[str, Any]) -> None:
    report["bundle"] = "<script>alert(1)</script>"
    assert "<script>" not in as_html(report)


def test_every_engine_is_in_every_form(report: dict[str, Any]) -> None:
    page, markdown = as_html(report), as_markdown(report)
    for name in report["engines"]:
        assert name in page
        assert f"| {name} |" in markdown


def test_a_failed_engine_says_why(report: dict[str, Any]) -> None:
    name = list(report["engines"])[-1]
    for cell in report["speed"]:
        cell["engines"].pop(name, None)
        cell["errors"][name] = "its process ended with status -9."
    for rows in (report["start"], report["accuracy"]):
        rows[:] = [row for row in rows if row["engine"] != name]
        rows.append({"engine": name, "way": "", "error": "its process ended with status -9."})
    text = "failed: its process ended with status -9."
    assert as_html(report).count(text) >= 2
    assert as_markdown(report).count(text) >= 2


def test_folds_are_shown(report: dict[str, Any]) -> None:
    for row in report["accuracy"]:
        row["folds"] = {"1": 0.65, "2": 0.7}
    assert "| voxmood int8 | 0.6500 | 0.7000 |" in as_markdown(report)
    assert "Accuracy by fold" in as_html(report)


def test_exact_answers_are_called_exact_and_are_valid_json(report: dict[str, Any]) -> None:
    logits = np.eye(4)
    found = closeness(logits, logits)
    assert "Infinity" not in json.dumps(found)
    next(row for row in report["accuracy"] if row["engine"] == report["main"]).update(found)
    assert "exact" in as_markdown(report)


def test_a_ratio_within_the_noise_is_marked() -> None:
    facts = {"ratio": 1.011, "interval": [0.97, 1.05], "in_noise": True}
    assert ratio(facts) == "≈ 1.01 (0.97 to 1.05)"
    assert ratio(facts | {"in_noise": False}) == "1.01 (0.97 to 1.05)"


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
def test_in_a_browser(tmp_path: Path) -> None:
    from PIL import Image

    page = tmp_path / "report.html"
    probe = "<script>document.title = document.documentElement.scrollWidth</script></body>"
    text = as_html(json.loads(REPORTS[0].read_bytes()))
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
