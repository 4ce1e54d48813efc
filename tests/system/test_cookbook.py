"""Every question of docs/sql.md, asked of a demo and of made calls; its answer, computed from what was produced."""

import datetime as dt
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from deploy.demo.run import Order, run_demo
from deploy.embedded import Stack
from deploy.settings import Settings
from ingest.query import Client, asked, connect, rows
from runtime.emit import Brokers, MemoryLog, kafka_log
from runtime.events import (
    CallEnded,
    CallStarted,
    DispositionSet,
    EndReason,
    Event,
    GlitchDetected,
    NodeEntered,
    Outcome,
    SourceClosed,
    SpanEnded,
    SpanStatus,
    SpeechEnded,
    ToolFired,
    Topic,
    TurnEnded,
    decode,
)
from tests.system.made_calls import CAMPAIGN, EXPERIMENT, made_calls

PAGE = Path(__file__).parents[2] / "docs" / "sql.md"
RECIPES = dict(
    re.findall(r"^### ([^\n]+)\n[^#]*?^```sql\n(.*?)^```", PAGE.read_text().partition("## Cookbook")[2], re.M | re.S)
)
CALLS, SEED = 40, 5
Row = dict[str, Any]


@dataclass(frozen=True)
class History:
    client: Client
    events: list[Event]
    campaigns: tuple[str, str]

    def ask(self, title: str, campaign: str = "") -> list[Row]:
        """As `turnlog sql` asks."""
        sql = RECIPES[title]
        values = {"campaign": campaign or self.campaigns[0], "experiment": EXPERIMENT}
        used = {name: value for name, value in values.items() if f"{{{name}:" in sql}
        with asked(self.client, sql, used, timeout_s=60) as answer:
            return [dict(zip(answer.columns, row, strict=True)) for block in answer.blocks for row in block]

    def calls(self, campaign: str = "") -> dict[str, list[Event]]:
        """Events by call, in the order in which they were said."""
        found: defaultdict[str, list[Event]] = defaultdict(list)
        for event in self.events:
            if campaign in ("", event.campaign):
                found[event.stream].append(event)
        return {call: sorted(events, key=lambda e: e.seq) for call, events in sorted(found.items())}


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    state, log = Settings(tmp_path_factory.mktemp("state")), MemoryLog()
    result, _ = run_demo(state, Order(calls=CALLS, seed=SEED), Console(quiet=True), also=log)
    made = made_calls(dt.datetime.now(dt.UTC))
    with Stack(state, lambda _: None) as stack, closing(connect(stack.addresses.clickhouse)) as client:
        broker = kafka_log(Brokers(stack.addresses.kafka))
        for key, value in made:
            broker.append(Topic.CALLS, key, value)
        assert broker.flush(30.0) == 0
        broker.close()
        events = [decode(value) for _, value in [*log.records(Topic.CALLS), *made]]
        until_stored(client, len(events))
        yield History(client, events, (result.report.campaign, CAMPAIGN))


def until_stored(client: Client, events: int) -> None:
    deadline = time.monotonic() + 60
    while rows(client, "SELECT count() AS n FROM events")[0]["n"] < events:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    # Calls and minutes are derived in the same flush, after the events.
    while rows(client, "SELECT sum(events) AS n FROM calls")[0]["n"] < events:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def of(events: Iterable[Event], kind: type[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def last(events: Iterable[Event], kind: type[Any]) -> Any:
    return (of(events, kind) or [None])[-1]


def hour(at_us: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(at_us // 3_600_000_000 * 3600, dt.UTC)


def moment(at_us: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(microseconds=at_us)


def disposition(events: Iterable[Event]) -> str:
    found = last(events, DispositionSet)
    return found.disposition if found else ""


def reason(events: Iterable[Event]) -> str:
    found = last(events, CallEnded)
    return found.reason.value if found else ""


def share(part: float, whole: float, digits: int = 1) -> Any:
    return pytest.approx(100 * part / whole, abs=0.51 * 10**-digits)


def test_the_cookbook_is_read_whole() -> None:
    cookbook = PAGE.read_text().partition("## Cookbook")[2]
    assert len(RECIPES) == cookbook.count("```sql") == cookbook.count("\n### ") >= 20


@pytest.mark.parametrize("title", RECIPES)
def test_every_question_has_an_answer(history: History, title: str) -> None:
    for campaign in history.campaigns:
        assert history.ask(title, campaign)


def test_the_worst_calls_stand_first(history: History) -> None:
    for campaign in history.campaigns:
        facts = {}
        for call, events in history.calls(campaign).items():
            gone = sum(t.outcome is Outcome.DISAPPEARED for t in of(events, TurnEnded))
            slowest = max((t.latency_us for t in of(events, TurnEnded) if t.latency_us is not None), default=None)
            failed = reason(events) == EndReason.FAILED
            facts[call] = (-gone, not failed, -len(of(events, GlitchDetected)), -(slowest or 0))
        found = history.ask("Which calls of a campaign were the worst?", campaign)
        assert [(-r["disappeared"], r["end_reason"] != "failed", -r["glitches"]) for r in found] == [
            fact[:3] for fact in sorted(facts.values())[:20]
        ]
        for row in found:
            assert row["slowest_ms"] == pytest.approx(-facts[row["call_id"]][3] / 1000, abs=0.51)


def test_quantiles_are_those_of_the_produced_spans(history: History) -> None:
    for campaign in history.campaigns:
        taken: defaultdict[str, list[int]] = defaultdict(list)
        for span in of(history.events, SpanEnded):
            if span.campaign == campaign and span.latency_us is not None:
                taken[span.component].append(span.latency_us)
        found = history.ask("What are P50 and P90 of each component in a campaign?", campaign)
        assert {r["component"]: r["spans"] for r in found} == {c: len(v) for c, v in taken.items()}
        for row in found:
            exact = np.quantile(taken[row["component"]], [0.5, 0.9], method="lower") / 1000
            assert [row["p50_ms"], row["p90_ms"]] == pytest.approx(exact, rel=0.01, abs=0.6)


def test_latency_by_provider_model_and_hour(history: History) -> None:
    since = dt.datetime.now(dt.UTC) - dt.timedelta(days=7)
    taken: defaultdict[tuple[Any, ...], list[int]] = defaultdict(list)
    for span in of(history.events, SpanEnded):
        if span.provider and span.latency_us is not None and moment(span.at) > since:
            taken[hour(span.at), span.component, span.provider, span.model].append(span.latency_us)
    found = history.ask("How does latency go by provider, model and hour?")
    assert len({r["provider"] for r in found}) > 3
    assert {(r["hour"], r["component"], r["provider"], r["model"]): r["spans"] for r in found} == {
        key: len(values) for key, values in taken.items()
    }
    for row in found:
        exact = np.quantile(taken[row["hour"], row["component"], row["provider"], row["model"]], 0.9, method="lower")
        assert row["p90_ms"] == pytest.approx(exact / 1000, rel=0.01, abs=0.6)


def test_the_parts_of_slow_and_of_other_turns_add_up(history: History) -> None:
    for campaign in history.campaigns:
        turns = [t for t in of(history.events, TurnEnded) if t.campaign == campaign and t.latency_us is not None]
        edge = sorted(t.latency_us for t in turns)[len(turns) * 9 // 10]
        found = history.ask("Which component makes slow turns slow?", campaign)
        for column, its in (
            ("slow_ms", [t.latency_us for t in turns if t.latency_us >= edge]),
            ("others_ms", [t.latency_us for t in turns if t.latency_us < edge]),
        ):
            assert sum(r[column] for r in found) == pytest.approx(sum(its) / len(its) / 1000, abs=0.06 * len(found))
        assert found[0]["part"] == {CAMPAIGN: "decision"}.get(campaign, "tts")  # the injected fault


def test_the_last_steps_before_an_opt_out(history: History) -> None:
    asked_of = 0
    for campaign in history.campaigns:
        expected = []
        for call, events in history.calls(campaign).items():
            if disposition(events) != "opted_out":
                continue
            asked_of += 1
            steps: list[tuple[str, int, str, str]] = []
            for event in sorted(events, key=lambda e: (e.at, e.seq), reverse=True):
                match event:
                    case NodeEntered(turn=turn, node=node):
                        steps.append((call, turn, "entered", node))
                    case ToolFired(turn=turn, node=node, tool=tool):
                        steps.append((call, turn, "fired", f"{tool} in {node}"))
                    case TurnEnded(turn=turn, outcome=outcome):
                        steps.append((call, turn, "turn ended", outcome.value))
            expected += steps[:8]
        found = history.ask("What happened before callers opted out?", campaign)
        assert [(r["call_id"], r["turn"], r["what"], r["detail"]) for r in found] == expected
    assert asked_of > 2


def test_how_far_calls_get(history: History) -> None:
    for campaign in history.campaigns:
        reached, ended, lost = Counter[str](), Counter[str](), Counter[str]()
        calls = history.calls(campaign)
        for events in calls.values():
            path = [e.node for e in of(events, NodeEntered)]
            reached.update(set(path))
            ended[path[-1]] += 1
            lost[path[-1]] += reason(events) != EndReason.AGENT_ENDED
        found = history.ask("How far do calls get, and where are they lost?", campaign)
        assert {r["node"]: (r["reached"], r["ended_here"], r["lost_here"]) for r in found} == {
            node: (n, ended[node], lost[node]) for node, n in reached.items()
        }
        assert found[0] == {**found[0], "node": "greet", "share_pct": 100.0}
        assert all(r["share_pct"] == share(r["reached"], len(calls)) for r in found)


def test_tools_and_where_they_lead(history: History) -> None:
    fired = [e for e in of(history.events, ToolFired) if e.campaign == history.campaigns[0]]
    times = Counter((e.node, e.tool, e.next_node) for e in fired)
    calls = {key: len({e.stream for e in fired if (e.node, e.tool, e.next_node) == key}) for key in times}
    found = history.ask("Which tools fire in each node, and where do they lead?")
    assert {(r["node"], r["tool"], r["next_node"]): (r["times"], r["calls"]) for r in found} == {
        key: (times[key], calls[key]) for key in times
    }


def starts(history: History) -> dict[str, list[tuple[int, str, str]]]:
    """Lead → its calls in order: start, id, disposition."""
    found: defaultdict[str, list[tuple[int, str, str]]] = defaultdict(list)
    for call, events in history.calls().items():
        if started := last(events, CallStarted):
            found[started.lead].append((started.at, call, disposition(events)))
    return {lead: sorted(calls) for lead, calls in found.items()}


WEEK_US = 7 * 86_400 * 1_000_000


def test_who_was_called_again_within_a_week(history: History) -> None:
    again = []
    for lead, calls in starts(history).items():
        for (at, _, how), (next_at, _, next_how) in pairwise(calls):
            if next_at <= at + WEEK_US:
                again.append((lead, moment(at), how, moment(next_at), next_how))
    found = history.ask("Who was called again within 7 days, and how had the first call ended?")
    assert sorted(tuple(r.values()) for r in found) == sorted(again)
    assert {r["disposition"] for r in found} <= {"call_later", "caller_hung_up"}  # not who opted out 18 days before
    assert len(found) > 3


def test_which_ends_bring_people_back(history: History) -> None:
    calls, again = Counter[str](), Counter[str]()
    for its in starts(history).values():
        for n, (at, _, how) in enumerate(its):
            calls[how] += 1
            again[how] += any(at <= other <= at + WEEK_US for other, _, _ in its[n + 1 :])
    found = history.ask("Which ends of a call bring people back?")
    assert {r["disposition"]: (r["calls"], r["called_again"]) for r in found} == {
        how: (n, again[how]) for how, n in calls.items()
    }


def test_where_the_agent_disappeared(history: History) -> None:
    turns, gone = Counter[tuple[str, str]](), defaultdict(list)
    for turn in of(history.events, TurnEnded):
        turns[turn.agent, turn.agent_version] += 1
        if turn.outcome is Outcome.DISAPPEARED:
            gone[turn.agent, turn.agent_version].append(turn.stream)
    found = history.ask("In which version of an agent did it disappear?")
    assert {(r["agent"], r["agent_version"]): (r["turns"], r["disappeared"], r["calls"]) for r in found} == {
        version: (n, len(gone[version]), len(set(gone[version]))) for version, n in turns.items()
    }
    assert [r["disappeared"] > 0 for r in found] == [True, True, False]


def test_glitches_per_100_turns(history: History) -> None:
    turns = Counter((e.campaign, hour(e.at)) for e in of(history.events, TurnEnded))
    heard = Counter(
        (e.campaign, hour(e.at)) for e in of(history.events, GlitchDetected) if e.detector.value == "playout"
    )
    found = history.ask("How many glitches per 100 turns, by campaign and hour?")
    assert {(r["campaign"], r["hour"]): (r["turns"], r["glitches"]) for r in found} == {
        key: (n, heard[key]) for key, n in turns.items()
    }
    assert all(r["per_100_turns"] == share(r["glitches"], r["turns"], 2) for r in found)
    assert sum(r["glitches"] for r in found) > 1


def test_what_is_missing(history: History) -> None:
    expected = set()
    for call, events in history.calls().items():
        closed = last(events, SourceClosed)
        said = closed.last_seq + 1 if closed else None
        if said != len(events):
            expected.add((call, len(events), said, said and said - len(events)))
    found = history.ask("Which calls are incomplete, and how many events are missing?")
    assert {(r["call_id"], r["stored"], r["said"], r["missing"]) for r in found} == expected
    assert [r["missing"] for r in found] == [None, 1]


def test_how_calls_end(history: History) -> None:
    ends = Counter((e[0].campaign, disposition(e)) for e in history.calls().values())
    found = history.ask("How do calls end, by campaign?")
    assert {(r["campaign"], r["disposition"]): r["calls"] for r in found} == ends
    for row in found:
        whole = sum(n for (campaign, _), n in ends.items() if campaign == row["campaign"])
        assert row["share_pct"] == share(row["calls"], whole)


def test_where_callers_hang_up(history: History) -> None:
    for campaign in history.campaigns:
        left: defaultdict[str, list[int]] = defaultdict(list)
        for events in history.calls(campaign).values():
            if reason(events) == EndReason.CALLER_HUNG_UP:
                left[last(events, NodeEntered).node].append(len(of(events, TurnEnded)))
        found = history.ask("In which node do callers hang up?", campaign)
        assert {r["last_node"]: (r["hang_ups"], r["turns_before"]) for r in found} == {
            node: (len(turns), pytest.approx(sum(turns) / len(turns), abs=0.051)) for node, turns in left.items()
        }


def test_how_many_turns_calls_have(history: History) -> None:
    for campaign in history.campaigns:
        ended = [events for events in history.calls(campaign).values() if reason(events)]
        turns = Counter(len(of(events, TurnEnded)) for events in ended)
        found = history.ask("How many turns does a call have?", campaign)
        assert {r["turns"]: r["calls"] for r in found} == turns
        assert all(r["share_pct"] == share(r["calls"], len(ended)) for r in found)


def test_where_callers_interrupt(history: History) -> None:
    interrupted_at = set()
    for campaign in history.campaigns:
        turns, cut = Counter[str](), Counter[str]()
        for events in history.calls(campaign).values():
            node = ""
            for event in events:
                if isinstance(event, NodeEntered):
                    node = event.node
                elif isinstance(event, TurnEnded):
                    turns[node] += 1
                    cut[node] += event.outcome is Outcome.INTERRUPTED
        found = history.ask("Where do callers interrupt the agent?", campaign)
        assert {r["node"]: (r["turns"], r["interrupted"]) for r in found} == {n: (k, cut[n]) for n, k in turns.items()}
        interrupted_at |= {node for node, n in cut.items() if n}
    assert interrupted_at


def test_how_many_calls_run_at_once(history: History) -> None:
    spans = []
    for events in history.calls().values():
        if reason(events):
            spans.append((last(events, CallStarted).at, last(events, CallEnded).at))
    started = Counter(hour(at) for at, _ in spans)
    edges = sorted({at for span in spans for at in span})
    running = {at: sum(begin <= at < end for begin, end in spans) for at in edges}
    found = history.ask("How many calls start in an hour, and how many run at once?")
    assert {r["hour"]: r["started"] for r in found if r["started"]} == started
    for row in found:
        assert row["most_at_once"] == max(n for at, n in running.items() if hour(at) == row["hour"])
    assert max(r["most_at_once"] for r in found) > 2


def test_which_provider_fails(history: History) -> None:
    spans = [s for s in of(history.events, SpanEnded) if s.provider]
    made = Counter((s.provider, s.model, s.component) for s in spans)
    failed = Counter((s.provider, s.model, s.component) for s in spans if s.status is SpanStatus.ERROR)
    found = history.ask("Which provider fails?")
    assert {(r["provider"], r["model"], r["component"]): (r["spans"], r["errors"]) for r in found} == {
        key: (n, failed[key]) for key, n in made.items()
    }
    assert (found[0]["provider"], found[0]["errors"], found[0]["calls"]) == ("umbra", 1, 1)


def test_who_talks_more(history: History) -> None:
    for campaign in history.campaigns:
        spoken, calls = Counter[str](), defaultdict(set)
        for event in of(history.events, SpeechEnded):
            if event.campaign == campaign:
                spoken[event.speaker.value] += event.duration_us
                calls[event.speaker.value].add(event.stream)
        found = history.ask("Who talks more, the caller or the agent?", campaign)
        assert {r["speaker"]: r["calls"] for r in found} == {who: len(ids) for who, ids in calls.items()}
        for row in found:
            us = spoken[row["speaker"]]
            assert row["seconds_a_call"] == pytest.approx(us / 1e6 / row["calls"], abs=0.051)
            assert row["share_pct"] == share(us, spoken.total())


def test_how_the_arms_of_an_experiment_end(history: History) -> None:
    calls, leads = Counter[tuple[str, str]](), defaultdict(set)
    for events in history.calls().values():
        for started in of(events, CallStarted):
            if EXPERIMENT in started.variants:
                arm = started.variants[EXPERIMENT], disposition(events)
                calls[arm] += 1
                leads[arm].add(started.lead)
    found = history.ask("How did the arms of an experiment end?")
    assert {(r["variation"], r["disposition"]): (r["calls"], r["leads"]) for r in found} == {
        arm: (n, len(leads[arm])) for arm, n in calls.items()
    }


def duration_s(events: list[Event]) -> float:
    started, ended = last(events, CallStarted), last(events, CallEnded)
    return (ended.at - started.at) / 1e6 if started and ended else float("inf")


def test_welfare_is_what_the_calls_did(history: History) -> None:
    expected: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for events in history.calls().values():
        of_campaign = expected[events[0].campaign]
        short = duration_s(events) < 20 or len(of(events, TurnEnded)) < 2
        of_campaign["calls"] += last(events, CallStarted).direction.value == "outbound"
        of_campaign["hung_up_early"] += reason(events) == EndReason.CALLER_HUNG_UP and short
        of_campaign["opted_out"] += disposition(events) == "opted_out"
    names = ("calls", "hung_up_early", "opted_out", "complaints", "consents_revoked")
    found = {row.pop("campaign"): row for row in history.ask("What do calls do to people, by campaign?")}
    assert found == {campaign: {name: n[name] for name in names} for campaign, n in expected.items()}
    assert expected[CAMPAIGN]["opted_out"] == 1


def test_people_who_called_back_are_counted_among_those_watched_only(history: History) -> None:
    found = history.ask("How often do people call back within 7 days of a call of ours?")
    # The one call of three weeks ago; he is called again by us, and that is not calling back.
    expected = {"campaign": CAMPAIGN, "calls": 1, "called_back": 0, "share_pct": 0.0, "redials": 0}
    assert found == [expected]


def test_completeness_by_day_tells_what_was_lost_and_what_still_runs(history: History) -> None:
    rows_ = history.ask("Has everything arrived, by day and campaign?")
    calls = history.calls(CAMPAIGN)
    lacking = sum(
        closed.last_seq + 1 - len(events)
        for events in calls.values()
        if (closed := last(events, SourceClosed)) is not None
    )
    mine = [row for row in rows_ if row["campaign"] == CAMPAIGN]
    assert sum(row["calls"] for row in mine) == len(calls)
    assert sum(row["missing"] for row in mine) == lacking == 1
    assert sum(row["incomplete"] for row in mine) == 1
    assert sum(row["unknown"] for row in mine) == sum(last(e, SourceClosed) is None for e in calls.values())
    assert sum(row["lost"] for row in rows_) == 0


def test_quality_by_hour_counts_the_turns_that_ended(history: History) -> None:
    turns: Counter[tuple[str, dt.datetime]] = Counter()
    gone: Counter[tuple[str, dt.datetime]] = Counter()
    for turn in of(history.events, TurnEnded):
        turns[turn.campaign, hour(turn.at)] += 1
        gone[turn.campaign, hour(turn.at)] += turn.outcome is Outcome.DISAPPEARED
    found = history.ask("How good were calls, hour by hour?")
    assert {(r["campaign"], r["hour"]): r["turns"] for r in found} == turns
    for row in found:
        key = row["campaign"], row["hour"]
        assert row["disappeared_pct"] == share(gone[key], turns[key], 2)
