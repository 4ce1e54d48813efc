"""Runs one door: connects to the log, listens, tells calls when they are due, and the rest when it is stopped."""

import asyncio
import contextlib
import ipaddress
import logging
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web
from prometheus_client import start_http_server

from ingest.door.call import Envelope
from ingest.door.desk import Desk
from ingest.door.journal import Journal
from ingest.door.limits import TICK_S
from ingest.door.meters import DoorMeters
from ingest.door.server import Guard, Server
from ingest.door.traces import Patience, Traces
from ingest.errors import IngestError
from runtime.emit import Brokers, kafka_log

PORT = 4318
TOKEN_CHARS_MIN = 16


class DoorError(IngestError):
    """The door cannot be opened as asked."""


class DoorPortTaken(DoorError):
    """Something else listens there."""


@dataclass(frozen=True, slots=True)
class DoorSettings:
    """What a door needs to know; read once, at the edge. Without a folder a door that is killed loses what it held."""

    kafka: Brokers
    host: str = "127.0.0.1"
    port: int = PORT
    token: str = field(default="", repr=False)
    content: bool = False
    envelope: Envelope = field(default_factory=Envelope)
    patience: Patience = field(default_factory=Patience)
    folder: Path | None = None
    metrics_port: int | None = None  # on loopback


def check(settings: DoorSettings) -> None:
    """Raises DoorError where the door would be open to whoever comes by."""
    if settings.token and len(settings.token) < TOKEN_CHARS_MIN:
        raise DoorError(f"TURNLOG_DOOR_TOKEN is shorter than {TOKEN_CHARS_MIN} characters: take a longer one")
    if not settings.token and not _is_loopback(settings.host):
        raise DoorError(
            f"beyond loopback ({settings.host!r}) the door wants a token: set TURNLOG_DOOR_TOKEN, "
            "and send it as Authorization: Bearer …"
        )


def run_door(settings: DoorSettings, ready: Callable[[str], None] = lambda _: None) -> None:
    """Listen until SIGTERM or SIGINT. Raises IngestError or LogUnreachable with what to do."""
    check(settings)
    asyncio.run(_run(settings, ready))


async def _run(settings: DoorSettings, ready: Callable[[str], None]) -> None:
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # it logs tracebacks for what we say in a line
    logging.getLogger("aiohttp.server").addFilter(_by_type)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    meters, traces = DoorMeters(), Traces(settings.patience)
    async with contextlib.AsyncExitStack() as stack:
        log = kafka_log(settings.kafka)
        stack.callback(log.close)
        journal = None
        if settings.folder is not None:
            journal = Journal(settings.folder)
            stack.callback(journal.close)
            journal.restore(traces, settings.envelope, time.monotonic())
        desk = Desk(traces, log, settings.envelope, meters, journal)
        server = Server(desk, meters, Guard(settings.token), content=settings.content)
        if settings.metrics_port is not None:
            stack.callback(_expose(meters, settings.metrics_port))
        port = await _listen(server, settings, stack)
        ready(f"http://{settings.host}:{port}")
        while not stop.is_set():
            await asyncio.to_thread(desk.tell, time.monotonic())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), TICK_S)
        if journal is None:  # with one, a call that goes on is told when it is over, by the next door
            await asyncio.to_thread(desk.tell, time.monotonic(), True)
        else:
            await asyncio.to_thread(desk.stop, time.monotonic())


async def _listen(server: Server, settings: DoorSettings, stack: contextlib.AsyncExitStack) -> int:
    runner = web.AppRunner(server.application(), access_log=None, auto_decompress=False, handle_signals=False)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    try:
        await web.TCPSite(runner, settings.host, settings.port).start()
    except OSError as error:
        raise DoorPortTaken(
            f"the door cannot listen at {settings.host}:{settings.port} ({error.strerror}): "
            "stop what listens there, or choose another port with --port"
        ) from error
    return int(runner.addresses[0][1])


def _by_type(record: logging.LogRecord) -> bool:
    """Of a request that failed, in aiohttp or in us, the error's type alone: its message may quote the request."""
    if record.exc_info and record.exc_info[0] is not None:
        record.msg, record.args = "a request failed with %s", (record.exc_info[0].__name__,)
        record.exc_info = None
    return True


def _expose(meters: DoorMeters, port: int) -> Callable[[], None]:
    try:
        server, thread = start_http_server(port, addr="127.0.0.1", registry=meters.registry)
    except OSError as error:
        raise DoorPortTaken(
            f"port {port} for /metrics is taken ({error.strerror}): stop what listens there, or choose another port"
        ) from error

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join(1.0)

    return close


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
