"""`turnlog erase`."""

import sys
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.commands.terminal import end_in_order, print_json, quiet, settings, talk
from deploy.errors import Misuse
from deploy.settings import TENANT_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.erase import Erased


def erase(
    tenant: Annotated[str, typer.Option(help="Whose lead it is.")],  # a default would erase nobody, and say it did
    lead: Annotated[str | None, typer.Argument(help="The lead's pseudonym, as `calls.lead` has it.")] = None,
    person: Annotated[
        bool,
        typer.Option("--person", help=f"Read the CRM id or number from stdin, and make the pseudonym by {TENANT_KEY}."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Erase a lead: their words, and whatever ties calls to them. May be done again at any time.

    Exit 1: when no worker has taken the erasure in; what comes from the log until one does has to be erased again.
    """
    from deploy.embedded.state import servers
    from ingest.erase import erase as run
    from ingest.query import connect
    from ingest.store.migrate import migrate
    from runtime.emit import kafka_log

    quiet()
    end_in_order()
    ours = settings()
    named = _lead(lead, person, ours.tenant_key)
    brokers, url = servers(ours)
    if brokers is None or url is None:
        raise Misuse("an erasure is told to the log first: start the stack with `turnlog up`, or set "
                     "KAFKA_BOOTSTRAP_SERVERS and CLICKHOUSE_URL")  # fmt: skip
    with closing(connect(url)) as client, closing(kafka_log(brokers)) as log:
        migrate(client)
        found = run(client, log, brokers, tenant, named, told=lambda step: talk.print(step, style="dim"))
    if as_json:
        print_json(found)
    else:
        for line in _lines(found):
            sys.stdout.write(f"{line}\n")
    if not found.known:
        raise typer.Exit(1)


def _lead(lead: str | None, person: bool, key: str) -> str:
    from ingest.erased import is_pseudonym
    from runtime.events import lead_id, looks_like_phone

    if person == (lead is not None):
        raise Misuse("name the lead by its pseudonym, or give --person and the CRM id or number on standard input")
    if person:
        who = sys.stdin.readline().strip()
        if not key or not who:
            raise Misuse(f"--person needs the tenant's key in {TENANT_KEY} and one line on standard input")
        return lead_id(key.encode(), who)
    assert lead is not None
    if not is_pseudonym(lead) or looks_like_phone(lead):
        # Not repeated: it may be a number.
        raise Misuse("that is no pseudonym: give what `calls.lead` holds, or --person to make it of a CRM id or number")
    return lead


def _lines(found: "Erased") -> "Iterator[str]":
    yield f"erased at {found.at:%Y-%m-%d %H:%M:%S} UTC; the log keeps that it happened (event {found.event})"
    yield f"removed {found.words:,} rows of words; took the lead out of {found.named:,} rows and {found.calls:,} calls"
    if found.parts:
        yield f"{found.parts} old parts leave the store's disk within {found.parts_s / 60:.0f} minutes"
    for one in found.expires:
        yield f"{one.topic}: last copy gone {f'by {one.until:%Y-%m-%d %H:%M} UTC' if one.until else f'- {one.why}'}"
    yield "recordings: turnlog stores none; remove those that you keep of these calls"
    if not found.known:
        yield "no worker has taken the erasure in: start one, then erase again"
