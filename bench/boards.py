"""How long a board waits for its figures: `python -m bench.boards [--spans 10000000]`.

A day of spans of 200 campaigns out of 12 partitions, with the rollups as the worker leaves them (one row per minute,
key, partition and epoch). Each question is asked of its view and, as the yardstick, of the spans: P90 by component and
time, for everybody and for one campaign; what became of turns; the arms of an experiment. A minute is a point of the
hour's plot, five minutes one of the day's. Every figure's answer is first held against the spans' own: equal counts,
P90 within a hundredth.
"""

import datetime as dt
import statistics
import sys
import time
from collections.abc import Callable

import msgspec
from clickhouse_connect.driver.client import Client

from bench.figures import Figure, options, progress, tell
from bench.ground import store
from bench.made import HOURS, make, moment
from ingest.query import rows

SPANS, SPANS_QUICK = 10_000_000, 240_000
RUNS = 7
RAW_RUNS = 3
ENOUGH_RUNS, ENOUGH_MS = 3, 5_000  # what takes longer is not asked more often
P90_ERROR_MAX = 0.01
STEP_MINUTES = {1: 1, HOURS: 5}  # of a point, by the hours of a plot
_ROLLUPS = ("latency_1m_log", "latency_by_variation_1m_log", "quality_1m_log")


class Question(msgspec.Struct, frozen=True):
    """What a panel asks: of the view, and of the spans. Both answer `n` by the same keys, and mostly `p90`."""

    name: str
    view: str
    raw: str


# What somebody without a rollup would ask, and the sample at the rank that a view's quantile answers for.
_P90 = "quantile(0.9)(latency_us)"
_P90_EXACT = "arraySort(groupArray(assumeNotNull(latency_us)))[toUInt64(floor(0.9 * (count() - 1))) + 1]"
# {step}: minutes of a point. {since}, {until}: the moments between which it is asked.
QUESTIONS = (
    Question(
        "latency",
        """SELECT toStartOfInterval(minute, INTERVAL {step} MINUTE) AS t, component, sum(n) AS n,
           quantile_us(sumMap(buckets), 0.9) AS p90 FROM latency_1m
           WHERE minute >= {since} AND minute < {until} GROUP BY t, component""",
        """SELECT toStartOfInterval(at, INTERVAL {step} MINUTE) AS t, component, count() AS n,
           {p90} AS p90 FROM spans
           WHERE at >= {since} AND at < {until} GROUP BY t, component""",
    ),
    Question(
        "latency_of_one_campaign",
        """SELECT toStartOfInterval(minute, INTERVAL {step} MINUTE) AS t, component, sum(n) AS n,
           quantile_us(sumMap(buckets), 0.9) AS p90 FROM latency_1m
           WHERE minute >= {since} AND minute < {until} AND campaign = 'campaign-007' GROUP BY t, component""",
        """SELECT toStartOfInterval(at, INTERVAL {step} MINUTE) AS t, component, count() AS n,
           {p90} AS p90 FROM spans
           WHERE at >= {since} AND at < {until} AND campaign = 'campaign-007' GROUP BY t, component""",
    ),
    Question(
        "quality",
        """SELECT toStartOfInterval(minute, INTERVAL {step} MINUTE) AS t, sum(turns) AS n, sum(disappeared) AS lost
           FROM quality_1m WHERE minute >= {since} AND minute < {until} GROUP BY t""",
        """SELECT toStartOfInterval(at, INTERVAL {step} MINUTE) AS t, count() AS n, countIf(latency_us % 40 = 0) AS lost
           FROM spans WHERE at >= {since} AND at < {until} AND component = 'tts' GROUP BY t""",
    ),
    Question(
        "arms",
        """SELECT variation, component, sum(n) AS n, quantile_us(sumMap(buckets), 0.9) AS p90
           FROM latency_by_variation_1m WHERE minute >= {since} AND minute < {until} GROUP BY variation, component""",
        """SELECT if(sipHash64(call_id) % 4 = 0, 'short', 'long') AS variation, component, count() AS n, {p90} AS p90
           FROM spans WHERE at >= {since} AND at < {until} AND sipHash64(call_id) % 4 < 2
           GROUP BY variation, component""",
    ),
)


def measure(spans: int = SPANS, runs: int = RUNS, say: Callable[[str], None] = lambda _: None) -> list[Figure]:
    """The questions over the last hour and over 24, and the rows of the rollups per span."""
    with store() as client:
        began = time.perf_counter()
        end = make(client, spans, say)
        say(f"made in {time.perf_counter() - began:.0f} s")
        figures = []
        for hours in STEP_MINUTES:
            for question in QUESTIONS:
                say(f"{question.name} over {hours} h")
                figures.append(_asked(client, question, end, hours, runs))
        return figures + _rows(client)


def _asked(client: Client, question: Question, end: dt.datetime, hours: int, runs: int) -> Figure:
    asked = {"step": STEP_MINUTES[hours], "since": moment(end - dt.timedelta(hours=hours)), "until": moment(end)}
    view, raw = question.view.format(**asked), question.raw.format(**asked, p90=_P90)
    compare(rows(client, view), rows(client, question.raw.format(**asked, p90=_P90_EXACT)), question.name)
    mine, asked_times = _median_ms(client, view, runs)
    other, _ = _median_ms(client, raw, min(runs, RAW_RUNS))
    name = f"boards.{hours}h.{question.name}"
    return Figure(name, round(mine, 1), "ms", f"the same from spans {other:.1f}", round(mine / other, 4), asked_times)


def _median_ms(client: Client, sql: str, runs: int) -> tuple[float, int]:
    """And how often it was asked."""
    times: list[float] = []
    while len(times) < min(runs, ENOUGH_RUNS) or (len(times) < runs and sum(times) < ENOUGH_MS):
        began = time.perf_counter()
        client.query(sql)
        times.append((time.perf_counter() - began) * 1e3)
    return statistics.median(times), len(times)


def compare(view: list[dict[str, object]], raw: list[dict[str, object]], name: str) -> None:
    """Raises when they differ by a row, a count or a hundredth of a P90: then no figure of them means anything."""

    def keyed(answer: list[dict[str, object]]) -> dict[tuple[object, ...], tuple[dict[str, object], object]]:
        found = {}
        for row in answer:
            key = tuple(_plain(row[k]) for k in row if k not in {"n", "p90", "lost"})
            found[key] = ({k: row[k] for k in ("n", "lost") if k in row}, row.get("p90"))
        return found

    mine, true = keyed(view), keyed(raw)
    if mine.keys() != true.keys():
        raise RuntimeError(f"{name}: the view answers {len(mine)} rows, the spans {len(true)}")
    for key, (counts, p90) in mine.items():
        others, exact = true[key]
        off = abs(float(str(p90)) / float(str(exact)) - 1) if p90 is not None else 0.0
        if counts != others or off > P90_ERROR_MAX:
            raise RuntimeError(f"{name}: at {key} the view says {counts}, {p90}, the spans {others}, {exact}")


def _plain(value: object) -> object:
    return value.replace(tzinfo=None) if isinstance(value, dt.datetime) else value


def _rows(client: Client) -> list[Figure]:
    spans = int(client.command("SELECT count() FROM spans_log"))  # type: ignore[arg-type]
    figures = []
    for table in _ROLLUPS:
        there = int(client.command(f"SELECT count() FROM {table} FINAL"))  # type: ignore[arg-type]  # noqa: S608  ours
        name = f"boards.rows.{table.removesuffix('_log')}"
        figures.append(Figure(name, there, "rows", f"spans {spans}", round(there / spans, 4), 1))
    return figures


def main() -> int:
    """Prints a line a question."""
    parser = options("boards", __doc__)
    parser.add_argument("--spans", type=int, default=SPANS, help=f"of the day (default: {SPANS:,})")
    parser.add_argument("--runs", type=int, default=RUNS)
    asked = parser.parse_args()
    tell(measure(SPANS_QUICK if asked.quick else asked.spans, asked.runs, progress("boards")), asked.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
