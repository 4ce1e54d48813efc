"""Runs one worker: connects, migrates, exposes /metrics, and lets an adapter consume until it is told to stop."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from prometheus_client import start_http_server

from ingest.errors import IngestError
from ingest.partition import Limits
from ingest.query import Client, connect
from ingest.reconcile.meters import ReconcilerMeters
from ingest.reconcile.task import Reconciler
from ingest.store.faults import translated
from ingest.store.migrate import migrate
from ingest.store.performer import Tables
from ingest.stream.forgetting import Forgetting
from ingest.stream.intake import POISON, Intake
from ingest.stream.invalid import InvalidLimits
from ingest.stream.letters import DeadLetters
from ingest.stream.logs import LogIds, absent_topics, backlog, check_rights
from ingest.stream.meters import Meters
from ingest.stream.reading import HELD_BYTES_MAX, SESSION_TIMEOUT_MS, TOPICS, Reading
from ingest.stream.watchdog import STUCK_AFTER_S, AroundAWorker, ConsumerStuck, Watchdog
from runtime.emit import Brokers, DurableLog, kafka_log
from runtime.events import Topic

GROUP = "turnlog-ingest"
STOP_MAX_S = 10.0
_RECONCILER_STOP_S = 1.0  # what it does may be cut off anywhere
# What a flush holds is many tuples and no cycles: by default the collector walks them hundreds of times, for half of
# all the time that a record costs. What it is for, rings left by exceptions and tasks, it still finds, only later.
COLLECT_AFTER = (50_000, 50, 100)
_RIGHTS: Mapping[str, Sequence[str]] = {
    **dict.fromkeys(TOPICS, ("READ",)),
    Topic.CALLS: ("READ", "WRITE"),  # the reconciler says there which calls are lost
    **dict.fromkeys((Topic.DEAD_LETTERS, Topic.DEAD_CONTENT), ("WRITE",)),
}
_log = logging.getLogger(__name__)


class PortTaken(IngestError):
    """Something else listens where /metrics should be."""


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a worker needs to know; read once, at the edge."""

    kafka: Brokers
    clickhouse: str
    metrics_port: int | None = None  # on loopback; None exposes nothing
    adapter: Literal["faust", "plain"] = "faust"
    group: str = GROUP
    limits: Limits | None = None
    session_timeout_ms: int = SESSION_TIMEOUT_MS
    held_bytes_max: int = HELD_BYTES_MAX
    stuck_after_s: float = STUCK_AFTER_S
    invalid: InvalidLimits = POISON
    accept_invalid: bool = False  # bury them however many there are

    @property
    def reading(self) -> Reading:
        return Reading(
            self.kafka,
            self.group,
            session_timeout_ms=self.session_timeout_ms,
            held_bytes_max=self.held_bytes_max,
        )


def run_worker(settings: WorkerSettings, ready: Callable[[], None] = lambda: None) -> None:
    """Consume until SIGTERM or SIGINT. Raises IngestError or LogUnreachable with what to do."""
    try:
        import uvloop

        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    except ImportError:  # not on every platform
        runner = asyncio.Runner()
    gc.set_threshold(*COLLECT_AFTER)
    with runner:
        runner.run(_run(settings, ready))


async def _run(settings: WorkerSettings, ready: Callable[[], None]) -> None:
    # They log tracebacks, one with the call ids of its request, for what we say in a line.
    for driver in ("clickhouse_connect", "kafka"):
        logging.getLogger(driver).setLevel(logging.CRITICAL)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, _stop, stop)
    meters = Meters()
    with contextlib.ExitStack() as stack:
        client = connect(settings.clickhouse)
        stack.callback(client.close)
        migrate(client)
        letters_log = kafka_log(settings.kafka)
        stack.callback(letters_log.close)
        check_rights(settings.kafka, _RIGHTS, settings.group)
        for topic in absent_topics(settings.kafka, _RIGHTS):
            _log.warning("topic %s does not exist: create it, and start the worker again", topic)
        log_ids = LogIds(settings.kafka)
        stack.callback(log_ids.close)
        if settings.metrics_port is not None:
            stack.callback(_expose(meters, settings.metrics_port))
        forgetting = Forgetting(client, settings.kafka)
        forgetting.begin()  # before anything else of the log
        asking = asyncio.create_task(forgetting.refresh())
        stack.callback(asking.cancel)
        intake_of = partial(
            Intake,
            store=Tables(client),
            amend=forgetting.amend,
            log_id=log_ids,
            letters=DeadLetters(letters_log),
            meters=meters,
            limits=settings.limits,
            invalid=None if settings.accept_invalid else settings.invalid,
        )
        if settings.accept_invalid:
            _log.warning("burying whatever is invalid, without a limit, as long as this worker runs")
        adapter = _adapter(settings, meters)
        stack.callback(_reconciling(settings, letters_log, meters))
        gc.freeze()  # programs and their modules, which are never garbage
        ready()
        await _watched(adapter, intake_of, partial(_watchdog, settings, adapter, client), stop)


async def _watched(
    adapter: Any, intake_of: Callable[..., Intake], watchdog: Callable[[Intake], Watchdog], stop: asyncio.Event
) -> None:
    """Runs the adapter until it ends, or until the watchdog says that it is stuck."""
    barking: list[Exception] = []
    watching: list[asyncio.Task[None]] = []

    async def watch(intake: Intake) -> None:
        try:
            await watchdog(intake).run()
        except ConsumerStuck as stuck:
            _log.error("%s", stuck)  # at once: who is stuck may not be able to stop either
            barking.append(stuck)
            if not stop.is_set():
                _stop(stop)

    def begin(**options: Any) -> Intake:
        intake = intake_of(**options)
        watching.append(asyncio.create_task(watch(intake)))
        return intake

    try:
        await adapter.run(begin, stop)
    finally:
        for task in watching:
            task.cancel()
    if barking:
        raise barking[0]


def _watchdog(settings: WorkerSettings, adapter: Any, client: Client, intake: Intake) -> Watchdog:
    def ping() -> None:
        with translated("asking whether the store answers"):
            client.command("SELECT 1")

    around = AroundAWorker(settings.reading, ping)
    return Watchdog(intake, adapter.assigned, around, settings.stuck_after_s)


def _stop(stop: asyncio.Event) -> None:
    """Ask once; who asks again, or waits longer than a broker or a store that is away may cost, is obeyed at once."""
    if stop.is_set():
        _leave()
    stop.set()
    asyncio.get_running_loop().call_later(STOP_MAX_S, _leave)


def _leave() -> None:
    _log.warning("stopped without a last flush: what is not committed will be read again")
    os._exit(1)


def _adapter(settings: WorkerSettings, meters: Meters) -> Any:
    if settings.adapter == "plain":
        from ingest.stream.plain import PlainAdapter

        return PlainAdapter(settings.reading, meters)
    from ingest.stream.faust_adapter import FaustAdapter  # costs a second to import

    return FaustAdapter(settings.reading, meters)


def _reconciling(settings: WorkerSettings, log: DurableLog, meters: Meters) -> Callable[[], None]:
    """Beside the stream, in a thread that ends with the process if it must."""
    behind = partial(backlog, settings.kafka, settings.group, Topic.CALLS)
    reconciler = Reconciler(settings.clickhouse, log, ReconcilerMeters(meters.registry), behind)
    thread = threading.Thread(target=reconciler.run, name="reconciler", daemon=True)
    thread.start()

    def end() -> None:
        reconciler.stop()
        thread.join(_RECONCILER_STOP_S)

    return end


def _expose(meters: Meters, port: int) -> Callable[[], None]:
    try:
        server, thread = start_http_server(port, addr="127.0.0.1", registry=meters.registry)
    except OSError as error:
        raise PortTaken(
            f"port {port} for /metrics is taken ({error.strerror}): stop what listens there, or choose another port"
        ) from error

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join(1.0)

    return close
