"""The bundle: one folder with `bundle.json` and an ONNX file for each precision."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from voxmood.errors import BundleError, MissingFileError

SCHEMA = 1
"""The version of `bundle.json` that this release writes; it reads this and every older one."""

DESCRIPTION = "bundle.json"
PRECISIONS = ("fp32", "fp16", "int8")
NORMALISATIONS = ("zero-mean-unit-variance", "none")
MAX_DESCRIPTION_BYTES = 1 << 20
MAX_MODEL_BYTES = 8 << 30  # more than any speech model of these families; caps what is read
MAX_LABELS = 1000
MAX_RATE = 384_000  # Hz
MAX_SECONDS = 600.0  # of one run; attention takes memory by its square
MAX_NUMBER = 1 << 63
MAX_DEPTH = 16  # of the description's nesting
SESSION_OPTIONS = {
    "session.disable_prepacking",
    "session.intra_op.allow_spinning",
    "session.set_denormal_as_zero",
    "optimization.enable_gelu_approximation",
    "mlas.enable_gemm_fastmath_arm64_bfloat16",
}
"""The ONNX Runtime entries, all of them "0" or "1", that a bundle may ask for. Others write files,
load libraries or choose what the caller chooses."""


@dataclass(frozen=True)
class BundleFile:
    """A file of a bundle, as it was when the bundle was written."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Precision:
    """The files of one precision, and what was measured when they were made.

    Attributes:
        files: the ONNX file, and its external data if there is any, by name.
        measured: what verification found against the original model; see `voxmood info`.
    """

    files: Mapping[str, BundleFile]
    measured: Mapping[str, Any] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """Size of all files together."""
        return sum(file.bytes for file in self.files.values())


@dataclass(frozen=True)
class Bundle:
    """What a bundle says of itself.

    Attributes:
        name: what the model is called.
        labels: in the order of the logits.
        sampling_rate: of the waveform the graph takes, in Hz.
        normalisation: what the graph does to each clip first, one of `NORMALISATIONS`.
        min_samples: the shortest clip that gives one frame.
        max_samples: the longest clip to run at once; attention takes memory by its square.
        architecture: the family, `wav2vec2` for instance.
        checkpoint: where the weights came from, with `revision` (a commit, or "" for a folder).
        licence: of the weights, as the checkpoint states it.
        tools: versions of what made the bundle.
        session_options: ONNX Runtime session configuration entries that suit the model, some of
            `SESSION_OPTIONS`.
        precisions: by name, one of `PRECISIONS`.
    """

    name: str
    labels: tuple[str, ...]
    sampling_rate: int
    normalisation: str
    min_samples: int
    max_samples: int
    architecture: str
    checkpoint: str
    revision: str
    licence: str
    tools: Mapping[str, str]
    session_options: Mapping[str, str]
    precisions: Mapping[str, Precision]

    def metadata(self) -> dict[str, str]:
        """What each ONNX file repeats in its `metadata_props`, so that one alone suffices."""
        return {
            "voxmood.schema": str(SCHEMA),
            "voxmood.labels": json.dumps(self.labels, ensure_ascii=False),
            "voxmood.sampling_rate": str(self.sampling_rate),
            "voxmood.normalisation": self.normalisation,
            "voxmood.min_samples": str(self.min_samples),
            "voxmood.source": f"{self.checkpoint}@{self.revision}".rstrip("@"),
            "voxmood.licence": self.licence,
            "voxmood.session_options": json.dumps(dict(self.session_options), sort_keys=True),
        }

    def to_json(self) -> str:
        """The text of `bundle.json`."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=2, ensure_ascii=False) + "\n"


def model_file(precision: str) -> str:
    """Name of a precision's ONNX file; its external data is called the same with `.data` added."""
    return f"model.{precision}.onnx"


def read_bundle(folder: Path) -> Bundle:
    """Reads and checks a bundle's description.

    Raises:
        MissingFileError: there is no such folder, or no `bundle.json` in it.
        BundleError: the description is damaged or of a newer schema.
    """
    path = folder / DESCRIPTION
    if not folder.is_dir():
        raise MissingFileError(f"{folder}: no such bundle; `voxmood export` makes one.")
    _check_inside(folder, path)
    if not path.is_file():
        raise MissingFileError(f"{folder}: no {DESCRIPTION} in it, so it is no bundle.")
    if path.stat().st_size > MAX_DESCRIPTION_BYTES:
        raise BundleError(f"{path}: larger than {MAX_DESCRIPTION_BYTES} bytes; not a bundle's.")
    try:
        content = json.loads(
            path.read_bytes(), object_pairs_hook=_without_duplicates, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        raise BundleError(
            f"{path}: is not valid JSON ({error}); export the bundle again."
        ) from None
    try:
        return _parse(content)
    except _InvalidFieldError as error:
        raise BundleError(f"{path}: {error}; export the bundle again.") from None


class _InvalidFieldError(Exception):
    """A field of the description is missing or of the wrong kind."""


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):  # readers would differ in which one counts
        raise ValueError("a key stands there twice")
    return content


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not of JSON")


def _check_content(content: Any, depth: int = 0) -> None:
    """What holds for every value: no deep nesting, and nothing that a terminal would obey."""
    if depth > MAX_DEPTH:
        raise _InvalidFieldError(f"its content is nested deeper than {MAX_DEPTH}")
    if isinstance(content, dict):
        for key, value in content.items():
            _check_content(key, depth)
            _check_content(value, depth + 1)
    elif isinstance(content, list):
        for value in content:
            _check_content(value, depth + 1)
    elif isinstance(content, str) and not content.isprintable():
        raise _InvalidFieldError(f"{content[:40]!r} holds control characters")
    elif isinstance(content, (int, float)) and not abs(content) < MAX_NUMBER:  # 1e999 is inf
        raise _InvalidFieldError("a number is beyond all bounds")


def _parse(content: Any) -> Bundle:
    _check_content(content)
    schema = _get(content, "schema", int)
    if schema > SCHEMA:
        raise BundleError(
            f"this bundle is of schema {schema}, this release reads up to {SCHEMA}; "
            "install a newer voxmood."
        )
    labels = _get(content, "labels", list)
    if not labels or not all(isinstance(label, str) for label in labels):
        raise _InvalidFieldError("labels must be a list of strings")
    if len(set(labels)) < len(labels) or len(labels) > MAX_LABELS:
        raise _InvalidFieldError(f"labels must differ and be at most {MAX_LABELS}")
    bundle = Bundle(
        labels=tuple(labels),
        **{key: _get(content, key, str) for key in ("name", "architecture", "checkpoint")},
        **{key: _get(content, key, str) for key in ("revision", "licence", "normalisation")},
        **{key: _get(content, key, int) for key in ("sampling_rate", "min_samples", "max_samples")},
        tools=_get(content, "tools", dict),
        session_options=_get(content, "session_options", dict),
        precisions={
            name: _parse_precision(name, entry)
            for name, entry in _get(content, "precisions", dict).items()
        },
    )
    if bundle.normalisation not in NORMALISATIONS:
        raise _InvalidFieldError(f"normalisation {bundle.normalisation!r} is not known")
    rate = bundle.sampling_rate
    if not (
        0 < bundle.min_samples <= bundle.max_samples <= MAX_SECONDS * rate and rate <= MAX_RATE
    ):
        raise _InvalidFieldError("min_samples, max_samples and sampling_rate do not fit together")
    for key, value in bundle.session_options.items():
        if key not in SESSION_OPTIONS or value not in ("0", "1"):
            raise _InvalidFieldError(f"session option {key!r} may not be {value!r}")
    if not bundle.precisions:
        raise _InvalidFieldError("precisions is empty")
    return bundle


def _parse_precision(name: str, entry: Any) -> Precision:
    if name not in PRECISIONS:
        raise _InvalidFieldError(f"precision {name!r} is not one of {', '.join(PRECISIONS)}")
    files = {
        file: BundleFile(_get(facts, "bytes", int), _get(facts, "sha256", str))
        for file, facts in _get(entry, "files", dict).items()
    }
    # Names are fixed, so that no description can point outside its folder.
    graph = model_file(name)
    if graph not in files or not files.keys() <= {graph, f"{graph}.data"}:
        raise _InvalidFieldError(f"the files of {name} must be {graph} and its .data")
    return Precision(files, _get(entry, "measured", dict))


def _get(content: Any, key: str, kind: type) -> Any:
    value = content.get(key) if isinstance(content, dict) else None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise _InvalidFieldError(f"{key} must be there and be of type {kind.__name__}")
    return value


def check_files(folder: Path, precision: Precision, *, hashes: bool) -> None:
    """Checks that a precision's files are there and, by size and SHA-256, undamaged.

    Hashes show damage, not malice: whoever can change a file can change its hash.

    Raises:
        MissingFileError: a file is not there.
        BundleError: a file differs from its description or is larger than any model.
    """
    for name, expected in precision.files.items():
        path = folder / name
        if not path.is_file():
            raise MissingFileError(f"{path}: missing from the bundle; copy or export it again.")
        _check_inside(folder, path)
        size = path.stat().st_size
        if size > MAX_MODEL_BYTES:
            raise BundleError(f"{path}: {size} bytes is beyond the limit of {MAX_MODEL_BYTES}.")
        if size != expected.bytes or (hashes and sha256(path) != expected.sha256):
            raise BundleError(
                f"{path}: differs from what {DESCRIPTION} says of it; copy or export it again."
            )


def _check_inside(folder: Path, path: Path) -> None:
    folder = folder.resolve()
    places = [folder]
    if folder.parent.name == "snapshots":  # of huggingface_hub's cache, which links to its blobs
        places.append(folder.parent.parent / "blobs")
    try:
        inside = path.resolve().parent in places
    except (OSError, RuntimeError):  # a link to itself
        inside = False
    if not inside:
        raise BundleError(
            f"{path}: is a symbolic link out of the bundle; copy the bundle with its links "
            "resolved (cp -rL)."
        )


def sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
