"""Draws one call in characters: its facts, its timeline, a bar for each turn, its spans as a tree. Asks nothing."""

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from grafana.call import Breach, CallRecord, Segment, Span, Speech, Turn
from grafana.call.layout import component_kind
from grafana.call.scale import Scale
from grafana.call.words import clock, counted, exact_ms, harmless, length, moment, ranges, round_ms

_COLOURS = {
    "end_of_turn": "bright_black",
    "asr": "magenta",
    "decision": "blue",
    "tool": "bright_magenta",
    "response": "green",
    "tts": "yellow",
    "unattributed": "cyan",
}
_LABEL_CHARS = 38  # of a span: indentation, component and maker
_SPANS_PER_TURN_MAX = 60
_BAR_CHARS_MIN = 16


def call_drawing(record: CallRecord, found: Sequence[Breach], width: int) -> RenderableType:
    """`found` are the record's breaches; `width` is that of the terminal, in characters."""
    parts = [_head(record, found), _timeline(record, max(_BAR_CHARS_MIN, width - 10))]
    scale = Scale(0, max((t.waited_us for t in record.turns), default=0) or 1)
    for turn in record.turns:
        parts.append(_turn(turn, [b for b in found if b.turn == turn.number], scale, width))
    return Group(*parts)


# ── facts ──


def _head(record: CallRecord, found: Sequence[Breach]) -> RenderableType:
    facts = [
        f"{record.campaign}",
        f"{record.agent} {record.agent_version}" if record.agent else "",
        record.direction,
        f"{moment(record.started_us)} UTC" if record.started else "its start is missing",
        length(record.end_us) + ("" if record.ended else " so far"),
        f"lead {record.lead}" if record.lead else "",
        *(f"{name}: {value}" for name, value in sorted(record.variants.items())),
    ]
    lines = [
        Text.assemble(
            (record.call_id, "bold"),
            "  ",
            (harmless(record.disposition) or "no disposition yet", "bold"),
            f"  {record.end_reason.replace('_', ' ')}" if record.ended else "  not ended",
        ),
        Text(harmless(" · ".join(fact for fact in facts if fact)), style="dim"),
        *_completeness(record),
        *(Text(f"✗ {_breach(b)}", style="red") for b in found),
    ]
    if not found:
        whole = record.complete
        words = "✓ no objective breached" if whole else "! no objective breached in what has arrived"
        lines.append(Text(words, style="green" if whole else "yellow"))
    return Group(*lines)


def _completeness(record: CallRecord) -> Iterable[Text]:
    for s in record.sources:
        name = harmless(s.name)
        if s.complete:
            yield Text(f"✓ complete: {s.stored:,} of {s.said:,} events of {name}", style="green")
            continue
        if s.unknown:
            words = f"? unknown whether complete: {counted(s.stored, 'event')} of {name}, which says what others sent"
            yield Text(words, style="dim")
            continue
        told = f"{counted(s.stored, 'event')}, not closed," if s.said is None else f"{s.stored:,} of {s.said:,} events"
        holes = f"; missing: {ranges(s.missing)}" if s.missing else ""
        yield Text(f"! not complete: {told} of {name}{holes}", style="yellow")
    if record.cut:
        yield Text("! more events are stored than are shown here", style="yellow")


def _breach(breach: Breach) -> str:
    where = f"turn {breach.turn}" if breach.turn else "opening"
    value = "" if breach.value_us is None else f": {exact_ms(breach.value_us)}"
    return f"{where}: {breach.summary}{value}"


# ── the whole call ──


def _timeline(record: CallRecord, width: int) -> RenderableType:
    scale = Scale(record.begin_us, record.end_us)
    speech = [s for t in record.turns for s in t.speech]
    glitches = [(g.at_us, g.at_us + g.gap_us, "▼", "bold red") for t in record.turns for g in t.glitches]
    waits = [
        (t.asked_us + s.start_us, t.asked_us + s.start_us + max(0, s.length_us), "▄", _colour(s.component))
        for t in record.turns
        if t.asked_us is not None
        for s in t.segments
    ]
    tools = [(u.at_us, u.at_us, "◆", "bright_magenta") for t in record.turns for u in t.tools]
    axis = Text(" " * 8, style="dim")
    for tick in scale.ticks(max(1, width // 12)):
        place = 8 + round(tick.x / 100 * (width - 1))
        if place >= axis.cell_len - (0 if axis.cell_len > 8 else 1) and place + len(tick.label) <= 8 + width:
            axis.append(" " * (place - axis.cell_len) + tick.label)
    return Group(
        "",
        Text("caller  ").append_text(_line(scale, width, _spoken(speech, "caller", "white"))),
        Text("wait    ").append_text(_line(scale, width, waits)),
        Text("agent   ").append_text(_line(scale, width, [*_spoken(speech, "agent", "bright_black"), *glitches])),
        Text("tools   ").append_text(_line(scale, width, tools)),
        axis,
    )


_Stroke = tuple[int, int, str, str]  # from, to, the character, its style


def _spoken(speech: Iterable[Speech], who: str, style: str) -> list[_Stroke]:
    return [(s.start_us, s.until_us, "▄", style) for s in speech if s.speaker == who]


def _line(scale: Scale, width: int, strokes: Iterable[_Stroke]) -> Text:
    """Later strokes lie over earlier ones; each has at least one character."""
    cells: list[tuple[str, str]] = [(" ", "")] * width
    for start_us, end_us, character, style in strokes:
        first = min(width - 1, int(scale.x(start_us) / 100 * width))
        last = max(first + 1, round(scale.x(end_us) / 100 * width))
        cells[first:last] = [(character, style)] * (min(last, width) - first)
    line = Text()
    for character, style in cells:
        line.append(character, style or None)
    line.rstrip()
    return line


# ── turns ──


def _turn(turn: Turn, found: Sequence[Breach], scale: Scale, width: int) -> RenderableType:
    outcome = turn.outcome.replace("_", " ") or ("opening" if turn.number == 0 else "no end yet")
    if turn.number == 0 and turn.outcome == "":
        head = Text.assemble(("opening", "bold"))
    else:
        took = (
            round_ms(turn.latency_us) + " ms"
            if turn.latency_us is not None
            else f"no answer in {round_ms(turn.waited_us)} ms"
        )
        bad = turn.outcome in ("disappeared", "hung_up")
        head = Text.assemble((f"turn {turn.number}", "bold"), "  ", (outcome, "red" if bad else ""), f"  {took}")
    parts: list[RenderableType] = ["", head]
    if turn.segments:
        parts += [Text("  ").append_text(_stack(turn, scale, width - 4)), Text("  ").append_text(_sum(turn))]
    parts += [Text(f"  ✗ {_breach(b)}", style="red") for b in found]
    parts += [Text(f"  {line}") for line in _graph(turn)]
    parts += [
        Text(f"  ▼ {g.kind} of {exact_ms(g.gap_us)} at {clock(g.at_us, 1)}, by {g.detector}", style="red")
        for g in turn.glitches
    ]
    parts.append(_tree(turn, found, max(_BAR_CHARS_MIN, width - _LABEL_CHARS - 25)))
    if len(turn.spans) > _SPANS_PER_TURN_MAX:
        parts.append(
            Text(f"  {counted(len(turn.spans) - _SPANS_PER_TURN_MAX, 'more span')}: see --json", style="yellow")
        )
    return Group(*parts)


def _stack(turn: Turn, scale: Scale, width: int) -> Text:
    strokes = [
        (s.start_us, s.start_us + s.length_us, "░" if s.cut else "█", _colour(s.component))
        for s in turn.segments
        if s.length_us > 0
    ]
    return _line(scale, width, strokes)


def _sum(turn: Turn) -> Text:
    line = Text()
    for n, s in enumerate(turn.segments):
        line.append(" + " if n else "", "dim")
        line.append(_segment(s), _colour(s.component))
    if turn.latency_us is not None:
        line.append(f" = {exact_ms(turn.latency_us)}", "bold")
    return line


def _segment(segment: Segment) -> str:
    return f"{harmless(segment.component)} {round_ms(segment.length_us)}{' cut' if segment.cut else ''}"


def _graph(turn: Turn) -> Iterable[str]:
    came = {(t.at_us, t.next_node) for t in turn.tools}
    for t in turn.tools:
        yield harmless(f"◆ {t.tool}: {t.node} → {t.next_node}")
    for n in turn.nodes:
        if (n.at_us, n.node) not in came:
            yield harmless(f"○ {n.node}")


def _tree(turn: Turn, found: Sequence[Breach], width: int) -> RenderableType:
    scale = Scale(turn.start_us, turn.end_us)
    bad = {(b.source, b.span) for b in found if b.span is not None}
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(width=_LABEL_CHARS, no_wrap=True, overflow="ellipsis")
    table.add_column(width=10, justify="right", no_wrap=True)
    table.add_column(width=width, no_wrap=True)
    table.add_column(no_wrap=True)
    for span in turn.spans[:_SPANS_PER_TURN_MAX]:
        style = "red" if (span.source, span.span) in bad else ""
        label = Text("  " + "  " * min(span.depth, 8) + harmless(span.component), style)
        label.append(f" {harmless(span.provider)} {harmless(span.model)}".rstrip(), "dim")
        status = "" if span.status == "ok" else span.status
        status += " no parent" if span.orphan else ""
        table.add_row(
            label,
            Text(f"{round_ms(span.end_us - span.start_us)} ms", style),
            _span(span, scale, width),
            Text(status, "red"),
        )
    return table


def _span(span: Span, scale: Scale, width: int) -> Text:
    colour = _colour(span.component)
    strokes: list[_Stroke] = [(span.start_us, span.end_us, "─", colour)]
    useful_us = span.ready_us if span.ready_us is not None else span.first_us
    if useful_us is not None and span.component not in ("turn", "opening"):
        strokes.append((span.start_us, span.start_us + useful_us, "━", colour))
    return _line(scale, width, strokes)


def _colour(component: str) -> str:
    return _COLOURS.get(component_kind(component), "white")
