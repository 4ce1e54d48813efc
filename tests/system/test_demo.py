"""The whole path, held against what was produced, computed another way."""

import io
import json
import os
import signal
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from rich.console import Console

from deploy.demo.result import Result
from deploy.demo.run import Order, run_demo
from deploy.embedded import found_stack
from deploy.settings import Settings
from runtime.emit import MemoryLog
from runtime.events import (
    DispositionSet,
    Event,
    GlitchDetected,
    Outcome,
    SourceClosed,
    SpanEnded,
    Topic,
    TurnEnded,
    decode,
)
from tests.system.demo import Striking, figures, turnlog

CALLS = 16
SEED = 5


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, list[Event], Path]:
    """A run, and every event of its calls as the broker got it."""
    state = tmp_path_factory.mktemp("state")
    log = MemoryLog()
    result, _ = run_demo(Settings(state), Order(calls=CALLS, seed=SEED), Console(quiet=True), also=log)
    return result, [decode(value) for _, value in log.records(Topic.CALLS)], state


def test_counts_equal_the_produced_events(ran: tuple[Result, list[Event], Path]) -> None:
    result, events, _ = ran
    turns = Counter(e.outcome.value for e in events if isinstance(e, TurnEnded))
    assert result.report.outcomes == turns
    assert result.report.turns == turns.total() > 0
    assert result.report.calls == len({e.stream for e in events}) == CALLS
    assert result.report.glitches == sum(isinstance(e, GlitchDetected) for e in events)
    assert result.report.dispositions == Counter(e.disposition for e in events if isinstance(e, DispositionSet))


def test_quantiles_are_those_of_the_produced_spans(ran: tuple[Result, list[Event], Path]) -> None:
    result, events, _ = ran
    taken: defaultdict[str, list[int]] = defaultdict(list)
    for e in events:
        if isinstance(e, SpanEnded) and e.latency_us is not None:
            taken[e.component].append(e.latency_us)
    assert {row.component: row.n for row in result.report.latency} == {c: len(v) for c, v in taken.items()}
    for row in result.report.latency:
        p50, p90 = np.quantile(taken[row.component], [0.5, 0.9], method="lower") / 1e3
        assert row.p50_ms == pytest.approx(p50, rel=0.01, abs=0.1)
        assert row.p90_ms == pytest.approx(p90, rel=0.01, abs=0.1)


def test_every_source_is_complete(ran: tuple[Result, list[Event], Path]) -> None:
    result, events, _ = ran
    said = {(e.stream, e.source): e.last_seq + 1 for e in events if isinstance(e, SourceClosed)}
    assert len(said) == CALLS
    assert result.report.complete
    assert [(s.source, s.calls, s.sent, s.stored) for s in result.report.sources] == [
        ("runtime", CALLS, sum(said.values()), len(events))
    ]


def test_exactly_the_faulted_calls_are_named(ran: tuple[Result, list[Event], Path]) -> None:
    result, events, _ = ran
    assert len(result.injected) == 3
    assert result.as_injected
    slow = {e.stream for e in events if isinstance(e, SpanEnded) and e.component == "tts" and (e.first_us or 0) > 2e6}
    gaps = {e.stream for e in events if isinstance(e, GlitchDetected) and e.gap_ms >= 40}
    gone = {e.stream for e in events if isinstance(e, TurnEnded) and e.outcome is Outcome.DISAPPEARED}
    named = defaultdict(set)
    for breach in result.report.breaches:
        named[breach.objective].add(breach.call_id)
    assert named == {"tts_first_byte": slow, "playout_gap": gaps, "agent_disappeared": gone}


def test_the_data_stays_and_sql_reads_it_without_a_stack(ran: tuple[Result, list[Event], Path]) -> None:
    result, events, state = ran
    assert found_stack(Settings(state)) is None
    # Those of calls: the demo's last beat may or may not have been stored before its stack was stopped.
    of_calls = "call_id IN (SELECT call_id FROM calls)"
    question = f"SELECT count() AS n FROM events WHERE campaign = '{result.report.campaign}' AND {of_calls}"
    told = turnlog(state, "sql", question, "--format", "json")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout) == [{"n": len(events)}]


def test_figures_repeat_per_seed_whatever_the_concurrency_and_parts_that_die(
    ran: tuple[Result, list[Event], Path], tmp_path: Path
) -> None:
    """kill -9 of the worker, then of the store, under the calls of a demo that runs its own stack."""
    quiet = json.loads(msgspec.json.encode(ran[0]))
    told = io.StringIO()
    log = Striking({150: lambda: _kill(tmp_path, "worker"), 300: lambda: _kill(tmp_path, "store")})
    order = Order(calls=CALLS, seed=SEED, concurrency=2)
    result, _ = run_demo(Settings(tmp_path), order, Console(file=told), also=log)
    assert result.report.sources[0].sent > 300, "the kills came too late to disturb anything"
    assert figures(json.loads(msgspec.json.encode(result))) == figures(quiet)
    for part in ("worker", "store"):
        assert f"the {part} was killed by signal 9" in told.getvalue()
        assert "runs again" in told.getvalue()


def _kill(state: Path, part: str) -> None:
    stack = found_stack(Settings(state))
    assert stack is not None
    os.kill(stack.children[part], signal.SIGKILL)


def test_without_faults_no_call_is_named(tmp_path: Path) -> None:
    told = turnlog(tmp_path, "demo", "--calls", "10", "--seed", "2", "--no-faults", "--json")
    assert told.returncode == 0, told.stderr
    result: dict[str, Any] = json.loads(told.stdout)
    assert result["injected"] == []
    assert result["report"]["breaches"] == []
    assert all(s["sent"] == s["stored"] and s["complete"] == 10 for s in result["report"]["sources"])
