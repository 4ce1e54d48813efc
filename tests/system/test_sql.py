"""`turnlog sql` as a user runs it: formats, where the question comes from, what is said when it goes wrong."""

import csv
import io
import json
import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.commands.sql import TABLE_ROWS_MAX
from deploy.embedded import Stack
from deploy.settings import Settings
from ingest.tables import COLUMNS
from tests.system.demo import TURNLOG, environment, turnlog

ODD = """SELECT 'say "hi", bob' AS t, NULL AS z, [1, NULL] AS a, map('k', 1.5) AS m, {who:String} AS who"""


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The state folder of a stack that runs."""
    folder = tmp_path_factory.mktemp("stack")
    with Stack(Settings(folder), lambda _: None):
        yield folder


def test_one_answer_in_every_format(state: Path) -> None:
    who = ["--param", "who=O'Hara=x"]
    told = {form: turnlog(state, "sql", ODD, *who, "--format", form) for form in ("csv", "json", "ndjson", "table")}
    assert {form: (run.returncode, run.stderr) for form, run in told.items()} == dict.fromkeys(told, (0, ""))
    row = {"t": 'say "hi", bob', "z": None, "a": [1, None], "m": {"k": 1.5}, "who": "O'Hara=x"}
    assert json.loads(told["json"].stdout) == [row]
    assert json.loads(told["ndjson"].stdout) == row
    assert list(csv.reader(io.StringIO(told["csv"].stdout))) == [
        list(row),
        ['say "hi", bob', "", "[1,null]", '{"k":1.5}', "O'Hara=x"],
    ]
    assert told["table"].stdout.splitlines()[2].split("  ") == [
        'say "hi", bob',
        "",
        " [1,null]",
        '{"k":1.5}',
        "O'Hara=x",
    ]
    assert turnlog(state, "sql", ODD, *who, "--json").stdout == told["json"].stdout


def test_a_question_from_a_pipe_or_a_file(state: Path, tmp_path: Path) -> None:
    (tmp_path / "q.sql").write_text("SELECT 'file' AS place;\n")
    for arguments, place in (([], "pipe"), (["-"], "pipe"), (["--file", str(tmp_path / "q.sql")], "file")):
        told = turnlog(state, "sql", *arguments, "--json", stdin="SELECT 'pipe' AS place")
        assert json.loads(told.stdout) == [{"place": place}], told.stderr


def test_a_table_is_bounded_and_says_so_and_other_formats_are_whole(state: Path) -> None:
    many = "SELECT number AS n FROM numbers(2500)"
    cut = turnlog(state, "sql", many)
    assert len(cut.stdout.splitlines()) == TABLE_ROWS_MAX + 2
    assert "more than these 1,000 rows" in cut.stderr
    for arguments, lines in (
        (["--limit", "0"], 2502),
        (["--limit", "7"], 9),
        (["--format", "csv"], 2501),
        (["--format", "ndjson", "--limit", "7"], 7),
    ):
        told = turnlog(state, "sql", many, *arguments)
        assert (len(told.stdout.splitlines()), told.stderr, told.returncode) == (lines, "", 0)


def test_what_is_refused_is_one_line(state: Path) -> None:
    for arguments, code, word in (
        (["SELECT 1 FRM x 2"], 1, "position 14"),
        (["SELEKT 1"], 1, "SELEKT asks nothing"),
        (["SELECT 1 FROM nowhere"], 1, "nowhere"),
        (["SELECT {a:String}"], 1, "--param NAME=VALUE"),
        (["SELECT 1", "--param", "a=1"], 2, "has no place"),
        (["SELECT 1", "--json", "--format", "csv"], 2, "two formats"),
        (["SELECT count() FROM numbers(1000000000000)", "--timeout", "1"], 1, "longer than 1 s"),
    ):
        told = turnlog(state, "sql", *arguments)
        assert (told.returncode, told.stdout) == (code, "")
        assert told.stderr.startswith("turnlog: ")
        assert told.stderr.count("\n") == 1
        assert word in told.stderr


def test_a_reader_that_leaves_ends_it_quietly(state: Path) -> None:
    arguments = [*TURNLOG, "sql", "SELECT number FROM numbers(2000000)", "--format", "csv"]
    with subprocess.Popen(
        arguments, env=environment(state), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as asking:
        assert asking.stdout is not None
        assert asking.stderr is not None
        assert asking.stdout.readline() == b"number\r\n"
        asking.stdout.close()
        assert asking.stderr.read() == b""
        assert asking.wait(60) == 1


def test_without_a_question_a_terminal_gets_help_and_a_program_an_error(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    try:
        told = subprocess.run(
            [*TURNLOG, "sql"], env=environment(tmp_path), stdin=theirs, capture_output=True, text=True, check=False
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert told.returncode == 2
    assert "--param" in told.stdout
    program = turnlog(tmp_path, "sql")
    assert program.returncode == 2
    assert "no question" in program.stderr


def test_the_views_are_listed_without_a_store(tmp_path: Path) -> None:
    text = turnlog(tmp_path, "sql", "--views").stdout
    assert all(f"\n{view}: " in f"\n{text}" for view in COLUMNS)
    listed = json.loads(turnlog(tmp_path, "sql", "--views", "--json").stdout)
    assert [(row["view"], row["column"]) for row in listed] == [(v, c) for v, names in COLUMNS.items() for c in names]
    assert list(tmp_path.iterdir()) == []


def test_words_are_asked_for_by_name(state: Path) -> None:
    """The credential is found by itself; what it was used for is said to the stack's own broker."""
    ask = "SELECT count() AS n FROM content"
    told = turnlog(state, "sql", "--content", ask, "--json")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout) == [{"n": 0}]
    refused = turnlog(state, "sql", ask)
    assert refused.returncode == 1
    assert "credential for content" in refused.stderr
    key = json.loads((state / "store" / "credentials.json").read_text())["content"]
    assert key not in told.stderr + refused.stderr
    assert all(key not in log.read_text(errors="replace") for log in (state / "logs").iterdir())
