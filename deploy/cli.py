"""The command line: parses, wires, prints. Data goes to stdout, talk to stderr; 0 fine, 1 a fault, 2 misuse.

Commands import what they need when they run: `turnlog --help` must not wait for a store or a model library.
"""

import io
import logging
import os
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy.errors import DeployError, Misuse
from deploy.settings import Settings, read_settings

app = typer.Typer(
    name="turnlog",
    help="Event-sourced observability and experimentation for voice agents.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_talk = Console(stderr=True, highlight=False)


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"


class Adapter(StrEnum):
    FAUST = "faust"
    PLAIN = "plain"


def main() -> None:
    """The console script."""
    # A terminal that cannot show a character still gets the rest.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        from ingest.errors import IngestError
        from runtime.emit import LogUnreachable
        from runtime.errors import TurnlogRuntimeError

        try:
            app()
        except (DeployError, IngestError, LogUnreachable, TurnlogRuntimeError) as error:
            _fail(str(error), 2 if isinstance(error, Misuse) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)  # whoever read us has gone
    except OSError as error:
        _fail(f"{error.filename or 'writing'}: {error.strerror}", 1)


def _fail(message: str, code: int) -> None:
    _talk.print(f"turnlog: {message}", markup=False, soft_wrap=True)
    sys.exit(code)


def _ended(*_: object) -> None:
    """SIGTERM is as good as Ctrl-C: what was started is stopped in order."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


@app.callback(invoke_without_command=True)
def _turnlog(
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.", is_eager=True)] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        sys.stdout.write(f"turnlog {installed('turnlog')}\n")
        raise typer.Exit


@app.command()
def demo(
    calls: Annotated[int, typer.Option(min=1, max=10_000, help="How many calls to simulate.")] = 40,
    seed: Annotated[int, typer.Option(min=0, help="Governs behaviour and latencies; ids are always fresh.")] = 1,
    concurrency: Annotated[int, typer.Option(min=1, max=200, help="Calls at a time.")] = 8,
    faults: Annotated[bool, typer.Option(help="Bend the world of some calls: a slow voice, a gap, silence.")] = True,
    real_time: Annotated[bool, typer.Option("--real-time", help="Take the time that the calls take.")] = False,
    provider: Annotated[
        str | None,
        typer.Option(
            help="Base URL of an OpenAI-compatible provider; its key is TURNLOG_MODEL_KEY. Implies --real-time."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Run simulated calls through broker, worker and store, and print what was measured."""
    from deploy.demo.run import Order, run_demo
    from deploy.demo.show import show

    _quiet()
    signal.signal(signal.SIGTERM, _ended)
    order = Order(
        calls=calls, seed=seed, concurrency=concurrency, faults=faults, real_time=real_time, provider=provider
    )
    result, objectives = run_demo(_settings(), order, _talk)
    if as_json:
        import msgspec

        sys.stdout.write(msgspec.json.format(msgspec.json.encode(result), indent=1).decode() + "\n")
    else:
        show(result, objectives, Console(highlight=False))
    failed = result.report.dispositions.get(result.failed_as, 0)
    if failed:
        _talk.print(f"turnlog: {failed} calls ended as {result.failed_as!r}: see their error spans", style="red")
    if not result.report.complete:
        logs = _settings().state / "logs"
        _talk.print(f"turnlog: not all events arrived, so the figures are partial: see {logs}", style="red")
    if failed or not (result.report.complete and result.as_injected):
        raise typer.Exit(1)


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="One statement; `SHOW TABLES` lists what there is.")],
    output: Annotated[Format, typer.Option("--format", help="How to print the rows.")] = Format.TABLE,
) -> None:
    """Ask a question over call history. Opens the embedded store when no stack runs."""
    from deploy.ask import ask, print_json, print_table

    _quiet()
    signal.signal(signal.SIGTERM, _ended)
    columns, rows = ask(_settings(), query, lambda step: _talk.print(step, style="dim"))
    if output is Format.JSON:
        print_json(columns, rows)
    else:
        print_table(columns, rows)


@app.command()
def worker(
    kafka: Annotated[str | None, typer.Option(help="Brokers; else KAFKA_BOOTSTRAP_SERVERS, else the stack.")] = None,
    clickhouse: Annotated[str | None, typer.Option(help="Store; else CLICKHOUSE_URL, else the stack.")] = None,
    metrics_port: Annotated[int | None, typer.Option(min=1, max=65535, help="Loopback port for /metrics.")] = None,
    adapter: Annotated[Adapter, typer.Option(help="What reads the log.")] = Adapter.FAUST,
) -> None:
    """Fold the log into the store until stopped."""
    from ingest.stream.worker import WorkerSettings, run_worker

    kafka, clickhouse = _addresses(kafka, clickhouse)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for ours in ("ingest", "runtime"):
        logging.getLogger(ours).setLevel(logging.INFO)
    settings = WorkerSettings(kafka, clickhouse, metrics_port=metrics_port, adapter=adapter.value)
    run_worker(settings, lambda: _talk.print(f"worker reads {kafka} into the store ({adapter})", markup=False))


@app.command()
def store(
    path: Annotated[Path | None, typer.Option(help="The store's folder; else the one in the state folder.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8123,
) -> None:
    """Serve the embedded store on loopback, as ClickHouse over HTTP, until stopped."""
    from deploy.embedded.stack import require
    from ingest.store.server import serve

    require("chdb", "the embedded store")
    folder = path or _settings().state / "store"
    serve(folder, "127.0.0.1", port, lambda url: _talk.print(f"store at {url} ({folder})", markup=False))


def _settings() -> Settings:
    return read_settings(os.environ)


def _addresses(kafka: str | None, clickhouse: str | None) -> tuple[str, str]:
    from deploy.embedded import found_stack

    settings = _settings()
    stack = found_stack(settings)
    kafka = kafka or settings.kafka or (stack.kafka if stack else None)
    clickhouse = clickhouse or settings.clickhouse or (stack.clickhouse if stack else None)
    if kafka is None or clickhouse is None:
        missing = [n for n, v in (("KAFKA_BOOTSTRAP_SERVERS", kafka), ("CLICKHOUSE_URL", clickhouse)) if v is None]
        raise Misuse(
            f"no stack runs in {str(settings.state)!r} and {' and '.join(missing)} not set: set what is missing"
        )
    read_settings({"KAFKA_BOOTSTRAP_SERVERS": kafka, "CLICKHOUSE_URL": clickhouse})  # options are held to the same
    return kafka, clickhouse


def _quiet() -> None:
    """Libraries talk to their own logs; a person at the terminal is told by us."""
    logging.basicConfig(level=logging.CRITICAL)
