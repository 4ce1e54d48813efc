"""What one call works with, in one place. Does nothing itself."""

from dataclasses import dataclass

from runtime.engine.account import Account
from runtime.engine.outside import Outside
from runtime.graph import Agent
from runtime.models import Model
from runtime.tracing import CallTrace, Tracing
from runtime.voice.clock import Clock
from runtime.voice.ports import Caller, Ears, Key, Voice


@dataclass(frozen=True, slots=True)
class Ports:
    """What calls share: the world outside the runtime."""

    model: Model
    ears: Ears
    voice: Voice
    outside: Outside
    tracing: Tracing


@dataclass(frozen=True, slots=True)
class Desk:
    """What belongs to this call alone, beside the ports."""

    agent: Agent
    ports: Ports
    clock: Clock
    caller: Caller
    account: Account
    trace: CallTrace
    seed: int
    number: int

    def key(self, turn: int) -> Key:
        return Key(self.seed, self.number, turn)

    def model_seed(self, turn: int, half: str) -> int:
        """OpenAI's `seed`: the same for the same turn and half of the same call of the same run."""
        return self.key(turn).chance(half).getrandbits(31)
