"""Build the container of the lean runtime and run it: read-only, without rights and a network.

Docker builds it where a daemon answers. Elsewhere the steps of the Dockerfile are run, as root, in
roots of Debian that debootstrap makes; then the image's size is that of the files.

    check_container.py [--cache DIR]
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "benchmarks" / "scripts"))  # which are not in the wheel
from emulator import install  # noqa: E402

EXAMPLES = ROOT / "runtime" / "examples"
DOCKERFILE = EXAMPLES / "container" / "Dockerfile"
MOST_BYTES = 250_000_000
SLIM = ("doc", "info", "lintian", "locale", "man")
"""The folders of /usr/share that Debian's image `slim` leaves out."""


@dataclass
class Stage:
    """A stage of the Dockerfile, and the root in which its steps were run."""

    root: Path
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": "/usr/bin:/bin:/usr/sbin"})
    user: str = "0:0"
    folder: str = "/"
    entry: list[str] = field(default_factory=list)


def main() -> None:
    """Build the image, run it on a recording, and check its answer and its size.

    Raises:
        AssertionError: it is too large, does not label the recording, or wrote a file.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/voxmood").expanduser())
    options = parser.parse_args()
    daemon = (
        shutil.which("docker")
        and not subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    )
    options.cache.mkdir(parents=True, exist_ok=True)
    size, text = by_docker() if daemon else by_steps(options.cache)
    print(f"{size / 1e6:.0f} MB; {text.strip()}")
    assert json.loads(text)["label"] == "neu"
    assert size < MOST_BYTES, "the image is too large"


def by_docker() -> tuple[int, str]:
    """Return the size of the image that Docker built, and what it printed about a recording."""
    call("docker", "build", "--quiet", "-f", str(DOCKERFILE), "-t", "voxmood-check", str(ROOT))
    size = call("docker", "image", "inspect", "--format", "{{.Size}}", "voxmood-check")
    limits = ("--rm", "--read-only", "--network", "none", "--cap-drop", "ALL")
    mount = ("-v", f"{EXAMPLES}:/audio:ro")
    answer = call(
        "docker", "run", *limits, *mount, "voxmood-check", "predict", "hello.wav", "--json"
    )
    return int(size), answer


def by_steps(cache: Path) -> tuple[int, str]:
    """Return what `by_docker` does, from the steps of the Dockerfile in roots of Debian."""
    base = debian(cache / "debian-slim")
    stages: dict[str, Stage] = {}
    with tempfile.TemporaryDirectory(dir=cache, ignore_cleanup_errors=True) as scratch:
        for word, rest in instructions():
            if word == "FROM":
                name = rest.partition(" AS ")[2] or "last"
                stages[name] = stage = Stage(Path(scratch) / name)
                call("cp", "-a", str(base), str(stage.root))
            else:
                step(stage, word, rest, stages)
        size = sum(path.lstat().st_size for path in stage.root.rglob("*") if not path.is_symlink())
        audio = stage.root / stage.folder.lstrip("/")
        audio.mkdir(exist_ok=True)
        shutil.copy(EXAMPLES / "hello.wav", audio)
        before = {path: path.lstat().st_mtime_ns for path in stage.root.rglob("*")}
        command = [*stage.entry, "predict", "hello.wav", "--json"]
        answer = run(stage, command, "--net")
        after = {path: path.lstat().st_mtime_ns for path in stage.root.rglob("*")}
        wrote = [str(path) for path in after if after[path] != before.get(path)]
        assert not wrote, f"it wrote {wrote[:3]}"
    return size, answer


def debian(place: Path) -> Path:
    """Return the root of the image that the Dockerfile begins with, which is made once."""
    if not (place / "complete").exists():
        install("debootstrap", "debootstrap")
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        targets = ["apt-get", "indextargets", "--format=$(REPO_URI)", "Codename: bookworm"]
        mirror = call(*targets).split()[:1]
        call("debootstrap", "--variant=minbase", "trixie", str(place / "root"), *mirror)
        for name in SLIM:
            shutil.rmtree(place / "root" / "usr" / "share" / name, ignore_errors=True)
        for name in ("var/cache/apt", "var/lib/apt/lists", "var/log"):
            for path in (place / "root" / name).rglob("*"):
                if path.is_file():
                    path.unlink()
        (place / "root" / "etc" / "resolv.conf").touch()
        (place / "complete").touch()
    return place / "root"


def instructions() -> Iterator[tuple[str, str]]:
    """Yield the instructions of the Dockerfile: their first word, and the rest in one line."""
    lines = [
        line for line in DOCKERFILE.read_text("utf-8").splitlines() if not line.startswith("#")
    ]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        word, _, rest = line.strip().partition(" ")
        if word:
            yield word, rest


def step(stage: Stage, word: str, rest: str, stages: Mapping[str, Stage]) -> None:
    """Run an instruction of the Dockerfile."""
    if word == "RUN":
        run(stage, ["sh", "-c", rest])
    elif word == "COPY" and rest.startswith("--from="):
        name, source, target = rest.removeprefix("--from=").split()
        call("cp", "-a", f"{stages[name].root}{source}", f"{stage.root}{target}")
    elif word == "COPY":  # of all that Git knows
        target = rest.split()[1]
        for file in call("git", "-C", str(ROOT), "ls-files", "-z").split("\0")[:-1]:
            copy = Path(f"{stage.root}{target}", file)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, copy)
    elif word == "ENV":
        name, _, value = rest.partition("=")
        stage.environment[name] = value
    elif word == "USER":
        stage.user = rest
    elif word == "WORKDIR":
        stage.folder = rest
    elif word == "ENTRYPOINT":
        stage.entry = json.loads(rest)
    else:
        assert word == "CMD", f"{word} is not known here"


MOUNTS = """
mount -t proc proc "$0/proc" && mount --bind /dev "$0/dev" && mount -t tmpfs none "$0/run" || exit
mount --bind /etc/resolv.conf "$0/etc/resolv.conf" || exit
cp -L "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" "$0/run/certificates" || exit
"""
"""What a container has beside its files, in a namespace of its own, and what pip needs here."""


def run(stage: Stage, command: list[str], *namespaces: str) -> str:
    """Run a command in the root of a stage, as its user."""
    variables = [f"{name}={value}" for name, value in stage.environment.items()]
    variables.append("PIP_CERT=/run/certificates")
    inside = f"cd {stage.folder} && exec {shlex.join(command)}"
    chroot = ["chroot", f"--userspec={stage.user}", str(stage.root), "env", "-i", *variables]
    chroot += ["sh", "-c", inside]
    script = f"{MOUNTS}exec {shlex.join(chroot)}"
    return call("unshare", "--mount", *namespaces, "sh", "-c", script, str(stage.root))


def call(*command: str) -> str:
    """Run a command and return what it prints; if it fails, end with what it said."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        shown = f"{done.stdout[-1500:]}{done.stderr[-1500:]}"
        sys.exit(f"{shlex.join(command)[:300]} ... failed:\n{shown}")
    return done.stdout


if __name__ == "__main__":
    main()
