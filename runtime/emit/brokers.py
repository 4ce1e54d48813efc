"""Where the Kafka brokers are and how to be let in. Opens no connection; no secret is in its repr."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


@dataclass(frozen=True, slots=True)
class Brokers:
    """`servers` is "host:port,host:port". Files are PEM; without `ca_file` the system's authorities are trusted.
    Without `key_file` the key is in `cert_file`.
    """

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

    @property
    def with_tls(self) -> bool:
        return self.protocol in {"SSL", "SASL_SSL"}

    @property
    def with_login(self) -> bool:
        return self.protocol in {"SASL_PLAINTEXT", "SASL_SSL"}

    def options(self) -> dict[str, Any]:
        """The options that say this to kafka-python and to aiokafka, in words that both know.

        Raises OSError, of which ssl.SSLError is one, for a file that cannot be used.
        """
        options: dict[str, Any] = {"bootstrap_servers": self.addresses, "security_protocol": self.protocol}
        if self.with_tls:
            options["ssl_context"] = self.tls_context()
        if self.with_login:
            options["sasl_mechanism"] = self.mechanism
            options["sasl_plain_username"] = self.username
            options["sasl_plain_password"] = self.password
        return options

    def tls_context(self) -> ssl.SSLContext:
        """Trusts the authorities, checks the host's name, and shows our certificate if there is one. Raises OSError."""
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.cert_file is not None:
            # Always a password, so that OpenSSL never asks for one at the terminal.
            context.load_cert_chain(self.cert_file, self.key_file, lambda: self.key_password)
        return context
