"""The ordinal of a broker's log among those that a topic has had; knows nothing of offsets."""

from clickhouse_connect.driver.client import Client

from ingest.errors import StoreRefused
from ingest.position import GENERATIONS_MAX
from ingest.store.faults import translated

# Commits are numbered by the store, so the order of first sight cannot tie or change: a later commit has a higher
# number. Rows that were copied in one block share theirs; the time they were first seen still tells them apart.
_ORDER = """
SELECT log FROM logs_log WHERE topic = {topic:String}
GROUP BY log ORDER BY min(_block_number), min(first_seen), log
"""


def generation_of(client: Client, topic: str, log: str) -> int:
    """0 for the first log seen under a topic, 1 for the next, …; registers an unknown one.

    The answer for a log never changes, whoever else registers it or another at the same time. Two rows of the same
    log do no harm: the earlier one counts.
    """
    with translated(f"looking up the generation of log {log!r} of topic {topic!r}"):
        seen = logs_of(client, topic)
        if log not in seen:
            client.command(
                "INSERT INTO logs_log (topic, log) SELECT {topic:String}, {log:String}",
                parameters={"topic": topic, "log": log},
            )
            seen = logs_of(client, topic)
    generation = seen.index(log)
    if generation >= GENERATIONS_MAX:
        raise StoreRefused(f"topic {topic!r} has had {GENERATIONS_MAX} logs: start a new store for it")
    return generation


def logs_of(client: Client, topic: str) -> list[str]:
    """All logs that the topic has had, the oldest first: a log's place is its generation."""
    return [str(row[0]) for row in client.query(_ORDER, parameters={"topic": topic}).result_rows]
