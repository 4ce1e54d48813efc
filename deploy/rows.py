"""Writes the rows of an answer as a table, JSON, a JSON object a line, or CSV. Asks nothing and knows no view.

All but the table are written block by block, so that an answer of any length passes through.
"""

import csv
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TextIO

import msgspec

if TYPE_CHECKING:
    from ingest.query import Answer

_ENCODER = msgspec.json.Encoder(enc_hook=str, decimal_format="string")
_AS_IT_IS = frozenset({str, int, float, type(None)})  # what `csv` writes as we would


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"


def write(answer: "Answer", form: Format, out: TextIO) -> int:
    """Write the whole answer; how many rows there were."""
    return _WRITERS[form](answer, out)


def _json(answer: "Answer", out: TextIO) -> int:
    """An array with an object a row. Times and decimals are text; what is no finite number is null."""
    count = 0
    for block in answer.blocks:
        for text in _objects(answer.columns, block):
            out.write(",\n " if count else "[\n ")
            out.write(text)
            count += 1
    out.write("\n]\n" if count else "[]\n")
    return count


def _ndjson(answer: "Answer", out: TextIO) -> int:
    """The same objects, one a line."""
    count = 0
    for block in answer.blocks:
        out.writelines(f"{text}\n" for text in _objects(answer.columns, block))
        count += len(block)
    return count


def _csv(answer: "Answer", out: TextIO) -> int:
    """RFC 4180 with a header. NULL is empty, as an empty text is; arrays and maps are JSON."""
    lines = csv.writer(out, lineterminator="\r\n")
    lines.writerow(answer.columns)
    count = 0
    for block in answer.blocks:
        lines.writerows([value if type(value) in _AS_IT_IS else _text(value) for value in row] for row in block)
        count += len(block)
    return count


def _table(answer: "Answer", out: TextIO) -> int:
    """Every column and row, aligned; one column a line where a terminal is too narrow for them side by side."""
    from grafana.call.words import harmless  # with all that draws calls: `turnlog --help` has no time for it

    columns = answer.columns
    cells = [[harmless(_text(value)) for value in row] for block in answer.blocks for row in block]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)] if columns else []
    if out.isatty() and sum(widths) + 2 * len(widths) > shutil.get_terminal_size().columns:
        lines = (line for n, row in enumerate(cells, start=1) for line in _upright(n, columns, row))
    else:
        ruled = [columns, ["─" * width for width in widths], *cells]
        lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in ruled)
    out.writelines(f"{line}\n" for line in lines)
    return len(cells)


_WRITERS: Mapping[Format, "Callable[[Answer, TextIO], int]"] = {
    Format.TABLE: _table,
    Format.JSON: _json,
    Format.NDJSON: _ndjson,
    Format.CSV: _csv,
}


def _objects(columns: Sequence[str], block: Sequence[Sequence[Any]]) -> Iterator[str]:
    return (_as_json(dict(zip(columns, row, strict=True))) for row in block)


def _as_json(value: Any) -> str:
    return _ENCODER.encode(value).decode()


def _text(value: Any) -> str:
    """One value as text: of a cell, or of a field of CSV."""
    if value is None:
        return ""
    return _as_json(value) if isinstance(value, bool | list | tuple | Mapping) else str(value)


def _upright(number: int, columns: Sequence[str], row: Sequence[str]) -> list[str]:
    width = max(map(len, columns))
    return [f"── {number} ──", *(f"{name.ljust(width)}  {cell}" for name, cell in zip(columns, row, strict=True))]
