"""Bundles on a hub, against a server on this machine that speaks the hub's endpoints."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

import voxmood
from voxmood.bundle.locate import locate, shipped_bundle

pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")

COMMITS = {"main": "a" * 40, "v1": "b" * 40}


class Hub(ThreadingHTTPServer):
    """One repository, `someone/model`, whose revisions hold the files of a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.requests: list[str] = []
        self.endpoint = f"http://127.0.0.1:{self.server_port}"

    def fetched(self) -> list[str]:
        """What was downloaded so far, as revision/file; then forgets it."""
        start = "GET /someone/model/resolve/"
        paths = [path.removeprefix(start) for path in self.requests if path.startswith(start)]
        self.requests.clear()
        return paths


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        repository, _, rest = self.path.lstrip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        commit = COMMITS.get(revision, revision)
        file = self.server.folder / name
        if repository != "someone/model":
            return self.refuse("RepoNotFound")
        if commit not in COMMITS.values():
            return self.refuse("RevisionNotFound")
        if not file.is_file():
            return self.refuse("EntryNotFound", commit)
        content = file.read_bytes()
        self.send_response(200)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)
        return None

    def refuse(self, code: str, commit: str | None = None) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        if commit:
            self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    shutil.copytree(shipped_bundle(), tmp_path / "remote")
    with Hub(tmp_path / "remote") as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def load(hub: Hub, tmp_path: Path) -> Callable[..., str]:
    """Loads in a process of its own, since huggingface_hub reads its settings when imported.

    Returns the logits of a second of noise, as JSON, or the error.
    """
    code = """
import json, sys
import numpy as np
import voxmood
source, precision = sys.argv[1:]
try:
    model = voxmood.load(source, precision=precision)
    noise = np.random.default_rng(0).uniform(-1, 1, 16000)
    print(json.dumps(model.predict(noise, sampling_rate=16000).logits.tolist()))
except voxmood.VoxmoodError as error:
    print(f"{type(error).__name__}: {error}")
"""

    def run(source: str, precision: str = "auto", **environment: str) -> str:
        settings = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "cache"), **environment}
        done = subprocess.run(
            [sys.executable, "-c", code, source, precision],
            env=os.environ | settings,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    return run


def logits(precision: str) -> list[float]:
    noise = np.random.default_rng(0).uniform(-1, 1, 16000)
    model = voxmood.load(precision=precision)
    return [float(logit) for logit in model.predict(noise, sampling_rate=16000).logits]


def test_fetches_the_files_of_the_precision_alone(hub: Hub, load: Callable[..., str]) -> None:
    assert json.loads(load("someone/model")) == logits("fp32")
    assert hub.fetched() == ["main/bundle.json", f"{COMMITS['main']}/model.fp32.onnx"]
    assert json.loads(load("someone/model", "int8")) == logits("int8")
    assert hub.fetched() == [f"{COMMITS['main']}/model.int8.onnx"]


def test_offline_takes_what_is_cached(hub: Hub, load: Callable[..., str]) -> None:
    assert load("someone/model", HF_HUB_OFFLINE="1").startswith("MissingFileError")
    load("someone/model")
    hub.requests.clear()
    assert json.loads(load("someone/model", HF_HUB_OFFLINE="1")) == logits("fp32")
    error = load("someone/model", "int8", HF_HUB_OFFLINE="1")
    assert error.startswith("MissingFileError: someone/model: no such folder, model.int8.onnx is")
    assert "HF_HUB_OFFLINE" in error
    assert not hub.requests


def test_info_needs_the_description_alone(hub: Hub, tmp_path: Path) -> None:
    settings = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "voxmood", "info", "someone/model@int8"]
    printed = subprocess.check_output(command, env=os.environ | settings, cwd=tmp_path, text=True)
    assert "voxmood-small" in printed
    assert hub.fetched() == ["main/bundle.json"]


def test_a_folder_of_the_cache_is_a_bundle(load: Callable[..., str], tmp_path: Path) -> None:
    load("someone/model")
    [snapshot] = (tmp_path / "cache").rglob(COMMITS["main"])
    assert (snapshot / "model.fp32.onnx").is_symlink()
    assert voxmood.load(snapshot).labels == voxmood.load().labels
    blobs = snapshot.parent.parent / "blobs"
    blobs.rename(tmp_path / "elsewhere")
    blobs.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(voxmood.BundleError, match="a symbolic link out of the bundle"):
        voxmood.load(snapshot)


def test_out_of_reach_takes_what_is_cached(load: Callable[..., str]) -> None:
    """The hub is asked once, where its client would ask six times for each file."""
    asked = []

    def hang_up(listening: socket.socket) -> None:
        while True:
            connection, address = listening.accept()
            asked.append(address)
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=hang_up, args=(listening,), daemon=True).start()
        endpoint = f"http://127.0.0.1:{listening.getsockname()[1]}"
        load("someone/model")
        assert json.loads(load("someone/model", HF_ENDPOINT=endpoint)) == logits("fp32")
        assert len(asked) == 1
        error = load("someone/other", HF_ENDPOINT=endpoint)
        assert error.startswith("MissingFileError: someone/other: no such folder, bundle.json is")
        assert len(asked) == 2


def test_revision(hub: Hub, load: Callable[..., str]) -> None:
    assert json.loads(load("someone/model@v1")) == logits("fp32")
    assert hub.fetched() == ["v1/bundle.json", f"{COMMITS['v1']}/model.fp32.onnx"]
    assert "the hub did not send bundle.json" in load("someone/model@v2")


def test_what_is_not_there(hub: Hub, load: Callable[..., str]) -> None:
    assert load("nobody/model").startswith("MissingFileError: nobody/model: no such folder, and")
    (hub.folder / "bundle.json").unlink()
    error = load("someone/model")
    assert error.startswith("MissingFileError: someone/model: has no bundle.json")
    assert "voxmood export someone/model" in error


def test_hashes_are_checked(hub: Hub, load: Callable[..., str]) -> None:
    file = hub.folder / "model.fp32.onnx"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    error = load("someone/model")
    assert error.startswith("BundleError")
    assert "differs from what bundle.json says" in error


def test_local_folders_win(hub: Hub, load: Callable[..., str], tmp_path: Path) -> None:
    shutil.copytree(shipped_bundle(), tmp_path / "someone" / "model")
    assert json.loads(load("someone/model")) == logits("fp32")
    assert not hub.requests


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(voxmood.MissingExtraError, match=r"pip install 'voxmood\[hub\]'"):
        voxmood.load("someone/model")


@pytest.mark.parametrize("source", ["folder", "a/b/c", "/a/b", "./a/b", "../b", "~/b", Path("a/b")])
def test_other_paths_are_never_asked_for(source: str | Path) -> None:
    with pytest.raises(voxmood.MissingFileError):
        locate(source)
