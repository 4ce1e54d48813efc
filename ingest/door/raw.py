"""A span as both encodings bring it, before anything is kept of it. Reads neither."""

import base64
from collections.abc import Callable, Iterable, Iterator

import msgspec

from ingest.door.attributes import ABOUT, Value, bounded

Pair = tuple[str, Value, Callable[[], str]]  # name, scalar if it is one, and what makes a text of the value


class Raw(msgspec.Struct, frozen=True, gc=False):
    """What both encodings come to."""

    trace: str
    span: str
    parent: str
    scope: str
    name: str
    start_us: int
    end_us: int
    status: int
    message: str
    attributes: Iterable[Pair]
    events: Iterable[tuple[str, Iterable[Pair]]]
    about: dict[str, str]


def of_process(pairs: Iterator[Pair]) -> dict[str, str]:
    return {name: bounded(value) for name, value, _ in pairs if name in ABOUT and isinstance(value, str) and value}


def as_text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return "" if value is None else msgspec.json.encode(value).decode()
