"""The rebuild: the core, driven over all that was ever stored, into a database of its own; then compare, then swap.

The new build goes through the same projection, core and performer as the live one, so what it proves is that the tables
in use follow from the log. Raw rows are built anew as well, to be compared, and never swapped. Dead letters are not
buried again, no metric is touched and nothing is committed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from clickhouse_connect.driver.client import Client

from ingest.effects import Bury, Commit, Effects
from ingest.erased import Erasures
from ingest.errors import IngestError
from ingest.partition import Limits, Partition
from ingest.position import OFFSETS_MAX
from ingest.projection import project
from ingest.query import connect
from ingest.reconcile.consolidate import forget
from ingest.replay.compare import Difference, compare, compared, derived
from ingest.replay.source import Stretch, members, records, stretches
from ingest.store.erasing import known_erasures
from ingest.store.faults import translated
from ingest.store.logs import logs_of
from ingest.store.migrate import migrate
from ingest.store.performer import Tables
from ingest.stream.forgetting import said_of_erasures
from ingest.tables import RAW
from runtime.emit import Brokers
from runtime.events import Topic

SHADOW = "turnlog_rebuild"
REPLICATED = "Replicated"  # how the names of such engines begin
ROOM_FACTOR = 1.5  # of what the tables take now: merges need room besides the rows


class RebuildRefused(IngestError):
    """Something has to be done first: make room, or stop the workers."""


@dataclass(frozen=True, slots=True)
class Seam:
    """Where one partition's records came from: stored rows below offset `stored_below`, Kafka below `held_below`.
    None: to the end of what is stored.
    """

    topic: str
    log: str
    partition: int
    stored_below: int | None
    held_below: int | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """`rows` that were compared, by table; `swapped`: the new tables are in use."""

    records: int
    dead: int
    rows: dict[str, int]
    differences: tuple[Difference, ...]
    seams: tuple[Seam, ...]
    swapped: bool


Progress = Callable[[str, int, int], None]  # what is done, how much of it, of how much


@dataclass(frozen=True, slots=True)
class _Job:
    """What a rebuild works with."""

    client: Client
    url: str
    brokers: Brokers | None
    group: str
    limits: Limits | None
    progress: Progress


def rebuild(
    url: str,
    brokers: Brokers | None,
    group: str,
    *,
    verify: bool,
    limits: Limits | None = None,
    progress: Progress = lambda _what, _done, _of: None,
    running: Callable[[Brokers, str], int] = members,
) -> Outcome:
    """Build, compare, and unless `verify` put what was built in the place of what is derived.

    With `verify` workers may run meanwhile; to swap, none may: `running` counts those of a group. The default asks the
    broker, but the embedded one never forgets a member, so whoever uses that counts by other means. What an earlier
    rebuild left is dropped. The caller sees to it that there is one at a time.

    Raises RebuildRefused, StoreError, BrokerUnreachable.
    """
    if not verify and brokers is not None and running(brokers, group):
        raise RebuildRefused(
            f"workers of group {group!r} run, and would write into tables that are being replaced: stop them first, "
            "or only compare (--verify)"
        )
    client = connect(url)
    try:
        migrate(client)  # both builds need the same tables
        if not verify and _replicated(client):
            raise RebuildRefused(
                "the tables are replicated, and what is built lies on one server alone: they can only be compared "
                "(--verify)"
            )
        _check_room(client)
        client.command(f"DROP DATABASE IF EXISTS {SHADOW} SYNC")
        client.command(f"CREATE DATABASE {SHADOW}")
        try:
            return _rebuilt(_Job(client, url, brokers, group, limits, progress), verify)
        finally:
            client.command(f"DROP DATABASE IF EXISTS {SHADOW} SYNC")
    finally:
        client.close()


def _rebuilt(job: _Job, verify: bool) -> Outcome:
    client, progress = job.client, job.progress
    read = stretches(client, job.brokers, job.group)
    shadow = connect(_beside(job.url))
    try:
        migrate(shadow)
        tables = Tables(shadow)
        for topic in RAW:
            for log in logs_of(client, topic):  # in their order, so that each gets the generation that it has
                tables.generation(topic, log)
        counted, dead = _build(job, tables, read)
    finally:
        shadow.close()
    rows, differences = {}, []
    names = compared()
    for number, table in enumerate(names):
        progress("comparing", number, len(names))
        rows[table.value], difference = compare(client, SHADOW, read, table)
        if difference is not None:
            differences.append(difference)
    progress("comparing", len(names), len(names))
    if not verify:
        _swap(client)
    return Outcome(counted, dead, rows, tuple(differences), tuple(map(_seam, read)), swapped=not verify)


def _beside(url: str) -> str:
    """The URL of the shadow database on the same server."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}/{SHADOW}"


def _replicated(client: Client) -> bool:
    sql = "SELECT count() FROM system.tables WHERE database = currentDatabase() AND engine LIKE {kind:String}"
    with translated("looking at the tables' engines"):
        return bool(client.query(sql, parameters={"kind": f"{REPLICATED}%"}).result_rows[0][0])


def _check_room(client: Client) -> None:
    with translated("measuring the room on the store's disk"):
        (taken,), (free,) = (
            client.query(sql).result_rows[0]
            for sql in (
                "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = currentDatabase()",
                "SELECT min(free_space) FROM system.disks",
            )
        )
    if int(free) < int(taken) * ROOM_FACTOR:
        raise RebuildRefused(
            f"the tables take {int(taken) / 1e6:,.0f} MB and a rebuild {ROOM_FACTOR:g} times as much beside them, but "
            f"only {int(free) / 1e6:,.0f} MB are free: make room"
        )


def _build(job: _Job, tables: Tables, read: Sequence[Stretch]) -> tuple[int, int]:
    erasures = _erasures(job)
    counted = dead = 0
    for number, stretch in enumerate(read):
        job.progress("building", number, len(read))
        core: Partition | None = None
        for batch in records(job.client, job.brokers, stretch):
            if core is None:
                place = stretch.place
                core = Partition(place.log, place.generation, place.partition, batch[0].offset, job.limits)
                dead += _perform(tables, stretch, core.start())
            judged = batch[0].offset >= stretch.seam  # stored rows have been judged by their clocks
            topic = Topic(stretch.place.topic)
            projected = erasures.applied(topic, project(batch, topic, judged))
            dead += _perform(tables, stretch, core.feed(projected, 0.0))
            counted += len(batch)
        if core is not None:
            dead += _perform(tables, stretch, core.flush())
    job.progress("building", len(read), len(read))
    return counted, dead


def _erasures(job: _Job) -> Erasures:
    """Applied before anything else: the log holds for a while what the tables have forgotten."""
    erasures = known_erasures(job.client)
    if job.brokers is not None:
        erasures.learn(said_of_erasures(job.brokers))
    return erasures


def _perform(tables: Tables, stretch: Stretch, effects: Effects) -> int:
    """Do what the core asks, but for what reaches others. Returns the dead letters that it would have buried."""
    dead, answer = 0, None
    while True:
        try:
            effect = effects.send(answer)
        except StopIteration:
            return dead
        answer = None
        if isinstance(effect, Bury):
            dead += len(effect.letters)
        elif not isinstance(effect, Commit):
            answer = tables.perform(stretch.place, effect)


def _swap(client: Client) -> None:
    """Table by table, each at once. A swap that was cut short leaves right tables, old and new ones.

    Old days are in rows of epochs again, so none may stay noted as merged: all of it would be taken for late.
    """
    with translated("putting the new tables in place"):
        for table in derived():
            client.command(f"EXCHANGE TABLES {table} AND {SHADOW}.{table}")
    forget(client)


def _seam(stretch: Stretch) -> Seam:
    def known(offset: int) -> int | None:
        return None if offset >= OFFSETS_MAX else offset

    place: Any = stretch.place
    return Seam(place.topic, place.log, place.partition, known(stretch.seam), known(stretch.bound))
