"""The description of a bundle, which is a folder with `bundle.json` and an ONNX file per precision.

This module reads, checks and writes `bundle.json`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from voxmood.bundle.calibration import MAX_TEMPERATURE, PERCENTS, Calibration, Domain
from voxmood.errors import BundleError, MissingFileError

SCHEMA = 2
"""The version of `bundle.json` that this release writes; it reads this and every older one. What
2 added is the task."""

DESCRIPTION = "bundle.json"
PRECISIONS = ("fp32", "fp16", "int8")
OUTPUTS = {
    "classification": ("logits", "probabilities", "embedding"),
    "multilabel": ("logits", "probabilities", "embedding"),
    "regression": ("values", "embedding"),
}
"""The outputs of a graph by what the model does: it chooses one label (softmax), says of each label
whether it holds (sigmoid), or gives named values."""

NORMALIZATIONS = ("zero-mean-unit-variance", "constant", "none")
"""`constant` subtracts one number from all samples and divides them by another one."""

KEYS = {"normalization": "normalisation", "license": "licence"}
"""For each attribute of `Bundle` that `bundle.json` and the graphs' metadata call something else,
their key for it. They keep the spelling in which they were first released."""

MAX_DESCRIPTION_BYTES = 1 << 20
MAX_MODEL_BYTES = 8 << 30  # more than any speech model of these families has
MAX_LABELS = 1000
MAX_RATE = 384_000  # Hz
MAX_SECONDS = 600.0  # for one run; the memory of attention grows with the square of the length
MAX_NUMBER = 1 << 63
MAX_DEPTH = 16  # of nested lists and objects in the description
SESSION_OPTIONS = {
    "session.disable_prepacking",
    "session.intra_op.allow_spinning",
    "session.set_denormal_as_zero",
    "optimization.enable_gelu_approximation",
    "mlas.enable_gemm_fastmath_arm64_bfloat16",
}
"""The configuration entries of ONNX Runtime that a bundle may set, each to "0" or "1". Other
entries write files, load libraries, or decide what the caller should decide."""


@dataclass(frozen=True)
class BundleFile:
    """The size and the SHA-256 that a file of a bundle had when the bundle was written."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Precision:
    """The files of one precision, and what was measured when they were made.

    Attributes:
        files: the ONNX file and, if there is one, the file of its external data, by name.
        measured: how far the files differ from the original model; see `voxmood info`.
    """

    files: Mapping[str, BundleFile]
    measured: Mapping[str, Any] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """The size of all files together."""
        return sum(file.bytes for file in self.files.values())

    @property
    def seven_bits(self) -> bool:
        """Return whether int8 has weights of 7 bits, whose products no CPU cuts off."""
        return self.measured.get("seven_bits") is True


@dataclass(frozen=True)
class Bundle:
    """The description of a bundle.

    Attributes:
        name: the name of the model.
        labels: the labels, or the names of a regression's values, in the order of the logits.
        task: what the model does, one of `OUTPUTS`; `classification` in schema 1.
        sampling_rate: the sampling rate of the waveform that the graph takes, in Hz.
        normalization: how the graph normalizes each clip first; one of `NORMALIZATIONS`.
        min_samples: the length of the shortest clip that the model takes, in samples.
        max_samples: the length of the longest clip to run at once, in samples; the memory of
            attention grows with its square.
        architecture: the family of the model, for example `wav2vec2`.
        checkpoint: the name of the checkpoint that the weights came from.
        revision: the commit of the checkpoint, or "" if it was a folder.
        license: the license of the weights, as the checkpoint states it.
        tools: the versions of the programs that made the bundle, by name.
        session_options: configuration entries of ONNX Runtime that suit the model; only those of
            `SESSION_OPTIONS` are allowed.
        precisions: the precisions in the bundle, by name; each is one of `PRECISIONS`.
        schema: the version of `bundle.json`.
        original_labels: what the checkpoint has in place of the labels, in the same order, if they
            are made of something longer, such as tokens in two languages; else empty.
        calibration: how the bundle was calibrated; None if it was not.
        license_text: the lines of the license's text, if the checkpoint has it; else empty.
    """

    name: str
    labels: tuple[str, ...]
    task: str
    sampling_rate: int
    normalization: str
    min_samples: int
    max_samples: int
    architecture: str
    checkpoint: str
    revision: str
    license: str
    tools: Mapping[str, str]
    session_options: Mapping[str, str]
    precisions: Mapping[str, Precision]
    schema: int = SCHEMA
    original_labels: tuple[str, ...] = ()
    calibration: Calibration | None = None
    license_text: tuple[str, ...] = ()

    def metadata(self) -> dict[str, str]:
        """Return the `metadata_props` of each ONNX file, with which it can be used alone."""
        return {
            "voxmood.schema": str(self.schema),
            **({"voxmood.task": self.task} if self.schema > 1 else {}),
            "voxmood.labels": json.dumps(self.labels, ensure_ascii=False),
            "voxmood.sampling_rate": str(self.sampling_rate),
            f"voxmood.{KEYS['normalization']}": self.normalization,
            "voxmood.min_samples": str(self.min_samples),
            "voxmood.source": f"{self.checkpoint}@{self.revision}".rstrip("@"),
            f"voxmood.{KEYS['license']}": self.license,
            "voxmood.session_options": json.dumps(dict(self.session_options), sort_keys=True),
            **({"voxmood.temperature": str(self.temperature)} if self.calibration else {}),
        }

    @property
    def temperature(self) -> float:
        """What divides the logits before the softmax or sigmoid; 1 if it is not calibrated."""
        return self.calibration.temperature if self.calibration else 1.0

    def to_json(self) -> str:
        """Return the text of `bundle.json`."""
        content = {KEYS.get(name, name): value for name, value in asdict(self).items()}
        if self.schema == 1:
            del content["task"]
        for key in ("original_labels", "license_text"):
            if not content[key]:
                del content[key]
        if self.calibration:
            content["calibration"] = self.calibration.to_json()
        else:
            del content["calibration"]
        content = {"schema": content.pop("schema"), **content}
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def model_file(precision: str) -> str:
    """Return the name of a precision's ONNX file; `.data` is added for its external data."""
    return f"model.{precision}.onnx"


def read_bundle(folder: Path) -> Bundle:
    """Return the description of a bundle, read from its `bundle.json` and checked.

    Args:
        folder: the folder of the bundle.

    Raises:
        MissingFileError: the folder does not exist, or has no `bundle.json`.
        BundleError: the description is damaged, or has a newer schema than this release knows.
    """
    path = folder / DESCRIPTION
    if not folder.is_dir():
        raise MissingFileError(f"{folder}: no such bundle; `voxmood export` makes one.")
    _check_inside(folder, path)
    if not path.is_file():
        raise MissingFileError(f"{folder}: has no {DESCRIPTION}, so it is not a bundle.")
    if path.stat().st_size > MAX_DESCRIPTION_BYTES:
        raise BundleError(
            f"{path}: is larger than {MAX_DESCRIPTION_BYTES} bytes; export the bundle again."
        )
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
    """A field of the description is missing or has a wrong value."""


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):  # some readers take the first of them, some the last
        raise ValueError("an object has the same key twice")
    return content


def _no_constant(text: str) -> Any:
    raise ValueError(f"JSON has no {text}")


def _check_content(content: Any, depth: int = 0) -> None:
    """Check what must hold for every value: no deep nesting, and nothing that a terminal obeys."""
    if depth > MAX_DEPTH:
        raise _InvalidFieldError(f"its content is nested more than {MAX_DEPTH} levels deep")
    if isinstance(content, dict):
        for key, value in content.items():
            _check_content(key, depth)
            _check_content(value, depth + 1)
    elif isinstance(content, list):
        for value in content:
            _check_content(value, depth + 1)
    elif isinstance(content, str) and not content.isprintable():
        raise _InvalidFieldError(f"{content[:40]!r} contains control characters")
    elif isinstance(content, (int, float)) and not abs(content) < MAX_NUMBER:  # 1e999 is inf
        raise _InvalidFieldError("a number is too large")


def _parse(content: Any) -> Bundle:
    _check_content(content)
    schema = _get(content, "schema", int)
    if schema > SCHEMA:
        raise BundleError(
            f"this bundle has schema {schema}, and this release reads schemas up to {SCHEMA}; "
            "install a newer voxmood."
        )
    labels = _get(content, "labels", list)
    if not labels or not all(isinstance(label, str) for label in labels):
        raise _InvalidFieldError("labels must be a list of strings")
    if len(set(labels)) < len(labels) or len(labels) > MAX_LABELS:
        raise _InvalidFieldError(f"labels must differ, and there may be at most {MAX_LABELS}")
    if schema < 1:
        raise _InvalidFieldError(f"schema {schema} does not exist")
    task = _get(content, "task", str) if schema > 1 else "classification"
    if task not in OUTPUTS:
        raise _InvalidFieldError(f"task {task!r} is not one of {', '.join(OUTPUTS)}")
    originals = _texts(content, "original_labels")
    if originals and len(originals) != len(labels):
        raise _InvalidFieldError("labels and original_labels must be of one length")
    bundle = Bundle(
        name=_get(content, "name", str),
        labels=tuple(labels),
        task=task,
        sampling_rate=_get(content, "sampling_rate", int),
        normalization=_get(content, KEYS["normalization"], str),
        min_samples=_get(content, "min_samples", int),
        max_samples=_get(content, "max_samples", int),
        architecture=_get(content, "architecture", str),
        checkpoint=_get(content, "checkpoint", str),
        revision=_get(content, "revision", str),
        license=_get(content, KEYS["license"], str),
        tools=_get(content, "tools", dict),
        session_options=_get(content, "session_options", dict),
        precisions={
            name: _parse_precision(name, entry)
            for name, entry in _get(content, "precisions", dict).items()
        },
        schema=schema,
        original_labels=originals,
        license_text=_texts(content, "license_text"),
        calibration=_parse_calibration(_get(content, "calibration", dict), task, len(labels))
        if "calibration" in content
        else None,
    )
    if bundle.normalization not in NORMALIZATIONS:
        raise _InvalidFieldError(f"{KEYS['normalization']} {bundle.normalization!r} is not known")
    rate = bundle.sampling_rate
    if not (
        0 < bundle.min_samples <= bundle.max_samples <= MAX_SECONDS * rate and rate <= MAX_RATE
    ):
        raise _InvalidFieldError("min_samples, max_samples and sampling_rate do not fit together")
    for key, value in bundle.session_options.items():
        if key not in SESSION_OPTIONS or value not in ("0", "1"):
            raise _InvalidFieldError(f"the session option {key!r} may not be {value!r}")
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
    # The names are fixed, so that no description can point outside its folder.
    graph = model_file(name)
    if graph not in files or not files.keys() <= {graph, f"{graph}.data"}:
        raise _InvalidFieldError(f"the files of {name} must be {graph} and its .data")
    return Precision(files, _get(entry, "measured", dict))


def _parse_calibration(content: Mapping[str, Any], task: str, labels: int) -> Calibration:
    speakers = _get(content, "speakers", int) if content.get("speakers") is not None else None
    domain = None
    if "domain" in content:
        found = _get(content, "domain", dict)
        domain = Domain(
            width=_get(found, "width", int),
            projection=_get(found, "projection", str),
            centers=_get(found, "centers", str),
            limit=_number(found.get("limit"), "limit"),
        )
        if domain.problem:
            raise _InvalidFieldError(f"domain: {domain.problem}")
    calibration = Calibration(
        manifest=_get(content, "manifest", str),
        recordings=_get(content, "recordings", int),
        speakers=speakers,
        measured={
            name: _numbers(pair, f"measured {name}", 2)
            for name, pair in _get(content, "measured", dict).items()
        },
        temperature=_number(content.get("temperature"), "temperature"),
        scales=_numbers(content.get("scales", []), "scales", labels),
        offsets=_numbers(content.get("offsets", []), "offsets", labels),
        thresholds=_numbers(content.get("thresholds", []), "thresholds", len(PERCENTS)),
        domain=domain,
    )
    if not 1 / MAX_TEMPERATURE <= calibration.temperature <= MAX_TEMPERATURE:
        raise _InvalidFieldError(f"temperature may not be {calibration.temperature}")
    regression, several = task == "regression", task == "multilabel"
    if bool(calibration.scales) != regression or bool(calibration.offsets) != regression:
        raise _InvalidFieldError("scales and offsets belong to a regression, and to nothing else")
    if bool(calibration.thresholds) == (regression or several):
        raise _InvalidFieldError("thresholds belong to a classification, and to nothing else")
    return calibration


def _numbers(content: Any, key: str, count: int) -> tuple[Any, ...]:
    """Return a list of this many numbers, or an empty one, as a tuple."""
    if not isinstance(content, list) or len(content) not in (0, count):
        raise _InvalidFieldError(f"{key} must be a list of {count} numbers")
    return tuple(_number(each, key) for each in content)


def _number(content: Any, key: str) -> float:
    if not isinstance(content, (int, float)) or isinstance(content, bool):
        raise _InvalidFieldError(f"{key} is missing, or is not a number")
    return float(content)


def _texts(content: Any, key: str) -> tuple[str, ...]:
    """Return a list of strings that a description may lack."""
    texts = _get(content, key, list) if key in content else []
    if not all(isinstance(text, str) for text in texts):
        raise _InvalidFieldError(f"{key} must be a list of strings")
    return tuple(texts)


def _get(content: Any, key: str, kind: type) -> Any:
    value = content.get(key) if isinstance(content, dict) else None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise _InvalidFieldError(f"{key} is missing, or is not of type {kind.__name__}")
    return value


def check_files(folder: Path, precision: Precision, *, hashes: bool) -> None:
    """Check that the files of a precision exist and are undamaged.

    Hashes reveal damage but not malice: whoever can change a file can also change its hash.

    Args:
        folder: the folder of the bundle.
        precision: what the bundle says about these files.
        hashes: whether to compare their SHA-256; their sizes are compared in any case.

    Raises:
        MissingFileError: a file is missing.
        BundleError: a file differs from its description, or is larger than any model.
    """
    for name, expected in precision.files.items():
        path = folder / name
        if not path.is_file():
            raise MissingFileError(f"{path}: is missing from the bundle; copy or export it again.")
        _check_inside(folder, path)
        size = path.stat().st_size
        if size > MAX_MODEL_BYTES:
            raise BundleError(
                f"{path}: has {size} bytes, more than the limit of {MAX_MODEL_BYTES}; export it "
                "again."
            )
        if size != expected.bytes or (hashes and sha256(path) != expected.sha256):
            raise BundleError(
                f"{path}: differs from what {DESCRIPTION} says about it; copy or export it again."
            )


def _check_inside(folder: Path, path: Path) -> None:
    folder = folder.resolve()
    places = [folder]
    if folder.parent.name == "snapshots":  # the cache of huggingface_hub, which links to its blobs
        places.append(folder.parent.parent / "blobs")
    try:
        inside = path.resolve().parent in places
    except (OSError, RuntimeError):  # a link to itself
        inside = False
    if not inside:
        raise BundleError(
            f"{path}: is a symbolic link out of the bundle; copy the bundle in a way that replaces "
            "links with the files that they point to (cp -rL)."
        )


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
