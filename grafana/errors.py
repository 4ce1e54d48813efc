"""What can go wrong in showing things, for the person who asked. Each message says what, where and what to do.

GrafanaError
└── CallNotFound  no call, or more than one, answers to what was asked for
"""


class GrafanaError(Exception):
    """Anything this package raises on purpose."""


class CallNotFound(GrafanaError):
    """No call, or more than one, answers to what was asked for. `candidates` are full ids, the newest first."""

    def __init__(self, message: str, candidates: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.candidates = candidates
