"""What can go wrong with the log before a call starts. Nothing here is raised into one.

LogUnreachable   the operator's to fix: address, broker, credentials
"""


class LogUnreachable(ConnectionError):
    """No broker answered. Names the address and what to do."""

    def __init__(self, servers: str, why: str) -> None:
        super().__init__(
            f"no Kafka broker answers at {servers!r} ({why}); "
            "start one, or set KAFKA_BOOTSTRAP_SERVERS to one that runs"
        )
