"""Writes one call as a page that needs nothing but itself. Reads no store; `layout` says where things stand.

What a producer named (campaigns, tools, models) is text to the template, which escapes it. The policy in the page
allows its own style and its own script, by their hashes, and nothing else: no request leaves it.
"""

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from alerts.slos import Objective
from grafana.call import words
from grafana.call.breach import breaches
from grafana.call.layout import component_kind, picture
from grafana.call.record import UNATTRIBUTED, CallRecord
from runtime.events import Component, Outcome

EVENTS_MAX = 2_000  # lines of the table at the end
SPANS_PER_TURN_MAX = 200
TURNS_MAX = 200
_ORDER = (*Component, UNATTRIBUTED)


def call_page(record: CallRecord, objectives: Sequence[Objective], home: str | None = None) -> str:
    """One self-contained HTML document. `home` is a relative link back to an index page."""
    found = breaches(record, objectives)
    style, script = _shipped("page.css"), _shipped("page.js")
    shown = picture(record, objectives, found)
    return _template().render(
        record=record,
        home=home,
        found=found,
        facts=_facts(record),
        tiles=_tiles(record),
        picture=shown,
        rows=shown.rows[:TURNS_MAX],
        events=record.events[:EVENTS_MAX],
        spans_max=SPANS_PER_TURN_MAX,
        parts=_parts(record),
        words=words,
        kind=component_kind,
        style=style,
        script=script,
        policy=f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}",
    )


def _facts(record: CallRecord) -> list[tuple[str, str]]:
    """What is known of the call; what is not known is left out."""
    known = [
        ("started", f"{words.moment(record.started_us)} UTC" if record.started else "not known: its start is missing"),
        ("length", words.length(record.end_us) + ("" if record.ended else " so far")),
        ("ended by", record.end_reason.replace("_", " ") if record.ended else "nothing yet"),
        ("direction", record.direction),
        ("campaign", record.campaign),
        ("agent", f"{record.agent} {record.agent_version}" if record.agent else ""),
        ("lead", record.lead),
        ("tenant", record.tenant),
        ("environment", record.env),
        ("variants", ", ".join(f"{name}: {value}" for name, value in sorted(record.variants.items()))),
    ]
    return [(name, value) for name, value in known if value]


def _tiles(record: CallRecord) -> list[tuple[str, str, str, bool]]:
    """Figure, unit, what it is, whether it is bad."""
    turns = [t for t in record.turns if t.number]
    gaps_us = [g.gap_us for t in record.turns for g in t.glitches]
    gone = sum(t.outcome == Outcome.DISAPPEARED for t in turns)
    cut = sum(t.outcome == Outcome.INTERRUPTED for t in turns)
    return [
        (words.round_ms(record.slowest_us), "ms", "slowest answer", False),
        (str(len(turns)), "", "turns of the caller", False),
        (str(gone), "", "left without an answer", gone > 0),
        (str(cut), "", "interrupted", False),
        (words.round_ms(max(gaps_us, default=0)), "ms", "longest gap in speech", False),
        (str(sum(len(t.tools) for t in record.turns)), "", "tools fired", False),
    ]


def _parts(record: CallRecord) -> list[str]:
    """The components that occur, in the order of a turn, for the key to the colours."""
    there = {s.component for t in record.turns for s in t.segments} | {
        s.component for t in record.turns for s in t.spans
    }
    return [c for c in _ORDER if c in there and c not in (Component.TURN, Component.OPENING)]


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("grafana.call", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")


@cache
def _shipped(name: str) -> str:
    return (files("grafana.call") / name).read_text(encoding="utf-8")


@cache
def _hash(text: str) -> str:
    """As a content security policy names an inline element."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
