"""Which calls this process speaks of, for the beats that name them. Pure: hears records, gives events, knows no clock.

A beat names each call that was open since the last one with its last seq, so that a call of which nothing arrives is
known to be missing. It is said for each tenant, campaign and source, in a stream of its own, renewed daily.
"""

from typing import Any

import msgspec

from runtime.events import BEAT_CALLS_MAX, PRODUCER, CallLost, Event, ProducerBeat, SourceClosed, new_call_id

BEAT_EVERY_S = 10.0
QUIET_BEATS_MAX = 360  # an hour: a call that says nothing for so long is forgotten, closed or not
OPEN_CALLS_MAX = 10_000  # named by one source; beyond that the oldest are forgotten
_DAY_US = 86_400_000_000
_U32 = 2**32 - 1
_CLOSED = SourceClosed.__name__
_Of = tuple[str, str, str, str]  # tenant, campaign, env, source
_NOT_OURS = {ProducerBeat.__name__, CallLost.__name__}


class Head(msgspec.Struct, gc=False):
    """What a beat needs of an event."""

    type: str = ""
    stream: str = ""
    source: str = ""
    seq: int = 0
    tenant: str = ""
    campaign: str = ""
    env: str = "development"


class _Call(msgspec.Struct, gc=False):
    last_seq: int = 0
    quiet: int = 0
    closed: bool = False


class _Voice:
    """One (tenant, campaign, env, source): its open calls, and the stream of its beats."""

    def __init__(self) -> None:
        self.calls: dict[str, _Call] = {}
        self.stream, self.day, self.seq = "", -1, 0

    def named(self) -> list[dict[str, int]]:
        """The calls that were open since this was asked last, in portions that a beat can hold."""
        last = [(stream, call.last_seq) for stream, call in self.calls.items()]
        for call in self.calls.values():
            call.quiet += 1
        self.calls = {s: c for s, c in self.calls.items() if not c.closed and c.quiet <= QUIET_BEATS_MAX}
        return [dict(last[at : at + BEAT_CALLS_MAX]) for at in range(0, len(last), BEAT_CALLS_MAX)]


class Pulse:
    """Beats of one process. Its streams bear the day of their making in their ids, so they are renewed each day."""

    def __init__(self) -> None:
        self._voices: dict[_Of, _Voice] = {}

    def heard(self, head: Head) -> None:
        """An event of the calls topic was said, whatever became of it."""
        if head.type in _NOT_OURS:
            return
        of = head.tenant, head.campaign, head.env, head.source
        voice = self._voices.get(of)
        if voice is None:
            voice = self._voices[of] = _Voice()
        call = voice.calls.get(head.stream)
        if call is None:
            if len(voice.calls) >= OPEN_CALLS_MAX:
                del voice.calls[next(iter(voice.calls))]
            call = voice.calls[head.stream] = _Call()
        call.last_seq, call.quiet = max(call.last_seq, head.seq), 0
        call.closed |= head.type == _CLOSED

    def beats(self, now_us: int, spooled: int, dropped: int) -> list[Event]:
        """For each that has calls, as many beats as it takes. What has closed is named this once more."""
        spooled, dropped = min(spooled, _U32), min(dropped, _U32)
        said: list[Event] = []
        for of, voice in self._voices.items():
            for calls in voice.named():
                said += self._in_stream(of, voice, now_us)
                said.append(
                    ProducerBeat(
                        **_envelope(of, voice, now_us), of=of[3], calls=calls, spooled=spooled, dropped=dropped
                    )
                )
                voice.seq += 1
        return said

    def close(self, now_us: int) -> list[Event]:
        """Nothing follows in any of the streams."""
        return [closed for of, voice in self._voices.items() for closed in _closing(of, voice, now_us)]

    def _in_stream(self, of: _Of, voice: "_Voice", now_us: int) -> list[Event]:
        """A new stream for a new day: the end of the old one, if there is one."""
        day = now_us // _DAY_US
        if voice.day == day:
            return []
        closed = _closing(of, voice, now_us)
        voice.stream, voice.day, voice.seq = new_call_id(now_us), day, 0
        return closed


def _closing(of: _Of, voice: _Voice, now_us: int) -> list[Event]:
    if not voice.seq:
        return []
    closed = SourceClosed(**_envelope(of, voice, now_us), last_seq=voice.seq)
    voice.day, voice.seq = -1, 0
    return [closed]


def _envelope(of: _Of, voice: _Voice, now_us: int) -> dict[str, Any]:
    tenant, campaign, env, _ = of
    identity = {"stream": voice.stream, "source": PRODUCER, "seq": voice.seq}
    return {**identity, "at": now_us, "v": 1, "tenant": tenant, "campaign": campaign, "env": env}
