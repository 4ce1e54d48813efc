"""What the measurements stand on: the load and what is said of it, the judge of answers, the page, the kept figures."""

import platform
import time
from pathlib import Path

import numpy as np
import pytest

from bench import __main__ as whole
from bench.__main__ import Kept, read, write
from bench.boards import compare
from bench.figures import Figure
from bench.load import Load
from bench.markers import CALLS, Markers
from bench.page import page
from bench.plan import PLAN
from bench.targets import TARGETS, target_of, verdict
from runtime import events as ev

NOW_US = 1_795_744_800_000_000


def figure(name: str, amount: float) -> Figure:
    return Figure(name, amount, "ms", "another 50", 2.0, 3)


def test_a_load_is_whole_calls_and_says_truly_what_is_in_them() -> None:
    load = Load(seed=3, tenant="acme", campaigns=5, patterns=8)
    calls = list(load.calls(2_000, NOW_US))
    events = [ev.decode(value) for call in calls for _, value in call]
    assert (load.said.events, load.said.calls) == (len(events), len(calls))
    assert load.said.turns == sum(isinstance(e, ev.TurnEnded) for e in events)
    assert load.said.glitches == sum(isinstance(e, ev.GlitchDetected) for e in events)
    spans = [e for e in events if isinstance(e, ev.SpanEnded)]
    for component in {e.component for e in spans}:
        latencies = [e.latency_us for e in spans if e.component == component]
        assert load.said.p90_us(component) == np.quantile(latencies, 0.9, method="lower")
    assert {e.tenant for e in events} == {"acme"}
    assert len({e.campaign for e in events}) == 5


def test_each_call_of_a_load_is_complete_under_an_id_of_its_own() -> None:
    calls = list(Load(patterns=4).calls(1_000, NOW_US))
    streams = set()
    for call in calls:
        events = [ev.decode(value) for _, value in call]
        streams |= {e.stream for e in events}
        assert {key.decode() for key, _ in call} == {events[0].stream}
        assert min(e.at for e in events) == NOW_US
        for source in ("runtime", "audio"):
            seqs = [e.seq for e in events if e.source == source]
            assert seqs == list(range(len(seqs)))
    assert len(streams) == len(calls)


def test_one_seed_makes_the_same_calls() -> None:
    one, other = (list(Load(seed=7, patterns=4).calls(500, NOW_US)) for _ in range(2))
    anonymous = [[[value.replace(key, b"") for key, value in call] for call in calls] for calls in (one, other)]
    assert anonymous[0] == anonymous[1]


def test_interleaved_calls_speak_in_turn() -> None:
    records = Load(patterns=4).interleaved(10, lambda: NOW_US)
    keys = [next(records)[0] for _ in range(20)]
    assert len(set(keys[:10])) == 10
    assert keys[:10] == keys[10:]


def test_a_marker_is_found_again_by_its_number() -> None:
    markers = Markers("acme")
    for number in range(3 * CALLS):
        markers.acknowledged[number] = time.monotonic()
        markers.note_consumed(markers.record(number)[1])
    assert markers.consumed.keys() == markers.acknowledged.keys()
    assert all(delay >= 0 for delay in markers.delays_ms(markers.consumed))


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        [{"t": 1, "n": 9, "p90": 100.0}],
        [{"t": 1, "n": 10, "p90": 102.0}],
        [{"t": 2, "n": 10, "p90": 100.0}],
    ],
)
def test_an_answer_of_a_board_that_differs_is_no_figure(wrong: list[dict[str, object]]) -> None:
    true: list[dict[str, object]] = [{"t": 1, "n": 10, "p90": 100}]
    compare([{"t": 1, "n": 10, "p90": 100.4}], true, "latency")
    with pytest.raises(RuntimeError, match="latency"):
        compare(wrong, true, "latency")


def test_a_target_is_held_or_missed() -> None:
    assert verdict(figure("boards.1h.latency", 100)) == "holds"
    assert verdict(figure("boards.24h.latency", 501)) == "does not hold"
    assert target_of(figure("disk.all", 1)) is None


def test_the_page_has_every_figure_and_no_name_of_a_machine() -> None:
    found = {"boards": [figure("boards.1h.latency", 71), figure("boards.24h.latency", 1_900)]}
    written = page(found, {"emit": "took longer than 900 s"}, full=False)
    assert "| 1h.latency | 71 ms | another 50 | 2 | at most 100 ms | holds |" in written
    assert "| does not hold |" in written
    assert "No figure: took longer than 900 s" in written
    assert platform.node() not in written


@pytest.mark.parametrize(("full", "command", "name"), [(False, "bench", ""), (True, "bench-full", "-full")])
def test_a_run_writes_a_page_of_its_own_that_names_its_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, full: bool, command: str, name: str
) -> None:
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(whole, "ROOT", tmp_path)
    monkeypatch.setattr(whole, "PAGE", tmp_path / "docs" / whole.PAGE.name)
    monkeypatch.setattr(whole, "PAGE_OF_FULL", tmp_path / "docs" / whole.PAGE_OF_FULL.name)
    monkeypatch.setattr(whole, "_run", lambda bench, options: Kept(bench.name, options, 1.0))
    monkeypatch.setattr("sys.argv", ["bench", "--state", str(tmp_path / "kept.json"), *(["--full"] if full else [])])
    assert whole.main() == 0
    [written] = (tmp_path / "docs").iterdir()
    assert written.name == f"benchmarks{name}.md"
    assert f"Written by `make {command}`;" in written.read_text(encoding="utf-8")


def test_every_target_is_of_a_measurement_of_the_plan() -> None:
    assert {t.names.partition(".")[0] for t in TARGETS} <= {b.name for b in PLAN}


def test_kept_figures_are_read_again_and_a_cut_file_is_none(tmp_path: Path) -> None:
    state = tmp_path / "kept.json"
    kept = {"boards": Kept("boards", ["--quick"], 1.5, [figure("boards.1h.latency", 71)])}
    write(state, kept)
    assert read(state) == kept
    state.write_bytes(state.read_bytes()[:-20])
    assert read(state) == {}
