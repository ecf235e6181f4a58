"""Options that several sub-commands take."""

from __future__ import annotations

import argparse

import voxmood
from voxmood.bundle import PRECISIONS
from voxmood.model import Model
from voxmood.session import PROVIDERS


def add_model(parser: argparse.ArgumentParser) -> None:
    """Which model, and how it is run."""
    parser.add_argument(
        "--model", metavar="BUNDLE[@PRECISION]", help="default: the bundle that ships"
    )
    parser.add_argument("--provider", choices=PROVIDERS, default="cpu")
    parser.add_argument("--low-memory", action="store_true", help="for small boards; slower")
    parser.add_argument("--threads", type=positive, metavar="N", help="default: all there are")


def add_windows(parser: argparse.ArgumentParser) -> None:
    """How audio is cut into segments."""
    parser.add_argument(
        "--window", type=float, default=5.0, metavar="S", help="length of a segment (5 s)"
    )
    parser.add_argument(
        "--hop", type=float, default=1.0, metavar="S", help="from one start to the next (1 s)"
    )


def load(options: argparse.Namespace) -> Model:
    """The model that the options of `add_model` ask for."""
    folder, precision = split_precision(options.model)
    return voxmood.load(
        folder,
        precision=precision,
        provider=options.provider,
        threads=options.threads,
        low_memory=options.low_memory,
    )


def split_precision(name: str | None) -> tuple[str | None, str]:
    """`BUNDLE@int8` to ("BUNDLE", "int8"); without a precision that is `auto`."""
    if name is not None:
        folder, at, precision = name.rpartition("@")
        if at and precision in PRECISIONS:
            return folder, precision
    return name, "auto"


def positive(text: str) -> int:
    """An argument that counts something."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
