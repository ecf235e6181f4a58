"""Mixed precision: the most sensitive layers stay in float, as few as are enough."""

from __future__ import annotations

import pytest

from voxmood_export.int8.sensitivity import fewest_in_float


@pytest.mark.parametrize("needed", [1, 2, 3, 7, 8, 10])
def test_the_search_finds_the_smallest_prefix(needed: int) -> None:
    sensitivity = {f"w{index}": float(index) for index in range(10)}
    tried: list[int] = []

    def enough(names: list[str]) -> bool:
        tried.append(len(names))
        return len(names) >= needed

    kept = fewest_in_float(sensitivity, enough)
    assert kept == [f"w{9 - index}" for index in range(needed)]
    assert len(tried) <= 8
    assert fewest_in_float(sensitivity, lambda names: False) == list(reversed(sensitivity))
