"""ELAN files, which pympi-ling reads and writes (extra `annotations`)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.parsers import expat

from voxmood.annotations.tiers import Tier, written
from voxmood.errors import AnnotationError, MissingExtraError
from voxmood.results import Span

try:
    from pympi.Elan import Eaf
except ModuleNotFoundError as error:
    raise MissingExtraError(
        "an ELAN file needs pympi-ling, which is not installed: pip install 'voxmood[annotations]'."
    ) from error

TYPE = "default-lt"
"""The linguistic type of tiers that stand for themselves, as ELAN calls it in a new file."""


def read_eaf(path: Path) -> Mapping[str, list[Span]]:
    """Return the annotations with a text and times of each tier by its name.

    Raises:
        AnnotationError: the file is not one of ELAN, or declares entities, which ELAN never does
            and which can expand without end.
    """
    _refuse_entities(path)
    try:
        eaf = _open(path)
        tiers: dict[str, list[Span]] = {}
        for name in eaf.get_tier_names():
            spans = tiers[name] = []
            aligned = eaf.get_annotation_data_for_tier(name)
            for number, (start, end, text, *_) in enumerate(sorted(aligned), 1):
                if not text.strip():
                    continue
                listed = f"{path}, tier {name!r}, annotation {number}"
                columns = {"speaker": name, "label": text}
                spans.append(Span(start / 1000, end / 1000, name, text, None, listed, columns))
    except OSError:
        raise
    except Exception as error:  # pympi raises errors of many kinds for damaged files
        raise AnnotationError(
            f"{path}: is not an ELAN file that can be read ({type(error).__name__}: {error})."
        ) from error
    return tiers


def _open(path: Path) -> Eaf:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a newer version of the format
        return Eaf(str(path))


def _refuse_entities(path: Path) -> None:
    def refuse(*_: object) -> None:
        raise AnnotationError(f"{path}: declares a document type, which ELAN files never do.")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    try:
        with path.open("rb") as file:
            parser.ParseFile(file)
    except (expat.ExpatError, LookupError) as error:  # of an encoding that is not known
        raise AnnotationError(f"{path}: is not XML ({error}).") from None


def as_eaf(tiers: Sequence[Tier], media: str, base: Path | None = None) -> str:
    """Return an ELAN file with a tier of labels, and one of numbers, for each speaker or channel.

    Args:
        tiers: the tiers.
        media: the file name of the recording.
        base: an ELAN file whose tiers come first, as they are; None begins with none.
    """
    if base is None:
        eaf = Eaf(author="voxmood")
        eaf.remove_tier("default")
        eaf.add_linked_file(media, mimetype="audio/x-wav")
    else:
        eaf = _open(base)
    if TYPE not in eaf.get_linguistic_type_names():
        eaf.add_linguistic_type(TYPE)
    for name, tier, text in written(tiers, eaf.get_tier_names()):
        eaf.add_tier(name, TYPE)
        for start, end, segment in tier.parts:
            begin, stop = round(1000 * start), round(1000 * end)
            if begin < stop:
                eaf.add_annotation(name, begin, stop, text(segment))
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.eaf")
        eaf.to_file(str(path))
        return path.read_text("utf-8")
