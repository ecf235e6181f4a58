"""`voxmood bench profile`: shows where the time of one run of a bundle goes."""

from __future__ import annotations

import argparse
import json

from voxmood_bench.measure.profile import profile_bundle
from voxmood_bench.report.bars import as_text
from voxmood_bench.report.typed_json import to_json


def run(options: argparse.Namespace) -> int:
    """Profile the bundle that the options name and print the result; return the exit status."""
    profile = profile_bundle(options.model, seconds=options.seconds, threads=options.threads)
    print(json.dumps(to_json(profile)) if options.json else as_text(profile))
    return 0
