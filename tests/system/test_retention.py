"""What docs/retention.md promises, by its commands: erase a lead, look at dead letters and send them, replay a call."""

import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from deploy.embedded import found_stack
from deploy.settings import Settings
from ingest.query import connect, rows
from runtime import events as ev
from runtime.emit import Brokers, Context, Recorder, kafka_log
from runtime.events import Topic
from tests.contract.ground import until
from tests.system.demo import stack_up, turnlog

KEY = "a key of the tenant's"
WHO = "customer 4711 of the CRM"
GONE, STAYS = ev.lead_id(KEY.encode(), WHO), ev.lead_id(KEY.encode(), "customer 4712")
NOW_US = time.time_ns() // 1000
POISON = b'{"type": "MoonLanded", "v": 1, "note": "Quillfeather"}'
TURNS = 3


class House:
    """A stack with one whole call of each lead, their words, and one record that nobody can read."""

    def __init__(self, state: Path) -> None:
        self.state = state
        stack = found_stack(Settings(state))
        assert stack is not None
        self.url, self.brokers = stack.clickhouse, Brokers(stack.kafka)
        self.calls = {lead: ev.new_call_id(NOW_US) for lead in (GONE, STAYS)}
        with closing(kafka_log(self.brokers)) as log:
            for lead, call in self.calls.items():
                _say(log, lead, call)
            log.append(Topic.CALLS, "poison", POISON)
            assert log.flush() == 0
        until(lambda: self.count("calls WHERE ended_at IS NOT NULL") == 2, "both calls are stored")
        until(lambda: self.count("content") == 2 * TURNS, "their words are stored")

    def count(self, what: str) -> int:
        with closing(connect(self.url)) as client:
            return int(rows(client, f"SELECT count() AS n FROM {what}")[0]["n"])

    def told(self, *arguments: str, code: int = 0, **more: str) -> Any:
        done = turnlog(self.state, *arguments, "--json", **more)
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)


def _say(log: Any, lead: str, call: str) -> None:
    recorder = Recorder(log, Context(call, "acme", "spring", "booker", lead=lead), "runtime")
    recorder.record(ev.CallStarted, NOW_US, direction=ev.Direction.OUTBOUND)
    for turn in range(1, TURNS + 1):
        at = NOW_US + turn * 1_000_000
        recorder.record(ev.NodeEntered, at, turn=turn, node=f"node-{turn}")
        recorder.record(ev.WordsHeard, at, turn=turn, text=f"said in turn {turn}")
        recorder.record(ev.TurnEnded, at, turn=turn, outcome=ev.Outcome.ANSWERED, latency_us=turn * 100_000)
    recorder.record(ev.CallEnded, NOW_US + 9_000_000, reason=ev.EndReason.CALLER_HUNG_UP)
    recorder.close(NOW_US + 9_000_000)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    state = tmp_path_factory.mktemp("retention")
    with stack_up(state):
        yield House(state)


# ── a call, event by event ──


def test_a_call_is_replayed_to_any_of_its_events(house: House) -> None:
    end = house.told("call", "replay", house.calls[STAYS])
    assert (end["call_id"], end["ended"], end["complete"]) == (house.calls[STAYS], True, True)
    assert [t["said"] for t in end["turns"]] == ["answered"] * TURNS
    steps = house.told("call", "replay", house.calls[STAYS], "--every")
    assert [s["step"] for s in steps] == list(range(1, end["steps"] + 1))
    assert steps[-1] == end
    first = house.told("call", "replay", house.calls[STAYS], "--at", "0")
    assert (first["type"], first["turns"], first["ended"]) == ("CallStarted", [], False)
    third = next(s for s in steps if s["type"] == "NodeEntered" and s["turn"] == TURNS)
    assert (third["node"], len([t for t in third["turns"] if t["said"]])) == (f"node-{TURNS}", TURNS - 1)
    refused = turnlog(house.state, "call", "replay", house.calls[STAYS], "--source", "nobody", "--at", "1")
    assert (refused.returncode, "this call has events of runtime" in refused.stderr) == (2, True)


# ── dead letters ──


def test_a_dead_letter_is_found_shown_without_its_bytes_and_sent_again(house: House) -> None:
    listed = house.told("deadletter", "list")
    assert [(c["topic"], c["reason"], c["letters"]) for c in listed["counts"]] == [
        (Topic.CALLS.value, "unknown_type", 1)
    ]
    [key] = [one["key"] for one in listed["letters"]]
    shown = house.told("deadletter", "show", key)
    assert (shown["letter"]["letter"]["size"], "content" in shown) == (len(POISON), False)
    assert "Quillfeather" not in json.dumps([listed, shown])
    assert house.told("deadletter", "list", "--reason", "malformed")["letters"] == []

    would = turnlog(house.state, "deadletter", "replay")
    assert (would.returncode, "would send 1: give --yes to do it" in would.stderr) == (0, True)
    assert house.told("deadletter", "replay", "--yes")["sent"] == 1
    until(lambda: len(house.told("deadletter", "list")["letters"]) == 2, "it came back, for it still cannot be read")


def test_who_reads_the_bytes_of_a_dead_letter_is_on_record(house: House) -> None:
    key = house.told("deadletter", "list")["letters"][0]["key"]
    refused = turnlog(house.state, "deadletter", "show", key, "--content")
    assert (refused.returncode, "--reader" in refused.stderr) == (2, True)
    told = house.told("deadletter", "show", key, "--content", "--reader", "anna")
    assert told["content"] == POISON.decode()
    read = "control_log FINAL WHERE type = 'ContentRead' AND payload LIKE '%\"anna\"%'"
    until(lambda: house.count(read) == 1, "the reading is an event")


# ── a lead ──


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["0041795550101", "--tenant", "acme"], "that is no pseudonym"),
        ([GONE], "Missing option '--tenant'"),
        (["--tenant", "acme"], "name the lead by its pseudonym"),
        (["--person", "--tenant", "acme"], "TURNLOG_TENANT_KEY"),
    ],
)
def test_an_erasure_of_nobody_is_refused_without_repeating_a_number(
    house: House, arguments: list[str], words: str
) -> None:
    told = turnlog(house.state, "erase", *arguments, COLUMNS="200")
    assert (told.returncode, words in told.stderr) == (2, True), told.stderr
    assert "0041795550101" not in told.stderr


def test_a_person_is_erased_by_who_they_are_and_the_next_rebuild_is_equal(house: House) -> None:
    done = turnlog(
        house.state, "erase", "--person", "--tenant", "acme", "--json", stdin=f"{WHO}\n", TURNLOG_TENANT_KEY=KEY
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["known"], told["words"], told["calls"]) == (True, TURNS + 1, 1)  # and that the source of words ended
    assert all(one["until"] is None and "memory" in one["why"] for one in told["expires"])  # of the embedded broker
    assert WHO not in done.stdout + done.stderr
    assert house.count(f"calls WHERE lead = '{GONE}'") == 0
    assert house.count(f"events WHERE position(payload, '{GONE}') > 0") == 0
    assert house.count(f"calls WHERE lead = '{STAYS}'") == 1
    assert house.count("content") == TURNS
    rebuilt = house.told("rebuild", "--verify")
    assert (rebuilt["differences"], rebuilt["swapped"]) == ([], False)


def test_dead_letters_of_an_erased_call_are_shown_to_nobody_and_not_sent_though_they_name_no_lead(house: House) -> None:
    """That the call was the lead's is known to the store alone: which calls there were, no record of the log says."""
    call = house.calls[GONE]
    context = {"stream": call, "source": "runtime", "at": NOW_US, "v": 1, "tenant": "acme", "campaign": "spring"}
    misplaced = ev.encode(ev.WordsHeard(**context, seq=90, turn=1, text="my words"))
    with closing(kafka_log(house.brokers)) as log:
        log.append(Topic.CALLS, call, misplaced)
        log.append(Topic.CALLS, call, b'{"type":"FromTomorrow","v":1,"stream":"%b","text":"my words"}' % call.encode())
        assert log.flush() == 0

    def keys() -> dict[str, str]:
        found = house.told("deadletter", "list")["letters"]
        return {one["letter"]["reason"]: one["key"] for one in found if one["letter"]["size"] != len(POISON)}

    until(lambda: keys().keys() == {"wrong_topic", "unknown_type"}, "both are buried")
    for key in keys().values():
        shown = turnlog(house.state, "deadletter", "show", key, "--content", "--reader", "anna")
        assert (shown.returncode, "has been erased" in shown.stderr, shown.stdout) == (1, True, "")
    fates = {one["key"]: one["fate"] for one in house.told("deadletter", "replay", "--yes", code=1)["letters"]}
    assert {fates[key] for key in keys().values()} == {"erased"}
