"""What the demo's page decides: which calls come first, what joins which row, which old runs go."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from alerts.slos import objectives
from deploy.demo.distributions import Distributions, Gaps, Spread, Tenth
from deploy.demo.page import BREACHES_SHOWN_MAX, CALL_PAGES_MAX, CallLine, latency_rows, order_of_calls, run_page, tail
from deploy.demo.pages import MARK, RUNS_KEPT, prune, with_page, write_run
from deploy.demo.report import Breach, Incomplete, Latency, Report, Source
from deploy.demo.result import Injected, Result
from deploy.demo.run import Order
from grafana.charts import Bin
from ingest.errors import StoreUnreachable

NOTHING = Distributions((), Gaps((40.0,), ()), ())


def result(*breaches: Breach, calls: int = 3, injected: tuple[Injected, ...] = ()) -> Result:
    report = Report(
        campaign="demo-1f",
        made=calls,
        calls=calls,
        turns=0,
        outcomes={},
        disappeared=0,
        glitches=0,
        glitches_per_100_turns=0.0,
        dispositions={},
        latency=(),
        breaches=breaches,
        sources=(Source("runtime", calls, calls, 9, 9),),
    )
    return Result(run="1f", seed=1, clock="virtual", seconds=1.0, failed_as="failed", injected=injected, report=report)


def breach(call_id: str, objective: str, worst: float = 1.0) -> Breach:
    return Breach(call_id, objective, 1, worst, 1)


def spread(component: str, figure: str, n: int, *, same: bool, limits: tuple[float, ...] = ()) -> Spread:
    return Spread(component=component, figure=figure, is_latency=same, limits_ms=limits, bins=(Bin(60, n, 0),))


def test_the_worst_of_each_objective_comes_before_the_second_of_any() -> None:
    found = result(breach("a1", "x", 9), breach("a2", "x", 8), breach("b1", "y", 7), breach("a1", "y", 6))
    assert order_of_calls(found, ["z", "a2", "y"]) == ("a1", "b1", "a2", "z", "y")


def test_a_figure_that_is_the_components_latency_joins_its_row() -> None:
    own, first = spread("tts", "latency_us", 7, same=True), spread("tts", "first_us", 7, same=True, limits=(2000.0,))
    rows = latency_rows([Latency("tts", 7, 1.0, 2.0)], [first, own])
    assert [(row.label, row.spread) for row in rows] == [("tts", first)]


@pytest.mark.parametrize(("n", "same"), [(7, False), (6, True)], ids=["another figure", "not of all spans"])
def test_a_figure_that_is_not_has_a_row_of_its_own(n: int, same: bool) -> None:
    own, first = spread("tts", "latency_us", 7, same=True), spread("tts", "first_us", n, same=same, limits=(2000.0,))
    rows = latency_rows([Latency("tts", 7, 1.0, 2.0)], [first, own])
    assert [(row.label, row.latency is None, row.spread) for row in rows] == [
        ("tts", False, own),
        ("tts: first", True, first),
    ]
    assert len({row.key for row in rows}) == 2


def test_end_to_end_is_the_first_row() -> None:
    latencies = [Latency("asr", 1, 1.0, 2.0), Latency("turn", 1, 1.0, 2.0)]
    rows = latency_rows(latencies, [spread(c, "latency_us", 1, same=True) for c in ("asr", "turn")])
    assert [row.label for row in rows] == ["end to end", "asr"]


def test_what_the_slowest_wait_for_adds_up_to_how_much_longer_they_wait() -> None:
    tenths = [
        Tenth(1, 1.0, 1.0, sum(parts.values()), parts)
        for parts in (*[{"a": 10.0}] * 5, *[{"a": 10.0, "b": 10.0}] * 4, {"a": 15.0, "b": 5.0, "c": 40.0})
    ]
    found = tail(tenths)
    assert found is not None
    slowest, middle, more = found
    assert more == [("c", 40.0), ("a", 5.0), ("b", -5.0)]
    assert sum(ms for _, ms in more) == slowest.wait_ms - middle.wait_ms
    assert tail(tenths[1:]) is None  # nine turns have no tenths


def test_a_page_of_ten_thousand_calls_is_bounded_and_says_what_it_leaves_out() -> None:
    breaches = tuple(breach(f"call-{i}", "playout_gap", 50.0) for i in range(5_000))
    injected = tuple(Injected(f"bent-{i}", i, "underrun", "playout_gap") for i in range(5_000))
    lines = [CallLine(f"call-{i}", "booked", 1, 1.0, True) for i in range(CALL_PAGES_MAX)]
    page = run_page(result(*breaches, calls=10_000, injected=injected), objectives(), NOTHING, lines, {})
    assert page.count("<tr data-call=") == BREACHES_SHOWN_MAX
    assert page.count('href="calls/') == CALL_PAGES_MAX
    assert f"{5_000 - BREACHES_SHOWN_MAX:,} more are not shown" in page
    assert f'value="{10_000 - CALL_PAGES_MAX}"' in page
    assert "and 4,980 more" in page
    assert len(page) < 200_000


def test_a_run_without_a_single_turn_has_a_page() -> None:
    page = run_page(result(calls=0), objectives(), NOTHING, [], {})
    assert "None of 0 calls breaches an objective" in page
    assert "No turn was answered" in page


def test_a_fault_that_is_not_named_is_on_the_page() -> None:
    missed = Injected("missed-1", 0, "underrun", "playout_gap")
    page = run_page(result(injected=(missed,)), objectives(), NOTHING, [], {})
    assert '<span class="id">missed-1</span> (underrun)' in page
    assert "that is not what is named" in page


def test_incomplete_calls_are_on_the_page(tmp_path: Path) -> None:
    whole = result()
    half = msgspec.structs.replace(whole.report, made=4, incomplete=(Incomplete("half-1", 0, 9, 4),))
    page = run_page(msgspec.structs.replace(whole, report=half), objectives(), NOTHING, [], {})
    assert '<span class="id">half-1</span> (4 of 9 events)' in page
    assert "the figures are partial" in page


def test_the_newest_runs_are_kept_and_only_ours_are_removed(tmp_path: Path) -> None:
    for number in range(RUNS_KEPT + 3):
        folder = tmp_path / f"{number + 0xFF0:x}"
        folder.mkdir()
        (folder / MARK).touch()
    unmarked, foreign = tmp_path / "1", tmp_path / "my notes"
    unmarked.mkdir()
    foreign.mkdir()
    (foreign / MARK).touch()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / MARK).touch()
    (tmp_path / "2").symlink_to(elsewhere)
    prune(tmp_path)
    left = {f.name for f in tmp_path.iterdir()}
    assert left == {"1", "2", "my notes", "elsewhere", *(f"{n + 0xFF0:x}" for n in range(3, RUNS_KEPT + 3))}


def test_a_run_that_cannot_be_finished_leaves_nothing(tmp_path: Path) -> None:
    def files() -> Iterator[tuple[str, str]]:
        yield "calls/one.html", "1"
        raise StoreUnreachable("the store went away")

    with pytest.raises(StoreUnreachable):
        write_run(tmp_path / "runs" / "1f", files())
    assert list((tmp_path / "runs").iterdir()) == []


class _Gone:
    """A client whose store is away."""

    def query(self, *_: Any, **__: Any) -> Any:
        raise OSError(111, "Connection refused")


def test_a_page_that_cannot_be_made_costs_the_page_and_not_the_figures(tmp_path: Path) -> None:
    figures, said = result(), list[str]()
    client: Any = _Gone()
    (tmp_path / "runs").touch()
    assert with_page(client, figures, objectives(), {}, state=tmp_path, say=said.append) == figures
    (tmp_path / "runs").unlink()
    assert with_page(client, figures, objectives(), {}, state=tmp_path, say=said.append) == figures
    assert [line.startswith("no page was written: ") for line in said] == [True, True]
    assert str(tmp_path / "runs") in said[0]
    assert list((tmp_path / "runs").iterdir()) == []


def test_how_a_run_was_made_holds_no_url() -> None:
    told = Order(calls=2, seed=3, faults=False, provider="http://user:password@host").told()
    assert told["command"] == "turnlog demo --calls 2 --seed 3 --no-faults --provider URL"
    assert "password" not in str(told)
    assert msgspec.json.encode(told)
