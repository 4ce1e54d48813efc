"""The ledger against a device that pulls a frame every 20 ms."""

from hypothesis import given
from hypothesis import strategies as st

from runtime.voice.playout import GAP_US_MIN, PREBUFFER_US, Gap, PlayoutLedger

FRAME_US = 20_000
Chunks = list[tuple[int, int]]


def test_steady_audio_has_no_gap() -> None:
    ledger = PlayoutLedger()
    assert [ledger.feed(i * 90_000, 100_000) for i in range(50)] == [None] * 50
    assert ledger.started_us == 0
    assert ledger.deadline_us == 50 * 100_000


def test_a_gap_begins_when_the_audio_ran_out() -> None:
    ledger = PlayoutLedger()
    ledger.feed(1_000, 100_000)
    assert ledger.feed(401_000, 100_000) == Gap(at_us=101_000, gap_us=300_000)
    assert ledger.deadline_us == 501_000


def test_the_floor_is_one_frame() -> None:
    ledger = PlayoutLedger()
    ledger.feed(0, 100_000)
    assert ledger.feed(100_000 + GAP_US_MIN - 1, 100_000) is None
    at_us = ledger.deadline_us
    assert at_us is not None
    assert ledger.feed(at_us + GAP_US_MIN, 100_000) == Gap(at_us, GAP_US_MIN)


def test_playout_starts_when_the_prebuffer_is_full() -> None:
    ledger = PlayoutLedger()
    ledger.feed(0, PREBUFFER_US - 1)
    assert ledger.started_us is None
    assert ledger.feed(500_000, 1) is None
    assert ledger.started_us == 500_000
    assert ledger.deadline_us == 500_000 + PREBUFFER_US


def test_a_short_utterance_is_played_when_nothing_follows() -> None:
    ledger = PlayoutLedger()
    ledger.feed(0, 40_000)
    ledger.flush(10_000)
    assert (ledger.started_us, ledger.deadline_us) == (10_000, 50_000)


def test_silence_after_the_utterance_is_no_gap() -> None:
    ledger = PlayoutLedger()
    ledger.feed(0, 100_000)
    ledger.reset()
    assert ledger.feed(9_000_000, 100_000) is None


@st.composite
def utterances(draw: st.DrawFn) -> Chunks:
    at_us, chunks = 0, []
    for _ in range(draw(st.integers(2, 40))):
        duration_us = draw(st.sampled_from([20_000, 40_000, 80_000, 100_000, 200_000]))
        stalls = draw(st.integers(0, 9)) == 0
        at_us += draw(st.integers(200_000, 1_500_000)) if stalls else draw(st.integers(0, duration_us))
        chunks.append((at_us, duration_us))
    return chunks


def _device_silence_us(chunks: Chunks, started_us: int) -> tuple[int, int]:
    """Silence inside the utterance as a 20 ms device hears it, and when it has played everything."""
    total = sum(duration for _, duration in chunks)
    buffered = played = silence = 0
    waiting, now = list(chunks), started_us
    while played < total:
        while waiting and waiting[0][0] <= now:
            buffered += waiting.pop(0)[1]
        taken = min(FRAME_US, buffered)
        buffered -= taken
        played += taken
        if played < total:
            silence += FRAME_US - taken
        now += FRAME_US
    return silence, now


@given(utterances())
def test_it_hears_what_a_device_hears(chunks: Chunks) -> None:
    ledger = PlayoutLedger(gap_us_min=1)
    gaps = [gap for at_us, duration_us in chunks if (gap := ledger.feed(at_us, duration_us))]
    ledger.flush(chunks[-1][0])
    assert ledger.started_us is not None
    assert ledger.deadline_us is not None
    silence_us, ended_us = _device_silence_us(chunks, ledger.started_us)
    slack_us = FRAME_US * (len(gaps) + 1)  # the device sees each gap in whole frames
    assert abs(sum(gap.gap_us for gap in gaps) - silence_us) <= slack_us
    assert abs(ledger.deadline_us - ended_us) <= slack_us
    assert (silence_us >= 2 * FRAME_US) <= bool(gaps)
