"""Records as bytes on disk, each under a checksum of its own. Opens no file.

A frame is `crc32, size` of the body, then the body: number, time of writing, topic, key, value. Zeros are no frame, and
neither is a piece of one, so the end of what was written is found after any death.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from runtime.events import ALL_TYPES, PROTECTED_TYPES

VALUE_BYTES_MAX = 1_048_576  # a broker takes no more by default
OTHER = "other"  # what is no event of ours, or of a newer version
_SUM = struct.Struct("<II")
_HEAD = struct.Struct("<QQBH")  # number, ms since 1970, bytes of the topic, bytes of the key
_KINDS = {t.__name__: t.__name__ for t in ALL_TYPES}
PROTECTED = frozenset(t.__name__ for t in PROTECTED_TYPES)


class Record(NamedTuple):
    topic: str
    key: str
    value: bytes


class Frame(NamedTuple):
    number: int
    at_ms: int
    record: Record
    size: int


class _Typed(msgspec.Struct):
    type: str = ""


_TYPED = msgspec.json.Decoder(_Typed)


def kind_of(value: bytes) -> str:
    """The name of the event's type, for counters: one of a closed set."""
    try:
        return _KINDS.get(_TYPED.decode(value).type, OTHER)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return OTHER


def encode_frame(number: int, at_ms: int, record: Record) -> bytes:
    """Raises UnicodeEncodeError for a key that is no text, struct.error for one of over 65,535 bytes."""
    topic, key = record.topic.encode(), record.key.encode()
    body = b"".join((_HEAD.pack(number, at_ms, len(topic), len(key)), topic, key, record.value))
    size = len(body).to_bytes(4, "little")
    return b"".join((zlib.crc32(body, zlib.crc32(size)).to_bytes(4, "little"), size, body))


def decode_frame(data: bytes, start: int = 0) -> Frame | None:
    """The frame that begins there; none where a whole one does not."""
    body_at = start + _SUM.size
    if len(data) < body_at + _HEAD.size:
        return None
    checksum, size = _SUM.unpack_from(data, start)
    end = body_at + size
    if size < _HEAD.size or end > len(data):
        return None
    body = data[body_at:end]
    if zlib.crc32(body, zlib.crc32(data[start + 4 : body_at])) != checksum:
        return None
    number, at_ms, topic_bytes, key_bytes = _HEAD.unpack_from(body)
    key_at = _HEAD.size + topic_bytes
    value_at = key_at + key_bytes
    topic, key = body[_HEAD.size : key_at].decode(), body[key_at:value_at].decode()
    return Frame(number, at_ms, Record(topic, key, body[value_at:]), end - start)


def decode_frames(data: bytes, after: int = -1) -> Iterator[Frame]:
    """Whole frames from the start, with rising numbers beyond `after`: lower ones are left of an earlier use."""
    start = 0
    while (frame := decode_frame(data, start)) is not None and frame.number > after:
        yield frame
        after, start = frame.number, start + frame.size
