"""Measured figures and their bounds: the one place that decides whether a check is passed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

MIN_AGREEMENT = 0.99
"""The share of recordings with the same label that a comparison requires by default."""

DIGITS, MOST_DIGITS = 4, 18  # of a printed figure, if they are enough; no number has more


@dataclass(frozen=True)
class Measure:
    """A measured figure with its bounds, if it has any.

    Attributes:
        name: what was measured; unique within a report.
        value: the figure; None or NaN if it could not be measured, which meets no bound.
        at_least: lower bound; an equal value meets it.
        at_most: upper bound; an equal value meets it.
        unit: unit that is printed behind the figure; `%` prints a share in percent (0.99 as 99%).
        interval: the 95 % confidence interval of the value, for information; bounds apply to the
            value alone.
    """

    name: str
    value: float | None
    at_least: float | None = None
    at_most: float | None = None
    unit: str = ""
    interval: tuple[float, float] | None = None

    @property
    def met(self) -> bool | None:
        """Whether the value meets the bounds; None if there are no bounds."""
        if self.at_least is None and self.at_most is None:
            return None
        value = math.nan if self.value is None else self.value  # no comparison with NaN is true
        return (self.at_least is None or value >= self.at_least) and (
            self.at_most is None or value <= self.at_most
        )

    def measured(self) -> str:
        """Return the value as text."""
        return "not measured" if self.value is None else self._as_text(self.value, self._digits)

    def required(self) -> str:
        """Return the bounds as text, which is empty if there are none."""
        bounds = []
        if self.at_least is not None:
            bounds.append(f"at least {self._as_text(self.at_least, self._digits)}")
        if self.at_most is not None:
            bounds.append(f"at most {self._as_text(self.at_most, self._digits)}")
        return ", ".join(bounds)

    def complaint(self) -> str:
        """Return the message for a bound that is missed."""
        return f"{self.measured()}, must be {self.required()}"

    def uncertainty(self) -> str:
        """Return the interval as text, which is empty if there is none."""
        return "" if self.interval is None else " to ".join(map(self._as_text, self.interval))

    @property
    def _digits(self) -> int:
        """The digits to print: so many that a missed bound and the value are different texts."""
        bounds = [bound for bound in (self.at_least, self.at_most) if bound is not None]
        if self.met is False and self.value is not None:
            for digits in range(DIGITS, MOST_DIGITS):
                texts = [self._as_text(bound, digits) for bound in bounds]
                if self._as_text(self.value, digits) not in texts:
                    return digits
        return DIGITS

    def _as_text(self, value: float, digits: int = DIGITS) -> str:
        if self.unit == "%":
            return f"{100 * value:.{digits - 2}f}".rstrip("0").rstrip(".") + "%"
        return f"{value:.{digits}g} {self.unit}".rstrip()


def missed(measures: Sequence[Measure]) -> list[Measure]:
    """Return the measures that miss a bound."""
    return [measure for measure in measures if measure.met is False]


def passed(measures: Sequence[Measure]) -> bool:
    """Return whether there is at least one bound and all bounds are met."""
    return not missed(measures) and any(measure.met for measure in measures)
