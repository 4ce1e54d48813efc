"""The root of what ingest raises on purpose, and the errors of the store, split by who must act. Holds no logic.

IngestError
└── StoreError
    ├── StoreHeld          another process has the store: use its address, or stop it
    ├── StoreUnusable      the folder, address or schema is not fit for use: the operator must change it
    ├── StoreUnreachable   nobody answers, or not now: wait and try the same thing again
    └── StoreRefused       the store answered no: trying again will not help
        └── RowsRefused    because of the rows themselves: bisect the batch to the record
"""


class IngestError(Exception):
    """Anything that ingest raises on purpose. The message says what, where and what to do."""


class StoreError(IngestError):
    """Something about the store."""


class StoreHeld(StoreError):
    """Another process has this store open."""


class StoreUnusable(StoreError):
    """The folder, the address or the schema cannot be used as it is."""


class StoreUnreachable(StoreError):
    """Nobody answers, or the store is too busy or full at the moment. The same request may succeed later."""


class StoreRefused(StoreError):
    """The store refused SQL, rights or data. `code` is ClickHouse's number, absent when we refused ourselves."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class RowsRefused(StoreRefused):
    """The store refused the rows of one insert because of what is in them; others may still be fine."""
