"""The columns of a flush, held against its events one by one."""

import time
from typing import Any

from bench.load import Load
from ingest.columns import raw_tables
from ingest.effects import Item
from ingest.projection import Record, project
from ingest.tables import Log
from runtime.events import Event, GlitchDetected, SpanEnded, ToolFired, Topic, TurnEnded

TYPES: dict[Log, type[Event]] = {
    Log.TURNS: TurnEnded,
    Log.SPANS: SpanEnded,
    Log.GLITCHES: GlitchDetected,
    Log.TOOL_CALLS: ToolFired,
}
NOW_US = time.time_ns() // 1000


def _items() -> list[Item]:
    values = [value for call in Load().calls(3_000, NOW_US) for _, value in call]
    batch = project([Record(2 * n, NOW_US // 1000, value) for n, value in enumerate(values)], Topic.CALLS)
    return [item for item in batch if isinstance(item, Item)]


def _said(event: Event, name: str) -> Any:
    value = getattr(event, name)
    return list(value.items()) if isinstance(value, dict) else value


def test_every_row_says_what_its_event_says_and_a_repeat_has_no_typed_row() -> None:
    items = _items()
    firsts = [10**12 - item.offset for item in items]
    repeated = {item.offset for item in items[::7]}
    tables = dict(raw_tables(items, firsts, repeated, Log.EVENTS, {"log": "l", "partition": 3}))
    assert list(tables)[-1] is Log.EVENTS
    assert set(tables) == {Log.EVENTS, *TYPES}
    for table, rows in tables.items():
        wanted = [
            (item, first)
            for item, first in zip(items, firsts, strict=True)
            if table is Log.EVENTS or (type(item.row.event) is TYPES[table] and item.offset not in repeated)
        ]
        assert wanted
        columns = {name: rows[name] for name in rows.schema.names}
        assert columns.pop("offset").to_pylist() == [item.offset for item, _ in wanted]
        assert columns.pop("first").to_pylist() == [first for _, first in wanted]
        assert columns.pop("day").cast("int32").to_pylist() == [item.day for item, _ in wanted]
        assert columns.pop("arrived").cast("int64").to_pylist() == [item.arrived_ms for item, _ in wanted]
        assert columns.pop("at").cast("int64").to_pylist() == [item.row.event.at for item, _ in wanted]
        assert set(columns.pop("log").to_pylist()) == {"l"}
        assert set(columns.pop("partition").to_pylist()) == {3}
        if table is Log.EVENTS:
            assert columns.pop("payload").to_pylist() == [item.row.payload.decode() for item, _ in wanted]
            assert columns.pop("type").to_pylist() == [type(item.row.event).__name__ for item, _ in wanted]
        for name, column in columns.items():
            assert column.to_pylist() == [_said(item.row.event, name) for item, _ in wanted], name
