"""`turnlog deadletter list`, `show` and `replay`."""

import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.commands.terminal import end_in_order, print_json, quiet, settings, talk
from deploy.errors import DeployError, Misuse

if TYPE_CHECKING:
    from ingest.deadletters import Letter
    from ingest.erased import Erasures
    from runtime.emit import Brokers

deadletter = typer.Typer(help="Records that could not be stored: which, why, and again.", no_args_is_help=True)
Reason = Annotated[str, typer.Option(help="Letters of this reason.")]
Since = Annotated[str, typer.Option(help="Letters buried since: 90m, 2h, 3d, or an ISO date or time (UTC).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@deadletter.command("list")
def list_(reason: Reason = "", since: Since = "", as_json: AsJson = False) -> None:
    """Count dead letters by topic and reason, and name the latest."""
    from ingest.deadletters import counted, letters
    from ingest.stream.tail import tail

    quiet()
    end_in_order()
    with tail(_brokers()) as opened:
        found = letters(opened, reason=reason, since_us=_since(since))
    if as_json:
        print_json({"counts": counted(found), "letters": found})
        return
    if not found:
        talk.print("no such dead letter is kept")
    for count in counted(found):
        sys.stdout.write(f"{count.letters:>8,}  {count.topic}  {count.reason}  latest {_time(count.latest)}\n")
    for one in found[-10:]:
        sys.stdout.write(f"{one.key}  {one.letter.reason}  {one.letter.detail}\n")


@deadletter.command("show")
def show(
    key: Annotated[str, typer.Argument(help="topic/partition/offset@log, as `list` prints it; a beginning will do.")],
    with_content: Annotated[
        bool, typer.Option("--content", help="Also the bytes, which may be words; that they were read is an event.")
    ] = False,
    reader: Annotated[str, typer.Option(help="Who reads, for that event.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show one dead letter: where it came from, why it was buried, its hash; the bytes only with --content."""
    from ingest.deadletters import content, letters
    from ingest.stream.tail import tail

    quiet()
    end_in_order()
    if with_content and not reader:
        raise Misuse("--content needs --reader: who reads words is on record")
    with tail(brokers := _brokers()) as opened:
        one = _meant(letters(opened), key)
        held = content(opened, [one.key]) if with_content else {}
    if with_content:
        _allowed(brokers, one, held, reader)
    value = held.get(one.key, b"").decode(errors="backslashreplace")
    if as_json:
        print_json({"letter": one, **({"content": value} if with_content else {})})
        return
    for name in one.letter.__struct_fields__:
        shown = _time(one.letter.at) if name == "at" else getattr(one.letter, name)
        sys.stdout.write(f"{name:<10}{shown}\n")
    if with_content:
        sys.stdout.write((value or "the bytes are no longer kept") + "\n")


@deadletter.command("replay")
def replay(
    reason: Reason = "",
    since: Since = "",
    yes: Annotated[bool, typer.Option("--yes", help="Send them; without it, say what would be sent.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send dead letters again to where they came from, once the cause is mended. Exit 1: some cannot be sent.

    Bytes that are cut, that differ from their hash, that are gone or of an erased lead stay. What is still invalid
    comes back as a dead letter; what was stored since counts once.
    """
    from collections import Counter

    from ingest.deadletters import content, judged, letters, send_again
    from ingest.stream.tail import tail
    from runtime.emit import kafka_log

    quiet()
    end_in_order()
    with tail(brokers := _brokers()) as opened:
        found = letters(opened, reason=reason, since_us=_since(since))
        held = content(opened, [one.key for one in found])
    fates = judged(found, held, _erasures(brokers))
    ready = [one for one, fate in zip(found, fates, strict=True) if fate.fate == "ready"]
    sent = 0
    if yes and ready:
        with closing(kafka_log(brokers)) as log:
            sent = send_again(log, ready, held)
    back = sum(fate.invalid for fate in fates)
    if as_json:
        print_json({"sent": sent, "invalid": back, "letters": fates})
    else:
        for fate, count in Counter(f.fate for f in fates).items():
            talk.print(f"{count:,} {fate}", markup=False)
        if back:
            talk.print(f"{back:,} of them are no event that this version reads: they come back as dead letters")
        talk.print(f"sent {sent:,}" if yes else f"would send {len(ready):,}: give --yes to do it")
    if len(ready) < len(found):
        raise typer.Exit(1)


def _allowed(brokers: "Brokers", one: "Letter", held: dict[str, bytes], reader: str) -> None:
    """The bytes of whoever was erased are shown to nobody. The event is said, and taken by the broker, first."""
    import hashlib

    from ingest.deadletters import is_erased
    from runtime.emit import kafka_log, say
    from runtime.events import ContentRead

    erasures = _erasures(brokers)
    if any(is_erased(value, erasures) for value in held.values()):
        raise DeployError("whom these bytes are about has been erased: they expire with their topic")
    now_us = time.time_ns() // 1000
    statement = hashlib.sha256(f"deadletter {one.key}".encode()).hexdigest()
    with closing(kafka_log(brokers)) as log:
        say(
            log,
            "turnlog",
            f"{reader} {one.key} {now_us}",
            ContentRead,
            source="turnlog.deadletter",
            at=now_us,
            reader=reader,
            statement=statement,
            rows=len(held),
        )
        if log.flush():
            raise DeployError("the log did not take that these bytes are read, so they are not shown: try again")


def _erasures(brokers: "Brokers") -> "Erasures":
    """What the log says, and what the store knows: which calls were the lead's, and what a log said that is gone."""
    from deploy.ask import opened_store_url
    from ingest.query import connect
    from ingest.store.erasing import known_erasures
    from ingest.stream.forgetting import said_of_erasures

    with opened_store_url(settings(), talk.print) as url, closing(connect(url)) as client:
        erasures = known_erasures(client)
    erasures.learn(said_of_erasures(brokers))
    return erasures


def _meant(found: "list[Letter]", key: str) -> "Letter":
    matching = [one for one in found if one.key == key] or [one for one in found if one.key.startswith(key)]
    if len(matching) != 1:
        raise DeployError(
            f"{len(matching) or 'no'} dead letters begin with {key!r}: see `turnlog deadletter list --json`"
        )
    return matching[0]


def _brokers() -> "Brokers":
    from deploy.embedded.state import servers

    brokers, _ = servers(settings())
    if brokers is None:
        raise Misuse("dead letters lie in the log: start the stack with `turnlog up`, or set KAFKA_BOOTSTRAP_SERVERS")
    return brokers


def _since(since: str) -> int:
    from grafana.call import since as since_us

    try:
        return since_us(since, time.time_ns() // 1000) if since else 0
    except ValueError as error:
        raise Misuse(f"--since {error}") from None


def _time(at_us: int) -> str:
    return f"{datetime.fromtimestamp(at_us / 1e6, UTC):%Y-%m-%d %H:%M:%S}"
