"""Canaries: a name and a number planted in every channel of every dialect are found in content, and nowhere else."""

import json
import logging
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from ingest.door.attributes import FACTS, WORDS, Kind, bounded
from ingest.door.call import Envelope
from ingest.door.desk import Desk
from ingest.door.journal import NAME, Journal
from ingest.door.meters import DoorMeters
from ingest.door.otlp import read_json
from ingest.door.span import ForeignSpan
from ingest.door.traces import Patience, Traces
from runtime.emit import MemoryLog
from runtime.events import Topic
from tests.unit.foreign import NOW_US, request, span

_SCOPES = {"pipecat.turn": ["conversation", "turn"], "pipecat": ["stt", "llm", "tts", "llm_tool_call"]}
_LIVEKIT = ["agent_session", "session_close", "user_turn", "agent_turn", "user_speaking", "agent_speaking", "llm_node"]
_SCOPES |= {"livekit-agents": [*_LIVEKIT, "llm_request", "tts_node", "function_tool", "room_io"], "openai": ["chat x"]}
# Everything that is known to hold words, and what nobody thought of.
_KNOWN = [*sorted(WORDS), "lk.pii.anything", "some.pii.new_one", "gen_ai.prompt.0.content", "sip.trunkPhoneNumber"]
_UNKNOWN = [
    "caller.name",
    "http.url",
    "db.statement",
    "enduser.id",
    "settings.prompt",
    "lk.new",
    "param.system_instruction",
]


class Canaries:
    """Hands out words and numbers that are nowhere else."""

    def __init__(self) -> None:
        self._next = count(1)
        self.kept: set[str] = set()
        self.lost: set[str] = set()

    def planted(self, known: bool) -> str:
        number = next(self._next)
        word = f"Ottilie{number:04d}, +49 30 5550{number:04d}"
        (self.kept if known else self.lost).add(word)
        return word


def trace_of(scope: str, birds: Canaries, trace: str) -> list[tuple[str, dict[str, Any]]]:
    """A trace of that dialect with a canary in every place of every span that takes a text."""
    spans = []
    for id, name in enumerate(_SCOPES[scope], 1):
        planted = {attribute: birds.planted(True) for attribute in _KNOWN}
        planted |= {attribute: birds.planted(False) for attribute in _UNKNOWN}
        # Where a name, a figure or a flag is due, words do not fit.
        planted |= {attribute: birds.planted(False) for attribute in FACTS if attribute != "turn.number"}
        planted |= {"turn.number": 1, birds.planted(False): birds.planted(False)}  # type: ignore[dict-item]
        events = [
            ("exception", {"exception.message": birds.planted(True), "exception.stacktrace": birds.planted(True)}),
            (birds.planted(False), {"lk.pii.text": birds.planted(True), birds.planted(False): birds.planted(False)}),
        ]
        shown = name if id > 1 or scope != "openai" else birds.planted(False)
        more = {"gen_ai.system": "openai"} if scope == "openai" else {}
        spans.append(
            span(
                *(shown, 0, 1_000, {**dict(list(planted.items())), **more}),
                id=id,
                parent=0 if id == 1 else 1,
                scope=scope,
                trace=trace,
                events=events,
                error=birds.planted(True),
            )
        )
    return spans


def split(made: tuple[str, dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """A span takes 128 attributes, so one with more is sent as several."""
    scope, whole = made
    size = 100
    for place in range(0, len(whole["attributes"]), size):
        part = {**whole, "attributes": whole["attributes"][place : place + size]}
        if place:
            part |= {"spanId": f"{int(whole['spanId'], 16) + 1_000 * place:016x}", "parentSpanId": whole["spanId"]}
            part |= {"events": [], "status": {}}
        yield scope, part


def read(content: bool) -> tuple[list[ForeignSpan], Canaries]:
    birds, spans = Canaries(), []
    for place, scope in enumerate(_SCOPES):
        made = [part for each in trace_of(scope, birds, f"{place + 1:032x}") for part in split(each)]
        about = {
            "service_name": birds.planted(False),
            "host_name": birds.planted(False),
            "process_owner": birds.planted(False),
        }
        taken = read_json(json.dumps(request(made, **about)).encode(), NOW_US, content)
        assert not taken.refused
        spans += taken.spans
    return spans, birds


def found(birds: set[str], where: str) -> list[str]:
    """Whole, or a part: the name or the number."""
    return [b for b in birds if any(json.dumps(part)[1:-1] in where for part in b.split(", "))]


@pytest.mark.parametrize("content", [True, False])
def test_planted_names_and_numbers_are_found_in_content_and_nowhere_else(
    content: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    spans, birds = read(content)
    log, meters, journal = MemoryLog(), DoorMeters(), Journal(tmp_path, to_disk=lambda _: None)
    desk = Desk(Traces(Patience(0, 1, 1)), log, Envelope(tools=frozenset({"book"})), meters, journal)
    desk.take(spans, 0)
    kept = (tmp_path / NAME).read_text(encoding="utf-8")
    desk.tell(10)
    journal.close()
    said = {t: "\n".join(v.decode() for _, v in log.records(t)) for t in Topic}
    everywhere_else = [said[t] for t in Topic if t is not Topic.CONTENT] + [
        (tmp_path / NAME).read_text(encoding="utf-8"),  # all is told and closed
        generate_latest(meters.registry).decode(),
        "\n".join(r.getMessage() for r in caplog.records),
        str(meters.registry.get_sample_value("turnlog_door_events_total")),
    ]
    assert said[Topic.CALLS].count("\n") > 10
    assert len(birds.kept) > 500
    assert kept.count("\n") == len(spans)
    for where in everywhere_else:
        assert found(birds.kept | birds.lost, where) == []
    if content:
        assert found(birds.kept, said[Topic.CONTENT]) == list(birds.kept)
        assert found(birds.lost, said[Topic.CONTENT]) == []
    else:
        assert said[Topic.CONTENT] == ""
        assert found(birds.kept | birds.lost, kept) == []
    assert found(birds.lost, kept) == []


def test_a_name_has_no_blanks_and_no_telephone_s_shape() -> None:
    for name in ("gpt-4o-mini", "azure.ai.openai", "models/gemini-2.0", "claude-3@2026"):
        assert bounded(name) == name
    for words in ("Ottilie Meier", "+49305550100", "030-555-0100", "naïve", "", "a" * 129, "x\ny"):
        assert bounded(words) == ""


def test_facts_and_words_are_apart() -> None:
    assert not set(FACTS) & WORDS
    assert set(FACTS.values()) == set(Kind)
