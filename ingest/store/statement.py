"""Reads just enough of a request's SQL to serve it: where inline data begins, and which format comes back."""

import re
from dataclasses import dataclass

HEAD_BYTES_MAX = 65_536  # an INSERT's own words, before its data

_COMMENTS = rb"(?:\s|/\*.*?\*/|--[^\n]*\n)*"
_NAME = rb"(?:(?:`[^`]*`)+|(?:\"[^\"]*\")+|\w+)"
_COLUMNS = rb"\((?:[^()`\"]|`[^`]*`|\"[^\"]*\")*\)"
_INSERT = re.compile(
    _COMMENTS + rb"(INSERT\s+INTO\s+(?:TABLE\s+)?" + _NAME + rb"(?:\s*\.\s*" + _NAME + rb")?\s*(?:" + _COLUMNS + rb")?)"
    # One line break belongs to the statement; every byte after it is data.
    rb"\s*(SETTINGS\s[^;]*?)?\bFORMAT\s+(\w+)[ \t;]*(?:\r?\n)?",
    re.IGNORECASE | re.DOTALL,
)
_FORMAT = re.compile(r"\bFORMAT\s+(\w+)\s*(?:SETTINGS\s[^;]*)?;?\s*\Z", re.IGNORECASE)
_ANSWERING = re.compile(rb"(?:SELECT|WITH|SHOW|DESC|DESCRIBE|EXPLAIN|EXISTS|CHECK|VALUES|\()", re.IGNORECASE)


@dataclass(frozen=True)
class Query:
    """SQL whose result is wanted. `format` is what the SQL itself asks for; `answers`: it has a result at all."""

    sql: str
    format: str | None
    answers: bool


@dataclass(frozen=True)
class Insert:
    """An INSERT up to its columns, its SETTINGS clause or nothing, and its rows as bytes of `format`."""

    into: str
    settings: str
    format: str
    data: bytes


def read(sql: bytes, data: bytes = b"") -> Query | Insert:
    """What a request asks for. `sql` may carry inline data; `data` is a separate body, and follows it.

    Raises UnicodeDecodeError when the SQL is not UTF-8.
    """
    head = _INSERT.match(sql[:HEAD_BYTES_MAX])
    if head is not None:
        return Insert(
            head[1].decode().rstrip(), (head[2] or b"").decode().rstrip(), head[3].decode(), sql[head.end() :] + data
        )
    text = (sql + b"\n" + data if data else sql).decode()
    found = _FORMAT.search(text)
    start = re.match(_COMMENTS, sql, re.DOTALL)
    answers = _ANSWERING.match(sql, start.end() if start else 0) is not None
    return Query(text, found[1] if found else None, answers)
