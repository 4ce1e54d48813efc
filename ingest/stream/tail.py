"""Reads a span of a topic without joining a group, so that nobody's partitions move. Commits and judges nothing."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, TopicAuthorizationFailedError

from ingest.projection import Record
from ingest.stream.intake import Spot
from ingest.stream.logs import BrokerUnreachable, LogIds, RightMissing, TopicMissing
from runtime.emit import Brokers, why_unreachable

RECORDS_PER_POLL_MAX = 20_000
STALLED_AFTER_S = 20.0  # without a record where there should be some
_POLL_MS, _IDLE_POLLS, _TIMEOUT_MS = 250, 2, 10_000
_FETCH_BYTES = 4 * 2**20
_APPENDED = 1  # the record's timestamp is the broker's


class Kept(NamedTuple):
    """One record where it lies."""

    partition: int
    offset: int
    at_ms: int
    key: bytes
    value: bytes | None
    appended: bool  # `at_ms` is the broker's time of arrival

    @property
    def record(self) -> Record:
        return Record(self.offset, self.at_ms if self.appended else time.time_ns() // 1_000_000, self.value)


class Tail:
    """A consumer of one topic at a time. Raises BrokerUnreachable, RightMissing or TopicMissing from every method."""

    def __init__(self, brokers: Brokers) -> None:
        self._brokers = brokers
        try:
            self._consumer = KafkaConsumer(
                **brokers.options(),
                client_id="turnlog-tail",
                enable_auto_commit=False,
                max_poll_records=RECORDS_PER_POLL_MAX,
                max_partition_fetch_bytes=_FETCH_BYTES,
                bootstrap_timeout_ms=_TIMEOUT_MS,
            )
        except (KafkaError, OSError) as error:
            raise BrokerUnreachable(why_unreachable(brokers)) from error

    def close(self) -> None:
        self._consumer.close()

    def spans(self, topic: str) -> dict[int, tuple[int, int]]:
        """Of each partition the first offset that is kept, and the end. The embedded broker takes the start of its
        last batch for the end.
        """
        with _told(topic):
            found = self._consumer.partitions_for_topic(topic)
            if not found:
                with closing(LogIds(self._brokers)) as ids:
                    ids(topic)  # a topic that we may not see looks like none
                raise TopicMissing(f"topic '{topic}' is being created: try again")
            places = [TopicPartition(topic, number) for number in sorted(found)]
            begins, ends = self._consumer.beginning_offsets(places), self._consumer.end_offsets(places)
        return {p.partition: (begins[p], ends[p]) for p in places}

    def read(self, topic: str, partition: int, start: int, stop: int) -> Iterator[list[Kept]]:
        """The records with `start ≤ offset < stop`, in order and in batches; `stop` must have been reached before."""
        place = TopicPartition(topic, partition)
        with _told(topic):
            self._consumer.assign([place])
            self._consumer.seek(place, start)
        last = time.monotonic()
        while self._position(place) < stop:
            batch = self._poll(topic, place)
            if batch:
                last = time.monotonic()
                yield [kept for kept in batch if kept.offset < stop]
            elif time.monotonic() - last > STALLED_AFTER_S:
                raise BrokerUnreachable(
                    f"{topic}/{partition} gives nothing at offset {self._position(place)}, where {stop} was reached "
                    "before: the topic was replaced, or its broker is ill; try again when it is well"
                )

    def read_out(self, starts: Mapping[Spot, int]) -> Iterator[tuple[Spot, list[Kept]]]:
        """From there to the end as it is when the end is met, whatever the broker says where that is."""
        places = {TopicPartition(*spot): offset for spot, offset in starts.items()}
        if not places:
            return
        with _told(_named(starts)):
            self._consumer.assign(list(places))
            for place, offset in places.items():
                self._consumer.seek(place, offset)
            ends = self._consumer.end_offsets(list(places))
        last, idle = time.monotonic(), 0
        while idle < _IDLE_POLLS or any(self._position(p) < ends[p] for p in places):
            with _told(_named(starts)):
                fetched = self._consumer.poll(timeout_ms=_POLL_MS)
            idle = 0 if fetched else idle + 1
            last = time.monotonic() if fetched else last
            for place, found in fetched.items():
                yield Spot(place.topic, place.partition), _kept(found)
            if time.monotonic() - last > STALLED_AFTER_S:
                raise BrokerUnreachable(f"{_named(starts)} gives nothing before its end: try again")

    def _position(self, place: TopicPartition) -> int:
        with _told(place.topic):
            return int(self._consumer.position(place))

    def _poll(self, topic: str, place: TopicPartition) -> list[Kept]:
        with _told(topic):
            return _kept(self._consumer.poll(timeout_ms=_POLL_MS).get(place, ()))


def _kept(found: Sequence[Any]) -> list[Kept]:
    return [
        Kept(r.partition, r.offset, r.timestamp, r.key or b"", r.value, r.timestamp_type == _APPENDED) for r in found
    ]


def _named(spots: Iterable[Spot]) -> str:
    return ", ".join(sorted({spot.topic for spot in spots}))


@contextmanager
def tail(brokers: Brokers) -> Iterator[Tail]:
    with closing(Tail(brokers)) as opened:
        yield opened


def committed(brokers: Brokers, group: str) -> Mapping[Spot, int]:
    """The next offset to read of each partition that the group has committed. Raises BrokerUnreachable."""
    try:
        with closing(KafkaAdminClient(**brokers.options(), bootstrap_timeout_ms=_TIMEOUT_MS)) as admin:
            found = admin.list_group_offsets(group).get(group, {})
    except (KafkaError, OSError) as error:
        raise BrokerUnreachable(f"asking how far {group!r} has read failed: {type(error).__name__}") from error
    return {Spot(place.topic, place.partition): at.offset for place, at in found.items() if at.offset >= 0}


@contextmanager
def _told(topic: str) -> Iterator[None]:
    try:
        yield
    except TopicAuthorizationFailedError as error:
        raise RightMissing(
            f"our login may not read topic '{topic}': give it READ on that topic (docs/kafka.md)"
        ) from error
    except KafkaError as error:
        raise BrokerUnreachable(f"reading topic '{topic}' failed: {type(error).__name__}") from error
