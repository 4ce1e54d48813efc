"""Where the Kafka brokers are and how to be let in. Opens no connection; no secret is in its repr."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


@dataclass(frozen=True, slots=True)
class Brokers:
    """`servers` is "host:port,host:port". Files are PEM; without `ca_file` the system's authorities are trusted."""

    servers: str
    protocol: Protocol = "PLAINTEXT"
    mechanism: Mechanism = "PLAIN"
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    key_password: str = field(default="", repr=False)

    @property
    def addresses(self) -> list[str]:
        return self.servers.split(",")
