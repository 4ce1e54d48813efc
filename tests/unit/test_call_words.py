"""How times are read and written, and how a scale places them."""

import pytest

from deploy.commands import call as command
from grafana.call import Sort, since
from grafana.call.scale import TICKS_MAX, WIDTH_PCT_MIN, Scale
from grafana.call.words import clock, counted, exact_ms, harmless, length, moment, ranges, round_ms

NOW_US = 1_764_000_000_000_000
S = 1_000_000


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("90s", NOW_US - 90 * S),
        ("15m", NOW_US - 900 * S),
        ("2h", NOW_US - 7_200 * S),
        (" 3 D ", NOW_US - 259_200 * S),
        ("1w", NOW_US - 604_800 * S),
        ("999999w", 0),
        ("2025-11-24", 1_763_942_400 * S),
        ("2025-11-24T16:00", NOW_US),
        ("2025-11-24T17:00:00+01:00", NOW_US),
        ("2025-11-24T16:00:00.5", NOW_US + S // 2),
    ],
)
def test_since_is_an_age_or_a_moment_in_utc(text: str, us: int) -> None:
    assert since(text, NOW_US) == us


@pytest.mark.parametrize("text", ["", "yesterday", "2", "2y", "-2h", "2025-13-01"])
def test_what_is_no_time_says_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match="2h"):
        since(text, NOW_US)


def test_the_command_offers_the_sorts_that_there_are() -> None:
    assert [s.value for s in command.Sort] == [s.value for s in Sort]


def test_times_are_exact_and_without_noughts() -> None:
    assert [exact_ms(us) for us in (0, 450_000, 1_180_500, 2_461_663, -80)] == [
        "0 ms",
        "450 ms",
        "1,180.5 ms",
        "2,461.663 ms",
        "-0.08 ms",
    ]
    assert [round_ms(us) for us in (None, 1_499_600)] == ["-", "1,500"]
    assert [clock(us, step) for us, step in ((500_000, 100_000), (12 * S, S), (125 * S, S), (-3 * S, S))] == [
        "0.5 s",
        "12 s",
        "2:05",
        "-3 s",
    ]
    assert [length(48_200_000), length(184 * S)] == ["48.2 s", "3 min 04 s"]
    assert moment(NOW_US) == "2025-11-24 16:00:00"
    assert moment(2**62) == f"{2**62} µs"
    assert [counted(1, "turn"), counted(2, "turn"), counted(1_000, "breach", "breaches")] == [
        "1 turn",
        "2 turns",
        "1,000 breaches",
    ]
    assert ranges(((3, 3), (7, 9))) == "3, 7-9"
    assert harmless("a\x1b[2J\u202eä") == "a\\x1b[2J\\u202eä"


def test_a_moment_outside_a_scale_is_drawn_at_its_edge() -> None:
    scale = Scale(1_000, 3_000)
    assert [scale.x(at) for at in (0, 1_000, 2_000, 3_000, 9_000)] == [0, 0, 50, 100, 100]
    last = scale.bar("tts", 3_000, 3_000, "")
    assert (last.x, last.width) == (100 - WIDTH_PCT_MIN, WIDTH_PCT_MIN)


def test_ticks_stand_at_round_times_and_are_few() -> None:
    assert [(t.x, t.label) for t in Scale(0, 4 * S).ticks(5)] == [
        (0, "0 s"),
        (25, "1 s"),
        (50, "2 s"),
        (75, "3 s"),
        (100, "4 s"),
    ]
    assert [t.label for t in Scale(-1 * S, 3 * S).ticks(4)] == ["-1 s", "0 s", "1 s", "2 s", "3 s"]
    assert len(Scale(0, 2**62).ticks()) <= TICKS_MAX + 1
