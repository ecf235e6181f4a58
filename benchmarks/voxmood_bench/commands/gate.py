"""`voxmood bench gate`: checks whether a report keeps its bounds."""

from __future__ import annotations

import argparse

from voxmood.commands.options import write_report
from voxmood.comparison.report import Report
from voxmood.files import check_outputs
from voxmood_bench.report.files import read_report
from voxmood_bench.report.gate import (
    Limits,
    against_earlier,
    against_reference,
    ratios,
    read_bounds,
)


def run(options: argparse.Namespace) -> int:
    """Check the report that the options name, print the verdict; return the exit status."""
    inputs = [file for file in (options.new, options.baseline, options.bounds) if file]
    check_outputs([file for file in (options.junit, options.markdown) if file], inputs)
    new = read_report(options.new)
    engine = options.engine or new.main
    limits = Limits(
        max_time=options.max_time,
        max_memory=options.max_memory,
        max_accuracy_loss=options.max_accuracy_loss,
        min_agreement=options.min_agreement,
        max_drift=options.max_drift,
        min_sqnr=options.min_sqnr,
    )
    facts = {"report": str(options.new), "engine": engine, "machine": new.machine.describe()}
    measures = against_reference(new, engine, limits)
    if options.baseline:
        facts["baseline"] = str(options.baseline)
        earlier = read_report(options.baseline)
        measures += against_earlier(new, earlier, engine, options.max_growth)
    if options.bounds:
        measures += ratios(new, read_bounds(options.bounds))
    noise = new.headline_cell.noise
    if noise is not None:
        facts["noise of the machine"] = f"{noise:.1%} either way"
    return write_report(Report("voxmood bench gate", facts, measures), options)
