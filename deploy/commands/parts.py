"""`turnlog worker` and `turnlog store`: one part of the stack, by itself."""

import logging
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from deploy.commands.terminal import settings, talk
from deploy.errors import Misuse
from runtime.emit import Brokers


class Adapter(StrEnum):
    FAUST = "faust"
    PLAIN = "plain"


def worker(
    kafka: Annotated[str | None, typer.Option(help="Brokers; else KAFKA_BOOTSTRAP_SERVERS, else the stack.")] = None,
    clickhouse: Annotated[str | None, typer.Option(help="Store; else CLICKHOUSE_URL, else the stack.")] = None,
    metrics_port: Annotated[int | None, typer.Option(min=1, max=65535, help="Loopback port for /metrics.")] = None,
    adapter: Annotated[Adapter, typer.Option(help="What reads the log.")] = Adapter.FAUST,
    accept_invalid: Annotated[
        bool, typer.Option("--accept-invalid", help="Bury invalid records however many there are, in this run.")
    ] = False,
) -> None:
    """Fold the log into the store until stopped."""
    from ingest.stream.worker import WorkerSettings, run_worker

    brokers, url = _addresses(kafka, clickhouse)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for ours in ("ingest", "runtime"):
        logging.getLogger(ours).setLevel(logging.INFO)
    wanted = WorkerSettings(
        brokers,
        url,
        metrics_port=metrics_port,
        adapter=adapter.value,
        accept_invalid=accept_invalid,
    )
    run_worker(wanted, lambda: talk.print(f"worker reads {brokers.servers} into the store ({adapter})", markup=False))


def store(
    path: Annotated[Path | None, typer.Option(help="The store's folder; else the one in the state folder.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8123,
) -> None:
    """Serve the embedded store on loopback, as ClickHouse over HTTP, until stopped.

    Who comes without a key reads the views. The keys of the users `writer` and `content` lie in the folder, in
    credentials.json. Each reading of words is said to the brokers of KAFKA_BOOTSTRAP_SERVERS, and refused without.
    """
    from deploy.embedded.plan import require
    from ingest.store.server import serve
    from ingest.store.witness import LogWitness
    from runtime.emit import kafka_log

    require("chdb", "the embedded store")
    ours = settings()
    folder, brokers = path or ours.state / "store", ours.kafka
    witness = LogWitness(lambda: kafka_log(brokers)) if brokers is not None else None
    serve(folder, "127.0.0.1", port, lambda url: talk.print(f"store at {url} ({folder})", markup=False), witness)


def _addresses(kafka: str | None, clickhouse: str | None) -> tuple[Brokers, str]:
    from deploy.embedded.state import servers

    ours = settings(KAFKA_BOOTSTRAP_SERVERS=kafka, CLICKHOUSE_URL=clickhouse)
    brokers, url = servers(ours)
    if brokers is None or url is None:
        missing = [n for n, v in (("KAFKA_BOOTSTRAP_SERVERS", brokers), ("CLICKHOUSE_URL", url)) if v is None]
        raise Misuse(f"no stack runs in {str(ours.state)!r} and {' and '.join(missing)} not set: set what is missing")
    return brokers, url
