"""What a reader's request may cost and set. Each has a connection of its own, so nothing of it stays."""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from ingest.store.judge import DATABASE

RESULT_BYTES_MAX = 512 * 2**20
RESULT_ROWS_MAX = 50_000_000
MEMORY_BYTES_MAX = 2 * 2**30
TEMPORARY_BYTES_MAX = 2**30
SECONDS_MAX = 600
THREADS_MAX = 2  # of the cores; the worker's inserts want some as well
STATEMENT_BYTES_MAX = 262_144

# What a reader may set: how an answer looks, and bounds, which only get tighter.
_LOOK = frozenset(
    {
        *("async_insert", "wait_end_of_query", "use_skip_indexes_if_final_exact_mode", "readonly", "extremes"),
        *("limit", "offset", "max_block_size", "session_timezone", "join_use_nulls", "date_time_input_format"),
        *(
            "date_time_output_format",
            "cancel_http_readonly_queries_on_client_close",
            "http_write_exception_in_output_format",
        ),
        *("send_progress_in_http_headers", "totals_mode", "group_by_use_nulls", "prefer_column_name_to_alias"),
        "cast_string_to_dynamic_use_inference",  # clickhouse-connect sets it by itself
    }
)
_IGNORED = frozenset({"readonly", "async_insert", "cancel_http_readonly_queries_on_client_close"})
_BOUNDS: Mapping[str, int] = {
    "max_result_bytes": RESULT_BYTES_MAX,
    "max_result_rows": RESULT_ROWS_MAX,
    "max_memory_usage": MEMORY_BYTES_MAX,
    "max_temporary_data_on_disk_size_for_query": TEMPORARY_BYTES_MAX,
    "max_execution_time": SECONDS_MAX,
    "max_threads": THREADS_MAX,
}


class NotForReaders(Exception):
    """A setting that a reader may not have."""


def reader_settings(asked: Mapping[str, str], public: AbstractSet[str]) -> dict[str, str]:
    """The settings of a reader's request, from those that it asks for. `readonly` is to be set last of all.

    Raises NotForReaders, which names the setting.
    """
    found = {
        "result_overflow_mode": "throw",
        "timeout_overflow_mode": "throw",
        "max_ast_elements": "20000",
        "allow_introspection_functions": "0",
        "priority": "10",  # yields to what has none, as the worker's inserts
        "additional_table_filters": _filters(public),
    }
    for name, value in asked.items():
        if name in _BOUNDS:
            continue
        if name not in _LOOK and not name.startswith("output_format_"):
            raise NotForReaders(name)
        if name not in _IGNORED:
            found[name] = value
    for name, bound in _BOUNDS.items():
        found[name] = str(_tighter(name, asked.get(name, ""), bound))
    return found


def _tighter(name: str, asked: str, bound: int) -> int:
    """ClickHouse takes 0 for no bound."""
    if not asked:
        return bound
    try:
        wanted = int(float(asked))
    except (ValueError, OverflowError):
        raise NotForReaders(name) from None
    return min(wanted, bound) if wanted > 0 else bound


def _filters(public: Iterable[str]) -> str:
    """Of the system's tables a reader sees the rows about what is public."""
    names = ", ".join(f"\\'{name}\\'" for name in sorted(public))
    here = f"database = \\'{DATABASE}\\'"
    rows = {
        "system.tables": f"{here} AND name IN ({names})",
        "system.columns": f"{here} AND table IN ({names})",
        "system.databases": f"name = \\'{DATABASE}\\'",
    }
    return "{" + ", ".join(f"'{table}': '{condition}'" for table, condition in rows.items()) + "}"
