"""What is kept of a child's words: bounded, and its own."""

from pathlib import Path

import pytest

from deploy.embedded import child
from deploy.embedded.child import PORTS, free_port, last_lines, rotate


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "part.log"


def test_a_log_within_bounds_is_left_alone(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "LOG_BYTES_MAX", 10)
    log.write_bytes(b"0123456789")
    rotate(log)
    assert [path.name for path in log.parent.iterdir()] == ["part.log"]


def test_a_log_beyond_bounds_becomes_the_one_before_and_its_writer_goes_on(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "LOG_BYTES_MAX", 10)
    with log.open("ab", buffering=0) as writer:
        for words in (b"the first life\n", b"the second one\n"):
            writer.write(words)
            rotate(log)
            assert log.with_name("part.log.1").read_bytes() == words
            assert log.read_bytes() == b""
        writer.write(b"more\n")
    assert log.read_bytes() == b"more\n"


def test_a_log_that_is_not_there_is_nothing_to_rotate(log: Path) -> None:
    rotate(log)
    assert last_lines(log) == "    (it said nothing)"


def test_last_words_are_those_of_this_life(log: Path) -> None:
    log.write_text("the life before\n")
    since = log.stat().st_size
    assert last_lines(log, since) == "    (it said nothing)"
    with log.open("a") as writer:
        writer.writelines(f"line {n}\n" for n in range(20))
    assert last_lines(log, since).splitlines() == [f"    line {n}" for n in range(8, 20)]


def test_last_words_of_a_log_that_was_rotated_meanwhile(log: Path) -> None:
    log.write_text("short\n")
    assert last_lines(log, since=1_000) == "    short"


def test_last_words_are_bounded(log: Path) -> None:
    log.write_bytes(b"x" * 1_000_000)
    assert len(last_lines(log)) < 20_000


def test_parts_listen_below_the_ports_of_outgoing_connections() -> None:
    """Else a client that keeps trying a dead part may sit on its port when it comes back. Linux begins at 32768."""
    assert 1024 <= min(PORTS) <= free_port() <= max(PORTS) < 32_768
