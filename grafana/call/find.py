"""Finds the one call that somebody means: by its id, the beginning or the end of it, `worst` or `last`."""

import re
from collections.abc import Sequence

from alerts.slos import Objective
from grafana.call.lines import list_calls
from grafana.call.wanted import Filters, Sort
from grafana.errors import CallNotFound
from ingest.query import Client, rows

PART_CHARS_MIN = 6
CANDIDATES_MAX = 8
_PART = re.compile(rf"[0-9a-f-]{{{PART_CHARS_MIN},36}}")
_ALL = Filters()
_NAMED = {"worst": Sort.WORST, "last": Sort.NEWEST}


def find_call(client: Client, meant: str, objectives: Sequence[Objective], filters: Filters = _ALL) -> str:
    """The full id. `filters` narrow what `worst` and `last` are taken from. Raises CallNotFound or StoreError."""
    meant = meant.strip().strip("….").lower()
    if meant in _NAMED:
        lines = list_calls(client, filters, objectives, _NAMED[meant], 1)
        if not lines:
            raise CallNotFound("there is no such call in the store: see `turnlog call list`, or run `turnlog demo`")
        return lines[0].call_id
    if not _PART.fullmatch(meant):
        raise CallNotFound(
            f"{meant!r} is no call: give `worst`, `last`, an id, or at least {PART_CHARS_MIN} characters of its "
            "beginning or end"
        )
    found = _matching(client, meant)
    if not found:
        raise CallNotFound(f"no call's id begins or ends with {meant!r}: see `turnlog call list`")
    if len(found) > 1 and meant not in found:
        more = " and more" if len(found) > CANDIDATES_MAX else ""
        shown = found[:CANDIDATES_MAX]
        raise CallNotFound(f"{meant!r} is more than one call; say more of it: {', '.join(shown)}{more}", shown)
    return meant if meant in found else found[0]


def _matching(client: Client, part: str) -> tuple[str, ...]:
    """Ids, the newest first: one more than are shown tells that there are more."""
    found = rows(
        client,
        "SELECT DISTINCT call_id FROM calls"
        " WHERE startsWith(call_id, {part:String}) OR endsWith(call_id, {part:String})"
        " ORDER BY call_id = {part:String} DESC, call_id DESC LIMIT {most:UInt32}",
        {"part": part, "most": CANDIDATES_MAX + 1},
    )
    return tuple(row["call_id"] for row in found)
