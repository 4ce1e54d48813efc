"""Draws the facts of an examination and what was found. Computes no figure."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from deploy.doctor.facts import Broker, Facts, Store
from deploy.doctor.judge import NAMED_MAX, Finding
from grafana.call.words import harmless

_MARKS = {"fault": ("✗", "red"), "warning": ("!", "yellow"), "note": ("·", "dim")}


def show(facts: Facts, findings: tuple[Finding, ...], console: Console) -> None:
    """What was found comes last, where the eye is."""
    console.print(_text(f"turnlog in {facts.state}", style="bold"))
    if facts.stack is not None:
        console.print(_parts(facts))
    if facts.broker is not None:
        console.print(_lag(facts.broker, facts))
        letters = facts.broker.letters
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in letters.by_reason.items())
        console.print(_text(f"dead letters   {letters.count:,}{f' ({reasons})' if reasons else ''}"))
    if facts.store is not None:
        for line in _store(facts.store, facts.at):
            console.print(_text(line))
    if facts.disk is not None:
        console.print(_text(f"disk           {_bytes(facts.disk.free_bytes)} free of {_bytes(facts.disk.total_bytes)}"))
    installed = ", ".join(f"{name} {found or '(missing)'}" for name, found in facts.versions.items())
    console.print(_text(f"versions       {installed}"))
    console.print()
    for finding in findings:
        mark, style = _MARKS[finding.level]
        console.print(_text(f"{mark} {finding.where}: {finding.what}", style))
        console.print(_text(f"    {finding.do}"))
    if not any(f.level == "fault" for f in findings):
        console.print(_text("✓ no fault found", "green"))


def _parts(facts: Facts) -> Table:
    table = _table("part", "state", "pid", "address", "version", "since", "restarts", "last ended")
    assert facts.stack is not None
    for p in facts.stack.parts:
        state = p.state if p.alive or p.state == "waiting" else "gone"
        state += "" if p.answers or state != "running" else ", does not answer"
        style = "" if p.answers else "red"
        pid = "" if p.pid is None else str(p.pid)
        age = ago(facts.at - p.since) if p.since else ""
        table.add_row(
            _text(p.name), _text(state, style), pid, p.address, p.version, age, str(p.restarts), _text(p.ending)
        )
    return table


def _lag(broker: Broker, facts: Facts) -> Table:
    table = _table("partition", "end", "committed", "lag", "youngest stored")
    youngest = facts.store.youngest_by_partition if facts.store else {}
    for p in broker.partitions:
        committed = "-" if p.committed is None else f"{p.committed:,}"
        young = ago(facts.at - youngest[p.partition]) if p.partition in youngest else "-"
        table.add_row(str(p.partition), f"{p.end:,}", committed, f"{p.lag:,}", young)
    table.add_row("all", "", "", f"{broker.lag:,}", "", style="bold")
    return table


def _store(store: Store, at: int) -> list[str]:
    young = "no event in the last day" if store.youngest_at is None else ago(at - store.youngest_at)
    schema = f"{store.migrations} of {store.expected} migrations"
    lines = [
        f"store          {store.address}, ClickHouse {store.version}, {schema}",
        f"freshness      {young}",
        f"last 24 hours  {store.calls:,} calls, {store.sources:,} sources, {store.incomplete_count:,} incomplete",
    ]
    for i in store.incomplete[:NAMED_MAX]:
        lines.append(f"               {i.call_id} {i.source}: {i.stored} of {'?' if i.said is None else i.said} events")
    return lines


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in names:
        right = name in ("end", "committed", "lag", "pid")
        table.add_column(name, overflow="fold", justify="right" if right else "left")
    return table


def ago(us: int) -> str:
    """An age in words. What a virtual clock said lies ahead of ours."""
    if us < 0:
        return f"{_span(-us)} ahead of this clock"
    return f"{_span(us)} ago"


def _span(us: int) -> str:
    seconds = us // 1_000_000
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 7_200:
        return f"{seconds // 60} min"
    return f"{seconds // 3_600} h"


def _text(words: str, style: str = "") -> Text:
    """What producers wrote is among the words."""
    return Text(harmless(words), style)


def _bytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"
