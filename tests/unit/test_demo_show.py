"""What a person is shown of calls that are not whole."""

import io

from rich.console import Console

from deploy.demo.report import Incomplete, Report
from deploy.demo.result import Result
from deploy.demo.show import INCOMPLETE_SHOWN_MAX, show


def shown(incomplete: int) -> str:
    calls = tuple(Incomplete(f"call-{n}", n, 40, n) for n in range(incomplete))
    report = Report(
        campaign="c", made=99, calls=99, turns=0, outcomes={}, disappeared=0, glitches=0, glitches_per_100_turns=0.0,
        dispositions={}, latency=(), breaches=(), sources=(), incomplete=calls,
    )  # fmt: skip
    result = Result(run="r", seed=1, clock="virtual", seconds=1.0, failed_as="failed", injected=(), report=report)
    told = io.StringIO()
    show(result, (), Console(file=told, width=120))
    return told.getvalue()


def test_each_call_that_misses_events_is_named_with_what_was_said_and_stored() -> None:
    lines = [line.split() for line in shown(2).splitlines() if "call-" in line]
    assert [[cell for cell in line if cell != "│"] for line in lines] == [["call-0", "40", "0"], ["call-1", "40", "1"]]


def test_whole_calls_are_not_mentioned() -> None:
    assert "missing" not in shown(0)


def test_the_names_are_bounded_and_the_rest_is_counted() -> None:
    at_most, beyond = shown(INCOMPLETE_SHOWN_MAX), shown(INCOMPLETE_SHOWN_MAX + 2)
    assert at_most.count("call-") == beyond.count("call-") == INCOMPLETE_SHOWN_MAX
    assert "more" not in at_most
    assert "and 2 more: --json names all of them" in beyond
