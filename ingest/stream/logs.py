"""The id of a topic's log, the topics themselves, the right to them, and what a group has yet to read. Asks the
broker by kafka-python: aiokafka has no ids.
"""

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import MemberToRemove, OffsetSpec
from kafka.errors import (
    ClusterAuthorizationFailedError,
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    GroupAuthorizationFailedError,
    KafkaError,
    NotCoordinatorError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
)

from ingest.errors import IngestError
from ingest.stream.topics import configs_of
from runtime.emit import Brokers, why_unreachable

_NO_ID = "00000000-0000-0000-0000-000000000000"
_TIMEOUT_MS = 10_000
_COORDINATOR_TRIES, _COORDINATOR_WAIT_S = 20, 0.5  # beyond that, the consumer may wait for it


class BrokerUnreachable(IngestError):
    """No broker answers, or none lets us in."""


class RightMissing(IngestError):
    """The broker answers, and does not allow our login what it needs."""


class TopicMissing(IngestError):
    """The broker answers, and has no such topic or no id for it."""


def _admin(brokers: Brokers) -> KafkaAdminClient:
    try:
        return KafkaAdminClient(**brokers.options(), client_id="turnlog-admin", bootstrap_timeout_ms=_TIMEOUT_MS)
    except (KafkaError, OSError) as error:
        raise BrokerUnreachable(why_unreachable(brokers)) from error


class LogIds:
    """Topic ids (KIP-516), which a wiped or recreated topic does not share, over one connection: about 1 ms each."""

    def __init__(self, brokers: Brokers) -> None:
        """Raises BrokerUnreachable."""
        self._admin = _admin(brokers)
        self._lock = threading.Lock()  # a cancelled caller leaves its thread running beside the next one

    def __call__(self, topic: str) -> str:
        """Blocks; one at a time. Raises BrokerUnreachable, RightMissing or TopicMissing."""
        try:
            with self._lock:
                found = self._admin.describe_topics([topic])
        except KafkaError as error:
            raise BrokerUnreachable(f"describing topic '{topic}' failed: {type(error).__name__}") from error
        answer = found[0] if found else {}
        if answer.get("error_code") == TopicAuthorizationFailedError.errno:
            raise RightMissing(f"our login may not see topic '{topic}': give it the right to read it")
        topic_id = str(answer.get("topic_id") or _NO_ID)
        if topic_id == _NO_ID:
            raise TopicMissing(
                f"topic '{topic}' does not exist or the broker gives it no id: "
                "create the topics first, on Kafka 2.8 or later"
            )
        return topic_id

    def close(self) -> None:
        self._admin.close()


def check_rights(brokers: Brokers, rights: Mapping[str, Sequence[str]], group: str) -> None:
    """Ask before anything is read, as a consumer that may not read is told so in its own log alone, and waits.

    `rights` names the operations, READ or WRITE, that each topic needs. A broker without rights, or a topic that does
    not exist yet, says nothing against us. Blocks. Raises RightMissing with all that are, or BrokerUnreachable.
    """
    missing = []
    with closing(_admin(brokers)) as admin:
        try:
            for answer in admin.describe_topics(sorted(rights)):
                allowed = answer.get("authorized_operations")
                refused = answer.get("error_code") == TopicAuthorizationFailedError.errno
                for needed in rights[answer["name"]]:
                    if refused or (allowed is not None and needed not in allowed and "ALL" not in allowed):
                        missing.append(f"{needed} on topic {answer['name']}")
            if not _may_join(admin, group):
                missing.append(f"READ on group {group}")
        except KafkaError as error:
            raise BrokerUnreachable(f"asking for our rights failed: {type(error).__name__}") from error
    if missing:
        who = f"user {brokers.username!r}" if brokers.with_login else "our login"
        raise RightMissing(f"{who} lacks a right that the worker needs: grant {', '.join(missing)}")


def _may_join(admin: KafkaAdminClient, group: str) -> bool:
    """By leaving it as nobody: that takes the right to join, and changes nothing."""
    for _ in range(_COORDINATOR_TRIES):
        try:
            admin.remove_group_members(group, [MemberToRemove(member_id="nobody")])
        except GroupAuthorizationFailedError:
            return False
        except (CoordinatorNotAvailableError, CoordinatorLoadInProgressError, NotCoordinatorError):
            time.sleep(_COORDINATOR_WAIT_S)  # a new cluster makes one when it is asked
        else:
            break
    return True


def absent_topics(brokers: Brokers, topics: Iterable[str]) -> list[str]:
    """Those that do not exist, or that our login may not see. Blocks. Raises BrokerUnreachable."""
    with closing(_admin(brokers)) as admin:
        try:
            there = set(admin.list_topics())
        except KafkaError as error:
            raise BrokerUnreachable(f"asking for the topics failed: {type(error).__name__}") from error
    return [topic for topic in topics if topic not in there]


def create_topics(brokers: Brokers, partitions: Mapping[str, int]) -> list[str]:
    """Create those topics that do not exist. Returns their names. Blocks. Raises BrokerUnreachable or
    RightMissing."""
    created = []
    with closing(_admin(brokers)) as admin:
        try:
            there = set(admin.list_topics())
            for topic in [name for name in partitions if name not in there]:
                wanted = {"num_partitions": partitions[topic], "replication_factor": -1, "configs": configs_of(topic)}
                with suppress(TopicAlreadyExistsError):  # somebody was quicker
                    admin.create_topics({topic: wanted})
                    created.append(topic)
        except (TopicAuthorizationFailedError, ClusterAuthorizationFailedError) as error:
            raise RightMissing(
                f"our login may not create topic '{topic}': create the topics for it, and grant it DESCRIBE on them"
            ) from error
        except KafkaError as error:
            raise BrokerUnreachable(f"creating the topics failed: {type(error).__name__}") from error
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
        begins = admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.EARLIEST))
        read = admin.list_group_offsets({group: partitions})[group]
    except KafkaError as error:
        raise BrokerUnreachable(f"asking how far {group!r} has read failed: {type(error).__name__}") from error
    finally:
        admin.close()
    committed = {place: at.offset for place, at in read.items()}
    return sum(max(0, end.offset - max(begins[place].offset, committed.get(place, 0))) for place, end in ends.items())
