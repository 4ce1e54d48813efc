"""Who waits at a terminal is told so, after a while; a file is told nothing."""

import io
import time

from rich.console import Console

from deploy.patience import Patience


def until(out: io.StringIO, words: str) -> None:
    deadline = time.monotonic() + 20
    while words not in out.getvalue():
        assert time.monotonic() < deadline, out.getvalue()
        time.sleep(0.01)


def test_a_terminal_is_told_how_many_rows_have_come() -> None:
    out = io.StringIO()
    with Patience(Console(file=out, force_terminal=True), quiet_s=0) as patience:
        until(out, "asking")
        patience.advance(1_200)
        patience.advance(34)
        until(out, "1,234 rows")


def test_a_quick_answer_and_an_output_that_is_no_terminal_are_left_alone() -> None:
    for terminal, quiet_s in ((True, 60.0), (False, 0.0)):
        out = io.StringIO()
        with Patience(Console(file=out, force_terminal=terminal), quiet_s) as patience:
            patience.advance(5)
            patience.end()
        assert out.getvalue() == ""
