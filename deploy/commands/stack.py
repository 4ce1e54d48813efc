"""`turnlog up` and `turnlog down`: a stack that stays."""

import signal
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deploy.commands.terminal import print_json, quiet, settings, talk
from deploy.errors import Misuse
from deploy.settings import without_password

if TYPE_CHECKING:
    from deploy.embedded import Addresses, Ports
    from deploy.settings import Settings

_Port = typer.Option(min=1, max=65535, help="Loopback port; else a free one.")


def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Start it in the background and return.")] = False,
    kafka_port: Annotated[int | None, _Port] = None,
    store_port: Annotated[int | None, _Port] = None,
    metrics_port: Annotated[int | None, _Port] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print addresses and pids as JSON.")] = False,
) -> None:
    """Start broker, store and worker, and keep them running until stopped."""
    from deploy.embedded import Ports

    quiet()
    ours, ports = settings(), Ports(kafka_port, store_port, metrics_port)
    _sensible(ours, ports)
    if not detach:
        _stay(ours, ports, as_json)
        return
    from deploy.embedded.background import start_detached

    wanted = {"--kafka-port": kafka_port, "--store-port": store_port, "--metrics-port": metrics_port}
    options = [f"{name}={port}" for name, port in wanted.items() if port is not None]
    with talk.status("starting the stack") as status:
        addresses = start_detached(ours, options, lambda words: status.update(_plain(words)))
    _show(ours, addresses, as_json)


def down(as_json: Annotated[bool, typer.Option("--json", help="Print what was stopped as JSON.")] = False) -> None:
    """Stop the stack of the state folder, and wait for its end."""
    from deploy.embedded.background import Stopped, stop_running

    quiet()
    ours = settings()
    with talk.status("stopping the stack") as status:
        stopped = stop_running(ours, lambda words: status.update(_plain(words)))
    if as_json:
        print_json(stopped or Stopped(None, {}, forced=False))
    elif stopped is None:
        _say(f"no stack runs in {str(ours.state)!r}")
    else:
        parts = ", ".join(f"{name} (pid {pid})" for name, pid in reversed(stopped.parts.items()))
        how = "killed" if stopped.forced else "stopped"
        _say(f"{how} the stack in {str(ours.state)!r}: {parts or f'process {stopped.pid}'}")


def _stay(ours: "Settings", ports: "Ports", as_json: bool) -> None:
    """In the main thread: on Linux the parts end with the thread that starts them."""
    from deploy.embedded import Stack
    from deploy.embedded.background import STACK_LOG
    from deploy.embedded.child import rotate
    from deploy.embedded.stack import TEND_EVERY_S

    asked: list[int] = []  # a signal's handler may take no lock, so no Event
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` asks for
            signal.signal(number, lambda number, _: asked.append(number))
    with Stack(ours, _stamped, ports=ports, shared=True, stopped=lambda: bool(asked)) as stack:
        _show(ours, stack.addresses, as_json)
        while not asked:
            time.sleep(TEND_EVERY_S)
            stack.tend()
            rotate(ours.state / "logs" / STACK_LOG)  # where a detached one writes this very output
        _stamped("stopping")
    _stamped("stopped")


def _sensible(ours: "Settings", ports: "Ports") -> None:
    for option, port, name, theirs in (
        ("--kafka-port", ports.kafka, "KAFKA_BOOTSTRAP_SERVERS", ours.kafka),
        ("--store-port", ports.store, "CLICKHOUSE_URL", ours.clickhouse),
    ):
        if port is not None and theirs is not None:
            raise Misuse(f"{option} is for the embedded stack and {name} names a server of yours: drop one of them")
    chosen = [port for port in (ports.kafka, ports.store, ports.metrics) if port is not None]
    if len(chosen) > len(set(chosen)):
        raise Misuse("two parts cannot have one port: choose different ones")


def _show(ours: "Settings", addresses: "Addresses", as_json: bool) -> None:
    if as_json:
        import msgspec

        print_json(msgspec.structs.replace(addresses, clickhouse=without_password(addresses.clickhouse)))
        return
    table = Table(title=Text(f"The stack in {ours.state}"), title_justify="left")
    for column in ("part", "address", "pid", "log"):
        table.add_column(column, overflow="fold")
    for part in addresses.parts:
        log = ours.state / "logs" / f"{part.name}.log"
        table.add_row(part.name, part.address, str(part.pid), str(log.relative_to(ours.state)))
    Console(highlight=False).print(table)


def _stamped(words: str) -> None:
    _say(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {words}")


def _say(words: str) -> None:
    talk.print(words, markup=False, soft_wrap=True)


def _plain(words: str) -> str:
    from rich.markup import escape

    return escape(words)
