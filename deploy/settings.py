"""The settings of a process, read once from the environment. Nobody else reads it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from deploy.brokers import read_brokers
from deploy.errors import Misuse
from runtime.emit import Brokers

TENANT_KEY = "TURNLOG_TENANT_KEY"
_OTLP = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
_CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"  # the conventions' own switch


@dataclass(frozen=True, slots=True)
class Settings:
    """`kafka` and `clickhouse` are addresses of servers of yours; None means the embedded ones. In no message are
    `model_key`, for a provider of yours and nobody else, `tenant_key`, which makes pseudonyms, and `door_token`,
    what a sender of traces has to show. `otlp`: spans also go where OpenTelemetry's own variables say; `otlp_content`:
    with what was said.
    """

    state: Path
    kafka: Brokers | None = None
    clickhouse: str | None = None
    model_key: str = field(default="none", repr=False)
    tenant_key: str = field(default="", repr=False)
    otlp: bool = False
    otlp_content: bool = False
    door_token: str = field(default="", repr=False)


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Raises Misuse with every fault at once."""
    faults: list[str] = []
    kafka = read_brokers(environment, faults)
    clickhouse = environment.get("CLICKHOUSE_URL") or None
    if clickhouse is not None and not clickhouse.startswith(("http://", "https://")):
        faults.append("CLICKHOUSE_URL must look like http://127.0.0.1:8123")
    if faults:
        raise Misuse("; ".join(faults))
    return Settings(
        _state(environment),
        kafka,
        clickhouse,
        environment.get("TURNLOG_MODEL_KEY") or "none",
        environment.get(TENANT_KEY) or "",
        otlp=any(map(environment.get, _OTLP)) and environment.get("OTEL_TRACES_EXPORTER", "otlp") == "otlp",
        otlp_content=environment.get(_CONTENT, "").lower() == "true",
        door_token=environment.get("TURNLOG_DOOR_TOKEN", ""),
    )


def without_password(url: str) -> str:
    """The URL as it may be shown."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"


def _state(environment: Mapping[str, str]) -> Path:
    """TURNLOG_STATE, else the place for state by the XDG base directory specification."""
    if given := environment.get("TURNLOG_STATE"):
        try:
            return Path(given).expanduser().absolute()
        except RuntimeError:
            raise Misuse(f"TURNLOG_STATE is {given!r}: there is no such user's home; name a folder") from None
    base = environment.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "turnlog"
