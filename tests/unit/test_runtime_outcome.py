"""A turn's outcome, told as the speech of a call."""

from hypothesis import given
from hypothesis import strategies as st

from runtime.events import CallEnded, EndReason, Event, Outcome, Speaker, SpeechEnded, SpeechStarted, new_call_id
from runtime.voice import outcomes

STREAM = new_call_id(0)
MS = 1_000
Span = tuple[str, int, int, int]  # speaker, turn, from ms, to ms


def call(*speech: Span, end_ms: int = 60_000) -> list[Event]:
    """The events of a call in the order of their time; at one moment ends come before starts."""
    told: list[tuple[int, int, Event]] = []
    for seq, (who, turn, begin, end) in enumerate(speech):
        envelope = {"stream": STREAM, "source": "runtime", "seq": seq, "v": 1, "tenant": "t", "campaign": "c"}
        speaker = Speaker.CALLER if who == "caller" else Speaker.AGENT
        started = SpeechStarted(**envelope, at=begin * MS, speaker=speaker, turn=turn)
        ended = SpeechEnded(**envelope, at=end * MS, speaker=speaker, turn=turn, duration_us=(end - begin) * MS)
        told += [(begin, 1, started), (end, 0, ended)]
    over = CallEnded(
        stream=STREAM, source="runtime", seq=99, at=end_ms * MS, v=1, tenant="t", campaign="c",
        reason=EndReason.AGENT_ENDED,
    )  # fmt: skip
    return [event for _, _, event in sorted(told, key=lambda t: t[:2])] + [over]


OPENING: Span = ("agent", 0, 0, 3_000)


def test_answered() -> None:
    assert outcomes(call(OPENING, ("caller", 1, 4_000, 5_000), ("agent", 1, 6_500, 9_000))) == {1: Outcome.ANSWERED}


def test_less_than_100_ms_of_agent_audio_is_no_answer() -> None:
    speech = [OPENING, ("caller", 1, 4_000, 5_000), ("agent", 1, 6_500, 6_599), ("caller", 2, 12_000, 13_000)]
    assert outcomes(call(*speech))[1] is Outcome.DISAPPEARED
    speech[2] = ("agent", 1, 6_500, 6_600)
    assert outcomes(call(*speech))[1] is Outcome.ANSWERED


def test_interrupted_when_the_caller_starts_while_the_agent_speaks() -> None:
    speech = [OPENING, ("caller", 1, 4_000, 5_000), ("agent", 1, 6_500, 8_400), ("caller", 2, 8_000, 9_000)]
    assert outcomes(call(*speech, ("agent", 2, 10_000, 12_000))) == {1: Outcome.INTERRUPTED, 2: Outcome.ANSWERED}


def test_a_backchannel_changes_nothing() -> None:
    speech = [OPENING, ("caller", 1, 4_000, 5_000), ("agent", 1, 6_500, 9_000), ("caller", 1, 8_000, 8_399)]
    assert outcomes(call(*speech)) == {1: Outcome.ANSWERED}
    assert outcomes(call(*speech[:3], ("caller", 1, 8_900, 9_200))) == {1: Outcome.ANSWERED}
    assert outcomes(call(OPENING, ("caller", 0, 1_000, 1_300))) == {}


def test_a_speech_of_400_ms_is_meant() -> None:
    speech = [OPENING, ("caller", 1, 4_000, 5_000), ("agent", 1, 6_500, 9_000)]
    assert outcomes(call(*speech, ("caller", 2, 8_000, 8_400)))[1] is Outcome.INTERRUPTED
    assert outcomes(call(*speech, ("caller", 2, 8_000, 8_399)))[1] is Outcome.ANSWERED


def test_disappeared_when_the_caller_must_speak_again() -> None:
    speech = [OPENING, ("caller", 1, 4_000, 5_000), ("caller", 2, 11_000, 12_000), ("agent", 2, 13_000, 15_000)]
    assert outcomes(call(*speech)) == {1: Outcome.DISAPPEARED, 2: Outcome.ANSWERED}


def test_continued_when_one_of_the_two_is_short() -> None:
    short_first = [OPENING, ("caller", 1, 4_000, 4_300), ("caller", 2, 5_000, 6_000), ("agent", 2, 7_000, 9_000)]
    short_second = [OPENING, ("caller", 1, 4_000, 5_000), ("caller", 2, 5_500, 5_700), ("agent", 2, 7_000, 9_000)]
    assert outcomes(call(*short_first)) == {1: Outcome.CONTINUED, 2: Outcome.ANSWERED}
    assert outcomes(call(*short_second)) == {1: Outcome.CONTINUED, 2: Outcome.ANSWERED}


def test_one_turn_may_hold_several_speeches() -> None:
    speech = [OPENING, ("caller", 1, 4_000, 5_000), ("caller", 1, 5_300, 6_000), ("agent", 1, 7_000, 9_000)]
    assert outcomes(call(*speech)) == {1: Outcome.ANSWERED}
    assert outcomes(call(*speech[:3], ("caller", 2, 11_000, 12_000))) == {1: Outcome.DISAPPEARED, 2: Outcome.HUNG_UP}


def test_hung_up_when_the_call_ends_unanswered() -> None:
    assert outcomes(call(OPENING, ("caller", 1, 4_000, 5_000))) == {1: Outcome.HUNG_UP}
    cut = [OPENING, ("caller", 1, 4_000, 5_000), ("agent", 1, 6_000, 6_050)]
    assert outcomes(call(*cut, end_ms=6_050)) == {1: Outcome.HUNG_UP}


def test_a_log_without_an_end_leaves_the_last_turn_open() -> None:
    assert outcomes(call(OPENING, ("caller", 1, 4_000, 5_000))[:-1]) == {}


def test_an_end_of_call_in_the_middle_of_the_answer() -> None:
    told = call(OPENING, ("caller", 1, 4_000, 5_000), ("agent", 1, 6_000, 8_000), end_ms=7_000)
    assert outcomes([event for event in told if event.at <= 7_000 * MS]) == {1: Outcome.ANSWERED}


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 900), st.integers(1, 2_000)), max_size=12))
def test_every_turn_of_the_caller_has_exactly_one_outcome(plan: list[tuple[bool, int, int]]) -> None:
    speech, now_ms, turn = [OPENING], 3_000, 0
    for caller, wait_ms, length_ms in plan:
        now_ms += wait_ms
        turn += caller
        speech.append(("caller" if caller else "agent", turn, now_ms, now_ms + length_ms))
        now_ms += length_ms
    assert set(outcomes(call(*speech, end_ms=now_ms))) == set(range(1, turn + 1))
