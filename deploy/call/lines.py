"""Draws a list of calls as a table. Asks nothing."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from grafana.call import CallLine
from grafana.call.words import harmless, length, moment, round_ms

_SHORT_CHARS = 12  # the end of an id: calls of one minute begin alike


def lines_table(lines: Sequence[CallLine], short: bool) -> Table:
    """`short`, for a narrow terminal, shows the end of an id, by which `turnlog call show` finds it as well."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("call", no_wrap=True)
    table.add_column("started", no_wrap=True)
    table.add_column("campaign", overflow="fold")
    for name in ("turns", "worst ms") if short else ("length", "turns", "worst ms"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("disposition", overflow="fold")
    table.add_column("what was wrong", overflow="fold")
    for line in lines:
        started = moment(round(line.started.timestamp() * 1_000_000))
        lasted = "" if line.length_us is None else length(line.length_us)
        table.add_row(
            f"…{line.call_id[-_SHORT_CHARS:]}" if short else line.call_id,
            started[5:16] if short else started,  # month to minute
            Text(harmless(line.campaign)),
            *(() if short else (lasted,)),
            str(line.turns),
            round_ms(line.slowest_us),
            Text(harmless(line.disposition)),
            Text(_wrong(line), style="red" if line.breached or line.end_reason == "failed" else "yellow"),
        )
    return table


def _wrong(line: CallLine) -> str:
    wrong = ["failed"] if line.end_reason == "failed" else []
    wrong += [harmless(name) for name in line.breached]
    if line.glitches:
        wrong.append(f"{line.gap_ms:,.0f} ms of gaps")
    if not line.complete and not line.unknown:
        wrong.append(f"{line.stored} of {line.said} events" if line.said is not None else f"open, {line.stored} events")
    return ", ".join(wrong)
