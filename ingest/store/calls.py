"""Derives the facts of calls anew from their stored events; does not decide when."""

from collections.abc import Sequence
from datetime import date
from typing import TypeAlias

from clickhouse_connect.driver.client import Client

from ingest.store.faults import translated

# The keys travel in the request line; 500 of them take about 60 kB of the 1 MiB that ClickHouse reads.
KEYS_PER_STATEMENT_MAX = 500

CallKey: TypeAlias = tuple[str, date, str]  # tenant, day, call id

# The envelope is the word of CallStarted, or of the earliest event until that has arrived.
_ENVELOPE = ("campaign", "agent", "agent_version", "env", "lead")
_ENVELOPE_SQL = ", ".join(f"envelope.{n}" for n, _ in enumerate(_ENVELOPE, start=1))


def _said(field: str, type_: str) -> str:
    """A field of the payloads of one type. Those of all others, nine of ten, are not parsed."""
    return f"if(type = '{type_}', JSONExtractString(payload, '{field}'), '')"


def derive_calls_sql() -> str:
    """One statement; its parameter `keys` is Array(Tuple(tenant String, day Date, stream String))."""
    return f"""
INSERT INTO calls_log
    (tenant, day, call_id, {", ".join(_ENVELOPE)}, direction, started_at, ended_at, end_reason, disposition,
     turns, disappeared, interrupted, glitches, events, version)
WITH argMin(({", ".join(_ENVELOPE)}), (type != 'CallStarted', at, seq, source)) AS envelope
SELECT
    tenant, day, stream,
    {_ENVELOPE_SQL},
    argMinIf({_said("direction", "CallStarted")}, (at, seq, source), type = 'CallStarted'),
    minOrNullIf(at, type = 'CallStarted'),
    maxOrNullIf(at, type = 'CallEnded'),
    argMaxIf({_said("reason", "CallEnded")}, (at, seq, source), type = 'CallEnded'),
    argMaxIf({_said("disposition", "DispositionSet")}, (at, seq, source), type = 'DispositionSet'),
    countIf(type = 'TurnEnded'),
    countIf({_said("outcome", "TurnEnded")} = 'disappeared'),
    countIf({_said("outcome", "TurnEnded")} = 'interrupted'),
    countIf(type = 'GlitchDetected'),
    count(),
    count() AS version
FROM events_log FINAL
WHERE (tenant, day, stream) IN {{keys:Array(Tuple(String, Date, String))}}
GROUP BY tenant, day, stream
-- A producer's beats are no call; nor is, by itself, the word that one of their streams is closed.
HAVING countIf(type = 'ProducerBeat') = 0 AND countIf(type != 'SourceClosed') > 0
"""  # noqa: S608 - built from constants of this module; the keys are a bound parameter


def derive_calls(client: Client, keys: Sequence[CallKey]) -> None:
    """Writes a row for each of the calls as its events stand now; a row of fewer events never replaces one of more.

    Raises StoreUnreachable (try again: the same rows collapse) or StoreRefused.
    """
    statement = derive_calls_sql()
    with translated(f"deriving {len(keys)} calls"):
        for start in range(0, len(keys), KEYS_PER_STATEMENT_MAX):
            client.command(statement, parameters={"keys": list(keys[start : start + KEYS_PER_STATEMENT_MAX])})
