"""`turnlog door`: takes traces of agents that Pipecat, LiveKit or others run."""

import logging
from typing import Annotated

import typer

from deploy.commands.terminal import settings, talk
from deploy.errors import Misuse


def door(
    kafka: Annotated[str | None, typer.Option(help="Brokers; else KAFKA_BOOTSTRAP_SERVERS, else the stack.")] = None,
    host: Annotated[str, typer.Option(help="Where to listen; beyond loopback TURNLOG_DOOR_TOKEN must be set.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 4318,
    tenant: Annotated[str, typer.Option(help="Whose calls these are.")] = "default",
    campaign: Annotated[str, typer.Option(help="Of calls whose spans name none (turnlog.campaign).")] = "door",
    env: Annotated[str, typer.Option(help="production, …; else what the sender says of itself.")] = "",
    tool: Annotated[list[str] | None, typer.Option(help="A tool whose name may be told; repeat it.")] = None,
    content: Annotated[bool, typer.Option("--content", help="Keep words too, as content; else they are dropped.")] = (
        False
    ),
    settle: Annotated[float, typer.Option(min=0, help="Seconds after a call's end in which its spans still come.")] = (
        10.0
    ),
    idle: Annotated[float, typer.Option(min=1, help="Seconds of silence after which a call is told as it stands.")] = (
        600.0
    ),
    metrics_port: Annotated[int | None, typer.Option(min=1, max=65535, help="Loopback port for /metrics.")] = None,
) -> None:
    """Take OpenTelemetry traces (OTLP over HTTP) of agents that others run, and say them into the log until stopped."""
    from deploy.embedded.state import servers
    from ingest.door.call import Envelope
    from ingest.door.run import DoorError, DoorSettings, check, run_door
    from ingest.door.traces import Patience

    ours = settings(KAFKA_BOOTSTRAP_SERVERS=kafka)
    brokers, _ = servers(ours)
    if brokers is None:
        raise Misuse(
            f"no stack runs in {str(ours.state)!r} and KAFKA_BOOTSTRAP_SERVERS is not set: run `turnlog up`, or set it"
        )
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    wanted = DoorSettings(
        brokers,
        host=host,
        port=port,
        token=ours.door_token,
        content=content,
        envelope=Envelope(tenant, campaign, env, frozenset(tool or ())),
        patience=Patience(settle, idle),
        folder=ours.state / "door",
        metrics_port=metrics_port,
    )
    try:
        check(wanted)
    except DoorError as error:
        raise Misuse(str(error)) from None
    run_door(wanted, lambda url: talk.print(f"door at {url}/v1/traces, into {brokers.servers}", markup=False))
