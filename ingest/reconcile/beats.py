"""Asks the store which calls beats have named and nothing was stored of. Judges nothing."""

from datetime import UTC, date, datetime, timedelta

from clickhouse_connect.driver.client import Client

from ingest.reconcile.judge import LOST_AFTER_S, Named
from ingest.store.faults import translated
from runtime.events import day_of_call, is_call_id

BACK_DAYS = 2  # of beats; a producer has a new stream each day
CALLS_MAX = 1_000  # a run; the next one goes on
KEYS_MAX = 500  # they travel in a request line
_EPOCH_DAY = date(1970, 1, 1)

# A call has its row in calls_log with its first events, so this reads a row a call. Beats that were delivered twice
# name the same; what the later ones add is left out, so that whoever asks, and when, is told the same.
_UNHEARD = """
SELECT tenant, call, argMin(campaign, said) AS campaign, argMin(env, said) AS env, argMin(producer, said) AS producer,
       arrayMax(arrayMap(s -> if(s.1 <= first_us + {limit:UInt64}, s.2, 0), groupArray((us, named.2)))) AS last_seq,
       min(us) AS first_us
FROM
(
    SELECT tenant, campaign, env, stream AS producer, (at, stream) AS said, toUnixTimestamp64Micro(at) AS us,
           arrayJoin(JSONExtractKeysAndValues(payload, 'calls', 'UInt32')) AS named, named.1 AS call
    FROM events_log
    PREWHERE type = 'ProducerBeat'
    WHERE day >= {since:Date}
)
WHERE (tenant, call) NOT IN (SELECT tenant, call_id FROM calls_log WHERE day >= {since:Date} - 1)
GROUP BY tenant, call
HAVING first_us <= {before:Int64}
ORDER BY first_us, call
LIMIT {most:UInt32}
"""
_STORED = """
SELECT DISTINCT tenant, stream FROM events_log WHERE (tenant, day, stream) IN {keys:Array(Tuple(String, Date, String))}
"""
_LAST_BEATS = """
SELECT stream, max(toUnixTimestamp64Micro(at)) AS us, argMax(JSONExtractUInt(payload, 'spooled'), at) AS spooled
FROM events_log PREWHERE type = 'ProducerBeat' WHERE day >= {since:Date} GROUP BY stream
"""


def unheard(client: Client, now_us: int) -> list[Named]:
    """The calls named long enough ago, oldest first, at most CALLS_MAX. Raises StoreUnreachable or StoreRefused."""
    since = (datetime.fromtimestamp(now_us / 1e6, UTC) - timedelta(days=BACK_DAYS)).date()
    limit_us = LOST_AFTER_S * 1_000_000
    asked = {"since": since, "limit": limit_us, "before": now_us - limit_us, "most": CALLS_MAX}
    with translated("looking for lost calls"):
        rows = [r for r in client.query(_UNHEARD, parameters=asked).result_rows if is_call_id(r[1])]
        if not rows:
            return []
        there = _stored(client, [(r[0], _EPOCH_DAY + timedelta(days=day_of_call(r[1])), r[1]) for r in rows])
        beats = {
            r[0]: (int(r[1]), int(r[2])) for r in client.query(_LAST_BEATS, parameters={"since": since}).result_rows
        }
    found = []
    for tenant, call, campaign, env, producer, last_seq, first_us in rows:
        if (tenant, call) in there:
            continue
        beat_at, spooled = beats.get(producer, (0, 0))
        found.append(
            Named(
                tenant=tenant,
                campaign=campaign,
                env=env,
                call=call,
                producer=producer,
                last_seq=int(last_seq),
                first_at=int(first_us),
                spooled=spooled,
                beat_at=beat_at,
            )
        )
    return found


def _stored(client: Client, keys: list[tuple[str, date, str]]) -> set[tuple[str, str]]:
    there: set[tuple[str, str]] = set()
    for start in range(0, len(keys), KEYS_MAX):
        rows = client.query(_STORED, parameters={"keys": keys[start : start + KEYS_MAX]}).result_rows
        there.update((str(r[0]), str(r[1])) for r in rows)
    return there
