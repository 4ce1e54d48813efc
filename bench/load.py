"""Calls to measure with, made fast, and what the tables have to say of them. Sends nothing.

A few hundred whole calls are encoded once, by the runtime's own recorder; each call that is wanted is one of them with
another id, another campaign and another time, put together out of pieces of bytes: some microseconds an event. The
same seed makes the same calls, save for their ids' random part and the time they are shifted to.
"""

import random
import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

import numpy as np

from runtime import events as ev
from runtime.emit import Context, MemoryLog, Recorder

TENANT = "bench"
PATTERNS = 200
_CAMPAIGN = "campaign-000"
_AT_US = 1_700_000_000_000_000  # of a pattern's start; 16 digits, as any time from 2001 to 2286
_SECOND_US = 1_000_000
# The wait that each component adds: median in µs, spread of its logarithm, how many of a hundred turns have it.
COMPONENTS = {
    "end_of_turn": (300_000, 0.3, 100),
    "asr": (180_000, 0.4, 100),
    "decision": (350_000, 0.5, 100),
    "tool": (120_000, 1.0, 30),
    "response": (450_000, 0.5, 100),
    "tts": (250_000, 0.5, 100),
}


@dataclass(frozen=True, slots=True)
class Pattern:
    """One call: the pieces of each record between its id, its time and its campaign; `offsets_us` from its start."""

    pieces: list[tuple[bytes, bytes, bytes, bytes]]
    offsets_us: list[int]
    latencies_us: list[tuple[str, int]]  # component and latency of every span that has one
    turns: int
    glitches: int


@dataclass
class Said:
    """What was made, and so what the tables have to hold."""

    events: int = 0
    calls: int = 0
    turns: int = 0
    glitches: int = 0
    latencies: "defaultdict[str, list[int]]" = field(default_factory=lambda: defaultdict(list))

    def p90_us(self, component: str) -> float:
        return float(np.quantile(self.latencies[component], 0.9, method="lower"))


class Load:
    """Calls in progress, without end. Each is spread over the campaigns and starts where `started_us` says."""

    def __init__(self, seed: int = 0, tenant: str = TENANT, campaigns: int = 200, patterns: int = PATTERNS) -> None:
        self._chance = random.Random(seed)
        self._campaigns = [f"campaign-{n:03d}".encode() for n in range(campaigns)]
        self._patterns = [_pattern(random.Random(f"{seed} {n}"), tenant) for n in range(patterns)]
        self.said = Said()

    def call(self, started_us: int) -> Iterator[tuple[bytes, bytes]]:
        """The records (key, value) of one more call, in their order. Its times run on from `started_us`."""
        pattern, campaign = self._chance.choice(self._patterns), self._chance.choice(self._campaigns)
        call = ev.new_call_id(started_us).encode()
        self._count(pattern)
        for (a, b, c, d), offset in zip(pattern.pieces, pattern.offsets_us, strict=True):
            yield call, b"%b%b%b%d%b%b%b" % (a, call, b, started_us + offset, c, campaign, d)

    def interleaved(self, at_once: int, now_us: Callable[[], int]) -> Iterator[tuple[bytes, bytes]]:
        """Records without end, of that many calls in turn. Calls that were not finished are in `said` nevertheless."""
        going = deque(self.call(now_us()) for _ in range(at_once))
        while True:
            call = going.popleft()
            record = next(call, None)
            going.append(call if record is not None else self.call(now_us()))
            if record is not None:
                yield record

    def calls(self, events: int, started_us: int) -> Iterator[list[tuple[bytes, bytes]]]:
        """Whole calls until they hold `events` events or a few more."""
        made = 0
        while made < events:
            records = list(self.call(started_us))
            made += len(records)
            yield records

    def _count(self, pattern: Pattern) -> None:
        said = self.said
        said.events += len(pattern.pieces)
        said.calls += 1
        said.turns += pattern.turns
        said.glitches += pattern.glitches
        for component, latency_us in pattern.latencies_us:
            said.latencies[component].append(latency_us)


def _pattern(r: random.Random, tenant: str) -> Pattern:
    log, call = MemoryLog(), ev.new_call_id(_AT_US)
    context = Context(call, tenant, _CAMPAIGN, "booker", "7", "production", f"{r.getrandbits(128):032x}", _arms(r))
    runtime, audio = Recorder(log, context, "runtime"), Recorder(log, context, "audio")
    clock = accumulate(iter(lambda: r.randrange(20_000, 200_000), 0), initial=_AT_US)
    runtime.record(ev.CallStarted, next(clock), direction=ev.Direction.OUTBOUND)
    latencies: list[tuple[str, int]] = []
    turns, glitches = max(1, int(r.lognormvariate(2.0, 0.6))), 0
    for turn in range(turns):
        _turn(r, runtime, clock, turn, latencies)
        if r.random() < 0.05:
            glitches += 1
            detector = r.choice(list(ev.Detector))
            audio.record(
                ev.GlitchDetected, next(clock), turn=turn, detector=detector, kind=ev.GlitchKind.UNDERRUN, gap_ms=41.5
            )
    runtime.record(ev.DispositionSet, next(clock), disposition=r.choice(["sale", "callback", "no_interest"]))
    runtime.record(ev.CallEnded, next(clock), reason=ev.EndReason.AGENT_ENDED)
    runtime.close(next(clock))
    audio.close(next(clock))
    values = [value for _, value in log.records(ev.Topic.CALLS)]
    pieces = [_cut(value, call) for value in values]
    return Pattern([p[:4] for p in pieces], [p[4] for p in pieces], latencies, turns, glitches)


def _arms(r: random.Random) -> dict[str, str]:
    return {"greeting": r.choice(["short", "long"])} if r.random() < 0.5 else {}


def _turn(
    r: random.Random, runtime: Recorder, clock: Iterator[int], turn: int, latencies: list[tuple[str, int]]
) -> None:
    """The caller speaks, the components work, the agent speaks."""
    runtime.record(ev.SpeechStarted, next(clock), speaker=ev.Speaker.CALLER, turn=turn)
    runtime.record(
        ev.SpeechEnded, next(clock), speaker=ev.Speaker.CALLER, turn=turn, duration_us=r.randrange(4 * _SECOND_US)
    )
    waited = 0
    for n, (component, (median_us, spread, of_hundred)) in enumerate(COMPONENTS.items()):
        if r.randrange(100) >= of_hundred:
            continue
        latency_us = int(median_us * r.lognormvariate(0, spread))
        more = {"first_us": latency_us // 2, "ready_us": latency_us} if component in {"response", "decision"} else {}
        duration_us = latency_us + r.randrange(200_000) if more else latency_us
        runtime.record(
            ev.SpanEnded,
            next(clock),
            span=turn * 8 + n + 1,
            turn=turn,
            component=component,
            provider="openai" if more else "",
            model="gpt-4o-mini" if more else "",
            duration_us=duration_us,
            **more,
        )
        latencies.append((component, latency_us))
        waited += latency_us
    if r.random() < 0.3:
        runtime.record(ev.ToolFired, next(clock), turn=turn, node="offer", tool="book", next_node="confirm")
        runtime.record(ev.NodeEntered, next(clock), turn=turn, node="confirm")
        runtime.record(ev.DataUpdated, next(clock), turn=turn, field="slot")
    runtime.record(ev.SpeechStarted, next(clock), speaker=ev.Speaker.AGENT, turn=turn)
    runtime.record(
        ev.SpeechEnded, next(clock), speaker=ev.Speaker.AGENT, turn=turn, duration_us=r.randrange(8 * _SECOND_US)
    )
    outcome = ev.Outcome.ANSWERED if r.random() < 0.97 else ev.Outcome.DISAPPEARED
    runtime.record(ev.TurnEnded, next(clock), turn=turn, outcome=outcome, latency_us=waited, unattributed_us=0)


def _cut(value: bytes, call: str) -> tuple[bytes, bytes, bytes, bytes, int]:
    """Between call id, time and campaign, which must come in this order and once each; and the time's offset."""
    places = [re.search(p, value) for p in (call.encode(), rb'(?<="at":)\d{16}', _CAMPAIGN.encode())]
    spans = [place.span() for place in places if place is not None]
    if len(spans) != len(places) or any(a[1] > b[0] for a, b in pairwise(spans)):
        raise RuntimeError(f"an event's fields come in another order than this program knows: {value!r}")
    (a, b), (c, d), (e, f) = spans
    return value[:a], value[b:c], value[d:e], value[f:], int(value[c:d]) - _AT_US
