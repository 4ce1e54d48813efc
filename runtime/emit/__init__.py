"""The log's port and who numbers what is said into it."""

from runtime.emit.errors import LogUnreachable
from runtime.emit.memory import MemoryLog
from runtime.emit.port import DurableLog, Log
from runtime.emit.recorder import Context, Recorder


def kafka_log(servers: str) -> DurableLog:
    """The log on the Kafka brokers at "host:port,host:port". Raises LogUnreachable.

    kafka-python is imported here and not with this package: a program without a broker does not pay for it.
    """
    from runtime.emit.kafka import KafkaLog

    return KafkaLog(servers)


__all__ = ["Context", "DurableLog", "Log", "LogUnreachable", "MemoryLog", "Recorder", "kafka_log"]
