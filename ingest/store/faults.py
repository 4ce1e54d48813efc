"""Turns the driver's errors into ours: wait, or do not; this batch, or all of them. Retries nothing itself."""

from collections.abc import Iterator
from contextlib import contextmanager

from clickhouse_connect.driver.exceptions import ClickHouseError, Error, OperationalError
from urllib3.exceptions import HTTPError

from ingest.errors import RowsRefused, StoreError, StoreRefused, StoreUnreachable

MESSAGE_CHARS_MAX = 600

# ClickHouse's codes (src/Common/ErrorCodes.cpp) for what passes by itself or by making room.
TRANSIENT_CODES = frozenset(
    {
        74,  # CANNOT_READ_FROM_FILE_DESCRIPTOR
        75,  # CANNOT_WRITE_TO_FILE_DESCRIPTOR
        76,  # CANNOT_OPEN_FILE
        159,  # TIMEOUT_EXCEEDED
        160,  # TOO_SLOW
        202,  # TOO_MANY_SIMULTANEOUS_QUERIES
        203,  # NO_FREE_CONNECTION
        209,  # SOCKET_TIMEOUT
        210,  # NETWORK_ERROR
        225,  # NO_ZOOKEEPER
        241,  # MEMORY_LIMIT_EXCEEDED
        242,  # TABLE_IS_READ_ONLY
        243,  # NOT_ENOUGH_SPACE
        279,  # ALL_CONNECTION_TRIES_FAILED
        285,  # TOO_FEW_LIVE_REPLICAS
        286,  # UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE
        319,  # UNKNOWN_STATUS_OF_INSERT
        373,  # SESSION_IS_LOCKED
        394,  # QUERY_WAS_CANCELLED
        425,  # SYSTEM_ERROR
        439,  # CANNOT_SCHEDULE_TASK
        999,  # KEEPER_EXCEPTION
    }
)
# What the rows themselves can be guilty of. Anything else would refuse every other batch too: bisecting it would
# send the whole log to the dead letters.
ROW_CODES = frozenset(
    {
        6,  # CANNOT_PARSE_TEXT
        26,  # CANNOT_PARSE_QUOTED_STRING
        27,  # CANNOT_PARSE_INPUT_ASSERTION_FAILED
        32,  # ATTEMPT_TO_READ_AFTER_EOF
        33,  # CANNOT_READ_ALL_DATA
        38,  # CANNOT_PARSE_DATE
        41,  # CANNOT_PARSE_DATETIME
        53,  # TYPE_MISMATCH
        69,  # ARGUMENT_OUT_OF_BOUND
        70,  # CANNOT_CONVERT_TYPE
        72,  # CANNOT_PARSE_NUMBER
        117,  # INCORRECT_DATA
        128,  # TOO_LARGE_ARRAY_SIZE
        131,  # TOO_LARGE_STRING_SIZE
        307,  # TOO_MANY_BYTES: half the batch may fit
        321,  # VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
        349,  # CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
        407,  # DECIMAL_OVERFLOW
        469,  # VIOLATED_CONSTRAINT
    }
)
_TOO_MANY_PARTS = 252  # two faults under one number: the block's days are the rows' fault, slow merges are not
_BLOCK_PARTITIONS = "partitions for single INSERT block"


@contextmanager
def translated(doing: str, *, rows: bool = False) -> Iterator[None]:
    """Raises our errors for the driver's. With `rows`, the message never repeats what ClickHouse quotes from them."""
    try:
        yield
    except (ClickHouseError, HTTPError, OSError) as error:
        raise fault(error, doing, rows=rows) from None


def fault(error: Exception, doing: str, *, rows: bool = False) -> StoreError:
    """The error of ours for one of the driver's, or of the transport's under it."""
    code = error.code if isinstance(error, Error) else None
    text = " ".join(str(error).split("DB::Exception:", 1)[-1].split())[:MESSAGE_CHARS_MAX]
    if code is None:
        if isinstance(error, OperationalError | HTTPError | OSError):
            return StoreUnreachable(f"{doing}: no answer from the store; is it running? ({_cause(error)})")
        return StoreRefused(f"{doing}: {type(error).__name__}" if rows else f"{doing}: {text}")
    name = getattr(error, "name", None) or "unnamed"
    said = f"ClickHouse code {code} ({name})" if rows else text
    if code in TRANSIENT_CODES or (code == _TOO_MANY_PARTS and _BLOCK_PARTITIONS not in str(error)):
        return StoreUnreachable(f"{doing}: the store cannot at the moment: {said}")
    if rows and (code in ROW_CODES or code == _TOO_MANY_PARTS):
        return RowsRefused(f"{doing}: the store refused the rows: {said}", code)
    return StoreRefused(f"{doing}: {said}", code)


def _cause(error: BaseException) -> str:
    """The innermost reason; the driver wraps it in its own words three times."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return f"{type(error).__name__}: {error}"[:MESSAGE_CHARS_MAX]
