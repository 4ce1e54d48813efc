"""Whatever spans come in whatever order: every event can be said, each once, and pieces tell what the whole tells."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.door.attributes import FACTS, SPAN_NAMES, WORDS, Kind
from ingest.door.call import Envelope, Progress, tell
from ingest.door.otlp import read_json
from ingest.door.span import ForeignSpan
from runtime.events import Event, PersonalDataRefused, SpanEnded, Unreadable, decode, encode
from tests.unit.foreign import NOW_US, request, span

_FIGURES = st.one_of(st.floats(), st.integers(-(2**63), 2**63 - 1), st.floats(0, 5), st.booleans(), st.just("x"))
_NAMES = st.sampled_from(["chat", "openai", "participant_disconnected", "inbound", "a b", "+49305550100", "0" * 32])
_OF = {Kind.NUMBER: _FIGURES, Kind.FLAG: st.booleans(), Kind.NAME: _NAMES}
_FACTS = st.fixed_dictionaries({}, optional={name: _OF[kind] for name, kind in FACTS.items()})
_TEXTS = st.dictionaries(st.sampled_from(sorted(WORDS)), st.text(max_size=20), max_size=3)
_SCOPES = st.sampled_from(["pipecat", "pipecat.turn", "livekit-agents", "other"])


@st.composite
def spans(draw: st.DrawFn) -> list[ForeignSpan]:
    made = []
    for id in range(1, draw(st.integers(1, 8)) + 1):
        start = draw(st.integers(-100_000, 100_000))
        made.append(
            span(
                draw(st.sampled_from(sorted(SPAN_NAMES))),
                start,
                start + draw(st.integers(0, 10_000_000)) % 3_000_000,
                {**draw(_FACTS), **draw(_TEXTS)},
                id=id,
                parent=draw(st.integers(0, 12)),
                scope=draw(_SCOPES),
                error=draw(st.sampled_from([None, "no"])),
            )
        )
    taken = read_json(json.dumps(request(made)).encode(), NOW_US, True)
    assert not taken.refused
    return taken.spans


def sayable(event: Event) -> bool:
    try:
        return decode(encode(event)) == event
    except (PersonalDataRefused, Unreadable):
        return False


@settings(max_examples=60)
@given(spans())
def test_whatever_comes_can_be_said(found: list[ForeignSpan]) -> None:
    events = tell(found, Progress(), Envelope(tools=frozenset({"chat"})))
    assert all(map(sayable, events))
    assert len({(e.source, e.seq) for e in events}) == len(events)
    assert len({e.stream for e in events}) <= 1
    numbers = [e.span for e in events if isinstance(e, SpanEnded)]
    assert len(numbers) == len(set(numbers))


@settings(max_examples=60)
@given(spans(), st.integers(0, 12), st.randoms())
def test_a_call_in_two_parts_is_told_once(found: list[ForeignSpan], cut: int, random: object) -> None:
    random.shuffle(found)  # type: ignore[attr-defined]
    progress = Progress()
    first = tell(found[:cut], progress, Envelope()) if cut else []
    second = tell(found, progress, Envelope())
    assert tell(found, progress, Envelope()) == []
    identities = [(e.stream, e.source, e.seq) for e in (*first, *second)]
    assert len(identities) == len(set(identities))


@settings(max_examples=60)
@given(spans(), st.randoms())
def test_the_order_of_arrival_tells_nothing(found: list[ForeignSpan], random: object) -> None:
    expected = tell(found, Progress(), Envelope())
    random.shuffle(found)  # type: ignore[attr-defined]
    assert tell(found, Progress(), Envelope()) == expected
