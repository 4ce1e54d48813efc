"""Writes Arrow tables into the raw tables and the rollup; retries and decides nothing.

No deduplication tokens: an insert that is repeated, or cut differently, collapses by key.
"""

import pyarrow as pa
from clickhouse_connect.driver.client import Client

from ingest.errors import StoreRefused
from ingest.store.faults import translated
from ingest.tables import SCHEMAS, Log

BATCH_ROWS_MAX = 1_000_000  # ClickHouse's own block: beyond it an insert is several blocks and no longer atomic

# Ours, not the server's: 26.x collects small inserts by default and turns nulls and absent columns into zeros.
SETTINGS = {
    "async_insert": 0,
    "wait_end_of_query": 1,
    "input_format_null_as_default": 0,
    "input_format_defaults_for_omitted_fields": 1,  # the store's own columns: payload_hash
    "input_format_arrow_allow_missing_columns": 0,
    "date_time_overflow_behavior": "throw",
}


class Writer:
    """Inserts over one client. Not for several threads at once when that client has a session."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def insert(self, table: Log, rows: pa.Table) -> None:
        """Stores `rows` (schema: `SCHEMAS[table]`, strings may be dictionaries) or raises.

        StoreUnreachable: try the same again. RowsRefused: a row of these is at fault. StoreRefused: no batch will do.
        """
        if rows.num_rows == 0:
            return
        expected = SCHEMAS[table]
        wrong = unlike(rows.schema, expected)
        if wrong:
            raise StoreRefused(f"inserting into {table}: not as ingest.tables says: {', '.join(wrong)}")
        if rows.num_rows > BATCH_ROWS_MAX:
            raise StoreRefused(f"inserting into {table}: {rows.num_rows} rows exceed {BATCH_ROWS_MAX}: cut the batch")
        # One record batch is one block is one part: many chunks would cost the store a block each.
        with translated(f"inserting {rows.num_rows} rows into {table}", rows=True):
            self._client.insert_arrow(str(table), rows.combine_chunks(), settings=SETTINGS)


def unlike(given: pa.Schema, expected: pa.Schema) -> list[str]:
    """The columns of either that the other lacks or has of another type: ClickHouse would wrap -1 to 4294967295."""
    found = {field.name: _plain(field.type) for field in given}
    wanted = {field.name: field.type for field in expected}
    return [name for name in wanted | found if found.get(name) != wanted.get(name)]


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind
