"""What the views say of one campaign, and which calls breach an objective. Reads; prints nothing."""

from collections.abc import Sequence
from typing import Any

import msgspec

from alerts.slos import GlitchObjective, Objective, SpanObjective, TurnObjective
from ingest.query import Client, rows
from runtime.events import Component, Outcome

_ORDER = [c.value for c in Component]


class Latency(msgspec.Struct, frozen=True):
    """`end_to_end` is the turn itself: end of the caller's speech to the agent's first audio."""

    component: str
    n: int
    p50_ms: float
    p90_ms: float


class Breach(msgspec.Struct, frozen=True):
    """One call's worst value against one objective; in ms, or a count of turns."""

    call_id: str
    objective: str
    turn: int
    worst: float
    times: int


class Source(msgspec.Struct, frozen=True):
    """A source of the calls topic over all calls of the campaign."""

    source: str
    calls: int
    complete: int
    sent: int
    stored: int


class Incomplete(msgspec.Struct, frozen=True):
    """A call of which not everything that the runtime said has arrived; perhaps nothing."""

    call_id: str
    number: int
    said: int
    stored: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    campaign: str
    made: int = 0  # calls that were made, whether or not anything of them has arrived
    calls: int
    turns: int
    outcomes: dict[str, int]
    disappeared: int
    glitches: int
    glitches_per_100_turns: float
    dispositions: dict[str, int]
    latency: tuple[Latency, ...]
    breaches: tuple[Breach, ...]
    sources: tuple[Source, ...]
    incomplete: tuple[Incomplete, ...] = ()

    @property
    def complete(self) -> bool:
        return self.calls == self.made and all(s.sent == s.stored and self.made == s.complete for s in self.sources)


def stored_by_source(client: Client, campaign: str) -> dict[str, tuple[int, int, int]]:
    """Source → (calls, complete calls, events stored). A call belongs to its campaign by its own facts."""
    found = rows(
        client,
        "SELECT source, count() AS calls, sum(complete) AS whole, sum(stored) AS stored FROM sources"
        " WHERE call_id IN (SELECT call_id FROM calls WHERE campaign = {campaign:String}) GROUP BY source",
        {"campaign": campaign},
    )
    return {r["source"]: (int(r["calls"]), int(r["whole"]), int(r["stored"])) for r in found}


def stored_by_call(client: Client, campaign: str, source: str) -> dict[str, int]:
    """Call → events of the source that are stored. A call of which nothing arrived is not among them."""
    found = rows(
        client,
        "SELECT call_id, stored FROM sources WHERE source = {source:String}"
        " AND call_id IN (SELECT call_id FROM calls WHERE campaign = {campaign:String})",
        {"campaign": campaign, "source": source},
    )
    return {r["call_id"]: int(r["stored"]) for r in found}


def report(client: Client, campaign: str, sent: dict[str, int], objectives: Sequence[Objective]) -> Report:
    """`sent` is what the producers say they sent, by source of the calls topic: not from the store."""
    here = {"campaign": campaign}
    outcomes = _counts(client, "SELECT outcome AS k, count() AS n FROM turns", here)
    turns = sum(outcomes.values())
    glitches = rows(client, "SELECT count() AS n FROM glitches WHERE campaign = {campaign:String}", here)[0]["n"]
    stored = stored_by_source(client, campaign)
    return Report(
        campaign=campaign,
        calls=rows(client, "SELECT count() AS n FROM calls WHERE campaign = {campaign:String}", here)[0]["n"],
        turns=turns,
        outcomes=outcomes,
        disappeared=outcomes.get(Outcome.DISAPPEARED, 0),
        glitches=glitches,
        glitches_per_100_turns=round(100 * glitches / turns, 2) if turns else 0.0,
        dispositions=_counts(client, "SELECT disposition AS k, count() AS n FROM calls", here),
        latency=_latency(client, here),
        breaches=tuple(b for o in objectives for b in _breaches(client, campaign, o)),
        sources=tuple(
            Source(name, *stored.get(name, (0, 0, 0))[:2], sent.get(name, 0), stored.get(name, (0, 0, 0))[2])
            for name in sorted(sent.keys() | stored.keys())
        ),
    )


def _counts(client: Client, select: str, here: dict[str, Any]) -> dict[str, int]:
    found = rows(client, f"{select} WHERE campaign = {{campaign:String}} GROUP BY k ORDER BY n DESC, k", here)
    return {r["k"]: int(r["n"]) for r in found}


def _latency(client: Client, here: dict[str, Any]) -> tuple[Latency, ...]:
    found = rows(
        client,
        "SELECT component, sum(n) AS spans, quantile_us(sumMap(buckets), 0.5) AS p50, quantile_us(sumMap(buckets), 0.9)"
        " AS p90 FROM latency_1m WHERE campaign = {campaign:String} GROUP BY component",
        here,
    )
    found.sort(
        key=lambda r: (_ORDER.index(r["component"]) if r["component"] in _ORDER else len(_ORDER), r["component"])
    )
    return tuple(
        Latency(r["component"], int(r["spans"]), round(r["p50"] / 1e3, 1), round(r["p90"] / 1e3, 1)) for r in found
    )


def _breaches(client: Client, campaign: str, objective: Objective) -> list[Breach]:
    """One row for each call that breaches the objective, the worst first."""
    parameters: dict[str, Any] = {"campaign": campaign}
    match objective:
        case SpanObjective(component=component, figure=figure, above_us=above_us):
            # `figure` is one of a closed set of column names, not the user's text.
            source, value = "spans", f"{figure} / 1000"
            where = f"component = {{component:String}} AND status = 'ok' AND {figure} > {{limit:Float64}}"
            parameters |= {"component": component, "limit": above_us}
        case GlitchObjective(at_least_ms=at_least_ms):
            source, value, where = "glitches", "gap_ms", "gap_ms >= {limit:Float64}"
            parameters["limit"] = at_least_ms
        case TurnObjective(outcome=outcome):
            source, value, where = "turns", "1", "outcome = {outcome:String}"
            parameters["outcome"] = outcome.value
    found = rows(
        client,
        f"SELECT call_id, argMax(turn, {value}) AS where_, max({value}) AS worst, count() AS times FROM {source}"  # noqa: S608
        f" WHERE campaign = {{campaign:String}} AND {where} GROUP BY call_id ORDER BY worst DESC, call_id",
        parameters,
    )
    return [
        Breach(r["call_id"], objective.name, int(r["where_"]), round(float(r["worst"]), 1), int(r["times"]))
        for r in found
    ]
