"""Where the time of one run goes, as bars of text for a terminal."""

from __future__ import annotations

from voxmood_bench.report.schema import TimeProfile

BAR_WIDTH = 30
SMALL = 0.002  # the share of the time below which operators are shown together


def as_text(profile: TimeProfile) -> str:
    """Return a bar for each part of the network and for each operator."""
    whole = profile.milliseconds
    lines = [
        f"{profile.bundle}@{profile.precision}: {whole:.1f} ms for "
        f"{profile.seconds:g} s of audio, {profile.threads} threads",
        profile.machine.describe(),
    ]
    operators = {name: ms for name, ms in profile.operators.items() if ms >= SMALL * whole}
    others = [ms for ms in profile.operators.values() if ms < SMALL * whole]
    operators[f"{len(others)} others"] = sum(others)
    parts = profile.all_parts
    width = max(map(len, parts | operators))
    for title, rows in (("part", parts), ("operator", operators)):
        lines += ["", f"{title:<{width}}       ms"]
        for name, ms in rows.items():
            bar = "█" * round(ms / whole * BAR_WIDTH)
            lines.append(f"{name:<{width}} {ms:>8.2f} {ms / whole:>6.1%} {bar}".rstrip())
    return "\n".join(lines)
