"""`turnlog rebuild`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.commands.terminal import end_in_order, print_json, quiet, settings, talk
from deploy.errors import Misuse

if TYPE_CHECKING:
    from ingest.replay import Compared, Rebuilt, Stretch, Wish


def rebuild(
    verify: Annotated[bool, typer.Option("--verify", help="Only compare; what is live stays as it is.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Build every projection anew from the log, compare it with the live one, and swap.

    Kafka is read as far as it keeps, the raw rows before that. A worker may run meanwhile. Exit 1: with --verify, when
    anything differs; without it, when raw rows differ from Kafka, which a rebuild cannot mend.
    """
    from deploy.patience import Patience
    from ingest.replay import rebuild as run

    quiet()
    end_in_order()
    with _wish(verify) as wish, Patience(talk) as patience:
        seen = 0

        def told(_: str, records: int, __: int) -> None:
            nonlocal seen
            patience.advance(records - seen)
            seen = records

        found = run(wish, told)
    if as_json:
        print_json(_as_data(found))
    else:
        for line in _lines(found):
            sys.stdout.write(f"{line}\n")
    if not (found.equal if verify else found.raw_equal):
        raise typer.Exit(1)


@contextmanager
def _wish(verify: bool) -> "Iterator[Wish]":
    """Yours, the stack's, or the embedded store alone, which nobody else can have open then."""
    from deploy.embedded.state import servers
    from deploy.embedded.store import running_store
    from deploy.errors import DeployError
    from ingest.replay import Wish
    from ingest.stream.worker import GROUP

    ours = settings()
    brokers, url = servers(ours)
    if url is not None:
        if brokers is None:
            raise Misuse(
                "a worker may write into this store, and the log says how far it is: set KAFKA_BOOTSTRAP_SERVERS"
            )
        yield Wish(url, GROUP, brokers, verify)
        return
    folder = ours.state / "store"
    if not folder.is_dir():
        raise DeployError(f"there is no store in {str(ours.state)!r} yet: run `turnlog demo`, or set CLICKHOUSE_URL")
    with running_store(folder, lambda step: talk.print(step, style="dim")) as own:
        yield Wish(own, GROUP, None, verify)


def _as_data(found: "Rebuilt") -> dict[str, object]:
    import msgspec

    data: dict[str, object] = msgspec.to_builtins(found)
    return {**data, "equal": found.equal, "raw_equal": found.raw_equal}


def _lines(found: "Rebuilt") -> "Iterator[str]":
    if found.leftover:
        yield f"put away what a killed rebuild had left ({found.leftover})"
    for stretch in found.stretches:
        yield _seam(stretch)
    for table in found.tables:
        yield from _compared(table)
    end = "the new tables are live" if found.swapped else "nothing was changed"
    yield f"{found.records:,} records folded, {found.dead:,} of them not readable; {end}"
    if not found.raw_equal:
        yield "raw rows differ from Kafka: they are never replaced; see which records, and restore the store's backup"


def _seam(stretch: "Stretch") -> str:
    place = f"{stretch.place.topic}/{stretch.place.partition} of log {stretch.place.log}"
    ours = f"raw rows {stretch.start:,} to {stretch.seam:,}" if stretch.seam > stretch.start else ""
    theirs = f"Kafka {stretch.seam:,} to {stretch.stop:,}" if stretch.open and stretch.stop > stretch.seam else ""
    return f"{place}: {', then '.join(filter(None, (ours, theirs))) or 'nothing yet'}"


def _compared(table: "Compared") -> "Iterator[str]":
    if table.equal:
        yield f"{table.table}: equal ({table.rows:,} rows)"
        return
    yield f"{table.table}: {table.differences:,} differ of {table.rows:,} rows"
    for one in table.examples:
        key = ", ".join(f"{name} {value}" for name, value in one.key.items())
        yield f"  {key}: {'not the same' if one.where == 'both' else f'only in the {one.where} table'}"
