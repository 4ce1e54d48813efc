"""The id of a topic's log, the topics themselves, and what a group has yet to read of one. Asks the broker by
kafka-python: aiokafka has no ids.
"""

import threading
from collections.abc import Mapping

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import KafkaError, TopicAlreadyExistsError

from ingest.errors import IngestError
from runtime.emit import Brokers

# The broker's time of arrival, so that every reader judges a late record alike. One that ignores it costs only that.
_CONFIGS = {"message.timestamp.type": "LogAppendTime"}
_NO_ID = "00000000-0000-0000-0000-000000000000"
_TIMEOUT_MS = 10_000


class BrokerUnreachable(IngestError):
    """No broker answers."""


class TopicMissing(IngestError):
    """The broker answers, and has no such topic or no id for it."""


def _admin(brokers: Brokers) -> KafkaAdminClient:
    try:
        return KafkaAdminClient(
            bootstrap_servers=brokers.addresses, client_id="turnlog-admin", bootstrap_timeout_ms=_TIMEOUT_MS
        )
    except KafkaError as error:
        raise BrokerUnreachable(
            f"no Kafka broker answers at {brokers.servers!r} ({type(error).__name__}): "
            "start one, or set KAFKA_BOOTSTRAP_SERVERS to one that runs"
        ) from error


class LogIds:
    """Topic ids (KIP-516), which a wiped or recreated topic does not share, over one connection: about 1 ms each."""

    def __init__(self, brokers: Brokers) -> None:
        """Raises BrokerUnreachable."""
        self._admin = _admin(brokers)
        self._lock = threading.Lock()  # a cancelled caller leaves its thread running beside the next one

    def __call__(self, topic: str) -> str:
        """Blocks; one at a time. Raises BrokerUnreachable or TopicMissing."""
        try:
            with self._lock:
                found = self._admin.describe_topics([topic])
        except KafkaError as error:
            raise BrokerUnreachable(f"describing topic {topic!r} failed: {type(error).__name__}") from error
        topic_id = str(found[0].get("topic_id", _NO_ID)) if found else _NO_ID
        if topic_id == _NO_ID:
            raise TopicMissing(
                f"topic {topic!r} does not exist or the broker gives it no id: "
                "create the topics first, on Kafka 2.8 or later"
            )
        return topic_id

    def close(self) -> None:
        self._admin.close()


def create_topics(brokers: Brokers, partitions: Mapping[str, int]) -> list[str]:
    """Create those topics that do not exist. Returns their names. Blocks. Raises BrokerUnreachable."""
    admin = _admin(brokers)
    created = []
    try:
        there = set(admin.list_topics())
        for topic, count in partitions.items():
            if topic not in there:
                admin.create_topics({topic: {"num_partitions": count, "replication_factor": -1, "configs": _CONFIGS}})
                created.append(topic)
    except TopicAlreadyExistsError:
        pass  # somebody was quicker
    except KafkaError as error:
        raise BrokerUnreachable(f"creating the topics failed: {type(error).__name__}") from error
    finally:
        admin.close()
    return created


def backlog(brokers: Brokers, group: str, topic: str) -> int:
    """How many records of the topic the group has not committed. Blocks. Raises BrokerUnreachable.

    The embedded broker takes the start of its last batch for the end of the log, so with it a few may be missing here.
    """
    admin = _admin(brokers)
    try:
        described = admin.describe_topics([topic])[0]
        partitions = [TopicPartition(topic, part["partition_index"]) for part in described["partitions"]]
        ends = admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.LATEST))
        read = admin.list_group_offsets({group: partitions})[group]
    except KafkaError as error:
        raise BrokerUnreachable(f"asking how far {group!r} has read failed: {type(error).__name__}") from error
    finally:
        admin.close()
    committed = {place: max(0, at.offset) for place, at in read.items()}
    return sum(max(0, end.offset - committed.get(place, 0)) for place, end in ends.items())
