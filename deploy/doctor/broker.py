"""Asks the brokers how far the workers have read and what was buried. Never reads the content topics."""

from collections import Counter
from contextlib import ExitStack, closing, suppress
from typing import Any

import msgspec
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from deploy.doctor.facts import Broker, Letters, Partition
from deploy.errors import DeployError
from ingest.stream.letters import DeadLetter
from ingest.stream.worker import GROUP
from runtime.emit import Brokers, why_unreachable
from runtime.events import Topic

LETTERS_READ_MAX = 1_000
_TIMEOUT_MS = 5_000
_FIRST_POLL_MS = 1_000  # the first fetch of a consumer takes longest
_POLL_MS = 200
_TAIL_POLLS_MAX = 50


def ask_broker(brokers: Brokers, letters_max: int = LETTERS_READ_MAX) -> Broker:
    """Blocks for some seconds at most when they answer. Raises DeployError when they do not."""
    with ExitStack() as clients:
        try:
            options = {**brokers.options(), "bootstrap_timeout_ms": _TIMEOUT_MS, "client_id": "turnlog-doctor"}
            admin = clients.enter_context(closing(KafkaAdminClient(**options)))
            consumer = clients.enter_context(closing(KafkaConsumer(enable_auto_commit=False, **options)))
        except (KafkaError, OSError) as error:
            raise DeployError(why_unreachable(brokers)) from error
        try:
            there = set(admin.list_topics())
            calls = _partitions(admin, Topic.CALLS) if Topic.CALLS in there else []
            dead = _partitions(admin, Topic.DEAD_LETTERS) if Topic.DEAD_LETTERS in there else []
            return Broker(
                address=brokers.servers,
                missing_topics=tuple(t.value for t in Topic if t not in there),
                partitions=_lag(consumer, calls, _committed(admin)),
                members=_members(admin),
                letters=_letters(consumer, dead, letters_max),
            )
        except (KafkaError, OSError) as error:
            raise DeployError(f"asking the broker at {brokers.servers} failed: {type(error).__name__}") from error


def _partitions(admin: Any, topic: Topic) -> list[TopicPartition]:
    (described,) = admin.describe_topics([topic.value])
    return [TopicPartition(topic.value, p["partition_index"]) for p in described["partitions"]]


def _committed(admin: Any) -> dict[TopicPartition, int]:
    offsets = admin.list_group_offsets(GROUP).get(GROUP, {})
    return {place: at.offset for place, at in offsets.items() if at.offset >= 0}


def _lag(consumer: Any, places: list[TopicPartition], committed: dict[TopicPartition, int]) -> tuple[Partition, ...]:
    ends = _ends(consumer, places)
    begins = consumer.beginning_offsets(places) if places else {}
    return tuple(
        Partition(
            partition=place.partition,
            end=ends[place],
            committed=committed.get(place),
            lag=max(0, ends[place] - max(begins[place], committed.get(place, 0))),
        )
        for place in sorted(places)
    )


def _ends(consumer: Any, places: list[TopicPartition]) -> dict[TopicPartition, int]:
    """The next offset of each partition. The embedded broker tells the start of its last batch: that is read."""
    if not places:
        return {}
    consumer.assign(places)
    for place, end in consumer.end_offsets(places).items():
        consumer.seek(place, end)
    patience_ms = _FIRST_POLL_MS
    for _ in range(_TAIL_POLLS_MAX):
        if not consumer.poll(timeout_ms=patience_ms):
            break
        patience_ms = _POLL_MS
    return {place: consumer.position(place) for place in places}


def _members(admin: Any) -> int | None:
    """How many workers there are, where the broker tells: kafka-python cannot read the embedded one's answer."""
    with suppress(KafkaError, KeyError, ValueError):
        return len(admin.describe_groups([GROUP])[GROUP]["members"])
    return None


def _letters(consumer: Any, places: list[TopicPartition], letters_max: int) -> Letters:
    """Counts them all, and reads the newest."""
    ends = _ends(consumer, places)
    begins = consumer.beginning_offsets(places) if places else {}
    each = letters_max // max(1, len(places))
    for place in places:
        consumer.seek(place, max(begins[place], ends[place] - each))
    reasons: Counter[str] = Counter()
    newest, silent = None, 0
    while any(consumer.position(p) < ends[p] for p in places) and silent < _TAIL_POLLS_MAX:
        batches = consumer.poll(timeout_ms=_POLL_MS)
        silent = 0 if batches else silent + 1
        for record in (r for batch in batches.values() for r in batch):
            with suppress(msgspec.DecodeError):
                letter = msgspec.json.decode(record.value or b"", type=DeadLetter)
                reasons[letter.reason] += 1
                newest = max(newest or 0, letter.at)
    count = sum(ends[p] - begins[p] for p in places)
    return Letters(count=count, read=reasons.total(), by_reason=dict(reasons), newest_at=newest)
