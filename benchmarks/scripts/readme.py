"""Rewrites the tables of the pages from `benchmarks/results` and the bundle that ships.

    python benchmarks/scripts/readme.py

A test fails when a page and the results disagree.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from voxmood_bench.report.files import read_report
from voxmood_bench.report.schema import AGAIN, BenchmarkReport, Startup
from voxmood_bench.report.tables import (
    IN_NOISE,
    decibels,
    failed_row,
    markdown,
    megabytes,
    milliseconds,
    ratio_text,
    startup_table,
)

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
SHIPPED = ROOT / "models" / "voxmood-small"
PAGES = tuple(ROOT / folder / "README.md" for folder in ("", "runtime", "benchmarks"))
LARGE = "export-wav2vec2-large-random.json"
LARGE_DEFAULT = "export-wav2vec2-large-random-default.json"
HEADLINE_ENGINES = (
    "PyTorch float32",
    "stock ONNX Runtime fp32",
    "stock ONNX Runtime int8",
    "stock OpenVINO NNCF int8",
    "stock OpenVINO NNCF int8 (accuracy-aware)",
    "voxmood fp32",
    "voxmood int8",
)
TIMES = "\N{MULTIPLICATION SIGN}"
CARD = "https://github.com/voxmood/voxmood/blob/main/models/voxmood-small/README.md"
SOUNDS = {
    "kerstin": "a German voice in a quiet room",
    "librispeech-resemblyzer": "audio books",
    "speechocean762": "learners of English, read aloud",
    "precise-community-pd": "short words on many microphones",
    "picovoice-speech-to-intent": "commands, with headsets and phones",
    "emogator": "cries, laughs and other vocal bursts",
    "pink noise": "pink noise",
    "tone": "tones",
}
WAYS = {
    "16 sentences": "synthetic speech alone",
    "10 other recordings": "half of 20 recordings as well",
    "16 other recordings": "16 recordings of a folder as well",
}
"""How the page calls what int8 is tuned on, by the beginning of what the results call it."""
GPU_SIZES = ((5, 1), (30, 1), (5, 8), (30, 8), (5, 32))  # seconds of each clip, clips


def precisions(description: Path) -> str:
    """Return what was measured of each precision of a bundle when it was made."""
    rows = []
    content = json.loads(description.read_text(encoding="utf-8"))
    for name, entry in content["precisions"].items():
        size = sum(file["bytes"] for file in entry["files"].values()) / 1e6
        measured = entry["measured"]
        rows.append(
            [
                name,
                megabytes(size),
                f"{measured['real_time_factor']:.2g}",
                f"{measured['max_logit_error']:.1g}",
                f"{measured['max_probability_drift']:.1g}",
                f"{measured['sqnr_db']:.1f} dB",
                f"{measured['label_agreement']:.0%}",
            ]
        )
    drift = ["largest logit error", "largest drift of a probability", "SQNR", "same label"]
    return markdown(["precision", "size", "real-time factor", *drift], rows)


def engines(report: BenchmarkReport) -> str:
    """Return the latency of each engine, the memory it takes, and how near its answers are."""
    cell, peaks = report.headline_cell, report.peaks
    header = ["engine", "median", "p95", f"{report.main} takes of this time", "peak memory", "SQNR"]
    rows = []
    for name in report.engines:
        if name.endswith(AGAIN):
            continue
        if name in cell.errors:
            rows.append(failed_row(name, cell.errors[name], header))
            continue
        latency, has_sqnr = cell.engines[name], name != report.reference.engine
        rows.append(
            [
                f"**{name}**" if name.startswith("voxmood") else name,
                f"{milliseconds(latency.median_ms)} ms",
                f"{milliseconds(latency.p95_ms)} ms",
                ratio_text(latency.main_of_it),
                f"{peaks[name]:.0f} MB" if name in peaks else "",
                decibels(report.answers[name].sqnr_db)
                if has_sqnr and name in report.answers
                else "",
            ]
        )
    return markdown(header, rows)


def headline(*reports: BenchmarkReport) -> str:
    """Return the time of each engine on each machine; memory and answers are those of the last."""
    last = reports[-1]
    header = ["", "Intel Ice Lake", "AMD Zen 5"]
    rows = []
    for name in HEADLINE_ENGINES:
        if name not in last.headline_cell.engines:
            continue
        agreement = last.answers[name].agreement if name in last.answers else 1.0
        rows.append(
            [
                f"**{name}**" if name.startswith("voxmood") else name,
                *(_headline_cell(report, name) for report in reports),
                f"{last.peaks[name]:.0f} MB",
                "" if name == last.reference.engine else decibels(last.answers[name].sqnr_db),
                "" if name == last.reference.engine else f"{agreement:.0%}",
            ]
        )
    return markdown([*header, "memory", "SQNR", "same label"], rows)


def _headline_cell(report: BenchmarkReport, name: str) -> str:
    if name not in report.headline_cell.engines:
        return "not measured"
    latency = report.headline_cell.engines[name]
    if latency.main_of_it is None:
        return f"**{milliseconds(latency.median_ms)} ms**"
    mark = f"{IN_NOISE} " if latency.main_of_it.in_noise else ""
    return f"{milliseconds(latency.median_ms)} ms ({mark}{1 / latency.main_of_it.ratio:.1f}{TIMES})"


def claims(*reports: BenchmarkReport) -> str:
    """Return what the README says of the full-size network, in a list."""
    main, stock = reports[0].main, "stock ONNX Runtime int8"

    def times(name: str) -> str:
        ratios = [report.headline_cell.engines[name].main_of_it for report in reports]
        low, high = sorted(f"{1 / ratio.ratio:.1f}" for ratio in ratios if ratio)
        return f"{low} to {high} times" if low != high else f"{low} times"

    answers = reports[0].answers
    better = (answers[main].sqnr_db or 0) - (answers[stock].sqnr_db or 0)
    installed = {
        row.engine: row.installed_mb for row in reports[0].start if isinstance(row, Startup)
    }
    exported = json.loads((RESULTS / LARGE).read_text(encoding="utf-8"))["precisions"]["fp32"]
    return "\n".join(
        [
            f"- **Fast.** On recent x86 CPUs, int8 is {times('PyTorch float32')} as fast as "
            f"PyTorch and {times(stock)} as fast as",
            f"  ONNX Runtime's own int8, with {better:.0f} dB less error.",
            "- **Exact before it is small.** The float graph equals transformers to "
            f"{exported['measured']['max_logit_error']:.5f} of a logit, which is verified",
            "  inside every export; waveforms equal those of `librosa.load` to the bit.",
            "- **Lean.** numpy, ONNX Runtime, soundfile, soxr and tqdm: "
            f"{installed[main]:.0f} MB installed, and {installed[reports[0].reference.engine]:.0f} "
            "MB with PyTorch.",
        ]
    )


def memory(report: BenchmarkReport) -> str:
    """Return start and memory of the main engine, by way to load it, and of the reference."""
    shown = (report.main, report.reference.engine)
    found = startup_table(report)
    rows = [row for row in found.rows if row[0].split(",")[0] in shown]
    return markdown(found.header, rows)


def gpu(path: Path) -> str:
    """Return the time of each engine on a GPU, by the size of the input, of PyTorch float16's."""
    content = json.loads(path.read_text(encoding="utf-8"))
    cells = {(cell["seconds"], cell["clips"]): cell for cell in content["cells"]}
    shown = [cells[size] for size in GPU_SIZES]
    rows = []
    for name in cells[GPU_SIZES[0]]["median_ms"]:
        found = [
            f"{cell['median_ms'][name]:.1f} ms ({cell['of_reference'][name]['ratio']:.2f})"
            if name in cell["median_ms"]
            else "not measured"
            for cell in shown
        ]
        rows.append([f"**{name}**" if name.startswith("voxmood") else name, *found])
    sizes = [
        f"{seconds} s" if clips == 1 else f"{clips} x {seconds} s" for seconds, clips in GPU_SIZES
    ]
    return markdown(["engine", *sizes], rows)


def avx2(path: Path) -> str:
    """Return the time of each engine without VNNI, and as a share of the stock fp32's."""
    engines = json.loads(path.read_text(encoding="utf-8"))["engines"]
    rows = [
        [
            f"**{name}**" if name.startswith("voxmood") else name,
            f"{row['milliseconds']:.0f} ms",
            f"{row['of_stock_fp32']:.2f}",
        ]
        for name, row in engines.items()
    ]
    return markdown(["engine", "median", "of stock fp32"], rows)


def tuning(path: Path) -> str:
    """Return the SQNR of int8 by network and by what it was tuned on, for each seed of weights."""
    rows = [row for row in json.loads(path.read_text(encoding="utf-8"))["rows"] if not row["loud"]]
    found = {
        (
            row["network"],
            WAYS[row["tuned_on"].split(" of ")[0]],
            row["seed"],
        ): f"{row['both']:.1f} dB"
        for row in rows
    }
    seeds = sorted({row["seed"] for row in rows})
    return markdown(
        ["network", "tuned on", *(f"seed {seed}" for seed in seeds)],
        [
            [
                network,
                way,
                *(found.get((network, way, seed), "not measured") for seed in seeds),
            ]
            for network in dict.fromkeys(row["network"] for row in rows)
            for way in WAYS.values()
        ],
    )


def heard(evaluation: Path) -> str:
    """Return what the README says of the model that ships."""
    report = json.loads(evaluation.read_text(encoding="utf-8"))
    (english, german), (english_in, german_in) = (
        [f"{report[part][corpus]['uar']:.2f}" for corpus in ("cremad", "emodb")]
        for part in ("left_out", "folds")
    )
    return (
        f"The model that ships, [voxmood-small]({CARD}), learned from acted English and German "
        f"speech. Trained without one of the two\ncorpora, it finds {english} (English) and "
        f"{german} (German) of each emotion there (UAR), which is what to expect on your "
        f"recordings; for new speakers of corpora that it knows, {english_in} and {german_in}."
    )


def calibration(description: Path) -> str:
    """Return what calibration of the bundle that ships did, for speakers left out of the fit."""
    fitted = json.loads(description.read_text(encoding="utf-8"))["calibration"]
    rows = [
        [name, *(f"{value:.2f}" for value in pair)] for name, pair in fitted["measured"].items()
    ]
    head = f"{fitted['recordings']:,} recordings, {fitted['speakers']} speakers"
    return markdown([head, "before", "after"], rows)


def novelty(evaluation: Path) -> str:
    """Return of which other sounds the bundle that ships says that they are new to it."""
    shares = json.loads(evaluation.read_text(encoding="utf-8"))["novelty"]
    rows = [[about, f"{shares[name]:.0%}"] for name, about in SOUNDS.items()]
    return markdown(["sound", "novelty above 1"], rows)


def tables() -> dict[str, str]:
    """Return every table of the pages by its name."""
    large = read_report(RESULTS / "large-random-icelake.json")
    zen5 = read_report(RESULTS / "large-random-zen5.json")
    small = read_report(RESULTS / "voxmood-small-zen5.json")
    return {
        "claims": claims(zen5, large),
        "headline": headline(large, zen5),
        "large-default": precisions(RESULTS / LARGE_DEFAULT),
        "large": precisions(RESULTS / LARGE),
        "shipped": precisions(SHIPPED / "bundle" / "bundle.json"),
        "engines": engines(large),
        "engines-zen5": engines(zen5),
        "memory": memory(large),
        "shipped-engines": engines(small),
        "heard": heard(SHIPPED / "evaluation.json"),
        "calibration": calibration(SHIPPED / "bundle" / "bundle.json"),
        "novelty": novelty(SHIPPED / "evaluation.json"),
        "avx2": avx2(RESULTS / "avx2-large-random.json"),
        "tuning": tuning(RESULTS / "tuning.json"),
        "gpu": gpu(RESULTS / "gpu-large-random-h200.json"),
    }


def filled(text: str) -> str:
    """Return the text of a page with the tables that the results give."""
    contents = tables()
    for name in re.findall("<!-- table: (.+) -->\n", text):
        begin = f"<!-- table: {name} -->\n"
        before, _, rest = text.partition(begin)
        _, end, after = rest.partition("<!-- end -->")
        text = f"{before}{begin}{contents[name]}\n{end}{after}"
    return text


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
