"""Which calls this process speaks of, for the beats that name them. Pure: hears records, gives events, knows no clock.

A beat names each call that was open since the last one with its last seq, so that a call of which nothing arrives is
known to be missing. It is said for each tenant, campaign and source, in a stream of its own, renewed daily.
"""

from collections import deque
from collections.abc import Iterator
from itertools import islice

import msgspec

from runtime.events import BEAT_CALLS_MAX, CallLost, ProducerBeat, SourceClosed, new_call_id

BEAT_EVERY_S = 10.0
SOURCE = "producer"
QUIET_BEATS_MAX = 360  # an hour: a call that says nothing for so long is forgotten, closed or not
OPEN_CALLS_MAX = 100_000  # named by one source; beyond that the oldest are forgotten
_DAY_US = 86_400_000_000
_U32 = 2**32 - 1
_CLOSED = SourceClosed.__name__
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


class Pulse:
    def __init__(self) -> None:
        self._voices: dict[tuple[str, str, str, str], _Voice] = {}

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

    def beats(self, now_us: int, spooled: int, dropped: int) -> list[ProducerBeat]:
        """For each that has calls, as many beats as it takes. What has closed is named this once more."""
        return [
            beat
            for of, voice in self._voices.items()
            for beat in _beats(of, voice, now_us, min(spooled, _U32), min(dropped, _U32))
        ]


def _beats(
    of: tuple[str, str, str, str], voice: _Voice, now_us: int, spooled: int, dropped: int
) -> Iterator[ProducerBeat]:
    tenant, campaign, env, source = of
    named = deque((stream, call.last_seq) for stream, call in voice.calls.items())
    for call in voice.calls.values():
        call.quiet += 1
    voice.calls = {s: c for s, c in voice.calls.items() if not c.closed and c.quiet <= QUIET_BEATS_MAX}
    while named:
        some = dict(islice(named, BEAT_CALLS_MAX))
        for _ in some:
            named.popleft()
        if voice.day != now_us // _DAY_US:
            voice.stream, voice.day, voice.seq = new_call_id(now_us), now_us // _DAY_US, 0
        yield ProducerBeat(
            stream=voice.stream,
            source=SOURCE,
            seq=voice.seq,
            at=now_us,
            v=1,
            tenant=tenant,
            campaign=campaign,
            env=env,
            of=source,
            calls=some,
            spooled=spooled,
            dropped=dropped,
        )
        voice.seq += 1
