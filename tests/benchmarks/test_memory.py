"""Start and memory from fresh processes; what they come to is no test."""

from __future__ import annotations

from typing import Any

from voxmood_bench.memory import start


def test_every_start_is_a_fresh_process_and_medians_are_taken() -> None:
    starts: list[FreshWorker] = []

    class FreshWorker:
        def __init__(self, private: float) -> None:
            self.private, self.runs, self.closed = private, [0.5, 0.3, 0.2], False

        def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
            if command == "memory":
                assert not self.runs  # after it has run
                return {"private_mb": self.private, "peak_resident_mb": 2 * self.private}
            return {"seconds": [self.runs.pop(0)]}

        def __enter__(self) -> FreshWorker:
            return self

        def __exit__(self, *_: object) -> None:
            self.closed = True

    def load() -> tuple[Any, dict[str, Any]]:
        starts.append(FreshWorker([30.0, 10.0, 20.0][len(starts)]))
        return starts[-1], {"import_s": 1.0, "load_s": 0.1 * len(starts)}

    figures = start(load, "clip.npy", 3)
    assert figures == {
        "import_s": 1.0, "load_s": 0.2, "first_run_ms": 500.0, "later_run_ms": 200.0,
        "private_mb": 20.0, "peak_resident_mb": 40.0,
    }  # fmt: skip
    assert all(worker.closed for worker in starts)
