"""Answers to what somebody typed: in blocks, bounded, read-only, and refused in their own words."""

from contextlib import closing

import pytest

from ingest import query
from ingest.errors import StoreRefused, StoreUnreachable
from ingest.query import asked


def answered(client, sql, params=None, **bounds):
    with asked(client, sql, params, **bounds) as (columns, blocks):
        return columns, [row for block in blocks for row in block]


def test_a_long_answer_comes_in_blocks(client):
    with asked(client, "SELECT number AS n, toString(n) AS s FROM numbers(300000)") as (columns, blocks):
        assert columns == ["n", "s"]
        sizes = []
        for block in blocks:
            assert block[0] == (sum(sizes), str(sum(sizes)))
            sizes.append(len(block))
    assert sum(sizes) == 300_000
    assert max(sizes) < 100_000


@pytest.mark.parametrize("sql", ["SELECT 1 AS a", "SELECT 1 AS a; ", "-- why\nSELECT 1 AS a -- so", "(SELECT 1 AS a)"])
def test_a_question_may_be_written_as_one_likes(client, sql):
    assert answered(client, sql) == (["a"], [(1,)])


def test_what_is_asked_of_the_store_itself(client):
    assert ("calls",) in answered(client, "SHOW TABLES")[1]
    assert "disposition" in [row[0] for row in answered(client, "DESCRIBE calls")[1]]
    assert answered(client, "EXPLAIN SELECT 1")[1]


def test_an_empty_answer_has_its_columns(client):
    for end in (";", " -- none yet"):
        assert answered(client, f"SELECT turn, outcome FROM turns{end}") == (["turn", "outcome"], [])


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT number FROM numbers(10)", [(0,), (1,)]),
        ("SELECT number FROM numbers(10) LIMIT 1", [(0,)]),
        ("SELECT number FROM numbers(10) ORDER BY number DESC LIMIT 4 OFFSET 1", [(8,), (7,)]),
        ("SELECT count(), sum(n) FROM (SELECT number AS n FROM numbers(10))", [(10, 45)]),
        ("WITH x AS (SELECT number AS n FROM numbers(10)) SELECT count() FROM x WHERE n IN (SELECT n FROM x)", [(10,)]),
        ("SELECT sum(a.n) FROM (SELECT arrayJoin(range(5)) AS n) AS a CROSS JOIN numbers(3) AS b", [(30,)]),
        ("SELECT max(r) FROM (SELECT row_number() OVER () AS r FROM numbers(9))", [(9,)]),
        (
            "SELECT * FROM (SELECT (SELECT count() FROM numbers(7)) AS n UNION ALL SELECT 1 UNION ALL SELECT 2)"
            " ORDER BY n DESC",
            [(7,), (2,)],
        ),
        ("SELECT count() FROM (SELECT * FROM system.one UNION ALL SELECT * FROM system.one AS o)", [(2,)]),
    ],
)
def test_a_bound_on_rows_cuts_the_answer_and_nothing_inside_it(client, sql, rows):
    assert answered(client, sql, rows_max=2)[1] == rows


def test_values_are_bound_and_not_part_of_the_statement(client):
    hostile = "x' OR 1=1 -- \\ \t\n{b:String} %s é"
    values = {"a": hostile, "n": "5", "l": ["p", "it's"]}
    assert answered(client, "SELECT {a:String}, {n:UInt8} + 1, {l:Array(String)}", values)[1] == [
        (hostile, 6, ["p", "it's"])
    ]


@pytest.mark.parametrize(
    "sql",
    ["TRUNCATE TABLE spans_log", "SELECT * FROM file('/etc/passwd', 'LineAsString')", "SELECT 1 INTO OUTFILE 'x'"],
)
def test_a_question_changes_nothing_and_reaches_no_file(client, sql):
    with pytest.raises(StoreRefused):
        answered(client, sql)


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT 1 FRM x 2", r"Syntax error: failed at position 14 .*line 1, col 14"),
        ("SELEKT 1", "SELEKT asks nothing"),
        ("SELECT turn,\n frm turns", r"`turns`|`turn`|position"),
        ("SELECT nothing FROM calls", "`nothing`"),
        ("SELECT 1 +", "ends before it is complete"),
        ("SELECT 1 FORMAT CSV", "FORMAT itself"),
        ("SET max_threads = 1", "SET asks nothing"),
        ("SELECT 1; SELECT 2", "one question at a time"),
        ("SELECT {a:String}", "`a` is not set"),
        ("SELECT {a:UInt8}", "x5"),
        ("SELECT throwIf(number = 150000) FROM numbers(200000)", "throwIf"),
    ],
)
def test_a_refusal_speaks_of_what_was_typed(client, sql, said):
    values = {"a": "x5"} if "UInt8" in sql else None
    with pytest.raises(StoreRefused, match=said) as refused:
        answered(client, sql, values)
    assert "Native" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_answer_that_takes_too_long_is_ended(client):
    with pytest.raises(StoreUnreachable, match="takes longer than 1 s"):
        answered(client, "SELECT count() FROM numbers(1000000000000)", timeout_s=1)


def test_a_store_that_says_nothing_in_time_is_given_up(store_url):
    slow = "SELECT count() FROM numbers(1000000000000)"
    with closing(query.connect(store_url, receive_timeout_s=1)) as client, pytest.raises(StoreUnreachable):
        answered(client, slow, timeout_s=3)


def test_who_leaves_in_the_middle_can_ask_again(client):
    with asked(client, "SELECT number FROM numbers(300000)") as (_, blocks):
        assert next(blocks)[0] == (0,)
    assert answered(client, "SELECT 1 AS a") == (["a"], [(1,)])
