"""Judges what a reader asks: one question about public names that only computes. Pure; runs nothing.

A statement comes as ClickHouse itself writes it (`formatQuery`), without comments and with its own quoting, and that
text is what runs: two parsers cannot see two statements in it. What the second one cannot read is refused.
"""

import logging
import re
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import pairwise

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import Token, TokenType

from ingest.store.vocabulary import FORMATS, TABLE_FUNCTIONS, WORDS, computes
from ingest.views import View

DATABASE = "default"
# What drivers and people look up; their rows are cut down to the public views (ingest.store.limits).
SYSTEM = frozenset({"columns", "databases", "numbers", "one", "settings", "tables"})
CONTENT = str(View.CONTENT)
# A subquery may not bear the name of something that is closed: which of the two is meant is not for us to decide.
_STORED = frozenset({"migrations", CONTENT})
_QUESTION = re.compile(r"\s*\(*\s*(SELECT|WITH)\b")
_EXPLAIN = re.compile(
    r"EXPLAIN (?:(?:AST|SYNTAX|QUERY TREE|PIPELINE|ESTIMATE) )?(?:\w+ = \w+(?:, \w+ = \w+)* )?(?=\(*SELECT|WITH)"
)
_FIXED = re.compile(r"SHOW DATABASES|SHOW (?:FULL )?TABLES(?: FROM `?default`?)?(?: (?:NOT )?I?LIKE '[^'\\]*')?")
_NAMED = re.compile(
    r"(?:SHOW CREATE (?:TABLE|VIEW)|SHOW COLUMNS FROM|DESCRIBE TABLE|EXISTS(?: TABLE| VIEW)?) "
    r"(?:`?(?P<database>\w+)`?\.)?`?(?P<name>\w+)`?"
)
_DESCRIBED = re.compile(r"DESCRIBE (?:TABLE )?\((?P<sql>.*)\)", re.DOTALL)
_FORMAT = re.compile(r"\s+FORMAT (?P<format>\w+)$")
_FIRST = re.compile(r"[\s(]*(\w+)")

logging.getLogger("sqlglot").setLevel(logging.CRITICAL)  # it would log what it cannot read, which may hold words


class Refused(Exception):
    """Not a reader's to ask. The message names what is at fault and what to do, and quotes no value."""


@dataclass(frozen=True)
class Verdict:
    """What a statement that may be asked is about. `words`: it reads what people said; `settings`: those alone."""

    words: bool = False
    settings: bool = False


def judged(sql: str, public: AbstractSet[str]) -> Verdict:
    """What the canonical text `sql` reads, all of which is `public` or of the system. Raises Refused."""
    text = sql.strip().rstrip(";").strip()
    bare, form = _parted(text)
    if form is not None and form not in FORMATS:
        raise Refused(f"the format {form} is not one for readers: ask for Native, JSON, CSV, TSV, Arrow or Parquet")
    if _FIXED.fullmatch(bare):
        return Verdict()
    if named := _NAMED.fullmatch(bare):
        _public(named["name"], named["database"] or "", public)
        return Verdict()
    if described := _DESCRIBED.fullmatch(bare):
        bare = described["sql"]
    elif explained := _EXPLAIN.match(bare):
        bare = bare[explained.end() :]
    elif not _QUESTION.match(bare):
        first = _FIRST.match(bare)
        raise Refused(
            f"{first[1].upper() if first else 'this'} asks nothing that a reader may ask: a question begins with "
            "SELECT, WITH, SHOW, DESCRIBE or EXPLAIN"
        )
    return _question(bare, public)


def _parted(text: str) -> tuple[str, str | None]:
    """A statement and the FORMAT behind it: SHOW, DESCRIBE and EXPLAIN have one that sqlglot does not know."""
    found = _FORMAT.search(text)
    return (text[: found.start()].strip(), found["format"]) if found else (text, None)


def _question(sql: str, public: AbstractSet[str]) -> Verdict:
    try:
        _calls(sqlglot.tokenize(sql, read="clickhouse"))
        trees = sqlglot.parse(sql, read="clickhouse")
    except (SqlglotError, RecursionError):
        raise Refused("this is ClickHouse's SQL, and beyond what is judged for readers: write it more simply") from None
    if len(trees) != 1 or not isinstance(trees[0], exp.Query):
        raise Refused("one question at a time, and nothing but a question")
    read: set[str] = set()
    for node in trees[0].walk():
        _clause(node)
        if isinstance(node, exp.CTE) and (node.alias in _STORED - public or node.alias.endswith("_log")):
            raise Refused(f"{node.alias!r} is the name of something closed: give the subquery another one")
        if isinstance(node, exp.Table):
            read.add(_source(node, public))
        elif isinstance(node, exp.In) and (named := _named_set(node)) is not None:
            read.add(_source(named, public))
    return Verdict(CONTENT in read, read == {"system.settings"})


def _clause(node: exp.Expr) -> None:
    if isinstance(node, exp.Command | exp.DDL | exp.DML | exp.Into) and not isinstance(node, exp.Query):
        raise Refused(f"{node.key.upper()} is no part of a question")
    if node.args.get("settings"):
        raise Refused("a reader's settings are not for the statement to change: leave SETTINGS out")
    if node.args.get("into") or node.args.get("format"):
        raise Refused("a question says no INTO, and its FORMAT at its end alone")


def _calls(tokens: Sequence[Token]) -> None:
    """Every name before a parenthesis is one that only computes."""
    for at, (token, after) in enumerate(pairwise(tokens)):
        if token.token_type is TokenType.COLON and after.text.lower() == "identifier":
            raise Refused("a value of the type Identifier could name anything: write the name itself")
        if token.token_type is TokenType.STRING or not (token.text[:1].isalpha() or token.text[:1] == "_"):
            continue
        quoted = token.token_type is TokenType.IDENTIFIER
        if not quoted and token.text.upper() in {"APPLY", "OUTFILE", "INFILE"}:
            raise Refused(f"{token.text.upper()} is not for readers")
        if after.token_type is not TokenType.L_PAREN or computes(token.text.lower()):
            continue
        if not quoted and token.text.lower() in WORDS:
            continue
        if at and tokens[at - 1].token_type is TokenType.DOT:
            raise Refused("a function of a database is not for readers")
        raise Refused(
            f"the function {token.text!r} is not for readers: it does more than compute, or nobody looked at it"
        )


def _source(table: exp.Expr, public: AbstractSet[str]) -> str:
    """The name of what is read, which may be: a subquery's own, a public one, or a table function that only counts."""
    name, database = (table.this, table.args.get("table" if isinstance(table, exp.Column) else "db"))
    if table.args.get("catalog") or (isinstance(table, exp.Column) and table.args.get("db")):
        raise Refused("a name has two parts at most")
    if isinstance(name, exp.Func):
        called = name.this if isinstance(name, exp.Anonymous) else name.sql_name()
        called = called.name if isinstance(called, exp.Expr) else str(called)
        if database is None and called.lower() in TABLE_FUNCTIONS | {"generate_series", "explodinggenerateseries"}:
            return ""
        raise Refused(f"the table function {called!r} is not for readers: it reaches what is no view")
    if not isinstance(name, exp.Identifier):
        raise Refused("what is read has to be named in the statement")
    if database is None and _is_defined(table, name.this):
        return ""
    within = database.name if database is not None else DATABASE
    _public(name.this, within, public)
    return str(name.this) if within == DATABASE else f"{within}.{name.this}"


def _public(name: str, database: str, public: AbstractSet[str]) -> None:
    if database == "system" and name in SYSTEM:
        return
    if database in {"", DATABASE} and name in public:
        return
    whole = name if database in {"", DATABASE} else f"{database}.{name}"
    if name == CONTENT and database in {"", DATABASE}:
        raise Refused(f"{whole!r} holds what people said: it is read with the credential for content alone")
    raise Refused(f"{whole!r} is not for readers: read the views, which `turnlog sql --views` lists")


def _is_defined(node: exp.Expr, name: str) -> bool:
    """Whether `name` is a common table expression here: one whose WITH surrounds this place and comes before it."""
    return any(name == cte.alias for cte in _defined_before(node))


def _defined_before(node: exp.Expr) -> Iterator[exp.CTE]:
    within: set[int] = set()
    here: exp.Expr | None = node
    while here is not None:
        within.add(id(here))
        clause = here.args.get("with_")
        if clause is not None:
            for cte in clause.expressions:
                if id(cte) in within:
                    if clause.args.get("recursive"):
                        yield cte
                    break
                if not cte.args.get("scalar"):
                    yield cte
        here = here.parent


def _named_set(node: exp.In) -> exp.Expr | None:
    """The name alone on the right of IN, which ClickHouse takes for a table; None when nothing is named so."""
    right = node.args.get("field")
    if right is None and len(node.expressions) == 1:
        right = node.expressions[0]
    while isinstance(right, exp.Paren | exp.Alias) or (isinstance(right, exp.Tuple) and len(right.expressions) == 1):
        right = right.expressions[0] if isinstance(right, exp.Tuple) else right.this
    return right if isinstance(right, exp.Column) else None
