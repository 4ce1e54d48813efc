"""The log's port, who numbers what is said into it, and what keeps it while a broker is away."""

from pathlib import Path
from typing import TYPE_CHECKING

from runtime.emit.brokers import Brokers
from runtime.emit.courier import LogCourier
from runtime.emit.errors import LogUnreachable, SpoolUnusable
from runtime.emit.facts import say
from runtime.emit.folder import SpoolFolder
from runtime.emit.handover import Handover
from runtime.emit.keeper import Counts
from runtime.emit.memory import MemoryLog
from runtime.emit.port import DurableLog, Log
from runtime.emit.probe import why_unreachable
from runtime.emit.recorder import Context, Recorder

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


def kafka_log(brokers: Brokers, spool: Path | None = None, *, beats: bool = False, answering: bool = True) -> Handover:
    """The log on these Kafka brokers. In the folder `spool` records wait while no broker takes them, and what an
    earlier process left there is sent first; without it they wait in memory, and end with the process. `beats`: say
    every few seconds which calls this process speaks of, as a process that runs calls does. With `answering=False` it
    starts without a broker. Raises LogUnreachable, SpoolUnusable.

    kafka-python is imported here and not with this package: a program without a broker does not pay for it.
    """
    from runtime.emit.kafka import KafkaLog

    folder = SpoolFolder(spool) if spool is not None else None
    try:
        return KafkaLog(brokers, spool=folder, beats=beats, answering=answering)
    except LogUnreachable:
        if folder is not None:
            folder.close()
        raise


def expose(log: Handover, registry: "CollectorRegistry") -> None:
    """Add the log's own figures (records taken, delivered, dropped, spooled, by type) to a page for Prometheus."""
    from runtime.emit.meters import expose as add

    add(log, registry)


def spooled(log: MemoryLog, spool: Path, *, beats: bool = False) -> Handover:
    """The log in memory with a spool in front, for tests. Raises SpoolUnusable."""
    return Handover(lambda report: LogCourier(log, report), SpoolFolder(spool), beats=beats)


__all__ = [
    "Brokers",
    "Context",
    "Counts",
    "DurableLog",
    "Handover",
    "Log",
    "LogUnreachable",
    "MemoryLog",
    "Recorder",
    "SpoolUnusable",
    "expose",
    "kafka_log",
    "say",
    "spooled",
    "why_unreachable",
]
