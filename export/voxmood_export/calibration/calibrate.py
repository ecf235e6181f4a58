"""The calibration of a bundle: fitted on labeled recordings, written into a new bundle."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from voxmood import CalibrationError, load
from voxmood.audio.listing import choose_recordings
from voxmood.bundle.calibration import Calibration, Domain
from voxmood.bundle.description import DESCRIPTION, Bundle, check_files, read_bundle
from voxmood.bundle.locate import locate
from voxmood.comparison.answers import check_report_outputs
from voxmood.comparison.bounds import Measure
from voxmood.comparison.report import Report, Table
from voxmood.comparison.truth import Judged, judge, left_out, read_truth
from voxmood_export.calibration.domain import fit_domain
from voxmood_export.calibration.fit import Fit, fit_labels, fit_values
from voxmood_export.calibration.write import write_calibrated
from voxmood_export.output import check_bundle_output

if TYPE_CHECKING:
    from voxmood.engine.session import Provider

MIN_RECORDINGS = 30
ENOUGH = (
    f"Calibrating takes {MIN_RECORDINGS} recordings or more, of two labels or more and of two "
    "speakers or more; several hundred of ten speakers or more are better."
)


@dataclass(frozen=True)
class Calibrated:
    """The result of `calibrate`.

    Attributes:
        model: the bundle, and the precision that the answers come from.
        output: the folder of the new bundle.
        bundle: its description.
        earlier: how the bundle was calibrated before, which the new calibration replaces.
        worse: names of the figures that the calibration made worse for recordings that had no part
            in its fit; empty unless the negative log-likelihood grew, or a concordance correlation
            coefficient fell, by more than chance explains.
        seconds: duration of the calibration recordings in total.
        unknown: number of recordings that were left out because the model does not have their
            label, or because no number is stated, by the text in the manifest.
        unreadable: the cause for each recording that could not be labeled, by name.
        max_unreadable: number of recordings that may be unreadable.
    """

    model: str
    output: str
    bundle: Bundle
    earlier: Calibration | None
    worse: Sequence[str]
    seconds: float
    unknown: Mapping[str, int]
    unreadable: Mapping[str, str]
    max_unreadable: int

    @property
    def calibration(self) -> Calibration:
        """How the new bundle is calibrated."""
        assert self.bundle.calibration is not None
        return self.bundle.calibration

    @property
    def warning(self) -> str:
        """Return what to do about the figures that are worse; "" if there are none."""
        if not self.worse:
            return ""
        pairs = [(name, *self.calibration.measured[name]) for name in self.worse]
        figures = ", ".join(f"{name} {old:.4g} before, {new:.4g} after" for name, old, new in pairs)
        return (
            f"the calibration makes answers about other recordings worse ({figures}). Keep the "
            "bundle as it was, or calibrate it on more recordings of more speakers: several "
            "hundred recordings of ten speakers or more."
        )

    def report(self) -> Report:
        """Return a report that can be written as text, JSON, JUnit XML or Markdown."""
        new = self.calibration
        by = "recording" if new.speakers is None else f"speaker ({new.speakers})"
        facts = {
            "model": self.model,
            "manifest": f"{new.manifest}: {new.recordings} recordings, {self.seconds / 60:.1f} min",
            "written": self.output,
        }
        if self.earlier:
            facts["before"] = (
                f"it was calibrated on {self.earlier.manifest}; that was undone, and the new fit "
                "begins without it"
            )
        if new.scales:
            pairs = zip(self.bundle.labels, new.scales, new.offsets, strict=True)
            facts["fitted"] = ", ".join(f"{a:.4g} {n} {b:+.4g}" for n, a, b in pairs)
        else:
            facts["fitted"] = f"temperature {new.temperature:.4g}"
        rows = [
            (name, *(f"{number:.4g}" for number in pair)) for name, pair in new.measured.items()
        ]
        tables = [
            Table(f"cross-validated by {by}", ("", "before", "after"), rows),
            *left_out(self.unknown, self.unreadable),
        ]
        measures = [
            Measure("unreadable recordings", len(self.unreadable), at_most=self.max_unreadable)
        ]
        data = {"facts": facts, "calibration": new.to_json(), "worse": self.worse}
        return Report("voxmood calibrate", facts, measures, tables, data)


def calibrate(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    manifest: str | os.PathLike[str],
    audio: str | os.PathLike[str] | None = None,
    labels: Mapping[str, str] | None = None,
    ignore_unknown: bool = False,
    max_unreadable: int = 0,
    provider: Provider = "cpu",
    device: str | None = None,
    threads: int | None = None,
    force: bool = False,
    progress: bool = False,
    outputs: Sequence[str | os.PathLike[str]] = (),
) -> Calibrated:
    """Calibrate a bundle on labeled recordings, and write a new bundle whole or not at all.

        voxmood_export.calibrate("bundle", "calibrated", manifest="list.csv")
        voxmood.load("calibrated").predict("clip.wav").candidates(coverage=0.9)

    Of a model that gives labels, a temperature is fitted (Guo et al., ICML 2017), which changes the
    probabilities and neither logits nor labels, and the thresholds of its sets of candidates. Of a
    regression, a scale and an offset for each value are fitted, by CCC. Also fitted is where the
    embeddings lie. All precisions of the new bundle get the same. What an earlier calibration did
    is undone first.

    Args:
        source: `BUNDLE[@PRECISION]`, as `voxmood.load` takes it; the precision gives the answers
            that are fitted.
        output: the folder of the new bundle.
        manifest: a CSV file, as `voxmood.evaluate` takes it, of recordings that the model was not
            trained on, and that are like those that it will hear. With a column `speaker`, it is
            measured on speakers that were left out, else on recordings that were.
        audio: the folder that the paths are relative to; None means that of the manifest.
        labels: the model's label for each label of the manifest that has another name there.
        ignore_unknown: leave out, and count, recordings whose label the model does not have, or
            that do not state a number. Otherwise they are an error.
        max_unreadable: number of recordings that may be missing or unreadable.
        provider: the execution provider, as `voxmood.load` takes it.
        device: the type of hardware, as `voxmood.load` takes it.
        threads: number of threads; None takes all processors of this process.
        force: whether a bundle that already exists is replaced once the new one is verified.
            Nothing but a bundle is ever replaced.
        progress: show a progress bar on standard error, if that is a terminal.
        outputs: files that the caller will write the result to; none of them may be an input.

    Raises:
        MissingFileError: the bundle or the manifest is missing.
        BundleError, ProviderError: the bundle does not load.
        ManifestError: the manifest cannot be used, or has labels that the model does not have.
        CalibrationError: the recordings are too few, or all of one label or speaker, or more of
            them are unreadable than allowed, or the model's values do not follow the truth.
        AudioError: no recording can be read.
        OutputExistsError: the output already exists, and is not a bundle or `force` is not set.
        OutputError: an output is also an input, or cannot be made.
        VerificationError: a graph of the new bundle does not compute what it should.
        ExportError: the bundle cannot be written.
    """
    output = Path(output)
    location = locate(source)
    folder = location.fetch([DESCRIPTION])
    bundle = read_bundle(folder)
    location.fetch(file for entry in bundle.precisions.values() for file in entry.files)
    check_bundle_output(output, str(folder), None if audio is None else Path(audio), force=force)
    recordings = choose_recordings(audio, manifest, Counter())  # once, since it may be a pipe
    check_report_outputs(outputs, recordings, manifest, [source])
    known, unknown = read_truth(
        os.fspath(manifest),
        recordings,
        bundle.labels,
        dict(labels or {}),
        bundle.task,
        ignore_unknown,
    )
    truth = np.array(list(known.values()))
    _check_enough(truth, [each.speaker or "" for each in known], bundle)
    for entry in bundle.precisions.values():  # now, and not after all recordings were run
        check_files(folder, entry, hashes=True)
    model = load(source, provider=provider, device=device, threads=threads, verify=False)
    judged = judge(model, known, channel="mix", place=manifest, progress=progress)
    if len(judged.unreadable) > max_unreadable:
        name, cause = next(iter(judged.unreadable.items()))
        raise CalibrationError(
            f"{os.fspath(manifest)}: {len(judged.unreadable)} recordings cannot be read, and "
            f"{max_unreadable} may be (max_unreadable=, or --max-unreadable); for example, {name}: "
            f"{cause}"
        )
    _check_enough(judged.truth, judged.groups.tolist(), bundle)
    fit, domain = _fit(judged, bundle)
    calibration = fit.calibration(Path(manifest).name, len(judged.answers), judged.speakers, domain)
    new = write_calibrated(folder, output, calibration, force=force)
    return Calibrated(
        model=f"{location.name}@{model.precision}",
        output=os.fspath(output),
        bundle=new,
        earlier=bundle.calibration,
        worse=fit.worse,
        seconds=judged.seconds,
        unknown=unknown,
        unreadable=judged.unreadable,
        max_unreadable=max_unreadable,
    )


def _check_enough(truth: np.ndarray, speakers: Sequence[str], bundle: Bundle) -> None:
    """Check that a calibration means something.

    Args:
        truth: the truth of each recording [recordings, labels].
        speakers: the speaker of each recording; "" if it is not known.
        bundle: the bundle to calibrate.

    Raises:
        CalibrationError: it means nothing.
    """
    columns = zip(bundle.labels, truth.T, strict=True)
    constant = [name for name, column in columns if np.ptp(column) == 0]
    problem = ""
    if len(truth) < MIN_RECORDINGS:
        problem = f"there are {len(truth)} labeled recordings"
    elif bundle.task == "regression" and constant:
        problem = f"{constant[0]} is the same for all recordings"
    elif len(constant) == len(bundle.labels):
        problem = "all recordings have the same label"
    elif all(speakers) and len(set(speakers)) == 1:
        problem = f"all recordings are of one speaker, {speakers[0]!r}"
    if problem:
        raise CalibrationError(f"{bundle.name} cannot be calibrated, because {problem}. {ENOUGH}")


def _fit(judged: Judged, bundle: Bundle) -> tuple[Fit, Domain | None]:
    """Return what fits the answers, and where the embeddings lie."""
    logits = np.array([answer.logits for answer in judged.answers], np.float64)
    classes = np.zeros(len(logits), int)
    if bundle.task == "regression":
        fit = _fit_values(judged, logits, bundle)
    else:
        several = bundle.task == "multilabel"
        fit = fit_labels(judged.truth > 0, logits, judged.groups, several)
        classes = classes if several else judged.truth.argmax(axis=1)
    embeddings = np.array([answer.embedding for answer in judged.answers], np.float64)
    return fit, fit_domain(embeddings, classes, judged.groups)


def _fit_values(judged: Judged, values: np.ndarray, bundle: Bundle) -> Fit:
    if bundle.calibration:  # undo it
        values = (values - bundle.calibration.offsets) / bundle.calibration.scales
    for name, found, true in zip(bundle.labels, values.T, judged.truth.T, strict=True):
        if np.ptp(found) == 0 or np.corrcoef(found, true)[0, 1] <= 0:
            raise CalibrationError(
                f"{bundle.name} cannot be calibrated, because its {name} does not rise with the "
                "true one on these recordings; check the column of the manifest."
            )
    return fit_values(judged.truth, values, judged.groups, bundle.labels)
