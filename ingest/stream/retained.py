"""How long a broker keeps the records of a topic, by what the broker itself says. Changes nothing."""

from contextlib import closing
from datetime import timedelta

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError

from runtime.emit import Brokers

_TIMEOUT_MS = 10_000
_OF_A_REAL_ONE = "max.message.bytes"  # a broker that deletes knows all of its settings, not only those it was given


def kept_until(brokers: Brokers, topic: str) -> tuple[timedelta | None, str]:
    """After how long the last copy of a record is gone: retention and one segment. None, and why, where nobody says."""
    try:
        with closing(KafkaAdminClient(**brokers.options(), bootstrap_timeout_ms=_TIMEOUT_MS)) as admin:
            answer = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)], config_filter="all")
    except (KafkaError, OSError) as error:
        return None, f"the broker does not say ({type(error).__name__})"
    said = {name: str(its["value"]) for name, its in answer.get("topic", {}).get(topic, {}).items()}
    if not said:  # the client drops why; a topic of ours was given settings, so none is what is refused
        return None, f"the broker does not say: our login needs the right to describe the settings of {topic}"
    if _OF_A_REAL_ONE not in said:
        return None, "the broker repeats what it was told and deletes nothing: it is gone when the broker's memory is"
    if "delete" not in said.get("cleanup.policy", "delete"):
        return None, "the topic is compacted"
    retention_ms, segment_ms = int(said.get("retention.ms", -1)), int(said.get("segment.ms", 0))
    if retention_ms < 0:
        return None, "the broker keeps it for good: set retention.ms"
    return timedelta(milliseconds=retention_ms + segment_ms), ""
