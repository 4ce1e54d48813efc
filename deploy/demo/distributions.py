"""How a campaign's times are distributed, and what the wait for an answer is made of. Counts in SQL; draws nothing.

From the views `spans`, `turns` and `glitches`, whose figures are exact, so a count over an objective is exact too. The
quantiles are the report's, from `latency_1m`.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from alerts.slos import GlitchObjective, Objective, SpanObjective
from grafana.charts import Bin
from grafana.charts.figures import BINS_PER_DECADE
from grafana.charts.look import UNATTRIBUTED
from ingest.query import Client, rows
from runtime.events import Component

LATENCY = "latency_us"
TENTHS = 10
# In the order of the work; what a domain named itself comes after.
_WORK = (Component.END_OF_TURN, Component.ASR, Component.DECISION, Component.TOOL, Component.RESPONSE, Component.TTS)


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of one component over all its spans. `figure` is a column's name; `bins` in order, none of them empty.

    `is_latency`: the figure is what each of these spans adds to the wait, whatever column it stands in.
    """

    component: str
    figure: str
    is_latency: bool
    limits_ms: tuple[float, ...]
    bins: tuple[Bin, ...]

    @property
    def n(self) -> int:
        return sum(b.within + b.over for b in self.bins)

    @property
    def over(self) -> int:
        return sum(b.over for b in self.bins)


class Gaps(msgspec.Struct, frozen=True):
    """The gaps inside the agent's speech, as `Spread` counts times; a gap breaches from the limit on."""

    limits_ms: tuple[float, ...]
    bins: tuple[Bin, ...]


class Tenth(msgspec.Struct, frozen=True):
    """A tenth of the answered turns, by their wait. `parts_ms` are means, so they add up to `wait_ms`, their mean."""

    turns: int
    from_ms: float
    to_ms: float
    wait_ms: float
    parts_ms: dict[str, float]


class Distributions(msgspec.Struct, frozen=True):
    spreads: tuple[Spread, ...]
    gaps: Gaps
    tenths: tuple[Tenth, ...]

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of a wait, in the order of the work."""
        named = {part for tenth in self.tenths for part in tenth.parts_ms} - {UNATTRIBUTED}
        work = [part.value for part in _WORK if part in named]
        return (*work, *sorted(named.difference(work)), UNATTRIBUTED)


def distributions(client: Client, campaign: str, objectives: Sequence[Objective]) -> Distributions:
    """Raises StoreUnreachable or StoreRefused."""
    return Distributions(
        _spreads(client, campaign, [o for o in objectives if isinstance(o, SpanObjective)]),
        _gaps(client, campaign, [o for o in objectives if isinstance(o, GlitchObjective)]),
        _tenths(client, campaign),
    )


# Every figure of an objective is one of these columns (`alerts.slos`).
_COUNTED = """
SELECT component, f.1 AS figure, toInt32(floor(log10(greatest(f.2, 1) / 1000) * {steps:UInt8})) AS bin,
       arrayExists(
           (c, name, limit_us) -> c = component AND name = figure AND f.2 > limit_us,
           {components:Array(String)}, {figures:Array(String)}, {limits:Array(Float64)}
       ) AS over,
       count() AS n, countIf(ifNull(f.2 != latency_us, 1)) AS others
FROM spans
ARRAY JOIN
    [('latency_us', latency_us), ('first_us', first_us), ('ready_us', ready_us), ('duration_us', duration_us)] AS f
WHERE campaign = {campaign:String} AND status = 'ok' AND f.2 IS NOT NULL AND f.1 IN {wanted:Array(String)}
GROUP BY component, figure, bin, over ORDER BY component, figure, bin, over
"""


def _spreads(client: Client, campaign: str, objectives: Sequence[SpanObjective]) -> tuple[Spread, ...]:
    found = rows(
        client,
        _COUNTED,
        {
            "wanted": sorted({LATENCY} | {o.figure for o in objectives}),
            "campaign": campaign,
            "steps": BINS_PER_DECADE,
            "components": [o.component for o in objectives],
            "figures": [o.figure for o in objectives],
            "limits": [float(o.above_us) for o in objectives],
        },
    )
    limits: dict[tuple[str, str], list[float]] = {}
    for o in objectives:
        limits.setdefault((o.component, o.figure), []).append(o.above_us / 1000)
    keys = dict.fromkeys((r["component"], r["figure"]) for r in found)
    return tuple(
        Spread(
            component=component,
            figure=figure,
            is_latency=not any(r["others"] for r in its),
            limits_ms=tuple(sorted(limits.get((component, figure), ()))),
            bins=_bins(its),
        )
        for component, figure in keys
        if (figure == LATENCY or (component, figure) in limits)
        and (its := [r for r in found if (r["component"], r["figure"]) == (component, figure)])
    )


def _gaps(client: Client, campaign: str, objectives: Sequence[GlitchObjective]) -> Gaps:
    limits = sorted(o.at_least_ms for o in objectives)
    found = rows(
        client,
        "SELECT toInt32(floor(log10(greatest(gap_ms, 0.001)) * {steps:UInt8})) AS bin,"
        " arrayExists(l -> gap_ms >= l, {limits:Array(Float64)}) AS over, count() AS n FROM glitches"
        " WHERE campaign = {campaign:String} GROUP BY bin, over ORDER BY bin, over",
        {"campaign": campaign, "steps": BINS_PER_DECADE, "limits": limits},
    )
    return Gaps(tuple(limits), _bins(found))


def _bins(found: Iterable[dict[str, Any]]) -> tuple[Bin, ...]:
    counts: dict[int, list[int]] = {}
    for row in found:
        counts.setdefault(int(row["bin"]), [0, 0])[int(bool(row["over"]))] += int(row["n"])
    return tuple(Bin(number, within, over) for number, (within, over) in sorted(counts.items()))


# Equal waits are ordered by call and turn, so that both queries cut alike.
_RANKED = """
WITH ranked AS
(
    SELECT call_id, source, turn, latency_us,
           intDiv((row_number() OVER (ORDER BY latency_us, call_id, turn, source) - 1) * {tenths:UInt8},
                  count() OVER ()) AS tenth
    FROM turns WHERE campaign = {campaign:String} AND latency_us IS NOT NULL
)
"""
_WAITS = """
SELECT tenth, count() AS turns, sum(latency_us) AS wait, min(latency_us) AS shortest, max(latency_us) AS longest
FROM ranked GROUP BY tenth ORDER BY tenth
"""
# The spans right under a turn's own. Each counts up to its useful moment, which it reached even if it was cut later.
_PARTS = """
SELECT tenth, component, sum(coalesce(ready_us, first_us, if(status = 'ok', duration_us, 0))) AS part
FROM spans AS s
INNER JOIN
(
    SELECT call_id, source, turn, span AS root FROM spans
    WHERE campaign = {campaign:String} AND component = {turn:String} AND parent = 0
) AS r ON s.call_id = r.call_id AND s.source = r.source AND s.turn = r.turn AND s.parent = r.root
INNER JOIN ranked AS t ON s.call_id = t.call_id AND s.source = t.source AND s.turn = t.turn
WHERE s.campaign = {campaign:String}
GROUP BY tenth, component ORDER BY tenth, component
"""


def _tenths(client: Client, campaign: str) -> tuple[Tenth, ...]:
    here = {"campaign": campaign, "tenths": TENTHS, "turn": Component.TURN.value}
    parts: dict[int, dict[str, int]] = {}
    for row in rows(client, _RANKED + _PARTS, here):
        parts.setdefault(int(row["tenth"]), {})[row["component"]] = int(row["part"])
    return tuple(_tenth(row, parts.get(int(row["tenth"]), {})) for row in rows(client, _RANKED + _WAITS, here))


def _tenth(row: dict[str, Any], parts_us: dict[str, int]) -> Tenth:
    turns, wait_us = int(row["turns"]), int(row["wait"])
    whole = {**parts_us, UNATTRIBUTED: wait_us - sum(parts_us.values())}
    return Tenth(
        turns,
        row["shortest"] / 1000,
        row["longest"] / 1000,
        wait_us / turns / 1000,
        {part: us / turns / 1000 for part, us in whole.items()},
    )
