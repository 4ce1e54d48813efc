"""What can go wrong in showing things, for the person who asked. Each message says what, where and what to do.

GrafanaError
├── CallNotFound      no call, or more than one, answers to what was asked for
└── UnknownObjective  no objective of `alerts/slos.yaml` has that name, or is about that component
"""


class GrafanaError(Exception):
    """Anything this package raises on purpose."""


class CallNotFound(GrafanaError):
    """No call, or more than one, answers to what was asked for. `candidates` are full ids, the newest first."""

    def __init__(self, message: str, candidates: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.candidates = candidates


class UnknownObjective(GrafanaError):
    """No objective has that name, or is about that component."""

    def __init__(self, what: str, known: tuple[str, ...]) -> None:
        super().__init__(f"there is no {what} in alerts/slos.yaml; there is: {', '.join(known) or 'none'}")
