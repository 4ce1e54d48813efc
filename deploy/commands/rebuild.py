"""`turnlog rebuild`."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from deploy.commands.terminal import end_in_order, print_json, quiet, settings, talk
from deploy.errors import StackHeld

if TYPE_CHECKING:
    from deploy.settings import Settings
    from ingest.replay import Outcome
    from ingest.replay.rebuild import Seam
    from runtime.emit import Brokers


def rebuild(
    verify: Annotated[bool, typer.Option("--verify", help="Only compare, and leave the tables as they are.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Build every table anew from the log beside those in use, compare both, and put the new ones in their place.

    What Kafka still holds is read from there, what is older from the raw rows. Exit 1 when the builds differ.
    """
    from deploy.ask import opened_store_url
    from deploy.embedded.state import servers
    from ingest.replay import members
    from ingest.replay import rebuild as rebuilt
    from ingest.stream.worker import GROUP

    quiet()
    end_in_order()
    ours = settings()
    with Progress(console=talk, transient=True) as bar, _alone(ours), opened_store_url(ours, talk.print) as url:
        tasks: dict[str, object] = {}

        def progress(what: str, done: int, of: int) -> None:
            task = tasks.setdefault(what, bar.add_task(what, total=of))
            bar.update(task, completed=done)  # type: ignore[arg-type]

        brokers, _ = servers(ours)
        running = members if ours.kafka is not None else _workers_of_the_stack(ours)
        outcome = rebuilt(url, brokers, GROUP, verify=verify, progress=progress, running=running)
    if as_json:
        print_json(outcome)
    else:
        _show(outcome, Console(highlight=False))
    if outcome.differences:
        raise typer.Exit(1)


def _workers_of_the_stack(ours: "Settings") -> "Callable[[Brokers, str], int]":
    from deploy.embedded.state import found_stack

    stack = found_stack(ours)
    workers = sum(part.name == "worker" for part in stack.parts) if stack else 0
    return lambda _brokers, _group: workers


@contextmanager
def _alone(ours: "Settings") -> Iterator[None]:
    """One rebuild at a time from this state folder; the lock is the kernel's and falls with its process."""
    ours.state.mkdir(parents=True, exist_ok=True)
    lock = os.open(ours.state / "rebuild.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackHeld("another rebuild runs from this state folder: wait for its end") from None
        yield
    finally:
        os.close(lock)


def _sides(seam: "Seam") -> tuple[str, str]:
    """What was read of either: rows below the seam, and what Kafka holds from there on."""
    if seam.held_below is None:
        return ("all that is stored" if seam.stored_below is None else f"below {seam.stored_below:,}"), "nothing"
    return (f"below {seam.stored_below:,}" if seam.stored_below else "nothing"), f"up to {seam.held_below:,}"


def _show(outcome: "Outcome", console: Console) -> None:
    table = Table("table", "rows compared", "", box=None)
    wrong = {difference.table: difference for difference in outcome.differences}
    for name, rows in outcome.rows.items():
        found = wrong.get(name)
        table.add_row(name, f"{rows:,}", "equal" if found is None else f"differs: {found.built_rows:,} rows anew")
    console.print(table)
    for difference in outcome.differences:
        console.print(f"{difference.table}: for example {'; '.join(difference.examples)}", markup=False)
    console.print(f"{outcome.records:,} records folded, {outcome.dead:,} of them dead letters", highlight=False)
    seams = Table("partition", "log", "from stored rows", "from Kafka", box=None)
    for seam in outcome.seams:
        seams.add_row(f"{seam.topic}/{seam.partition}", seam.log, *_sides(seam))
    console.print(seams)
    if outcome.swapped:
        console.print("the new tables are in use")
