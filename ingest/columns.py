"""Builds the Arrow tables of one flush from its items and rollup rows. Sends them nowhere."""

from collections import defaultdict
from collections.abc import Container, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, cast

import numpy as np
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
# What the raw rows take from an event as it is. One pass over the events: each lies elsewhere in memory.
_ENVELOPE = ["tenant", "stream", "source", "seq", "at", "campaign", "agent", "agent_version", "env", "lead", "variants"]
_OF_EVENT = attrgetter(*_ENVELOPE)
_OF_ITEM = attrgetter("day", "offset", "arrived_ms", "row.payload")


def raw_tables(
    items: Sequence[Item], firsts: Sequence[int], repeated: Container[int], raw: Log, place: dict[str, Any]
) -> list[tuple[Log, pa.Table]]:
    """The rows by table, those of `raw` last, where every event of the topic lies: where one is, all its rows are.
    `place` names the log and the partition.

    A repeated delivery is an event again and nothing else: with another payload it could be of another type, and in
    the table of that type its row would have no first delivery to lose against.
    """
    if not items:
        return [(raw, SCHEMAS[raw].empty_table())]
    events: list[Event] = [cast(Row, item.row).event for item in items]
    rows = _raw_rows(SCHEMAS[raw], items, events, firsts, place)
    by_table: defaultdict[Log, list[int]] = defaultdict(list)
    for n, event in enumerate(events):
        table = _TYPED.get(type(event))
        if table is not None and items[n].offset not in repeated:
            by_table[table].append(n)
    typed = [(table, _typed_rows(SCHEMAS[table], rows, which, events)) for table, which in by_table.items()]
    return [*typed, (raw, rows)]


def _raw_rows(
    schema: pa.Schema, items: Sequence[Item], events: Sequence[Event], firsts: Sequence[int], place: dict[str, Any]
) -> pa.Table:
    columns: dict[str, Any] = dict(zip(_ENVELOPE, zip(*map(_OF_EVENT, events), strict=True), strict=True))
    of_items = zip(*map(_OF_ITEM, items), strict=True)
    columns |= zip(("day", "offset", "arrived", "payload"), of_items, strict=True)
    columns |= {"first": firsts, "type": [type(event).__name__ for event in events]}
    columns |= {name: [value] * len(items) for name, value in place.items()}
    columns["variants"] = _maps(columns["variants"])
    arrays = [
        values if isinstance(values := columns[field.name], pa.Array) else pa.array(values, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _maps(variants: Sequence[dict[str, str]]) -> pa.Array:
    """Built from its three parts: a list of pairs for each event costs ten times as much."""
    ends = np.cumsum(np.fromiter(map(len, variants), np.int32, len(variants)), dtype=np.int32)
    names = pa.array(list(chain.from_iterable(variants)), pa.string())
    values = pa.array(list(chain.from_iterable(v.values() for v in variants if v)), pa.string())
    return pa.MapArray.from_arrays(np.concatenate(([np.int32(0)], ends)), names, values)


def _typed_rows(schema: pa.Schema, rows: pa.Table, which: Sequence[int], events: Sequence[Event]) -> pa.Table:
    """The rows of one type: what all events have is taken from the columns that stand already."""
    common = [name for name in schema.names if name in rows.schema.names]
    own = [name for name in schema.names if name not in rows.schema.names]
    columns = dict(zip(common, rows.select(common).take(pa.array(which, pa.int64())).columns, strict=True))
    own_of = attrgetter(*own)  # of every type more than one
    found = [own_of(events[n]) for n in which]
    for name, values in zip(own, zip(*found, strict=True), strict=True):
        columns[name] = pa.array(values, schema.field(name).type)
    return pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)


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
