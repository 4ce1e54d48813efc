"""A question as it was typed: where its SQL comes from, and the values that are bound into it. Asks nobody."""

import ast
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from deploy.errors import Misuse

QUESTION_CHARS_MAX = 262_144  # what ClickHouse parses by default, in bytes
_PLACE = re.compile(r"\{(\w+):([^}]+)\}")
_COMPOSITE = ("Array(", "Map(", "Tuple(")


def read_question(typed: str | None, file: Path | None, stdin: TextIO) -> str | None:
    """The SQL: an argument, `-` or piped input, or a file; None when there is nobody but a terminal to ask for it.

    Raises Misuse when there are two, or none in what was read, or too much.
    """
    if typed is not None and file is not None:
        raise Misuse("the question stands in the command and in --file: give one of them")
    if file is not None:
        try:
            with file.open(encoding="utf-8-sig") as lines:
                return _checked(lines.read(QUESTION_CHARS_MAX + 1), str(file))
        except UnicodeDecodeError:
            raise Misuse(f"{str(file)!r} is no UTF-8 text: name a file that holds one SQL statement") from None
    if typed is None and stdin.isatty():
        return None
    if typed is None or typed == "-":
        try:
            return _checked(stdin.read(QUESTION_CHARS_MAX + 1), "standard input")
        except UnicodeDecodeError:
            raise Misuse("standard input is no UTF-8 text: give one SQL statement") from None
    return _checked(typed, "the command")


def _checked(sql: str, place: str) -> str:
    if not sql.strip():
        raise Misuse(f"{place} holds no question: give one SQL statement, or look at `turnlog sql --help`")
    if len(sql) > QUESTION_CHARS_MAX:
        raise Misuse(f"the question in {place} is longer than {QUESTION_CHARS_MAX:,} characters: bind what is long")
    try:
        sql.encode()
    except UnicodeEncodeError:  # bytes of another encoding, which Python carries as halves of surrogate pairs
        raise Misuse(f"the question in {place} is no UTF-8 text: give one SQL statement") from None
    return sql


def bound(sql: str, given: Sequence[str]) -> dict[str, Any]:
    """The values by name for the places `{name:Type}` of the SQL, from texts `name=value`.

    They travel beside the SQL and are never part of it. Raises Misuse for one that is malformed or has no place.
    """
    places = dict(_PLACE.findall(sql))
    values: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise Misuse(f"--param {text!r}: write it as NAME=VALUE")
        if name not in places:
            raise Misuse(f"--param {name!r} has no place in the question: write {{{name}:String}} where it belongs")
        if name in values:
            raise Misuse(f"--param {name!r} is given twice: give it one value")
        values[name] = _parsed(name, value) if places[name].lstrip().startswith(_COMPOSITE) else value
    return values


def _parsed(name: str, value: str) -> Any:
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise Misuse(f"--param {name!r}: write it like ['a', 'b'], {{'a': 1}} or (1, 'a')") from None
