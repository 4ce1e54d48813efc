"""The views in words, from their one home: for a terminal, for a program, and as the reference in docs/sql.md.

`python -m deploy.reference docs/sql.md` writes the reference again, between the marks in that file.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from deploy.errors import Misuse
from ingest.query import Answer
from ingest.tables import VIEWS
from ingest.views import Description

BEGIN = "<!-- written by: python -m deploy.reference docs/sql.md -->"
END = "<!-- end of what is written -->"


def reference_rows() -> Answer:
    """A row for each column of each view, as if it had been asked for."""
    rows = [
        (view.value, column.name, column.type, column.unit, column.meaning)
        for view, described in VIEWS.items()
        for column in described.columns
    ]
    return Answer(["view", "column", "type", "unit", "meaning"], iter([rows]))


def reference_text() -> str:
    """For a person at a terminal."""
    return "\n\n".join("\n".join(_paragraph(*view)) for view in VIEWS.items()) + "\n"


def _paragraph(view: str, described: Description) -> Iterator[str]:
    name_width = max(len(column.name) for column in described.columns)
    type_width = max(len(column.type) for column in described.columns)
    yield f"{view}: {described.row}"
    for name, kind, meaning in described.columns:
        yield f"  {name.ljust(name_width)}  {kind.ljust(type_width)}  {meaning}"


def reference_markdown() -> str:
    """For docs/sql.md."""
    parts = []
    for view, described in VIEWS.items():
        parts += [f"### `{view}`", "", f"A row is {described.row}. It shows, {described.collapsed}.", ""]
        parts += ["| column | type | unit | meaning |", "|---|---|---|---|"]
        parts += [f"| `{c.name}` | `{c.type}` | {c.unit} | {c.meaning} |" for c in described.columns] + [""]
    return "\n".join(parts)


def renewed(page: str) -> str:
    """The page with the reference as it is now between its marks. Raises Misuse when they are not there."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise Misuse(f"the page lacks the marks {BEGIN!r} and {END!r}: put them where the reference belongs")
    return f"{before}{BEGIN}\n\n{reference_markdown()}\n{END}{after}"


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(renewed(page.read_text(encoding="utf-8")), encoding="utf-8")
