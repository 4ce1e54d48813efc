"""Merges the rollup rows of old days over logs, partitions and epochs, after proof that nothing changes by it.

A merged row counts alone where it stands (the views), so it may be written before the rows that it replaces go, and a
crash at any point leaves every figure as it was. What comes for such a key later, a late event or an old epoch that a
worker folded again, waits until the next run: that recounts the key's minute from raw events, puts a difference right
and reports it as a correction, and removes the rows. So nothing is doubled, and nothing late is lost.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pyarrow as pa
from clickhouse_connect.driver.client import Client

from ingest.effects import RollupKey
from ingest.reconcile.rollups import CONSOLIDATED, ROLLUPS, Counts, key_columns, plain, recounted
from ingest.store.faults import translated
from ingest.store.writer import Writer
from ingest.tables import SCHEMAS, Log

HORIZON_DAYS = 31  # a record may be 30 days late
DAYS_PER_RUN_MAX = 40
LATE_KEYS_MAX = 10_000  # that one run puts right in a day of a rollup; the next goes on
EPOCHS_PER_DELETE_MAX = 400


class Consolidated(msgspec.Struct, frozen=True, kw_only=True):
    """One day of one rollup. `proven` is false when something came meanwhile: its old rows stay until the next run."""

    rollup: Log
    day: date
    rows_before: int
    rows_after: int
    corrected: int
    proven: bool


class _Late(msgspec.Struct, frozen=True):
    key: RollupKey
    counts: Mapping[int, int]
    version: int


def consolidate(client: Client, now_us: int) -> list[Consolidated]:
    """All days past the horizon that hold rows of epochs. Raises StoreUnreachable or StoreRefused: run it again."""
    last = (datetime.fromtimestamp(now_us / 1e6, UTC) - timedelta(days=HORIZON_DAYS)).date()
    done = []
    for table in ROLLUPS:
        sql = f"SELECT DISTINCT toDate(minute) AS day FROM {table} WHERE day < {{last:Date}} AND log != '' ORDER BY day"  # noqa: S608
        for (day,) in _ask(client, sql, {"last": last})[:DAYS_PER_RUN_MAX]:
            done.append(_day(client, table, day, now_us))
    return done


def forget(client: Client) -> None:
    """No day is noted as merged: for whoever has put rows of epochs in the place of merged ones."""
    _write(client, _FORGET)


def _day(client: Client, table: Log, day: date, now_us: int) -> Consolidated:
    before = _count(client, table, day)
    known = bool(_ask(client, _DONE, {"rollup": table, "day": day}))
    epochs = _ask(client, _EPOCHS.format(table=table), {"day": day})
    late, wrong = _correct(client, table, day, now_us)
    new = _unmerged(client, table, day) if known else []
    _write(client, _MERGE.format(table=table, key=_key(table)), {"day": day})
    _report(client, table, [(item, 0, sum(item.counts.values())) for item in new], now_us)
    unequal = {key for key, _ in _unequal(client, table, day)}
    proven = unequal <= late
    if proven:
        # Noted before anything goes: a day that lost its old rows unnoted would take what is late for what is old.
        _write(client, _NOTE, {"now": now_us, "rollup": table, "day": day, "rows": before})
        for start in range(0, len(epochs), EPOCHS_PER_DELETE_MAX):
            _remove(client, table, day, epochs[start : start + EPOCHS_PER_DELETE_MAX])
    return Consolidated(
        rollup=table,
        day=day,
        rows_before=before,
        rows_after=_count(client, table, day),
        corrected=wrong + len(new),
        proven=proven,
    )


def _correct(client: Client, table: Log, day: date, now_us: int) -> tuple[set[RollupKey], int]:
    """Recounts the keys for which something came after they were merged, and writes what is true of them now. Returns
    those keys, which are right from here on, and how many of them were wrong.
    """
    late = [_Late(key, *row) for key, row in _unequal(client, table, day)]
    if not late:
        return set(), 0
    true: Counts = {}
    for minute in sorted({item.key[1] for item in late}):
        start = datetime.fromtimestamp(minute, UTC)
        true.update(recounted(client, start, start + timedelta(minutes=1)))
    wrong = [item for item in late if dict(true.get(item.key, {})) != dict(item.counts)]
    rows = [_row(table, item.key, true.get(item.key, {}), item.version + 1) for item in wrong]
    if rows:
        schema = SCHEMAS[table]
        columns = [pa.array([row[f.name] for row in rows], f.type) for f in schema]
        # The report first: what is reported twice after a crash can be seen, what is not reported cannot.
        said = [(item, sum(item.counts.values()), sum(true.get(item.key, {}).values())) for item in wrong]
        _report(client, table, said, now_us)
        Writer(client).insert(table, pa.Table.from_arrays(columns, schema=schema))
    return {item.key for item in late}, len(wrong)


def _row(table: Log, key: RollupKey, counts: Mapping[int, int], version: int) -> dict[str, Any]:
    row = dict(zip(key_columns(table), key[1:], strict=True))
    fold = {"log": CONSOLIDATED, "partition": 0, "epoch": 0, "version": version, "buckets": list(counts.items())}
    return {**row, **fold}


# ── the store ──

_DONE = """
SELECT 1 FROM reconciled_log WHERE task = 'consolidated' AND rollup = {rollup:String} AND day = {day:Date} LIMIT 1
"""
_NOTE = """
INSERT INTO reconciled_log (task, at, rollup, day, checked)
SELECT 'consolidated', fromUnixTimestamp64Micro({now:Int64}, 'UTC'), {rollup:String}, {day:Date}, {rows:UInt64}
"""
_FORGET = "ALTER TABLE reconciled_log DELETE WHERE task = 'consolidated' SETTINGS mutations_sync = 1"
_EPOCHS = """
SELECT log, partition, epoch, max(version) FROM {table} WHERE toDate(minute) = {{day:Date}} AND log != ''
GROUP BY log, partition, epoch ORDER BY log, partition, epoch
"""
# `old` are the rows of epochs, `merged` the one that stands for them.
_BOTH = """
SELECT {key}, sumMapIf(folded.buckets, log != '') AS old, sumMapIf(folded.buckets, log = '') AS merged,
       maxIf(version, log = '') AS merged_version, countIf(log = '') AS is_merged
FROM {table} AS folded FINAL WHERE toDate(minute) = {{day:Date}}
GROUP BY {key} HAVING countIf(log != '') > 0
"""
_MERGE = """
INSERT INTO {table} ({key}, log, partition, epoch, version, buckets)
SELECT {key}, '', 0, 0, 1, CAST(sumMap(folded.buckets), 'Map(Int16, UInt32)')
FROM {table} AS folded FINAL WHERE toDate(minute) = {{day:Date}}
GROUP BY {key} HAVING countIf(log = '') = 0
"""


def _key(table: Log) -> str:
    return ", ".join(key_columns(table))


def _unequal(client: Client, table: Log, day: date) -> list[tuple[RollupKey, tuple[dict[int, int], int]]]:
    """Merged keys whose rows of epochs say something else, with what was merged and its version."""
    key = _key(table)
    sql = f"SELECT {key}, merged, merged_version FROM ({_BOTH.format(table=table, key=key)})"  # noqa: S608
    sql += f" WHERE is_merged AND old != merged ORDER BY {key} LIMIT {LATE_KEYS_MAX}"
    rows = _ask(client, sql, {"day": day})
    return [((table, *plain(row[:-2])), (dict(row[-2]), int(row[-1]))) for row in rows]


def _unmerged(client: Client, table: Log, day: date) -> list[_Late]:
    key = _key(table)
    sql = f"SELECT {key}, old FROM ({_BOTH.format(table=table, key=key)}) WHERE NOT is_merged"  # noqa: S608
    return [_Late((table, *plain(row[:-1])), dict(row[-1]), 0) for row in _ask(client, sql, {"day": day})]


def _remove(client: Client, table: Log, day: date, epochs: Sequence[Sequence[Any]]) -> None:
    """Those rows only that were there when it began: what an epoch has folded since has a higher version."""
    places = ", ".join(f"({_quoted(log)}, {partition}, {epoch})" for log, partition, epoch, _ in epochs)
    versions = ", ".join(str(version) for *_, version in epochs)
    _write(
        client,
        f"ALTER TABLE {table} DELETE WHERE toDate(minute) = '{day}' AND log != ''"
        f" AND (log, partition, epoch) IN ({places})"
        f" AND version <= [{versions}][indexOf([{places}], (toString(log), toUInt64(partition), epoch))]"
        " SETTINGS mutations_sync = 1",
    )


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _report(client: Client, table: Log, said: Sequence[tuple[_Late, int, int]], now_us: int) -> None:
    if said:
        at = datetime.fromtimestamp(now_us / 1e6, UTC)
        lines = [
            [at, str(table), datetime.fromtimestamp(late.key[1], UTC), late.key[2], list(late.key[3:]), before, after]
            for late, before, after in said
        ]
        with translated("reporting corrections"):
            names = ["at", "rollup", "minute", "tenant", "dimensions", "before", "after"]
            client.insert(str(Log.CORRECTIONS), lines, column_names=names)


def _count(client: Client, table: Log, day: date) -> int:
    return int(_ask(client, f"SELECT count() FROM {table} WHERE toDate(minute) = {{day:Date}}", {"day": day})[0][0])  # noqa: S608


def _ask(client: Client, sql: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
    with translated("consolidating rollups"):
        return client.query(sql, parameters=dict(parameters)).result_rows


def _write(client: Client, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
    with translated("consolidating rollups"):
        client.command(sql, parameters=dict(parameters) if parameters else None)
