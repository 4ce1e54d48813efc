"""Draws a demo's result for a person at a terminal. Computes nothing."""

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from alerts.slos import Objective
from deploy.demo.report import Report
from deploy.demo.result import Result
from runtime.events import Component

INCOMPLETE_SHOWN_MAX = 50
_E2E = "end to end"


def show(result: Result, objectives: tuple[Objective, ...], console: Console) -> None:
    """Print the tables to `console`."""
    report = result.report
    console.print()
    console.print(_latency(report))
    console.print(_turns(report))
    console.print(_dispositions(report))
    console.print(_named(result, objectives))
    console.print(_completeness(report))
    if report.incomplete:
        console.print(_incomplete(report))


def _latency(report: Report) -> Table:
    table = Table(
        title="Latency", title_justify="left", caption="P50, P90: the span at rank ⌊q(n-1)⌋, from 0", min_width=56
    )
    table.add_column("component")
    for name in ("spans", "P50 ms", "P90 ms"):
        table.add_column(name, justify="right")
    for row in report.latency:
        whole = row.component == Component.TURN
        table.add_row(
            _E2E if whole else f"  {row.component}",
            f"{row.n:,}",
            f"{row.p50_ms:,.0f}",
            f"{row.p90_ms:,.0f}",
            style="bold" if whole else None,
        )
    return table


def _turns(report: Report) -> Table:
    table = Table(title="Turns", title_justify="left", min_width=56)
    table.add_column("outcome")
    table.add_column("turns", justify="right")
    for outcome, n in report.outcomes.items():
        table.add_row(outcome, f"{n:,}")
    table.add_section()
    table.add_row("all", f"{report.turns:,}", style="bold")
    table.add_row("glitches", f"{report.glitches:,} ({report.glitches_per_100_turns:g} per 100 turns)")
    table.add_row("agent disappeared", f"{report.disappeared:,}", style="red" if report.disappeared else None)
    return table


def _dispositions(report: Report) -> Table:
    table = Table(title="Dispositions", title_justify="left", min_width=56)
    table.add_column("disposition")
    table.add_column("calls", justify="right")
    for disposition, n in report.dispositions.items():
        table.add_row(disposition or "(none)", f"{n:,}")
    return table


def _named(result: Result, objectives: tuple[Objective, ...]) -> RenderableType:
    summaries = {o.name: o.summary for o in objectives}
    breaches = result.report.breaches
    if not breaches:
        if not result.report.complete:
            return Text("No call breaches an objective, as far as its events were stored.\n", style="red")
        return Text("No call breaches an objective.\n", style="green")
    table = Table(title="Calls that breach an objective", title_justify="left")
    for name in ("call", "turn", "what", "worst"):
        table.add_column(name, no_wrap=name == "call")
    for b in breaches:
        worst = f"{b.worst:,.0f} ms" if b.objective != "agent_disappeared" else f"{b.times} turn(s)"
        table.add_row(b.call_id, str(b.turn), summaries[b.objective], worst)
    faults = f"{len(result.injected)} call(s) had a fault injected; {result.agreement}.\n"
    return Group(table, Text(faults, style="" if result.as_injected else "red"))


def _completeness(report: Report) -> Text:
    lines = [
        f"{s.source}: {s.stored:,} of {s.sent:,} events stored, {s.complete:,} of {report.made:,} calls complete"
        for s in report.sources
    ]
    return Text("\n".join(lines), style="green" if report.complete else "red")


def _incomplete(report: Report) -> RenderableType:
    table = Table(title="Calls of which events are missing", title_justify="left", style="red")
    table.add_column("call", no_wrap=True)
    for name in ("said", "stored"):
        table.add_column(name, justify="right")
    for call in report.incomplete[:INCOMPLETE_SHOWN_MAX]:
        table.add_row(call.call_id, f"{call.said:,}", f"{call.stored:,}")
    more = len(report.incomplete) - INCOMPLETE_SHOWN_MAX
    return Group(table, Text(f"and {more:,} more: --json names all of them", style="red")) if more > 0 else table
