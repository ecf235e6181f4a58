"""Run the steps of the workflow that users copy, in order, as a runner would.

The checkpoint is a small one with random weights; the recordings are generated, and hello.wav.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import soundfile
import yaml

from voxmood_export.clips import speech_like
from voxmood_export.testing import LARGE, SMALL, make_checkpoint

EXAMPLES = Path(__file__).parents[1] / "runtime" / "examples"
CLIPS = 5

workflow = yaml.safe_load((EXAMPLES / "ci" / "voxmood.yml").read_text(encoding="utf-8"))
with tempfile.TemporaryDirectory() as scratch:
    work = Path(scratch)
    recordings = work / workflow["env"]["RECORDINGS"]
    recordings.mkdir()
    shutil.copy(EXAMPLES / "hello.wav", recordings)
    for seed in range(CLIPS):
        soundfile.write(recordings / f"{seed}.flac", speech_like(3, 16000, seed), 16000)
    make_checkpoint(work / "checkpoint", LARGE | SMALL)
    environment = dict(os.environ) | workflow["env"] | {"CHECKPOINT": "checkpoint"}
    environment |= {"MAX_TIME": "9", "GITHUB_STEP_SUMMARY": "summary.md"}  # speed is never a test
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
    done = 0
    for name, job in workflow["jobs"].items():
        for step in job["steps"]:
            command = step.get("run", "")
            if not command or command.startswith("pip install"):  # it is installed
                continue
            print(f"{name}$ {command.strip()}", flush=True)
            subprocess.run(["bash", "-e", "-c", command], cwd=work, env=environment, check=True)
            done += 1
    assert done == 6, f"{done} steps were run"
    for file in ("bundle/bundle.json", "export.json", "benchmark/report.html", "gate.xml"):
        assert (work / file).is_file(), f"{file} was not written"
    summary = (work / "summary.md").read_text(encoding="utf-8")
    assert "voxmood int8" in summary, summary
    assert "label agreement" in summary, summary
