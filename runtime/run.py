"""The face of the runtime: runs one call, or many, and says into the log what happened. Decides nothing itself.

The world of a run (`world`) is the simulated one: only the models can be real, by another provider's address.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from runtime.emit import Context, Log, Recorder
from runtime.engine.account import Account
from runtime.engine.call import Call
from runtime.engine.desk import Desk, Ports
from runtime.errors import CallRefused
from runtime.events import Direction, EndReason, Outcome, new_call_id
from runtime.graph import Agent
from runtime.models import LiteLlm, Provider
from runtime.simulate import Fault, FaultyVoice, ScriptedCaller, SimulatedCalendar
from runtime.tracing import Tracing
from runtime.voice import Caller, Clock, RealClock, VirtualClock
from runtime.voice.simulated import SimulatedEars, SimulatedVoice

__all__ = ["CONCURRENCY_MAX", "SOURCE", "CallSummary", "Ports", "Run", "run_call", "run_calls", "world"]

SOURCE = "runtime"
CONCURRENCY_MAX = 256


@dataclass(frozen=True, slots=True)
class CallSummary:
    """What a call came to; all of it is in the log as well. Times in µs, gaps in ms, turns by number."""

    call_id: str
    number: int
    started_us: int
    ended_us: int
    turns: int
    reason: EndReason
    disposition: str
    outcomes: Mapping[int, Outcome]
    latencies_us: Mapping[int, int]
    gaps_ms: tuple[float, ...]
    said: Mapping[str, int]
    """Events by source, `SourceClosed` included."""


@dataclass(frozen=True, slots=True)
class Run:
    """What all calls of a run have in common. `faults` maps call numbers to what goes wrong in them.

    `virtual`: the virtual clock, for a provider that declares its times. `start_us` gives the wall time at which
    a call begins (on the virtual clock only); it is now by default. `lead` gives the pseudonym of whom a call rings,
    made with the tenant's key (`runtime.events.lead_id`); by default it is not known. Raises PersonalDataRefused when
    a name has the shape of a phone number.
    """

    agent: Agent
    tenant: str
    campaign: str
    seed: int = 1
    env: str = "development"
    virtual: bool = True
    faults: Mapping[int, Fault] = field(default_factory=dict)
    variants: Mapping[str, str] = field(default_factory=dict)
    direction: Direction = Direction.OUTBOUND
    start_us: Callable[[int], int] | None = None
    lead: Callable[[int], str] | None = None

    def __post_init__(self) -> None:
        self.context("probe")  # before any call, and not out of a group of them

    def context(self, call_id: str, lead: str = "") -> Context:
        """What every event of one call of this run carries."""
        return Context(
            stream=call_id,
            tenant=self.tenant,
            campaign=self.campaign,
            agent=self.agent.name,
            agent_version=self.agent.version,
            env=self.env,
            lead=lead,
            variants=dict(self.variants),
        )


@asynccontextmanager
async def world(provider: Provider, tracing: Tracing | None = None) -> AsyncIterator[Ports]:
    """The ports of a run: models behind `provider`, everything else simulated. Closed on leaving."""
    own = tracing or Tracing()
    try:
        async with LiteLlm(provider) as model:
            yield Ports(model, SimulatedEars(), SimulatedVoice(), SimulatedCalendar(), own)
    finally:
        if tracing is None:
            own.close()


async def run_call(run: Run, ports: Ports, log: Log, number: int, *, caller: Caller | None = None) -> CallSummary:
    """Run call `number`; everything random in it follows from (`run.seed`, `number`).

    Raises CallRefused before it begins, while the log has no room for what must not be lost of it, and for nothing that
    happens in the call, which then ends with reason `failed`; so does one that is cancelled.
    """
    if not log.accepts_calls:
        raise CallRefused
    wall = RealClock()
    began_us = run.start_us(number) if run.start_us and run.virtual else wall.now_us()
    clock: Clock = VirtualClock(began_us) if run.virtual else wall
    call_id = new_call_id(began_us)
    recorder = Recorder(log, run.context(call_id, run.lead(number) if run.lead else ""), SOURCE)
    desk = Desk(
        agent=run.agent,
        ports=_bent(ports, run.faults.get(number)),
        clock=clock,
        caller=caller or ScriptedCaller.of(run.seed, number),
        account=Account(recorder),
        trace=ports.tracing.of_call(call_id, recorder, began_us),
        seed=run.seed,
        number=number,
    )
    call = Call(desk)
    try:
        ending = await call.run(run.direction)
    finally:
        ended_us = clock.now_us()
        recorder.close(ended_us)
    return CallSummary(
        call_id=call_id,
        number=number,
        started_us=began_us,
        ended_us=ended_us,
        turns=call.turns,
        reason=ending.reason,
        disposition=ending.disposition,
        outcomes=desk.account.outcomes,
        latencies_us=desk.account.latencies_us,
        gaps_ms=tuple(desk.account.gaps_ms),
        said=recorder.said,
    )


async def run_calls(
    run: Run,
    ports: Ports,
    log: Log,
    calls: int,
    *,
    concurrency: int = 8,
    ended: Callable[[CallSummary], Awaitable[None]] | None = None,
) -> list[CallSummary]:
    """Run calls 0 … `calls` - 1, at most `concurrency` at a time; `ended` is told of each as it ends.

    On the virtual clock every figure repeats for the same seed, whatever the concurrency. The summaries come in
    the order of their numbers. Raises CallRefused when the log has no room for another call, once those that run
    have ended.
    """
    if not 1 <= concurrency <= CONCURRENCY_MAX:
        raise ValueError(f"concurrency {concurrency} is not in 1 … {CONCURRENCY_MAX}")
    numbers = iter(range(calls))
    summaries: dict[int, CallSummary] = {}
    refusals: list[CallRefused] = []

    async def worker() -> None:
        for number in numbers:
            try:
                summaries[number] = await run_call(run, ports, log, number)
            except CallRefused as refusal:
                refusals.append(refusal)
                return
            if ended is not None:
                await ended(summaries[number])

    async with asyncio.TaskGroup() as group:
        for _ in range(min(concurrency, calls)):
            group.create_task(worker())
    if refusals:
        raise refusals[0]
    return [summaries[number] for number in sorted(summaries)]


def _bent(ports: Ports, fault: Fault | None) -> Ports:
    if fault is None:
        return ports
    return Ports(ports.model, ports.ears, FaultyVoice(ports.voice, fault), ports.outside, ports.tracing)
