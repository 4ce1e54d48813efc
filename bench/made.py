"""Makes a day of spans and their rollups inside ClickHouse, keyed as the worker's are; far faster than through a log.

The rollups are folded from the spans by statements of this file's own, so what a view says can be held against the
spans themselves.
"""

import datetime as dt
from collections.abc import Callable

from clickhouse_connect.driver.client import Client

from ingest.partition import EPOCH_RECORDS
from ingest.sketch import GAMMA

CAMPAIGNS, PARTITIONS, HOURS = 200, 12, 24
CALL_SPANS = 90  # of a call of three minutes; every second event of it is a span
_CALL_S, _DAY_US = 180, 86_400_000_000

# Calls that are in progress at once speak in turns, so offsets grow with time as they do in a topic.
_SPANS = """
INSERT INTO spans_log
WITH
    number + {begin:UInt64} AS n,
    {at_once:UInt64} AS at_once,
    intDiv(n, at_once * {call_spans:UInt64}) AS round,
    round * at_once + n % at_once AS nth_call,
    intDiv(n % (at_once * {call_spans:UInt64}), at_once) AS nth_span,
    {start_us:UInt64} + intDiv(n * {day_us:UInt64}, {spans_a_day:UInt64}) AS at_us,
    {start_us:UInt64} + intDiv(round * at_once * {call_spans:UInt64} * {day_us:UInt64},
                               {spans_a_day:UInt64}) AS call_us,
    sipHash64('call', nth_call) AS chance,
    lower(hex(MD5(toString(nth_call)))) AS digits,
    leftPad(lower(hex(intDiv(call_us, 1000))), 16, '0') AS clock,
    concat(substring(clock, -12, 8), '-', substring(clock, -4), '-7', substring(digits, 1, 3), '-8',
           substring(digits, 4, 3), '-', substring(digits, 7, 12)) AS call,
    [('end_of_turn', 12.6), ('asr', 12.1), ('decision', 12.8), ('tool', 11.7), ('response', 13.), ('tts', 12.4)]
        AS kinds,
    kinds[nth_span % 6 + 1] AS kind,
    kind.1 IN ('decision', 'response') AS by_model,
    toUInt32(exp(kind.2 + randNormal(0., 0.5))) AS wait_us,
    2 * intDiv(n, {partitions:UInt64}) AS place
SELECT 'bench', toDate(intDiv(call_us, {day_us:UInt64})), call, 'runtime', nth_span * 2 + 1,
       fromUnixTimestamp64Micro(toInt64(at_us), 'UTC'),
       concat('campaign-', leftPad(toString(chance % {campaigns:UInt64}), 3, '0')), 'booker', '7', 'a log',
       intDiv(chance, {campaigns:UInt64}) % {partitions:UInt64}, place, 18446744073709551615 - place,
       fromUnixTimestamp64Milli(toInt64(intDiv(at_us, 1000) + 500), 'UTC'), intDiv(nth_span, 6), nth_span + 1, 0,
       kind.1, if(by_model, 'openai', ''), if(by_model, 'gpt-4o-mini', ''), 'ok',
       if(by_model, intDiv(wait_us, 2), NULL), if(by_model, wait_us, NULL), wait_us, wait_us
FROM numbers({spans:UInt64})
"""
_COLUMNS = """(tenant, day, stream, source, seq, at, campaign, agent, agent_version, log, partition, offset, first,
    arrived, turn, span, parent, component, provider, model, status, first_us, ready_us, duration_us, latency_us)"""

# Half the calls have an arm; a span of the voice stands for its turn, and one in forty turns has no answer.
_FOLDS = {
    "latency_1m_log": ("campaign, component, provider, model", "", "1", "bucket"),
    "latency_by_variation_1m_log": (
        "campaign, 'greeting' AS experiment, if(sipHash64(stream) % 4 = 0, 'short', 'long') AS variation, component",
        "",
        "sipHash64(stream) % 4 < 2",
        "bucket",
    ),
    "quality_1m_log": (
        "campaign, what",
        "ARRAY JOIN if(assumeNotNull(latency_us) % 40 = 0, ['turns', 'disappeared'], ['turns']) AS what",
        "component = 'tts'",
        "0",
    ),
}
_FOLD = """
INSERT INTO {table}
SELECT toStartOfMinute(at) AS minute, tenant, {dimensions}, log, partition, intDiv(offset, {epoch}) AS epoch,
       max(offset) AS version, sumMap(map(toInt16({bucket}), toUInt32(1))) AS buckets
FROM (SELECT *, ceil(log(assumeNotNull(latency_us)) / log({gamma})) AS bucket FROM spans_log
      WHERE at >= {from_} AND at < {until})
{join}
WHERE {which}
GROUP BY ALL
"""


def make(client: Client, spans_a_day: int, say: Callable[[str], None]) -> dt.datetime:
    """24 hours of spans into an empty store, an hour at a time; gives their end."""
    end = dt.datetime.now(dt.UTC).replace(minute=0, second=0, microsecond=0)
    start = end - dt.timedelta(hours=HOURS)
    hourly = spans_a_day // HOURS
    spans_a_day = hourly * HOURS  # or the first spans of an hour would lie in the one before, which is folded already
    bound = {
        "spans": hourly,
        "spans_a_day": spans_a_day,
        "start_us": int(start.timestamp()) * 1_000_000,
        "day_us": _DAY_US,
        "at_once": max(1, spans_a_day * _CALL_S // (86_400 * CALL_SPANS)),
        "call_spans": CALL_SPANS,
        "campaigns": CAMPAIGNS,
        "partitions": PARTITIONS,
    }
    for hour in range(HOURS):
        say(f"hour {hour + 1} of {HOURS}, {hourly:,} spans each")
        sql = _SPANS.replace("spans_log", f"spans_log {_COLUMNS}", 1)
        client.command(sql, parameters={**bound, "begin": hour * hourly})
        for table in _FOLDS:
            client.command(fold(table, start + dt.timedelta(hours=hour)))
    return end


def fold(table: str, hour: dt.datetime) -> str:
    """The statement that folds the spans of one hour into a rollup."""
    dimensions, join, which, bucket = _FOLDS[table]
    return _FOLD.format(
        table=table,
        dimensions=dimensions,
        join=join,
        which=which,
        bucket=bucket,
        epoch=EPOCH_RECORDS,
        gamma=repr(GAMMA),
        from_=moment(hour),
        until=moment(hour + dt.timedelta(hours=1)),
    )


def moment(at: dt.datetime) -> str:
    """As SQL."""
    return f"toDateTime64('{at:%Y-%m-%d %H:%M:%S}', 6, 'UTC')"
