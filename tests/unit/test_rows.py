"""What an answer looks like when it is written: as a table, JSON, a JSON object a line, CSV."""

import csv
import datetime as dt
import io
import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from deploy.rows import Format, write
from ingest.query import Answer

AT = dt.datetime(2026, 1, 2, 3, 4, 5, 600, dt.UTC)
ODD = [
    *(None, "", 'say "hi",\r\nbob', True, float("nan"), 1.5, 2**70, AT, dt.date(2026, 1, 2)),
    *(Decimal("1.50"), UUID(int=7), ["a", None, AT], {"k": [1, float("inf")]}, (1, "x"), "\x1b[2J"),
]
NAMES = [f"c{n}" for n in range(len(ODD))]


def written(form: Format, columns: list[str], *blocks: Sequence[Sequence[Any]]) -> str:
    out = io.StringIO(newline="")
    assert write(Answer(columns, iter(blocks)), form, out) == sum(map(len, blocks))
    return out.getvalue()


def test_csv_reads_back_with_null_empty_and_arrays_as_json() -> None:
    text = written(Format.CSV, NAMES, [ODD], [ODD, ODD])
    header, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    assert header == NAMES
    assert rows == [rows[0]] * 3
    assert rows[0][:9] == ["", "", 'say "hi",\r\nbob', "true", "nan", "1.5", str(2**70), str(AT), "2026-01-02"]
    assert rows[0][9:11] == ["1.50", str(UUID(int=7))]
    assert json.loads(rows[0][11]) == ["a", None, "2026-01-02T03:04:05.000600Z"]
    assert json.loads(rows[0][12]) == {"k": [1, None]}
    assert json.loads(rows[0][13]) == [1, "x"]
    assert text.endswith("\r\n")
    assert text.startswith(",".join(NAMES) + "\r\n")


def test_json_and_json_lines_hold_the_same_objects() -> None:
    whole = json.loads(written(Format.JSON, NAMES, [ODD], [ODD, ODD]))
    lines = written(Format.NDJSON, NAMES, [ODD], [ODD, ODD]).splitlines()
    assert [json.loads(line) for line in lines] == whole
    assert len(whole) == 3
    assert list(whole[0]) == NAMES
    assert [whole[0][name] for name in NAMES[:8]] == [
        *(None, "", 'say "hi",\r\nbob', True, None, 1.5, 2**70, "2026-01-02T03:04:05.000600Z")
    ]
    assert whole[0]["c9"] == "1.50"


@pytest.mark.parametrize(
    ("form", "text"),
    [(Format.JSON, "[]\n"), (Format.NDJSON, ""), (Format.CSV, "a,b\r\n"), (Format.TABLE, "a  b\n─  ─\n")],
)
def test_no_rows(form: Format, text: str) -> None:
    assert written(form, ["a", "b"]) == text


def test_a_table_is_aligned_and_moves_no_cursor() -> None:
    text = written(Format.TABLE, ["n", "words"], [[1, "x"], [None, "\x1b[2J\n"]], [[300, [1, None]]])
    assert text == "n    words\n───  ─────────\n1    x\n     \\x1b[2J\\n\n300  [1,null]\n"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_table_that_is_too_wide_for_the_terminal_stands_upright(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    out = _Terminal()
    write(Answer(["n", "words"], iter([[[1, "x" * 30], [2, "y"]]])), Format.TABLE, out)
    assert out.getvalue() == f"── 1 ──\nn      1\nwords  {'x' * 30}\n── 2 ──\nn      2\nwords  y\n"


@pytest.mark.parametrize("form", [Format.JSON, Format.NDJSON, Format.CSV])
def test_a_block_is_written_before_the_next_is_asked_for(form: Format) -> None:
    out, seen = io.StringIO(newline=""), []

    def blocks() -> Iterator[list[list[int]]]:
        for n in range(3):
            seen.append(out.getvalue().count(f"{n - 1}"))
            yield [[n]]

    write(Answer(["a"], blocks()), form, out)
    assert seen == [0, 1, 1]
