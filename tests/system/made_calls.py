"""A handful of calls made by hand, for what a demo does not show: days, versions, providers that fail, losses."""

import datetime as dt
from typing import Any

from runtime.emit import Context, MemoryLog, Recorder
from runtime.events import (
    CallEnded,
    CallStarted,
    Detector,
    Direction,
    DispositionSet,
    EndReason,
    Event,
    GlitchDetected,
    GlitchKind,
    NodeEntered,
    Outcome,
    SpanEnded,
    SpanStatus,
    Speaker,
    SpeechEnded,
    ToolFired,
    Topic,
    TurnEnded,
    decode,
    lead_id,
    new_call_id,
)

CAMPAIGN = "spring"
EXPERIMENT = "greeting"
TENANT = "demo"


class _Call:
    """Says events of one call; times are seconds from its start."""

    def __init__(self, log: MemoryLog, start: dt.datetime, person: str, version: str, variation: str) -> None:
        self._start_us = int(start.timestamp() * 1_000_000)
        self.call_id = new_call_id(self._start_us)
        context = Context(
            stream=self.call_id,
            tenant=TENANT,
            campaign=CAMPAIGN,
            agent="booker",
            agent_version=version,
            env="test",
            lead=lead_id(b"key", person),
            variants={EXPERIMENT: variation},
        )
        self._recorder = Recorder(log, context, "runtime")
        self._spans = 0
        self._turn = 0
        self.node = ""
        self.say(0, CallStarted, direction=Direction.OUTBOUND)
        self.enter(0, "greet")

    def say(self, after_s: float, kind: type[Event], /, **payload: Any) -> None:
        self._recorder.record(kind, self._start_us + round(after_s * 1e6), **payload)

    def enter(self, after_s: float, node: str) -> None:
        self.node = node
        self.say(after_s, NodeEntered, turn=self._turn, node=node)

    def turn(
        self,
        after_s: float,
        tool: str,
        next_node: str,
        *,
        parts_ms: tuple[int, int, int, int] | None = (450, 300, 200, 250),
        unattributed_ms: int = 0,
        outcome: Outcome = Outcome.ANSWERED,
        provider: str = "acme",
        status: SpanStatus = SpanStatus.OK,
    ) -> None:
        """The caller speaks for two seconds, and what becomes of it. Without `parts_ms` nobody answers."""
        self._turn += 1
        turn = self._turn
        self.say(after_s, SpeechEnded, speaker=Speaker.CALLER, turn=turn, duration_us=2_000_000)
        if parts_ms is None:
            self.say(after_s + 7, TurnEnded, turn=turn, outcome=outcome)
            return
        end_of_turn, decision, response, tts = (1000 * part for part in parts_ms)
        self._span(after_s + 0.5, "end_of_turn", "ears", duration_us=end_of_turn)
        self._span(
            after_s + 1, "decision", provider, status=status, first_us=90, ready_us=decision, duration_us=decision
        )
        if status is SpanStatus.ERROR:
            return
        self.say(after_s + 1, ToolFired, turn=turn, node=self.node, tool=tool, next_node=next_node)
        self.enter(after_s + 1, next_node)
        self._span(after_s + 1.5, "response", provider, ready_us=response, duration_us=2 * response)
        self._span(after_s + 2, "tts", "voice", first_us=tts, duration_us=2_000_000)
        latency_us = end_of_turn + decision + response + tts + 1000 * unattributed_ms
        self._span(after_s + 4, "turn", "", first_us=latency_us, duration_us=latency_us + 3_000_000)
        self.say(after_s + 4, SpeechEnded, speaker=Speaker.AGENT, turn=turn, duration_us=3_000_000)
        figures = {"latency_us": latency_us, "unattributed_us": 1000 * unattributed_ms}
        self.say(after_s + 4, TurnEnded, turn=turn, outcome=outcome, **figures)

    def _span(self, after_s: float, component: str, provider: str, **figures: Any) -> None:
        self._spans += 1
        model = f"{provider}-1" if provider else ""
        place = {"span": self._spans, "turn": self._turn, "component": component, "provider": provider, "model": model}
        self.say(after_s, SpanEnded, **place, **figures)

    def glitch(self, after_s: float, gap_ms: float, detector: Detector = Detector.PLAYOUT) -> None:
        figures = {"turn": self._turn, "kind": GlitchKind.UNDERRUN, "gap_ms": gap_ms, "detector": detector}
        self.say(after_s, GlitchDetected, **figures)

    def end(self, after_s: float, disposition: str, reason: EndReason = EndReason.AGENT_ENDED) -> None:
        self.say(after_s, DispositionSet, disposition=disposition)
        self.say(after_s, CallEnded, reason=reason)
        self._recorder.close(self._start_us + round(after_s * 1e6))


def made_calls(now: dt.datetime) -> list[tuple[str, bytes]]:
    """The records of all of them, as a broker would get them; one is lost on the way."""
    log = MemoryLog()
    hour = now.replace(minute=0, second=0, microsecond=0)

    def call(before: dt.timedelta, person: str, version: str = "7", variation: str = "short") -> _Call:
        return _Call(log, hour - before, person, version, variation)

    later = call(dt.timedelta(days=3), "ann")  # has no time now, and books two days after
    later.turn(3, "identity_confirmed", "intent")
    later.turn(12, "later", "goodbye_later", parts_ms=(450, 2400, 200, 250))
    later.end(18, "call_later")
    booked = call(dt.timedelta(days=1), "ann")
    booked.turn(3, "identity_confirmed", "intent")
    booked.turn(12, "wants_appointment", "slot", outcome=Outcome.INTERRUPTED, unattributed_ms=-20)
    booked.turn(21, "slot_chosen", "booked", unattributed_ms=40)
    booked.end(30, "booked")

    out = call(dt.timedelta(days=20), "bob")  # opts out, and is called again all the same, 18 days after
    out.turn(3, "opt_out", "opt_out")
    out.end(9, "opted_out")
    gone = call(dt.timedelta(days=2), "bob", "8", "long")
    gone.turn(3, "identity_confirmed", "slot")
    gone.turn(12, "", "", parts_ms=None, outcome=Outcome.DISAPPEARED)
    gone.end(25, "caller_hung_up", EndReason.CALLER_HUNG_UP)
    failed = call(dt.timedelta(days=2, seconds=-10), "cay", "8", "long")  # while that one runs
    failed.turn(3, "identity_confirmed", "intent", provider="umbra", parts_ms=(450, 900, 200, 700))
    failed.glitch(6, 350.0)
    failed.glitch(6.1, 340.0, Detector.AUDIO)
    failed.turn(12, "", "", provider="umbra", status=SpanStatus.ERROR)
    failed.end(14, "failed", EndReason.FAILED)

    running = call(dt.timedelta(hours=1), "dee")
    running.turn(3, "identity_confirmed", "intent")
    cut = call(dt.timedelta(hours=2), "eve")
    cut.turn(3, "no_interest", "goodbye_no")
    cut.end(9, "not_interested")
    records = log.records(Topic.CALLS)
    mine = [n for n, (key, _) in enumerate(records) if key == cut.call_id]
    lost = next(n for n in mine if isinstance(decode(records[n][1]), SpeechEnded))
    return [*records[:lost], *records[lost + 1 :]]
