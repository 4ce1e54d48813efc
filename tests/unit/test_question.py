"""Where a question comes from, and what is bound into it."""

import io
from pathlib import Path

import pytest

from deploy.errors import Misuse
from deploy.question import QUESTION_CHARS_MAX, bound, read_question


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def read(self, _: int | None = -1, /) -> str:
        raise AssertionError("nobody reads what a person has not been asked for")


def test_an_argument_a_pipe_a_dash_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "q.sql"
    file.write_text("\ufeffSELECT 3", encoding="utf-8")
    assert read_question("SELECT 1", None, _Terminal()) == "SELECT 1"
    assert read_question("SELECT 1", None, io.StringIO("SELECT 2")) == "SELECT 1"
    assert read_question(None, None, io.StringIO("SELECT 2")) == "SELECT 2"
    assert read_question("-", None, io.StringIO("SELECT 2")) == "SELECT 2"
    assert read_question(None, file, _Terminal()) == "SELECT 3"
    assert read_question(None, None, _Terminal()) is None


def test_two_questions_none_or_too_long_a_one(tmp_path: Path) -> None:
    file = tmp_path / "q.sql"
    file.write_bytes(b"SELECT '\xff'")
    with pytest.raises(Misuse, match="one of them"):
        read_question("SELECT 1", file, _Terminal())
    with pytest.raises(Misuse, match="UTF-8"):
        read_question(None, file, _Terminal())
    with pytest.raises(Misuse, match="standard input holds no question"):
        read_question(None, None, io.StringIO(" \n"))
    with pytest.raises(Misuse, match="longer than"):
        read_question("-", None, io.StringIO("x" * (QUESTION_CHARS_MAX + 5)))
    assert read_question("-", None, io.StringIO("x" * QUESTION_CHARS_MAX)) == "x" * QUESTION_CHARS_MAX


def test_values_keep_what_stands_after_the_first_equals_sign() -> None:
    sql = "SELECT {a:String}, {n:UInt8}, {l:Array(String)}, {m:Map(String, UInt8)}"
    assert bound(sql, ["a=x=y '", "n=5", "l=['p', 'it\\'s']", "m={'k': 1}"]) == {
        "a": "x=y '",
        "n": "5",
        "l": ["p", "it's"],
        "m": {"k": 1},
    }
    assert bound(sql, []) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [("a", "NAME=VALUE"), ("=1", "NAME=VALUE"), ("b=1", r"\{b:String\}"), ("l=[p", r"\['a', 'b'\]")],
)
def test_a_value_that_is_malformed_or_has_no_place(text: str, said: str) -> None:
    with pytest.raises(Misuse, match=said):
        bound("SELECT {a:String}, {l:Array(String)}", [text])
