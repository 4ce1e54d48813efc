"""`turnlog sql`."""

from enum import StrEnum
from typing import Annotated

import typer

from deploy.commands.terminal import end_in_order, quiet, settings, talk


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"


def sql(
    query: Annotated[str, typer.Argument(help="One statement; `SHOW TABLES` lists what there is.")],
    output: Annotated[Format, typer.Option("--format", help="How to print the rows.")] = Format.TABLE,
) -> None:
    """Ask a question over call history. Opens the embedded store when no stack runs."""
    from deploy.ask import ask, print_json, print_table

    quiet()
    end_in_order()
    columns, rows = ask(settings(), query, lambda step: talk.print(step, style="dim"))
    if output is Format.JSON:
        print_json(columns, rows)
    else:
        print_table(columns, rows)
