"""Whatever is stored of a call can be shown: no history breaks the fold, the layout or the page."""

import html
import re
from html.parser import HTMLParser

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alerts.slos import GlitchObjective, Objective, SpanObjective, TurnObjective
from deploy.call.show import call_drawing
from grafana.call import CallRecord, breaches, call_page, call_record
from grafana.call.layout import Lane, picture
from grafana.call.page import EVENTS_MAX, SPANS_PER_TURN_MAX, TURNS_MAX
from grafana.call.scale import TICKS_MAX, WIDTH_PCT_MIN, Bar, Scale
from runtime.events import (
    CallEnded,
    CallStarted,
    DispositionSet,
    Event,
    GlitchDetected,
    NodeEntered,
    Outcome,
    SourceClosed,
    SpanEnded,
    SpeechEnded,
    SpeechStarted,
    ToolFired,
    TurnEnded,
)
from tests.property.arbitrary import events_of

CALL = "01890f3c-5d2e-7a4b-9c8d-1e2f3a4b5c6d"
LIMITS: tuple[Objective, ...] = (
    SpanObjective(name="slow", summary="slow", component="tts", figure="first_us", above_us=2_000_000),
    SpanObjective(name="whole", summary="whole", component="turn", figure="latency_us", above_us=1_000),
    GlitchObjective(name="gap", summary="gap", at_least_ms=40),
    TurnObjective(name="gone", summary="gone", outcome=Outcome.DISAPPEARED),
)
TYPES: tuple[type[Event], ...] = (
    CallStarted,
    SpeechStarted,
    SpeechEnded,
    TurnEnded,
    SpanEnded,
    NodeEntered,
    ToolFired,
    GlitchDetected,
    DispositionSet,
    CallEnded,
    SourceClosed,
)
HOSTILE = "<script>alert(1)</script>\"'&\x1b[2J{{7*7}}"


@st.composite
def told(draw: st.DrawFn) -> list[Event]:
    """Up to 20 events of one call, most of them near each other, so that spans meet parents and speech meets ends."""
    found = []
    near = draw(st.booleans())
    for n, event_type in enumerate(draw(st.lists(st.sampled_from(TYPES), min_size=1, max_size=20))):
        event = draw(events_of(event_type))
        more: dict[str, object] = {"stream": CALL, "source": draw(st.sampled_from(["runtime", "audio"])), "seq": n}
        if near:
            more["at"] = 1_700_000_000_000_000 + draw(st.integers(0, 90_000_000))
            more |= {f: draw(st.integers(0, 3)) for f in ("turn", "parent") if hasattr(event, f)}
            if isinstance(event, SpanEnded):
                component = draw(st.sampled_from(["turn", "tts", "decision", "end_of_turn", HOSTILE]))
                more |= {
                    "span": draw(st.integers(1, 8)),
                    "component": component,
                    "duration_us": draw(st.integers(0, 10**7)),
                }
        found.append(msgspec.structs.replace(event, **more))
    return found


def lanes(record: CallRecord) -> list[Lane]:
    drawn = picture(record, LIMITS, breaches(record, LIMITS))
    rows = [lane for r in drawn.rows for lane in (r.stack, *r.lanes, *(w.lane for w in r.works))]
    return [*drawn.lanes, *rows, Lane("bands", tuple(b.bar for b in drawn.bands))]


relaxed = settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@given(told())
@relaxed
def test_every_bar_lies_inside_its_lane(events: list[Event]) -> None:
    for lane in lanes(call_record(events)):
        for bar in lane.bars:
            assert bar.x >= 0
            assert bar.width > 0
            assert bar.x + bar.width <= 100.0005
            assert bar.start_us <= bar.end_us
        assert all(0 <= mark.x <= 100 for mark in lane.marks)


@given(told())
@relaxed
def test_a_wait_adds_up_to_its_latency_whatever_is_missing(events: list[Event]) -> None:
    record = call_record(events)
    for turn in record.turns:
        if turn.latency_us is not None and turn.number:
            assert sum(s.length_us for s in turn.segments) == turn.latency_us
        reached = 0
        for segment in turn.segments:
            assert segment.start_us == reached
            reached += segment.length_us
    assert sum(len(t.spans) for t in record.turns) == sum(isinstance(e, SpanEnded) for e in events)
    assert all(record.begin_us <= t.start_us <= t.end_us <= record.end_us for t in record.turns)


@given(told(), st.randoms(use_true_random=False))
@relaxed
def test_a_record_does_not_depend_on_the_order_of_arrival(events: list[Event], random: object) -> None:
    shuffled = list(events)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # Hypothesis gives a random.Random
    assert call_record(shuffled) == call_record(events)


class Page(HTMLParser):
    """Every tag, and the text of the page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._quiet = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._quiet = tag in ("script", "style")

    def handle_endtag(self, _tag: str) -> None:
        self._quiet = False

    def handle_data(self, data: str) -> None:
        self.text += "" if self._quiet else data


@given(told())
@relaxed
def test_every_call_has_a_page_and_a_drawing(events: list[Event]) -> None:
    record = call_record(events)
    page = Page(call_page(record, LIMITS, home="../index.html"))
    assert [tag for tag, _ in page.tags if tag in ("script", "style")] == ["style", "script"]
    from rich.console import Console

    console = Console(width=100, record=True, quiet=True)
    console.print(call_drawing(record, breaches(record, LIMITS), 100))


@given(
    st.integers(-(10**12), 10**12),
    st.integers(1, 10**12),
    st.lists(st.floats(0, 1), min_size=2, max_size=2),
    st.integers(1, TICKS_MAX),
)
@settings(max_examples=200)
def test_widths_are_proportional_to_lengths(start_us: int, length_us: int, ends: list[float], count: int) -> None:
    scale = Scale(start_us, start_us + length_us)
    a, b = sorted(start_us + int(end * length_us) for end in ends)
    bar: Bar = scale.bar("tts", a, b, "")
    expected = 100 * (b - a) / length_us
    if expected > 2 * WIDTH_PCT_MIN:
        assert bar.width == pytest.approx(expected, abs=0.002)
        assert bar.x == pytest.approx(100 * (a - start_us) / length_us, abs=0.002)
    ticks = scale.ticks(count)
    assert len(ticks) <= count + 1
    assert [t.x for t in ticks] == sorted(t.x for t in ticks)


def hostile() -> CallRecord:
    """Every name that a producer chooses is markup."""
    envelope = {"stream": CALL, "source": HOSTILE, "v": 1, "at": 5_000_000, "tenant": HOSTILE, "campaign": HOSTILE}
    envelope |= {"agent": HOSTILE, "agent_version": HOSTILE, "lead": HOSTILE, "variants": {HOSTILE: HOSTILE}}
    span = {"span": 1, "turn": 1, "component": HOSTILE, "provider": HOSTILE, "model": HOSTILE, "duration_us": 10}
    return call_record(
        [
            ToolFired(seq=0, turn=1, node=HOSTILE, tool=HOSTILE, next_node=HOSTILE, **envelope),
            NodeEntered(seq=1, turn=1, node=HOSTILE, **envelope),
            SpanEnded(seq=2, **span, **envelope),
            DispositionSet(seq=3, disposition=HOSTILE, **envelope),
        ]
    )


def test_what_a_producer_named_is_text() -> None:
    written = call_page(hostile(), LIMITS, home='"><script>')
    page = Page(written)
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert page.text.count(HOSTILE) >= 9
    assert html.escape(HOSTILE, quote=False)[:30] in written
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]


def test_what_a_terminal_would_obey_is_shown_and_not_sent() -> None:
    from rich.console import Console

    console = Console(width=400, force_terminal=False)
    with console.capture() as told_:
        console.print(call_drawing(hostile(), (), 100))
    assert "\x1b" not in told_.get()
    assert "\\x1b[2J" in told_.get()


def test_the_page_asks_for_nothing_and_allows_its_own_style_and_script_alone() -> None:
    page = Page(call_page(hostile(), LIMITS))
    for tag, attributes in page.tags:
        assert tag not in ("link", "img", "iframe", "object", "base", "form")
        assert not {"src", "style", "action", "xlink:href"} & attributes.keys()
        assert all(value.startswith("#") for name, value in attributes.items() if name == "href" and value)
    (policy,) = [a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a]
    assert policy is not None
    assert re.fullmatch(
        r"default-src 'none'; style-src 'sha256-[A-Za-z0-9+/]{43}='; script-src 'sha256-[A-Za-z0-9+/]{43}='", policy
    )


def test_a_page_of_a_huge_call_says_what_it_leaves_out() -> None:
    envelope = {"stream": CALL, "source": "runtime", "v": 1, "tenant": "t", "campaign": "c"}
    told = [TurnEnded(seq=n, at=n, turn=n, outcome=Outcome.ANSWERED, **envelope) for n in range(1, TURNS_MAX + 4)]
    spans = [
        SpanEnded(seq=10_000 + n, at=n, turn=1, span=n + 1, component="tool", duration_us=0, **envelope)
        for n in range(SPANS_PER_TURN_MAX + 7)
    ]
    rest = EVENTS_MAX + 11 - len(told) - len(spans)
    nodes = [NodeEntered(seq=20_000 + n, at=n, turn=0, node="", **envelope) for n in range(rest)]
    text = Page(call_page(call_record([*told, *spans, *nodes]), LIMITS)).text
    assert "3 more turns are not shown" not in text  # turn 0 is a row as well
    assert "4 more turns are not shown" in text
    assert "7 more spans are not shown" in text
    assert "11 more are not shown" in text
