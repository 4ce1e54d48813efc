"""Lists calls, a line each, by what was wrong with them. The home of what "worst" means; reads no event.

The worst call comes first by, in this order: turns that nobody answered; an end as failed; how many of the
objectives of `alerts/slos.yaml` it breaches; the gaps in the agent's speech, added up as one detector
heard them; its slowest answer; the later
start; the call id.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from msgspec import Struct

from alerts.slos import GlitchObjective, Objective, SpanObjective, TurnObjective
from grafana.call.wanted import Filters, Sort
from grafana.errors import UnknownObjective
from ingest.query import Client, rows
from runtime.events import UNCOUNTED

LINES_MAX = 1_000
KEYS_PER_QUERY_MAX = 500  # they travel in the request line, of which ClickHouse reads 1 MiB

_TIES = "started DESC, call_id, tenant"
ORDERS: Mapping[Sort, str] = {
    Sort.WORST: "disappeared DESC, end_reason = 'failed' DESC, length(breached) DESC, gap_ms DESC,"
    f" ifNull(slowest_us, 0) DESC, {_TIES}",
    Sort.NEWEST: _TIES,
    Sort.LONGEST: f"ifNull(length_us, 0) DESC, {_TIES}",
    Sort.SLOWEST: f"ifNull(slowest_us, 0) DESC, {_TIES}",
}
# Both detectors may report one gap, so only those of one are added up: of the one that heard more.
_GAPS = "greatest(sumIf(gap_ms, detector = 'playout'), sumIf(gap_ms, detector = 'audio')) AS gaps_ms"
_KEY = "(tenant, day, call_id)"
# A call whose start is missing began when its id was made.
_STARTED = "ifNull(started_at, toDateTime64(UUIDv7ToDateTime(toUUID(call_id), 'UTC'), 6, 'UTC'))"


class CallLine(Struct, frozen=True, kw_only=True):
    """One call in short. `breached` names objectives; `said` is absent until all its sources have closed."""

    call_id: str
    tenant: str
    campaign: str
    agent: str
    agent_version: str
    started: datetime
    length_us: int | None
    end_reason: str
    disposition: str
    turns: int
    disappeared: int
    interrupted: int
    glitches: int
    gap_ms: float
    slowest_us: int | None
    breached: tuple[str, ...]
    stored: int
    said: int | None
    complete: bool
    unknown: bool = False  # nothing is known to be missing, and nobody can know that nothing is


def list_calls(
    client: Client,
    filters: Filters,
    objectives: Sequence[Objective],
    sort: Sort = Sort.WORST,
    limit: int = 20,
) -> list[CallLine]:
    """At most LINES_MAX lines. Raises UnknownObjective, StoreUnreachable or StoreRefused."""
    sql, asked = _statement(filters, objectives, sort)
    found = rows(client, sql, {**asked, "limit": min(limit, LINES_MAX)})
    whole = _completeness(client, [(r["tenant"], r["day"], r["call_id"]) for r in found])
    return [_line(row, whole.get((row["tenant"], row["call_id"]))) for row in found]


def _line(row: Mapping[str, Any], whole: Mapping[str, Any] | None) -> CallLine:
    own = {name: row[name] for name in CallLine.__struct_fields__ if name in row}
    own |= {"breached": tuple(row["breached"]), "gap_ms": round(row["gap_ms"], 3)}
    if whole is None:
        return CallLine(**own, stored=0, said=None, complete=False)
    return CallLine(
        **own,
        stored=whole["stored"],
        said=whole["said"],
        complete=bool(whole["complete"]),
        unknown=bool(whole["unknown"]),
    )


def _statement(filters: Filters, objectives: Sequence[Objective], sort: Sort) -> tuple[str, dict[str, Any]]:
    """The calls that pass, what each breaches, and the order. Only names of ours and bound values are in the text."""
    where, asked = _where(filters, objectives)
    keys = f"SELECT {', '.join(('tenant', 'day', 'call_id'))} FROM calls WHERE {where}"  # noqa: S608
    columns, named = _breach_columns(objectives)
    flags = ", ".join(f"if(o{n} > 0, {{name{n}:String}}, '')" for n in range(len(objectives)))
    kept = "WHERE has(breached, {breach:String})" if filters.breach else ""
    joined = "\n".join(
        f"LEFT JOIN (SELECT tenant, call_id, {', '.join(columns[view])} FROM {view} WHERE {_KEY} IN ({keys})"  # noqa: S608
        f" GROUP BY tenant, call_id) AS {view}_ USING (tenant, call_id)"
        for view in ("turns", "glitches", "spans")
    )
    sql = f"""
SELECT * FROM (
SELECT tenant, day, call_id, campaign, agent, agent_version, {_STARTED} AS started,
    dateDiff('microsecond', started_at, ended_at) AS length_us, end_reason, disposition,
    calls.turns AS turns, disappeared, interrupted, calls.glitches AS glitches, slowest_us, gaps_ms AS gap_ms,
    arrayFilter(name -> name != '', CAST([{flags}], 'Array(String)')) AS breached
FROM (SELECT * FROM calls WHERE {where}) AS calls
{joined}
) {kept}
ORDER BY {ORDERS[sort]}
LIMIT {{limit:UInt32}}
"""  # noqa: S608
    return sql, asked | named


def _breach_columns(objectives: Sequence[Objective]) -> tuple[dict[str, list[str]], dict[str, Any]]:
    """Aggregates by view, one for each objective (`o0`, `o1`, …), and their values."""
    columns = {
        "turns": ["max(latency_us) AS slowest_us"],
        "glitches": [_GAPS],
        "spans": ["count() AS spans"],
    }
    named: dict[str, Any] = {}
    for n, objective in enumerate(objectives):
        named[f"name{n}"] = objective.name
        match objective:
            case SpanObjective():
                columns["spans"].append(f"countIf({_over(objective, n, named)}) AS o{n}")
            case GlitchObjective(at_least_ms=at_least_ms):
                columns["glitches"].append(f"countIf(gap_ms >= {{limit{n}:Float64}}) AS o{n}")
                named[f"limit{n}"] = at_least_ms
            case TurnObjective(outcome=outcome):
                columns["turns"].append(f"countIf(outcome = {{outcome{n}:String}}) AS o{n}")
                named[f"outcome{n}"] = outcome.value
    return columns, named


def _over(objective: SpanObjective, n: int, named: dict[str, Any]) -> str:
    """True of a span that breaches the objective; its figure is one of a closed set of column names."""
    named |= {f"component{n}": objective.component, f"limit{n}": objective.above_us}
    over = f"ifNull({objective.figure} > {{limit{n}:Int64}}, 0)"
    return f"component = {{component{n}:String}} AND status = 'ok' AND {over}"


def _where(filters: Filters, objectives: Sequence[Objective]) -> tuple[str, dict[str, Any]]:
    # A day more: the id is made before the call starts, and the day is the id's.
    asked: dict[str, Any] = {
        "since": filters.since_us,
        "day": datetime.fromtimestamp(max(0, filters.since_us // 10**6 - 86_400), UTC).date(),
    }
    day = "day >= {day:Date}"
    held = [day, f"{_STARTED} >= fromUnixTimestamp64Micro({{since:Int64}}, 'UTC')"]
    for name in ("campaign", "agent", "disposition", "breach"):
        if value := getattr(filters, name):
            asked[name] = value
            if name != "breach":
                held.append(f"{name} = {{{name}:String}}")
    if filters.breach and filters.breach not in {o.name for o in objectives}:
        raise UnknownObjective(f"objective {filters.breach!r}", tuple(o.name for o in objectives))
    inner = []
    if filters.outcome is not None:
        asked["outcome"] = filters.outcome.value
        inner.append("turns WHERE outcome = {outcome:String}")
    if filters.latency_us_min:
        asked["latency"] = filters.latency_us_min
        inner.append("turns WHERE latency_us >= {latency:Int64}")
    if filters.incomplete:
        asked["uncounted"] = sorted(UNCOUNTED)
        inner.append("sources WHERE NOT complete AND NOT has({uncounted:Array(String)}, source)")
    if filters.component or filters.provider or filters.model:
        inner.append(f"spans WHERE {_by_span(filters, objectives, asked)}")
    held += [f"{_KEY} IN (SELECT tenant, day, call_id FROM {asks} AND {day})" for asks in inner]  # noqa: S608
    return " AND ".join(held), asked


def _by_span(filters: Filters, objectives: Sequence[Objective], asked: dict[str, Any]) -> str:
    about = [(n, o) for n, o in enumerate(objectives) if isinstance(o, SpanObjective)]
    about = [(n, o) for n, o in about if not filters.component or o.component == filters.component]
    if not about:
        known = tuple(sorted({o.component for o in objectives if isinstance(o, SpanObjective)}))
        raise UnknownObjective(f"objective about component {filters.component!r}", known)
    any_of = " OR ".join(f"({_over(o, n, asked)})" for n, o in about)
    held = [f"({any_of})"]
    for name in ("provider", "model"):
        if value := getattr(filters, name):
            asked[name] = value
            held.append(f"{name} = {{{name}:String}}")
    return " AND ".join(held)


def _completeness(client: Client, keys: Sequence[tuple[str, date, str]]) -> dict[tuple[str, str], Mapping[str, Any]]:
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    for start in range(0, len(keys), KEYS_PER_QUERY_MAX):
        its = rows(
            client,
            "SELECT tenant, call_id, sum(stored) AS stored, if(countIf(said IS NULL) > 0, NULL, sum(said)) AS said,"
            " min(complete) AS complete,"
            " NOT complete AND min(sources.complete OR has({uncounted:Array(String)}, source)) AS unknown"
            " FROM sources WHERE (tenant, day, call_id)"
            " IN {keys:Array(Tuple(String, Date, String))} GROUP BY tenant, call_id",
            {"keys": list(keys[start : start + KEYS_PER_QUERY_MAX]), "uncounted": sorted(UNCOUNTED)},
        )
        found |= {(r["tenant"], r["call_id"]): r for r in its}
    return found
