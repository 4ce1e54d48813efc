"""The embedded store as a process: takes the folder, serves it on loopback until told to stop. Reads no environment."""

import asyncio
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from ingest.errors import StoreUnusable
from ingest.store.credentials import kept
from ingest.store.engine import Engine
from ingest.store.folder import held
from ingest.store.http import LINE_BYTES_MAX, LOOPBACK, Front
from ingest.store.reading import Witness

STOP_SECONDS_MAX = 5  # what a running statement has before it is cancelled
_ANSWER_SECONDS = 5  # what a cancelled one has to say so


def serve(path: Path, host: str, port: int, ready: Callable[[str], None], witness: Witness | None = None) -> None:
    """Serves the store in `path` until SIGTERM or SIGINT; blocks, in the main thread of a process of its own.

    Without a `witness` nobody reads words. Calls `ready` with the URL once requests are answered; port 0 takes a free
    one. Raises StoreHeld or StoreUnusable.
    """
    if host not in LOOPBACK:
        raise StoreUnusable(
            f"the embedded store speaks without encryption and has no business on {host!r}: bind 127.0.0.1, "
            "or run a ClickHouse server for other machines"
        )
    with held(path) as folder, _listening(host, port) as listener:
        credentials = kept(folder)
        engine = Engine(folder, witness=witness)
        try:
            asyncio.run(_serve(Front(engine, credentials), engine, listener, ready))
        finally:
            engine.close()


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a port"
        raise StoreUnusable(f"cannot listen on {host}:{port}: {reason}. Name another port") from None


async def _serve(front: Front, engine: Engine, listener: socket.socket, ready: Callable[[str], None]) -> None:
    runner = web.AppRunner(
        front.application(),
        access_log=None,
        handler_cancellation=True,  # who goes away leaves no question running
        auto_decompress=False,  # ours is bounded, and knows lz4
        max_line_size=LINE_BYTES_MAX,
        shutdown_timeout=STOP_SECONDS_MAX + _ANSWER_SECONDS,
    )
    await runner.setup()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await web.SockSite(runner, listener).start()
    host, port = listener.getsockname()[:2]
    ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")
    await stop.wait()
    cancelling = loop.call_later(STOP_SECONDS_MAX, engine.stop)
    await runner.cleanup()
    cancelling.cancel()
    engine.stop()
    await loop.run_in_executor(None, front.drain)
