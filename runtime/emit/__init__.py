"""The log's port and who numbers what is said into it."""

from runtime.emit.brokers import Brokers
from runtime.emit.errors import LogUnreachable
from runtime.emit.facts import say
from runtime.emit.memory import MemoryLog
from runtime.emit.port import DurableLog, Log
from runtime.emit.probe import why_unreachable
from runtime.emit.recorder import Context, Recorder


def kafka_log(brokers: Brokers) -> DurableLog:
    """The log on these Kafka brokers. Raises LogUnreachable.

    kafka-python is imported here and not with this package: a program without a broker does not pay for it.
    """
    from runtime.emit.kafka import KafkaLog

    return KafkaLog(brokers)


__all__ = [
    "Brokers",
    "Context",
    "DurableLog",
    "Log",
    "LogUnreachable",
    "MemoryLog",
    "Recorder",
    "kafka_log",
    "say",
    "why_unreachable",
]
