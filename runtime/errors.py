"""What can go wrong in the runtime, split by who must act. Raises nothing itself.

TurnlogRuntimeError
├── AgentRefused      the author of the agent: every fault at once, before any call
├── CallRefused       the operator: no room for what must not be lost of a call, so none starts
├── PromptFailed      the author of the agent: a template that cannot be filled
└── ProviderFailed    the operator: a model, a voice or a tool did not deliver; inside a call it ends the call
"""

from collections.abc import Sequence
from dataclasses import dataclass


class TurnlogRuntimeError(Exception):
    """The root of what the runtime raises."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with an agent: where it is written, what is wrong, what to do."""

    where: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.remedy}"


class AgentRefused(TurnlogRuntimeError):
    """An agent that must not take a call. `faults` holds all that is wrong with it."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        lines = "\n".join(f"  {fault}" for fault in self.faults)
        super().__init__(f"the agent is refused for {len(self.faults)} fault(s):\n{lines}")


class CallRefused(TurnlogRuntimeError):
    """No call starts now; those that run go on."""

    def __init__(self) -> None:
        super().__init__(
            "no call starts: what must not be lost of one has no room, because records wait for a broker that does not "
            "take them; see that it runs and that the spool's disk is not full, then start the call again"
        )


class PromptFailed(TurnlogRuntimeError):
    """A template that cannot be read or filled. The message holds no value that was filled in."""


class ProviderFailed(TurnlogRuntimeError):
    """A provider gave no usable answer. `what` is a bounded name; the provider's own message stays out of it and of
    the text of this error, because providers quote what people said: `quoted` has it, for the content topic alone.
    """

    def __init__(self, provider: str, what: str, quoted: str = "") -> None:
        super().__init__(f"provider {provider!r} failed: {what}; see its own log, or point the agent to another one")
        self.provider = provider
        self.what = what
        self.quoted = quoted
