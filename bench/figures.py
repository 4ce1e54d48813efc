"""What every measurement gives: figures, each beside its yardstick of the same run. Judges none of them."""

import argparse
import sys
from collections.abc import Callable, Sequence

import msgspec


class Figure(msgspec.Struct, frozen=True):
    """`figure` is the median over `runs`; `yardstick` is what it is held against, in words and in that unit.

    `ratio` is figure / yardstick.
    """

    name: str
    figure: float
    unit: str
    yardstick: str
    ratio: float
    runs: int
    note: str = ""


def options(module: str, about: str | None) -> argparse.ArgumentParser:
    """The options that all of them have."""
    parser = argparse.ArgumentParser(
        prog=f"python -m bench.{module}", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--quick", action="store_true", help="small and short: it shows that it runs, and no figure")
    return parser


def progress(module: str) -> Callable[[str], None]:
    """Says on stderr what goes on."""
    return lambda words: print(f"{module}: {words}", file=sys.stderr, flush=True)  # noqa: T201  progress


def tell(figures: Sequence[Figure], as_json: bool) -> None:
    """A line a figure, or all as JSON, on stdout."""
    if as_json:
        sys.stdout.write(msgspec.json.encode(figures).decode() + "\n")
        return
    for f in figures:
        words = f"{f.figure:12,.2f} {f.unit}"
        sys.stdout.write(f"{f.name:<34}{words:<40} {f.yardstick:<40} ratio {f.ratio:.3f}  {f.note}\n")
