"""What all voice dialects say of a turn in the same way. Pure."""

from ingest.door.span import MICROS_MAX
from ingest.door.told import Told
from runtime.events import Component, SpanEnded, SpanStatus

AUDIO_US_MIN = 100_000  # less of the agent than this is no answer
MEANT_US_MIN = 400_000  # a caller's speech shorter than this is a backchannel


def turn_span(key: str, turn: int, silent_us: int, end_us: int, latency_us: int | None) -> Told:
    """From the caller's silence to the end of the turn; `latency_us` is the wait for the first audio, if any came."""
    return Told(
        SpanEnded,
        end_us,
        key,
        {
            "turn": turn,
            "component": Component.TURN,
            "status": SpanStatus.OK if latency_us is not None else SpanStatus.CANCELLED,
            "first_us": latency_us,
            "duration_us": min(max(end_us - silent_us, 0), MICROS_MAX),
        },
    )


def end_of_turn(key: str, turn: int, silent_us: int, waited_us: int, whole: str) -> Told:
    """The wait for the end of the turn, which contains that for the ears."""
    payload = {"turn": turn, "component": Component.END_OF_TURN, "duration_us": waited_us}
    return Told(SpanEnded, silent_us + waited_us, f"{key}:end_of_turn", payload, whole)
