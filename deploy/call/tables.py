"""What to say of a store that has never been written to. Creates nothing in it."""

from collections.abc import Iterator
from contextlib import contextmanager

from deploy.errors import DeployError
from ingest.errors import StoreRefused

_UNKNOWN_TABLE = 60  # ClickHouse's number


@contextmanager
def told_without_tables() -> Iterator[None]:
    """Raises DeployError with what to do, in place of ClickHouse's words about a name that it does not know."""
    try:
        yield
    except StoreRefused as error:
        if error.code != _UNKNOWN_TABLE:
            raise
        raise DeployError(
            "the store has no calls yet, not even tables for them: run `turnlog demo`, or a worker on your log"
        ) from None
