"""Runs every case of faults with ten seeds: `python -m tests.fault.soak`. It goes on where it was stopped.

Several cases run at once, each on a broker and a store of its own process of tests: most of the time they wait.
Its outcomes lie in one file; `--fresh` begins again. Exits 1 when a case failed with any seed.
"""

import argparse
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.fault.outcomes import Outcome, read

ROOT = Path(__file__).parents[2]
ROUNDS = 10
JOBS = 3


def soaked(outcomes: list[Outcome]) -> dict[str, dict[int, Outcome]]:
    """The last outcome of each case with each seed."""
    last: defaultdict[str, dict[int, Outcome]] = defaultdict(dict)
    for outcome in outcomes:
        last[outcome.case][outcome.seed] = outcome
    return dict(last)


def show(outcomes: list[Outcome], rounds: int, console: Console) -> bool:
    """A row a case; whether all has passed."""
    table = Table("case", "passed", "failed seeds", "median s", title=f"{rounds} rounds")
    whole = True
    for case, by_seed in sorted(soaked(outcomes).items()):
        good = [o for o in by_seed.values() if o.outcome == "passed"]
        bad = sorted(o.seed for o in by_seed.values() if o.outcome != "passed")
        whole &= not bad and len(good) == rounds
        median = f"{statistics.median(o.seconds for o in by_seed.values()):.1f}"
        table.add_row(case.partition("[")[2].rstrip("]"), f"{len(good)} of {rounds}", ", ".join(map(str, bad)), median)
    console.print(table)
    return whole and bool(outcomes)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fault.soak", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"seeds to run with (default: {ROUNDS})")
    parser.add_argument("--jobs", type=int, default=JOBS, help=f"cases at a time (default: {JOBS})")
    parser.add_argument("--state", type=Path, default=ROOT / ".soak.jsonl", help="where outcomes are kept")
    parser.add_argument("--fresh", action="store_true", help="forget what has passed already")
    asked = parser.parse_args()
    if asked.fresh:
        asked.state.unlink(missing_ok=True)
    console = Console(stderr=True)
    for seed in range(1, asked.rounds + 1):
        console.print(f"round {seed} of {asked.rounds}", style="bold")
        run = [sys.executable, "-m", "pytest", "-q", "tests/fault/test_faults.py", "-p", "no:cacheprovider"]
        run += ["-n", str(asked.jobs), "--dist", "loadscope", "--no-loadscope-reorder"]
        subprocess.run([*run, "--seed", str(seed), "--outcomes", str(asked.state)], cwd=ROOT, check=False)
    return 0 if show(read(asked.state), asked.rounds, Console()) else 1


if __name__ == "__main__":
    sys.exit(main())
