"""Where the records of a rebuild come from: the raw tables, and Kafka for what it still holds. Writes nothing."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from clickhouse_connect.driver.client import Client
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import KafkaError

from ingest.position import OFFSETS_MAX
from ingest.projection import Record
from ingest.store.faults import translated
from ingest.store.logs import logs_of
from ingest.store.performer import Place
from ingest.stream.logs import BrokerUnreachable, LogIds, TopicMissing
from ingest.stream.reading import records_of
from ingest.stream.topics import RETENTION_MS
from ingest.tables import RAW
from runtime.emit import Brokers
from runtime.events import Topic

BATCH_RECORDS_MAX = 20_000
_POLL_MS = 1_000
SILENCE_POLLS_MAX = 30  # a broker that holds a record and does not send it


@dataclass(frozen=True, slots=True)
class Stretch:
    """What is read of one partition of one log: raw rows below offset `seam`, Kafka from there to below `bound`."""

    place: Place
    seam: int
    bound: int


def stretches(client: Client, brokers: Brokers | None, group: str) -> list[Stretch]:
    """All that was ever stored, by topic, partition and age of the log: the order in which it has to be folded.

    A log that no broker has any more is read from the raw tables whole. Of the one that it has, what `group` has
    committed is the bound: beyond it the worker has yet to say what is stored. Raises StoreError, BrokerUnreachable.
    """
    found = []
    for topic in RAW:
        live = _live(brokers, topic, group) if brokers is not None else {}
        with translated(f"reading which logs {topic} has had"):
            logs = logs_of(client, topic)
        for generation, log in enumerate(logs):
            for partition in _partitions(client, topic, log, live):
                begin, committed = live.get((log, partition), (OFFSETS_MAX, OFFSETS_MAX))
                # A compacted topic holds the last word on each key, and the tables every word.
                seam, bound = committed if RETENTION_MS[topic] is None else min(begin, committed), committed
                found.append(Stretch(Place(topic, log, generation, partition), seam, bound))
    return sorted(found, key=lambda s: (s.place.topic, s.place.partition, s.place.generation))


def _partitions(client: Client, topic: Topic, log: str, live: dict[tuple[str, int], tuple[int, int]]) -> list[int]:
    with translated(f"reading the partitions of {topic}"):
        rows = client.query(
            f"SELECT DISTINCT partition FROM {RAW[topic]} WHERE log = {{log:String}}",  # noqa: S608  a name of ours
            parameters={"log": log},
        ).result_rows
    return sorted({int(row[0]) for row in rows} | {partition for of, partition in live if of == log})


def _live(brokers: Brokers, topic: Topic, group: str) -> dict[tuple[str, int], tuple[int, int]]:
    """(log, partition) → (first offset that the broker holds, what the group has committed)."""
    with closing(LogIds(brokers)) as ids:
        try:
            log = ids(topic)
        except TopicMissing:
            return {}
    try:
        with closing(KafkaAdminClient(**brokers.options(), client_id="turnlog-rebuild")) as admin:
            described = admin.describe_topics([topic.value])[0]
            places = [TopicPartition(topic.value, part["partition_index"]) for part in described["partitions"]]
            begins = admin.list_partition_offsets(dict.fromkeys(places, OffsetSpec.EARLIEST))
            read = admin.list_group_offsets({group: places})[group]
    except KafkaError as error:
        raise BrokerUnreachable(f"asking what {topic} holds failed: {type(error).__name__}") from error
    committed = {place: at.offset for place, at in read.items()}
    return {(log, p.partition): (begins[p].offset, max(0, committed.get(p, 0))) for p in places}


class _Asking(KafkaAdminClient):  # type: ignore[misc]  # ships no type hints
    """Asks who is in a group, and not what we may do with it: the embedded broker names rights that the client does not
    know, and the client then answers nothing.
    """

    def _describe_groups_process_response(self, response: Any) -> Any:
        for group in response.groups:
            group.authorized_operations = set()
        return super()._describe_groups_process_response(response)


def members(brokers: Brokers, group: str) -> int:
    """How many workers are in the group now. Raises BrokerUnreachable."""
    try:
        with closing(_Asking(**brokers.options(), client_id="turnlog-rebuild")) as admin:
            return len(admin.describe_groups([group])[group]["members"])
    except KafkaError as error:
        raise BrokerUnreachable(f"asking who is in group {group!r} failed: {type(error).__name__}") from error


def records(client: Client, brokers: Brokers | None, stretch: Stretch) -> Iterator[Sequence[Record]]:
    """The stretch in order, at most BATCH_RECORDS_MAX at a time."""
    yield from _stored(client, stretch.place, stretch.seam)
    if brokers is not None and stretch.seam < stretch.bound < OFFSETS_MAX:
        yield from _held(brokers, stretch)


def _stored(client: Client, place: Place, below: int) -> Iterator[list[Record]]:
    """Raw rows below an offset, first deliveries only: a repeat adds nothing to any table."""
    after = -1
    while True:
        with translated("reading what is stored"):
            rows: Sequence[Sequence[object]] = client.query(
                f"SELECT offset, toUnixTimestamp64Milli(arrived), payload FROM {place.raw} FINAL"  # noqa: S608
                " WHERE log = {log:String} AND partition = {partition:UInt16}"
                " AND toInt64(offset) > {after:Int64} AND offset < {below:UInt64} ORDER BY offset LIMIT {most:UInt32}",
                parameters={
                    **{"log": place.log, "partition": place.partition, "after": after},
                    **{"below": below, "most": BATCH_RECORDS_MAX},
                },
            ).result_rows
        if not rows:
            return
        batch = [Record(int(str(r[0])), int(str(r[1])), str(r[2]).encode()) for r in rows]
        yield batch
        after = batch[-1].offset


def _held(brokers: Brokers, stretch: Stretch) -> Iterator[Sequence[Record]]:
    place = stretch.place
    spot = TopicPartition(place.topic, place.partition)
    try:
        with closing(KafkaConsumer(**brokers.options(), enable_auto_commit=False, group_id=None)) as consumer:
            consumer.assign([spot])
            consumer.seek(spot, stretch.seam)
            due, silence = stretch.seam, 0
            while due < stretch.bound:
                fetched = consumer.poll(timeout_ms=_POLL_MS, max_records=BATCH_RECORDS_MAX).get(spot, [])
                batch = records_of([r for r in fetched if r.offset < stretch.bound])
                silence = 0 if fetched else silence + 1
                if silence > SILENCE_POLLS_MAX:
                    raise BrokerUnreachable(f"{place.topic}/{place.partition} gives nothing from offset {due} on")
                if batch:
                    yield batch
                due = max(due, consumer.position(spot))
    except KafkaError as error:
        raise BrokerUnreachable(f"reading {place.topic} failed: {type(error).__name__}") from error
