"""Where an INSERT's data begins, which format comes back, and what a compressed body may grow to."""

import gzip
import random

import lz4.frame
import pytest
from backports import zstd

from ingest.store.bodies import PIECE_BYTES, decompressed, encoding_for, pieces
from ingest.store.engine import QueryFailed
from ingest.store.http import settings_in
from ingest.store.statement import Insert, Query, read


@pytest.mark.parametrize(
    ("sql", "statement", "form", "data"),
    [
        (b"INSERT INTO t FORMAT Native\n\n\x00FORMAT TSV", "INSERT INTO t", "Native", b"\n\x00FORMAT TSV"),
        (
            b"/* c */ insert into `a b`.`c``d` (`x)`, y) format Arrow",
            "insert into `a b`.`c``d` (`x)`, y)",
            "Arrow",
            b"",
        ),
        (b"INSERT INTO db.t (a) SETTINGS async_insert=0 FORMAT CSV 1,2", "INSERT INTO db.t (a)", "CSV", b"1,2"),
        (b"-- FORMAT x\nINSERT INTO format FORMAT TSV\n1", "INSERT INTO format", "TSV", b"1"),
    ],
)
def test_data_begins_right_after_the_format_line(sql, statement, form, data):
    found = read(sql)
    assert isinstance(found, Insert)
    assert found.format == form
    assert found.data == data
    assert found.into == statement
    assert found.settings == ("SETTINGS async_insert=0" if b"async_insert" in sql else "")


def test_a_separate_body_is_the_data():
    assert read(b"INSERT INTO t (a) FORMAT Arrow", b"\x01\x02") == Insert("INSERT INTO t (a)", "", "Arrow", b"\x01\x02")


@pytest.mark.parametrize(
    ("sql", "form", "answers"),
    [
        ("SELECT 1", None, True),
        ("WITH 1 AS a SELECT a FORMAT JSON", "JSON", True),
        ("-- note\nSELECT 'FORMAT x'", None, True),
        ("SELECT 1 FORMAT Native SETTINGS max_threads = 1;\n", "Native", True),
        ("CREATE TABLE t (a Int8) ENGINE = Memory", None, False),
        ("INSERT INTO t SELECT 1", None, False),
        ("INSERT INTO t VALUES (1, 'FORMAT')", None, False),
    ],
)
def test_a_query_says_its_format_and_whether_it_answers(sql, form, answers):
    assert read(sql.encode()) == Query(sql, form, answers)


@pytest.mark.parametrize(
    ("encoding", "compress"), [("gzip", gzip.compress), ("lz4", lz4.frame.compress), ("zstd", zstd.compress)]
)
def test_a_body_is_decompressed_up_to_the_bound_and_no_further(encoding, compress):
    assert decompressed(compress(b"a" * 1000), encoding, 1000) == b"a" * 1000
    with pytest.raises(QueryFailed, match="exceeds 999 bytes"):
        decompressed(compress(b"a" * 1000), encoding, 999)
    with pytest.raises(QueryFailed, match="CANNOT_DECOMPRESS"):
        decompressed(b"not that", encoding, 1000)


def test_an_unknown_encoding_is_refused_by_name():
    with pytest.raises(QueryFailed, match="use lz4"):
        decompressed(b"x", "br", 1000)


def test_what_is_no_parameter_of_the_interface_is_a_setting():
    assert settings_in({"query": "x", "param_a": "1", "max_threads": "2", "session_id": "s"}) == {"max_threads": "2"}


@pytest.mark.parametrize("encoding", ["lz4", "zstd", "gzip", "deflate", None])
@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, 2 * PIECE_BYTES + 7])
def test_an_answer_in_pieces_is_the_answer(encoding, size):
    body = random.Random(size).randbytes(size // 2) + b"a" * (size - size // 2)
    sent = b"".join(pieces(body, encoding))
    assert decompressed(sent, encoding or "identity", size) == body


@pytest.mark.parametrize(
    ("accepted", "size", "encoding"),
    [
        ("gzip, deflate, br", 10_000, "gzip"),
        ("zstd, lz4;q=0.9, br", 10_000, "lz4"),
        ("lz4;q=0, zstd", 10_000, "zstd"),
        ("lz4; q=0.000, gzip;q=0.01", 10_000, "gzip"),
        ("br", 10_000, None),
        ("", 10_000, None),
        ("gzip", 100, None),
    ],
)
def test_an_answer_is_encoded_as_its_reader_accepts_when_it_is_worth_it(accepted, size, encoding):
    assert encoding_for(accepted, size) == encoding
