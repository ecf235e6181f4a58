"""Bounds on what was measured: the one place that decides whether a check is passed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

MIN_AGREEMENT = 0.99
"""The share of recordings with the same label that a comparison asks for by itself."""


@dataclass(frozen=True)
class Measure:
    """A figure, and the bounds it has to keep if there are any.

    Attributes:
        name: what was measured, unique within a report.
        value: what it came to; None or NaN if it could not be measured, which meets no bound.
        at_least: lower bound, met by equality.
        at_most: upper bound, met by equality.
        unit: how figures are printed: `%` of a share (0.99 is 99 %), else put behind them.
        interval: the 95 % interval of the value, for information; bounds are on the value.
    """

    name: str
    value: float | None
    at_least: float | None = None
    at_most: float | None = None
    unit: str = ""
    interval: tuple[float, float] | None = None

    @property
    def met(self) -> bool | None:
        """Whether the value keeps the bounds; None where there are none."""
        if self.at_least is None and self.at_most is None:
            return None
        value = math.nan if self.value is None else self.value  # no comparison with NaN is true
        return (self.at_least is None or value >= self.at_least) and (
            self.at_most is None or value <= self.at_most
        )

    def measured(self) -> str:
        """The value as text."""
        return "not measured" if self.value is None else self._as_text(self.value)

    def required(self) -> str:
        """The bounds as text, empty where there are none."""
        bounds = (("at least", self.at_least), ("at most", self.at_most))
        return ", ".join(
            f"{kind} {self._as_text(limit)}" for kind, limit in bounds if limit is not None
        )

    def complaint(self) -> str:
        """What a missed bound is told as."""
        return f"{self.measured()}, must be {self.required()}"

    def uncertainty(self) -> str:
        """The interval as text, empty where there is none."""
        return "" if self.interval is None else " to ".join(map(self._as_text, self.interval))

    def _as_text(self, value: float) -> str:
        if self.unit == "%":
            return f"{100 * value:.2f}".rstrip("0").rstrip(".") + "%"
        return f"{value:.4g} {self.unit}".rstrip()


def missed(measures: Sequence[Measure]) -> list[Measure]:
    """Those whose bounds are not kept."""
    return [measure for measure in measures if measure.met is False]


def passed(measures: Sequence[Measure]) -> bool:
    """Whether all bounds are kept; where there is none, nothing was checked: not passed."""
    return not missed(measures) and any(measure.met for measure in measures)
