"""What a soak keeps of its outcomes, and what it says of them."""

import io
import json
from pathlib import Path

from rich.console import Console

from tests.fault.outcomes import Outcome, append, passed, read
from tests.fault.soak import show


def shown(outcomes: list[Outcome], rounds: int) -> tuple[bool, str]:
    console = Console(file=io.StringIO(), width=100)
    whole = show(outcomes, rounds, console)
    return whole, console.file.getvalue()  # type: ignore[attr-defined]


def test_what_has_passed_is_known_by_case_and_seed_and_a_cut_line_is_none(tmp_path: Path) -> None:
    path = tmp_path / "soak.jsonl"
    assert passed(path, 1) == set()
    append(path, Outcome(1, "test[a]", "passed", 1.0))
    append(path, Outcome(1, "test[b]", "failed", 2.0))
    append(path, Outcome(2, "test[b]", "passed", 2.0))
    with path.open("a") as file:
        file.write(json.dumps({"seed": 1, "case": "test[c]"})[:-3])
    assert (passed(path, 1), passed(path, 2)) == ({"test[a]"}, {"test[b]"})
    assert len(read(path)) == 3


def test_a_soak_is_whole_when_every_case_has_passed_with_every_seed() -> None:
    good = [Outcome(seed, f"test[{case}]", "passed", 1.0) for seed in (1, 2) for case in "ab"]
    assert shown(good, 2)[0]
    assert not shown(good, 3)[0]
    assert not shown([], 2)[0]
    whole, words = shown([*good, Outcome(2, "test[b]", "failed", 1.0)], 2)
    assert not whole
    assert "1 of 2" in words


def test_a_case_that_failed_and_passes_when_run_again_counts_as_passed() -> None:
    again = [Outcome(1, "test[a]", "failed", 1.0), Outcome(1, "test[a]", "passed", 1.0)]
    assert shown(again, 1)[0]
