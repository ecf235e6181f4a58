"""Time int8 on this x86 CPU as one with AVX2 alone would run it: without AVX-512 and VNNI.

    python benchmarks/scripts/avx2.py bundle --reference checkpoint --seven-bits bundle7 --json FILE

ONNX Runtime chooses its kernels by what the instruction CPUID answers. This script runs a copy of
it in which every CPUID is replaced by an undefined instruction. A small library that is loaded
first handles those: it asks the CPU, and takes AVX-512, VNNI and AMX out of the answer. All else
runs as fast as it can. The ratios are those of ONNX Runtime's AVX2 kernels; an old CPU also has
other caches and execution units. The placement of a process's memory changes a ratio by up to 0.02,
so the rounds come from several processes. The threads of an engine spin for a while after a run, so
there is a pause before the next. It needs gcc and objdump.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from tqdm import tqdm

from voxmood import load
from voxmood.engine.int8_probe import exact_products, products_saturate
from voxmood_bench.engines.process import (
    Conversion,
    convert_stock,
    convert_stock_int8,
)
from voxmood_bench.measure.machine import machine
from voxmood_bench.report.typed_json import to_json
from voxmood_export.clips import speech_like

RATE, SECONDS, THREADS = 16_000, 5.0, 2
PAUSE = 0.05  # s before each run
CPUID, UNDEFINED = b"\x0f\xa2", b"\x0f\x0b"  # both have two bytes
HANDLER = r"""
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

static void handle(int number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *code = (const unsigned char *)registers[REG_RIP];
    if (code[0] != 0x0f || code[1] != 0x0b) {
        signal(SIGILL, SIG_DFL);
        return;
    }
    unsigned leaf = registers[REG_RAX], part = registers[REG_RCX], a, b, c, d;
    __cpuid_count(leaf, part, a, b, c, d);
    if (leaf == 7 && part == 0) {
        b &= ~0xdc230000u; /* AVX-512: F, DQ, IFMA, PF, ER, CD, BW, VL */
        c &= ~0x00005842u; /* AVX-512: VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ */
        d &= ~0x03c0010cu; /* AVX-512: 4VNNIW, 4FMAPS, VP2INTERSECT, FP16; AMX */
    } else if ((leaf == 7 && part == 1) || leaf == 0x1d || leaf == 0x1e || leaf == 0x24) {
        a = b = c = d = 0; /* AVX-VNNI; AMX; AVX10 */
    }
    registers[REG_RAX] = a;
    registers[REG_RBX] = b;
    registers[REG_RCX] = c;
    registers[REG_RDX] = d;
    registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void install(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = handle;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGILL, &action, 0);
}
"""


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="Bundle with fp32 and int8.")
    parser.add_argument("--reference", required=True, metavar="CHECKPOINT", help="Its checkpoint.")
    parser.add_argument(
        "--seven-bits", type=Path, metavar="BUNDLE", help="The same, exported with --weights 7."
    )
    parser.add_argument(
        "--processes", type=int, default=4, help="Processes (default: %(default)s)."
    )
    parser.add_argument(
        "--rounds", type=int, default=12, help="Rounds of each process (default: %(default)s)."
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="Also write the figures.")
    parser.add_argument("--stock", type=Path, help=argparse.SUPPRESS)  # the second call's
    options = parser.parse_args()
    if options.stock:
        print(json.dumps(measure(options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        make_stock(options.reference, scratch)
        environment = os.environ | without_vnni(scratch)
        call = [sys.executable, *sys.argv, "--stock", str(scratch)]
        runs = [
            json.loads(subprocess.check_output(call, env=environment))
            for _ in tqdm(range(options.processes), "processes")
        ]
    found = report(list(runs[0]), np.concatenate([[*run.values()] for run in runs], axis=1))
    for name, row in found["engines"].items():
        print(f"{name:<40} {row['milliseconds']:7.1f} ms, {row['of_stock_fp32']:.2f} of stock fp32")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def make_stock(checkpoint: str, folder: Path) -> None:
    """Write the stock export of a checkpoint and its int8 into `stock` and `stock_int8`."""
    for name in ("stock", "stock_int8"):
        (folder / name).mkdir()
    first = Conversion(
        source=checkpoint,
        target=str(folder / "stock"),
        audio="",
        normalize=False,
        task="classification",
        threads=THREADS,
    )
    convert_stock(first)
    model, target = folder / "stock" / "model.onnx", folder / "stock_int8"
    convert_stock_int8(replace(first, source=str(model), target=str(target)))


def without_vnni(folder: Path) -> dict[str, str]:
    """Return the environment variables with which ONNX Runtime sees no AVX-512 and no VNNI."""
    package = Path(onnxruntime.__file__).parent
    copy = shutil.copytree(package, folder / "packages" / package.name)
    (library,) = copy.glob("capi/onnxruntime_pybind11_state*.so")
    code = bytearray(library.read_bytes())
    for offset in cpuid_offsets(library):
        if code[offset : offset + 2] != CPUID:
            raise RuntimeError(f"{library.name}: has no CPUID at {offset:#x}.")
        code[offset : offset + 2] = UNDEFINED
    library.write_bytes(code)
    source, handler = folder / "handler.c", folder / "handler.so"
    source.write_text(HANDLER, encoding="utf-8")
    call = ["gcc", "-O1", "-shared", "-fPIC", "-o", str(handler), str(source)]
    subprocess.run(call, check=True)
    others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    path = os.pathsep.join([str(copy.parent), *filter(None, others)])
    return {"LD_PRELOAD": str(handler), "PYTHONPATH": path}


def cpuid_offsets(library: Path) -> list[int]:
    """Return where CPUID is in a file, as objdump finds it in the sections of code."""
    offsets = []
    # The code of a shared library is in the file where it is in memory, but for its segment.
    headers = subprocess.check_output(["objdump", "-h", library], encoding="utf-8")
    sections = {
        name: int(address, 16) - int(offset, 16)
        for name, address, offset in re.findall(
            r"^ +\d+ (\S+) +\S+ +(\S+) +\S+ +(\S+) ", headers, re.MULTILINE
        )
    }
    listing = subprocess.check_output(["objdump", "-d", library], encoding="utf-8")
    shift = 0
    for line in listing.splitlines():
        if line.startswith("Disassembly of section "):
            shift = sections[line.split()[-1].rstrip(":")]
        elif re.search(r"\tcpuid\b", line):
            offsets.append(int(line.partition(":")[0], 16) - shift)
    return offsets


def measure(options: argparse.Namespace) -> dict[str, list[float]]:
    """Return the seconds of each engine in alternating rounds."""
    if not products_saturate():
        raise RuntimeError("ONNX Runtime still finds VNNI; see without_vnni.")
    waveform = speech_like(SECONDS, RATE, seed=0)
    stock = {
        "stock ONNX Runtime fp32": ("stock", {}),
        "stock ONNX Runtime int8, saturating": ("stock_int8", {}),
        "stock ONNX Runtime int8, exact": ("stock_int8", exact_products()),
    }
    runs: dict[str, Callable[[], object]] = {}
    for name, (folder, config) in stock.items():
        path = options.stock / folder / "model.onnx"
        runs[name] = partial(_stock(path, config).run, ["logits"], {"input_values": waveform[None]})
    bundles = {"voxmood fp32": (options.bundle, "fp32"), "voxmood int8": (options.bundle, "int8")}
    if options.seven_bits:
        bundles["voxmood int8, weights of 7 bits"] = (options.seven_bits, "int8")
    for name, (bundle, precision) in bundles.items():
        model = load(bundle, precision=precision, threads=THREADS)
        runs[name] = partial(model.predict, waveform, sampling_rate=RATE)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    names = deque(runs)
    for _ in range(options.rounds + 1):
        for name in names:
            seconds[name].append(_timed(runs[name]))
        names.rotate()
    return {name: times[1:] for name, times in seconds.items()}  # the first round is slower


def report(names: list[str], seconds: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Return the medians over all rounds.

    Args:
        names: of the engines, stock fp32 first.
        seconds: [engines, rounds].
    """
    of_stock = np.median(seconds / seconds[:1], axis=1)
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": to_json(machine()),
        "hidden": "AVX-512, VNNI and AMX",
        "onnxruntime": onnxruntime.__version__,
        "seconds": SECONDS,
        "threads": THREADS,
        "rounds": seconds.shape[1],
        "engines": {
            name: {"milliseconds": round(1e3 * float(median), 1), "of_stock_fp32": round(share, 3)}
            for name, median, share in zip(
                names, np.median(seconds, axis=1), of_stock.tolist(), strict=True
            )
        },
    }


def _stock(path: Path, config: Mapping[str, str]) -> onnxruntime.InferenceSession:
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = THREADS
    for key, value in config.items():
        session_options.add_session_config_entry(key, value)
    return onnxruntime.InferenceSession(path, session_options, providers=["CPUExecutionProvider"])


def _timed(run: Callable[[], object]) -> float:
    time.sleep(PAUSE)
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
