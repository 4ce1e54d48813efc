"""What is written about views: in one place, whole, and the same in the docs."""

import re
from pathlib import Path

import pytest

from deploy.errors import Misuse
from deploy.reference import BEGIN, END, reference_rows, reference_text, renewed
from ingest.tables import COLUMNS, VIEWS, View

PAGE = Path(__file__).parents[2] / "docs" / "sql.md"


def test_the_docs_hold_the_reference_as_it_is_now() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert renewed(page) == page, "write it again: python -m deploy.reference docs/sql.md"


def test_a_changed_word_makes_the_page_stale() -> None:
    page = PAGE.read_text(encoding="utf-8")
    word = VIEWS[View.CALLS].columns[-1].meaning
    assert renewed(page.replace(word, "other words")) == page


@pytest.mark.parametrize("page", ["", BEGIN, f"{END} {BEGIN}"])
def test_a_page_without_its_marks_is_left_alone(page: str) -> None:
    with pytest.raises(Misuse, match="lacks the marks"):
        renewed(page)


def test_every_view_and_column_is_described_in_words_of_its_own() -> None:
    assert set(VIEWS) == set(View)
    for view, described in VIEWS.items():
        assert described.row
        assert described.collapsed
        assert len(set(COLUMNS[view])) == len(COLUMNS[view])
        for column in described.columns:
            assert column.meaning
            assert (
                "|" not in column.meaning + described.row + described.collapsed
            )  # a cell of a Markdown table ends there


def test_units_are_those_that_names_end_with() -> None:
    units = {(column.name, column.unit) for described in VIEWS.values() for column in described.columns}
    assert {("latency_us", "µs"), ("gap_ms", "ms"), ("at", "UTC"), ("started_at", "UTC"), ("turns", "")} <= units
    assert all(name.endswith("_us") for name, unit in units if unit == "µs")


def test_terminal_and_program_are_told_of_the_same_columns() -> None:
    answer = reference_rows()
    assert answer.columns == ["view", "column", "type", "unit", "meaning"]
    told = [(row[0], row[1]) for block in answer.blocks for row in block]
    assert told == [(view.value, name) for view, names in COLUMNS.items() for name in names]
    shown, view = [], ""
    for line in reference_text().splitlines():
        if found := re.match(r"(\w+): ", line):
            view = found[1]
        elif line.strip():
            shown.append((view, line.split()[0]))
    assert shown == told
