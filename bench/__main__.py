"""Runs every measurement and writes docs/benchmarks.md: `python -m bench [--full] [--fresh] [NAME …]`.

Each is a process of its own. What has been measured is kept in a file, so a run that was stopped goes on where it
was; `--fresh` measures all again. `--full`: on Apache Kafka where a broker matters, and 50 million spans; its page is
docs/benchmarks-full.md. Exits 1 when one of them failed; a figure that misses its target is no failure, it is told.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import msgspec
from rich.console import Console

from bench.figures import Figure
from bench.page import page
from bench.plan import PLAN, Bench
from bench.targets import target_of, verdict

ROOT = Path(__file__).parents[1]
PAGE, PAGE_OF_FULL = ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "benchmarks-full.md"


class Kept(msgspec.Struct):
    """What one measurement gave: figures, or what kept it from giving any."""

    bench: str
    options: list[str]
    seconds: float
    figures: list[Figure] = []
    fault: str = ""


def main() -> int:
    """Runs what is not kept yet, shows all of it, writes the page when it was a whole run."""
    asked = _asked()
    told = Console(stderr=True)
    state: Path = asked.state
    if asked.fresh:
        state.unlink(missing_ok=True)
    plan = [b for b in PLAN if not asked.names or b.name in asked.names]
    kept = read(state)
    for n, bench in enumerate(plan, 1):
        options = ["--quick"] if asked.quick else [*(bench.full if asked.full else ())]
        if asked.full and bench.broker:
            options.append("--apache")
        before = kept.get(bench.name)
        if before is not None and before.options == options and not before.fault:
            told.print(f"{n} of {len(plan)}  {bench.name}: measured already", style="dim")
            continue
        told.print(f"{n} of {len(plan)}  {bench.name}: {bench.about}", style="bold")
        kept[bench.name] = _run(bench, options)
        write(state, kept)
        told.print(kept[bench.name].fault or f"{kept[bench.name].seconds:.0f} s", style="dim")
    these = [kept[b.name] for b in plan]
    show(these)
    if not asked.names and not asked.quick:
        found = {k.bench: k.figures for k in these if not k.fault}
        faults = {k.bench: k.fault for k in these if k.fault}
        where = PAGE_OF_FULL if asked.full else PAGE
        where.write_text(page(found, faults, full=asked.full), encoding="utf-8")
        told.print(f"written: {where.relative_to(ROOT)}")
    return 1 if any(k.fault for k in these) else 0


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these; the page is then not written")
    parser.add_argument("--full", action="store_true", help="Apache Kafka, 50 million spans")
    parser.add_argument("--quick", action="store_true", help="small and short: shows that all run, and writes no page")
    parser.add_argument("--fresh", action="store_true", help="forget what was measured")
    parser.add_argument("--state", type=Path, default=ROOT / ".bench.json", help="where figures are kept")
    asked = parser.parse_args()
    unknown = set(asked.names) - {b.name for b in PLAN}
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(b.name for b in PLAN)}")
    return asked


def _run(bench: Bench, options: list[str]) -> Kept:
    """Its progress goes to the terminal as it comes."""
    began = time.monotonic()
    command = [sys.executable, "-m", f"bench.{bench.name}", "--json", *options]
    figures: list[Figure] = []
    fault = ""
    try:
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, timeout=bench.timeout_s, check=True)  # noqa: S603  ours
        figures = msgspec.json.decode(done.stdout, type=list[Figure])
    except subprocess.TimeoutExpired:
        fault = f"took longer than {bench.timeout_s} s"
    except subprocess.CalledProcessError as error:
        fault = f"ended with code {error.returncode}; its last words are above"
    except msgspec.DecodeError as error:
        fault = f"did not answer with figures: {error}"
    return Kept(bench.name, options, round(time.monotonic() - began, 1), figures, fault)


def read(state: Path) -> dict[str, Kept]:
    """By measurement. A file that is cut or of another version is as good as none."""
    try:
        return {k.bench: k for k in msgspec.json.decode(state.read_bytes(), type=list[Kept])}
    except (OSError, msgspec.DecodeError):
        return {}


def write(state: Path, kept: dict[str, Kept]) -> None:
    """Whole or not at all."""
    beside = state.with_suffix(".new")
    beside.write_bytes(msgspec.json.encode(list(kept.values())))
    beside.replace(state)


def show(kept: list[Kept]) -> None:
    """A line a figure, as wide as it is: a table that is cut to a terminal loses the names."""
    for one in kept:
        sys.stdout.write(f"\n{one.bench}\n" + (f"  no figure: {one.fault}\n" if one.fault else ""))
        for f in one.figures:
            target = target_of(f)
            name, words = f.name.partition(".")[2], f"{f.figure:,g} {f.unit}"
            judged = f"{verdict(f)} ({target.words})" if target else f.note
            sys.stdout.write(f"  {name:<32}{words:<28}{f.yardstick:<36}ratio {f.ratio:<10g}{judged}\n".rstrip() + "\n")


if __name__ == "__main__":
    sys.exit(main())
