"""Builds the Arrow tables of one flush from its items and rollup rows. Sends them nowhere."""

from collections import defaultdict
from collections.abc import Callable, Container, Sequence
from typing import Any, cast

import pyarrow as pa

from ingest.effects import Item, RollupRow
from ingest.projection import Row
from ingest.tables import SCHEMAS, Log
from runtime.events import (
    Event,
    GlitchDetected,
    SpanEnded,
    ToolFired,
    TurnEnded,
)

_TYPED: dict[type[Event], Log] = {
    TurnEnded: Log.TURNS,
    SpanEnded: Log.SPANS,
    GlitchDetected: Log.GLITCHES,
    ToolFired: Log.TOOL_CALLS,
}
_Line = tuple[Item, Event, int]  # an item, its event, its `first`

# Columns that are not simply a field of the event.
_OF_LINE: dict[str, Callable[[_Line], Any]] = {
    "day": lambda line: line[0].day,
    "offset": lambda line: line[0].offset,
    "first": lambda line: line[2],
    "arrived": lambda line: line[0].arrived_ms,
    "type": lambda line: type(line[1]).__name__,
    "variants": lambda line: list(line[1].variants.items()),
    "payload": lambda line: cast(Row, line[0].row).payload,
}


def raw_tables(
    items: Sequence[Item], firsts: Sequence[int], repeated: Container[int], raw: Log, place: dict[str, Any]
) -> list[tuple[Log, pa.Table]]:
    """The rows by table, those of `raw` last, where every event of the topic lies: where one is, all its rows are.
    `place` names the log and the partition.

    A repeated delivery is an event again and nothing else: with another payload it could be of another type, and in
    the table of that type its row would have no first delivery to lose against.
    """
    lines: list[_Line] = [(i, cast(Row, i.row).event, f) for i, f in zip(items, firsts, strict=True)]
    by_table: defaultdict[Log, list[_Line]] = defaultdict(list)
    for line in lines:
        table = _TYPED.get(type(line[1]))
        if table is not None and line[0].offset not in repeated:
            by_table[table].append(line)
    by_table[raw] = lines
    return [(table, _table(SCHEMAS[table], its, place)) for table, its in by_table.items()]


def _table(schema: pa.Schema, lines: Sequence[_Line], place: dict[str, Any]) -> pa.Table:
    events = [line[1] for line in lines]
    columns = []
    for field in schema:
        if field.name in place:
            values: list[Any] = [place[field.name]] * len(lines)
        elif field.name in _OF_LINE:
            values = list(map(_OF_LINE[field.name], lines))
        else:
            values = [getattr(event, field.name) for event in events]
        columns.append(pa.array(values, field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def rollup_tables(rows: Sequence[RollupRow]) -> list[tuple[Log, pa.Table]]:
    """The rollup rows by table. A key is the table and the leading columns of its schema."""
    by_table: defaultdict[Log, list[RollupRow]] = defaultdict(list)
    for row in rows:
        by_table[row.key[0]].append(row)
    return [(table, _rollup(SCHEMAS[table], its)) for table, its in by_table.items()]


def _rollup(schema: pa.Schema, rows: Sequence[RollupRow]) -> pa.Table:
    data: dict[str, list[Any]] = {
        "log": [r.log for r in rows],
        "partition": [r.partition for r in rows],
        "epoch": [r.epoch for r in rows],
        "version": [r.version for r in rows],
        "buckets": [list(r.counts.items()) for r in rows],
    }
    names = [name for name in schema.names if name not in data]
    for i, name in enumerate(names, start=1):
        data[name] = [r.key[i] for r in rows]
    return pa.Table.from_arrays([pa.array(data[f.name], f.type) for f in schema], schema=schema)
