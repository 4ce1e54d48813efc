"""How long each topic keeps what, as it is created. Creates none.

Kafka deletes whole segments, and closes one after `segment.ms` or when nothing new has come for all of the retention:
the last copy of a record is gone after both together, and not after the retention alone.
"""

from collections.abc import Mapping
from datetime import timedelta

from runtime.events import Topic

DAY_MS = 86_400_000
SEGMENT_MS = DAY_MS // 2
WORDS_DAYS_MAX = 7  # what people said, wherever it lies: with the segment in it
_WORDS_MS = WORDS_DAYS_MAX * DAY_MS - 2 * SEGMENT_MS  # and half a day for brokers that are slow to delete

# None: the topic is compacted, and keeps the last record of each key for good.
RETENTION_MS: Mapping[Topic, int | None] = {
    Topic.CALLS: 14 * DAY_MS,
    Topic.OUTCOMES: 14 * DAY_MS,
    Topic.CONTROL: None,
    Topic.CONTENT: _WORDS_MS,
    Topic.DEAD_LETTERS: 30 * DAY_MS,
    Topic.DEAD_CONTENT: _WORDS_MS,  # bytes of unknown content may be words
}
# The broker's time of arrival, so that every reader judges a late record alike. One that ignores it costs only that.
_EVERY = {"message.timestamp.type": "LogAppendTime"}


def configs_of(topic: str) -> dict[str, str]:
    """The settings that a topic is created with; of one that is not ours, the least."""
    if topic not in RETENTION_MS:
        return dict(_EVERY)
    retention_ms = RETENTION_MS[Topic(topic)]
    if retention_ms is None:
        return {**_EVERY, "cleanup.policy": "compact"}
    kept = {"cleanup.policy": "delete", "retention.ms": str(retention_ms), "segment.ms": str(SEGMENT_MS)}
    return _EVERY | kept


def kept_at_most(topic: Topic) -> timedelta | None:
    """After how long the broker has no copy of a record any more; None for what it keeps for good."""
    retention_ms = RETENTION_MS[topic]
    return None if retention_ms is None else timedelta(milliseconds=retention_ms + SEGMENT_MS)
