"""A run as a page: the result's own figures as tables and plots. Pure; reads no store and writes no file.

The page shows what the terminal shows, from the same object, and beside it how the figures are distributed.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import zip_longest
from math import floor, log10
from typing import TYPE_CHECKING

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined

from alerts.slos import Objective, TurnObjective
from deploy.demo.distributions import LATENCY, TENTHS, Distributions, Gaps, Spread, Tenth
from deploy.demo.report import Breach, Latency
from deploy.demo.result import Result
from grafana.charts import DARK, LIGHT, Look, bars, embedded, histogram, stack
from grafana.charts.embed import DRAW, PLOTLY_FILE
from grafana.charts.figures import BINS_PER_DECADE
from runtime.events import Component

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

CALL_PAGES_MAX = 100
BREACHES_SHOWN_MAX = 200  # rows; the figures for a program (--json) have all of them
TOLD_MAX = 20  # calls in a sentence
_UNFOLDED = 12  # rows of breaches that one sees at first
_WINDOW_MS = (50, 5000)  # what the axis of latencies shows at least, so that two runs look alike
_GAP_WINDOW_MS = (10, 2000)


class CallLine(msgspec.Struct, frozen=True):
    """A call that has a page of its own; `slowest_ms` is its worst end to end, absent when it was never answered."""

    call_id: str
    disposition: str
    turns: int
    slowest_ms: float | None
    complete: bool


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the latency table. `latency` is the report's, absent for a figure that is no component's latency."""

    key: str
    label: str
    component: str
    latency: Latency | None
    spread: Spread

    @property
    def whole(self) -> bool:
        return self.component == Component.TURN and self.latency is not None


class Kind(msgspec.Struct, frozen=True):
    """How the calls with one kind of fault fared: `named` for the objective that it must breach."""

    fault: str
    objective: str
    injected: int
    named: int


def order_of_calls(result: Result, worst_first: Sequence[str]) -> tuple[str, ...]:
    """Every call once: those that breach an objective, the worst of each objective before the second of any; then the
    rest as given.
    """
    by_objective: dict[str, list[str]] = {}
    for breach in result.report.breaches:  # the worst of each objective is first already
        by_objective.setdefault(breach.objective, []).append(breach.call_id)
    breaching = (call for rank in zip_longest(*by_objective.values()) for call in rank if call is not None)
    return tuple(dict.fromkeys((*breaching, *worst_first)))


def run_page(
    result: Result,
    objectives: Sequence[Objective],
    found: Distributions,
    lines: Sequence[CallLine],
    made: Mapping[str, str],
) -> str:
    """One HTML document. `lines` are the calls that have a page at `calls/<call_id>.html`, in the order of the page;
    `made` says how the run was made, in the words of the reader.
    """
    report = result.report
    rows = latency_rows(report.latency, found.spreads)
    listed = {line.call_id for line in lines}
    place = {line.call_id: i for i, line in enumerate(lines)}
    breaches = sorted(report.breaches, key=lambda b: place.get(b.call_id, len(lines)))
    breaching = {b.call_id for b in report.breaches}
    named = {(b.call_id, b.objective) for b in report.breaches}
    figures = _figures(result, objectives, found, rows)
    return (
        _environment()
        .get_template("run.html")
        .render(
            result=result,
            report=report,
            made_at=datetime.fromtimestamp(int(result.run, 16) / 1000, UTC),
            made=made,
            whole=next((row.latency for row in rows if row.whole), None),
            rows=rows,
            over={o.name: _over(report.breaches, o) for o in objectives},
            objectives={o.name: o for o in objectives},
            kinds=_kinds(result),
            missed=[i for i in result.injected if (i.call_id, i.breaches) not in named],
            told_max=TOLD_MAX,
            unexpected=len(named - {(i.call_id, i.breaches) for i in result.injected}),
            breaching=breaching,
            breaches=breaches[:BREACHES_SHOWN_MAX],
            unfolded=_UNFOLDED,
            injected={i.call_id: i.fault for i in result.injected},
            others=[line for line in lines if line.call_id not in breaching],
            listed=listed,
            lines={line.call_id: line for line in lines},
            left_out=report.calls - len(lines),
            found=found,
            tail=tail(found.tenths),
            failed=report.dispositions.get(result.failed_as, 0),
            is_turn=lambda name: any(isinstance(o, TurnObjective) and o.name == name for o in objectives),
            looks=(LIGHT, DARK),
            colours={
                f: (getattr(LIGHT, f), getattr(DARK, f)) for f in ("ground", "ink", "soft", "line", "plain", "breach")
            },
            figures=embedded(figures),
            plotly_file=PLOTLY_FILE,
            draw=DRAW,
            draw_hash=base64.b64encode(hashlib.sha256(DRAW.encode()).digest()).decode(),
        )
    )


def latency_rows(latencies: Sequence[Latency], spreads: Sequence[Spread]) -> list[Row]:
    """A row for each component of the report, end to end first. A figure with an objective joins the row of its
    component where it is that component's latency, and has a row of its own where it is not.
    """
    rows: list[Row] = []
    for latency in sorted(latencies, key=lambda row: row.component != Component.TURN):
        its = [s for s in spreads if s.component == latency.component]
        own = next((s for s in its if s.figure == LATENCY), None)
        if own is None:
            continue  # the rollup has what the spans do not: they are kept for fewer days
        same = [s for s in its if s.figure != LATENCY and s.is_latency and s.n == own.n and not own.limits_ms]
        shown = same[0] if same else own
        label = "end to end" if latency.component == Component.TURN else latency.component
        rows.append(
            Row(key=f"row-{len(rows)}", label=label, component=latency.component, latency=latency, spread=shown)
        )
        for spread in its:
            if spread not in (own, shown):
                name = f"{label}: {spread.figure.removesuffix('_us')}"
                rows.append(
                    Row(key=f"row-{len(rows)}", label=name, component=latency.component, latency=None, spread=spread)
                )
    return rows


def tail(tenths: Sequence[Tenth]) -> tuple[Tenth, Tenth, list[tuple[str, float]]] | None:
    """The slowest tenth, the tenth above the median, and by which parts (in ms) the one is slower, the largest first.

    The parts add up to the difference of the two waits. None when there are too few turns to speak of tenths.
    """
    if len(tenths) < TENTHS:
        return None
    slowest, middle = tenths[-1], tenths[len(tenths) // 2]
    names = slowest.parts_ms.keys() | middle.parts_ms.keys()
    more = {name: slowest.parts_ms.get(name, 0.0) - middle.parts_ms.get(name, 0.0) for name in names}
    return slowest, middle, sorted(more.items(), key=lambda item: (-item[1], item[0]))


def _figures(
    result: Result, objectives: Sequence[Objective], found: Distributions, rows: Sequence[Row]
) -> dict[str, Callable[[Look], "Figure"]]:
    report = result.report
    breaching = frozenset(o.outcome.value for o in objectives if isinstance(o, TurnObjective))
    failed = frozenset({result.failed_as})
    figures: dict[str, Callable[[Look], Figure]] = {
        "outcomes": partial(bars, report.outcomes, what="turns", breaching=breaching),
        "dispositions": partial(bars, report.dispositions, what="calls", breaching=failed),
    }
    window = _window([row.spread for row in rows], _WINDOW_MS)
    for row in rows:
        figures[row.key] = partial(_row_figure, row, window, ticks=row is rows[-1])
    if found.gaps.bins:
        figures["gaps"] = partial(_gaps_figure, found)
    if found.tenths:
        figures["tenths"] = partial(_tenths_figure, found)
    return figures


def _row_figure(row: Row, window: tuple[int, int], look: Look, ticks: bool) -> "Figure":
    marks = {"P50": row.latency.p50_ms, "P90": row.latency.p90_ms} if row.latency else {}
    return histogram(
        row.spread.bins,
        look,
        colour=look.part(row.component),
        what="turns" if row.whole else "spans",
        window=window,
        marks=marks,
        limits_ms=row.spread.limits_ms,
        named=row.whole,
        height_px=76 if row.whole else 34,
        ticks=ticks,
    )


def _gaps_figure(found: Distributions, look: Look) -> "Figure":
    return histogram(
        found.gaps.bins,
        look,
        colour=look.plain,
        what="gaps",
        window=_window([found.gaps], _GAP_WINDOW_MS),
        limits_ms=found.gaps.limits_ms,
        height_px=70,
        ticks=True,
    )


def _tenths_figure(found: Distributions, look: Look) -> "Figure":
    last = len(found.tenths) - 1
    names = ["fastest" if i == 0 else "slowest" if i == last else str(i + 1) for i in range(last + 1)]
    parts = {part: [tenth.parts_ms.get(part, 0.0) for tenth in found.tenths] for part in found.parts}
    # Those that the text beside it speaks of: on a phone there is no room for all.
    told = {0, (last + 1) // 2, last}
    totals = [f"{tenth.wait_ms:,.0f}" if i in told else "" for i, tenth in enumerate(found.tenths)]
    return stack(names, parts, totals, look, height_px=300)


def _window(spreads: Sequence[Spread | Gaps], least_ms: tuple[int, int]) -> tuple[int, int]:
    """The first and last bin that hold all of them and at least what `least_ms` says."""
    first, last = (floor(log10(ms) * BINS_PER_DECADE) for ms in least_ms)
    numbers = [b.number for spread in spreads for b in spread.bins]
    return min([first, *numbers]), max([last, *numbers])


def _over(breaches: Sequence[Breach], objective: Objective) -> tuple[int, int]:
    """How many times it is breached, in how many calls."""
    its = [b.times for b in breaches if b.objective == objective.name]
    return sum(its), len(its)


def _kinds(result: Result) -> list[Kind]:
    named = {(b.call_id, b.objective) for b in result.report.breaches}
    counts: dict[tuple[str, str], list[bool]] = {}
    for i in result.injected:
        counts.setdefault((i.fault, i.breaches), []).append((i.call_id, i.breaches) in named)
    return [Kind(fault, objective, len(found), sum(found)) for (fault, objective), found in sorted(counts.items())]


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("deploy", "demo"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"whole": "{:,}".format, "ms": "{:,.0f}".format, "share": "{:.1f} %".format}
    return environment
