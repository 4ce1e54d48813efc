"""What is answered instead of a result: ClickHouse's number and its message."""


class QueryFailed(Exception):
    """`code` is of src/Common/ErrorCodes.cpp; the message is what a client shows."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
