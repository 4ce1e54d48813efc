"""Where each record of a rebuild comes from: Kafka as far as it keeps, the raw rows before that. Folds nothing."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ingest.projection import Record
from ingest.query import Client
from ingest.store.faults import translated
from ingest.store.logs import generation_of
from ingest.store.performer import Place
from ingest.stream.intake import Spot
from ingest.stream.logs import LogIds, TopicMissing
from ingest.stream.tail import Tail, committed
from ingest.stream.topics import RETENTION_MS
from ingest.tables import RAW
from runtime.emit import Brokers
from runtime.events import Topic

ROWS_PER_READ_MAX = 20_000


@dataclass(frozen=True, slots=True)
class Stretch:
    """One partition of one log up to the bound `stop`: below `seam` from the raw rows, from there on from Kafka.

    `open`: it is the log that a worker reads now, so records come in beyond `stop`.
    """

    place: Place
    start: int
    seam: int
    stop: int
    open: bool


def stretches(client: Client, brokers: Brokers | None, group: str) -> list[Stretch]:
    """Every log that the store has seen, in the order of its generations, up to what the group has committed now.

    A compacted topic is read from the raw rows, which keep what Kafka no longer has.
    """
    found: list[Stretch] = []
    reached = committed(brokers, group) if brokers is not None else {}
    current = _current(brokers)
    for topic in RAW:
        logs = _logs(client, topic)
        for generation, log in enumerate(logs):
            held = _held(client, topic, log)
            now = current.get(topic) if current.get(topic, ("",))[0] == log else None
            spans = now[1] if now is not None else {}
            for number in sorted(held.keys() | spans.keys()):
                place = Place(topic.value, log, generation, number)
                found.append(
                    _stretch(place, held.get(number), spans.get(number), reached.get(Spot(topic.value, number)))
                )
    return [s for s in found if s.open or s.stop > s.start]


def _stretch(place: Place, held: tuple[int, int] | None, span: tuple[int, int] | None, reached: int | None) -> Stretch:
    first, after = held if held is not None else (0, 0)
    if span is None:
        return Stretch(place, first, after, after, open=False)
    stop = reached if reached is not None else after
    begin = stop if RETENTION_MS[Topic(place.topic)] is None else min(span[0], stop)
    return Stretch(place, min(first, begin) if held is not None else begin, begin, stop, open=True)


def stored_records(client: Client, place: Place, start: int, stop: int) -> Iterator[list[Record]]:
    """The raw rows of a stretch as records, in order: every delivery that no merge has collapsed."""
    for begin in range(start, stop, ROWS_PER_READ_MAX):
        rows = _rows(
            client,
            f"SELECT offset, toUnixTimestamp64Milli(arrived), payload FROM {place.raw}"  # noqa: S608  a name of ours
            " WHERE log = {log:String} AND partition = {partition:UInt16}"
            " AND offset >= {start:UInt64} AND offset < {stop:UInt64} ORDER BY offset LIMIT 1 BY offset",
            {
                "log": place.log,
                "partition": place.partition,
                "start": begin,
                "stop": min(stop, begin + ROWS_PER_READ_MAX),
            },
        )
        if rows:
            yield [Record(int(r[0]), int(r[1]), r[2].encode()) for r in rows]


def logged_records(tail: Tail, place: Place, start: int, stop: int) -> Iterator[list[Record]]:
    for batch in tail.read(place.topic, place.partition, start, stop) if start < stop else ():
        yield [kept.record for kept in batch]


def copy_logs(live: Client, shadow: Client) -> None:
    """The shadow knows the logs in the same order, so that a position means the same in both."""
    for topic in RAW:
        for log in _logs(live, topic):
            generation_of(shadow, topic.value, log)


def _current(brokers: Brokers | None) -> dict[Topic, tuple[str, dict[int, tuple[int, int]]]]:
    """The id of each topic's log now, and what it keeps."""
    if brokers is None:
        return {}
    found: dict[Topic, tuple[str, dict[int, tuple[int, int]]]] = {}
    ids, tail = LogIds(brokers), Tail(brokers)
    try:
        for topic in RAW:
            try:
                found[topic] = (ids(topic.value), tail.spans(topic.value))
            except TopicMissing:
                continue  # then all that there is of it lies in the store
    finally:
        ids.close()
        tail.close()
    return found


def _logs(client: Client, topic: Topic) -> list[str]:
    rows = _rows(client, "SELECT DISTINCT log FROM logs_log WHERE topic = {topic:String}", {"topic": topic.value})
    return sorted((str(r[0]) for r in rows), key=lambda log: generation_of(client, topic.value, log))


def _held(client: Client, topic: Topic, log: str) -> Mapping[int, tuple[int, int]]:
    """Of each partition the first offset that is stored and the one after the last."""
    rows = _rows(
        client,
        f"SELECT partition, min(offset), max(offset) + 1 FROM {RAW[topic]} WHERE log = {{log:String}}"  # noqa: S608
        " GROUP BY partition",
        {"log": log},
    )
    return {int(r[0]): (int(r[1]), int(r[2])) for r in rows}


def _rows(client: Client, sql: str, asked: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
    with translated("reading what is stored"):
        return client.query(sql, parameters=dict(asked)).result_rows


def records_in(found: Iterable[Stretch]) -> int:
    """Offsets, at most."""
    return sum(s.stop - s.start for s in found)
