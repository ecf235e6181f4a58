"""Which values of a parameter the everyday tests take; the thorough ones take the others, too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

import pytest


def first_of(values: Iterable[Any], count: int = 1) -> list[Any]:
    """Return parameters, of which those after the first ones are thorough."""
    values = list(values)
    rest = (pytest.param(each, marks=pytest.mark.thorough) for each in values[count:])
    return [*values[:count], *rest]


def one_at_a_time(*axes: Sequence[Any]) -> list[Any]:
    """Return all combinations, of which those with two values that are not the first are thorough.

    The everyday tests thus take each value once, beside the first ones of the other parameters.
    """
    return [
        pytest.param(
            *(axis[place] for axis, place in zip(axes, places, strict=True)),
            marks=[pytest.mark.thorough] if sum(map(bool, places)) > 1 else [],
        )
        for places in product(*(range(len(axis)) for axis in axes))
    ]
