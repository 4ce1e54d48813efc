"""`turnlog sql`."""

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from deploy.commands.terminal import end_in_order, quiet, settings, talk
from deploy.errors import DeployError, Misuse
from deploy.rows import Format

if TYPE_CHECKING:
    from deploy.patience import Patience

Rows: TypeAlias = Sequence[Sequence[Any]]

TABLE_ROWS_MAX = 1_000  # of a table, unless --limit says otherwise
TIMEOUT_S = 300
TIMEOUT_S_MAX = 86_400
_GRACE_S = 15  # what the store has to say that the time is over

# What to do about ClickHouse's commonest refusals of a question, by its codes.
_ADVICE = {
    60: "`turnlog sql --views` lists what there is",
    456: "give it a value: --param NAME=VALUE",
    396: "ask for fewer days, rows or columns",
    241: "ask for fewer days, rows or columns",
}


def sql(
    context: typer.Context,
    query: Annotated[str | None, typer.Argument(help="One SQL statement; - reads it from standard input.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", exists=True, dir_okay=False, help="Read the statement from here.")
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A value for {NAME:Type} in it; repeatable."),
    ] = None,
    form: Annotated[Format | None, typer.Option("--format", help="How to print the rows; a table by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    limit: Annotated[
        int | None,
        typer.Option(min=0, help=f"Rows at most; 0 is all. By default {TABLE_ROWS_MAX} of a table, all of the others."),
    ] = None,
    timeout: Annotated[int, typer.Option(min=1, max=TIMEOUT_S_MAX, help="Seconds to wait at most.")] = TIMEOUT_S,
    content: Annotated[
        bool,
        typer.Option(
            "--content", help="Read the view `content` as well: what people said. Each such reading is an event."
        ),
    ] = False,
    views: Annotated[bool, typer.Option("--views", help="List the views and their columns; asks nothing.")] = False,
) -> None:
    """Ask a question over call history. Opens the embedded store when no stack runs.

    Statements are read-only. `turnlog sql --views` says what can be asked for.
    """
    from deploy.question import bound, read_question
    from deploy.reference import reference_rows, reference_text
    from deploy.rows import write

    quiet()
    end_in_order()
    form = _form(form, as_json)
    if views and (query is not None or file is not None):
        raise Misuse("--views asks nothing: leave the question out, or leave --views out")
    if views:
        if form is Format.TABLE:
            sys.stdout.write(reference_text())
        else:
            write(reference_rows(), form, sys.stdout)
        sys.stdout.flush()
        return
    question = read_question(query, file, sys.stdin)
    if question is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)
    values = bound(question, param or ())
    ask = partial(_answer, question, values, form, timeout_s=timeout, content=content)
    if limit is None:
        limit = TABLE_ROWS_MAX if form is Format.TABLE else 0
        if ask(rows_max=limit) == limit > 0:
            talk.print(f"turnlog: there may be more than these {limit:,} rows: see --limit, or --format csv")
    else:
        ask(rows_max=limit)


def _form(form: Format | None, as_json: bool) -> Format:
    if as_json and form not in {None, Format.JSON}:
        raise Misuse(f"--json and --format {form} are two formats: choose one")
    return Format.JSON if as_json else form or Format.TABLE


def _answer(
    question: str, values: dict[str, Any], form: Format, *, rows_max: int, timeout_s: int, content: bool
) -> int:
    """Ask, and write what comes; how many rows came."""
    from deploy.ask import opened_store
    from deploy.patience import Patience
    from deploy.rows import write
    from ingest.errors import StoreRefused
    from ingest.query import asked
    from ingest.store.credentials import Role

    def say(step: str) -> None:
        talk.print(step, style="dim")

    role = Role.CONTENT if content else Role.READER
    with Patience(talk) as patience, opened_store(settings(), say, timeout_s + _GRACE_S, role) as client:
        try:
            with asked(client, question, values, rows_max=rows_max, timeout_s=timeout_s) as answer:
                count = write(answer._replace(blocks=_watched(answer.blocks, patience)), form, sys.stdout)
                sys.stdout.flush()  # here, where a reader who has left is noticed
                return count
        except StoreRefused as error:
            advice = _ADVICE.get(error.code or 0)
            raise DeployError(f"{error}; {advice}" if advice else str(error)) from None


def _watched(blocks: Iterator[Rows], patience: "Patience") -> Iterator[Rows]:
    """The blocks, with word of how many rows have come, unless the rows themselves are to be seen there."""
    for block in blocks:
        patience.advance(len(block))
        if sys.stdout.isatty():
            patience.end()
        yield block
    patience.end()
