"""Bodies as they travel: out of their encoding, bounded, and into one, piece by piece. Knows nothing of the engine."""

import re
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

import lz4.frame  # type: ignore[import-untyped]  # ships no hints
from backports import zstd

from ingest.store.failure import QueryFailed

PIECE_BYTES = 2**20
COMPRESSED_FROM_BYTES = 4_096  # below it, it costs more than it saves
_REFUSED = re.compile(r"\s*q\s*=\s*0(\.0*)?\s*")


class Compressor(Protocol):
    """One stream; what it gives is to be sent in order."""

    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class _Lz4:
    def __init__(self) -> None:
        self._frame = lz4.frame.LZ4FrameCompressor()
        self._ahead: bytes = self._frame.begin()

    def compress(self, data: bytes, /) -> bytes:
        ahead, self._ahead = self._ahead, b""
        return ahead + bytes(self._frame.compress(data))

    def flush(self) -> bytes:
        return self._ahead + bytes(self._frame.flush())


# In the order in which we like them: what is fast first. Fast levels: who asks sits beside us or on a fast network.
_COMPRESSORS: dict[str, Callable[[], Compressor]] = {
    "lz4": _Lz4,
    "zstd": lambda: zstd.ZstdCompressor(level=1),
    "gzip": lambda: zlib.compressobj(1, wbits=31),
    "deflate": lambda: zlib.compressobj(1),
}


def encoding_for(accepted: str, size: int) -> str | None:
    """The encoding of an answer of that size, out of an Accept-Encoding; None leaves it as it is."""
    if size < COMPRESSED_FROM_BYTES:
        return None
    parts = [part.partition(";") for part in accepted.lower().split(",")]
    names = {name.strip() for name, _, weight in parts if not _REFUSED.fullmatch(weight)}
    return next((name for name in _COMPRESSORS if name in names), None)


def pieces(body: bytes, encoding: str | None) -> Iterator[bytes]:
    """The body in pieces of PIECE_BYTES, each encoded when it is asked for."""
    view = memoryview(body)
    compressor = _COMPRESSORS[encoding]() if encoding else None
    for start in range(0, len(view), PIECE_BYTES):
        piece = bytes(view[start : start + PIECE_BYTES])
        yield compressor.compress(piece) if compressor else piece
    if compressor:
        yield compressor.flush()


def decompressed(body: bytes, encoding: str, bytes_max: int) -> bytes:
    """The body as it was before its Content-Encoding. Raises QueryFailed when broken, unknown or too large."""
    try:
        if encoding == "identity" or not body:
            return body
        if encoding == "gzip":
            plain = zlib.decompressobj(wbits=31).decompress(body, bytes_max + 1)
        elif encoding == "deflate":
            plain = zlib.decompressobj().decompress(body, bytes_max + 1)
        elif encoding == "lz4":
            plain = lz4.frame.LZ4FrameDecompressor().decompress(body, max_length=bytes_max + 1)
        elif encoding == "zstd":
            plain = zstd.ZstdDecompressor().decompress(body, max_length=bytes_max + 1)
        else:
            raise QueryFailed(
                89, "Code: 89. DB::Exception: use lz4, zstd, gzip or deflate. (UNKNOWN_COMPRESSION_METHOD)"
            )
    except (zlib.error, zstd.ZstdError, RuntimeError, EOFError):
        message = f"Code: 271. DB::Exception: the body is not {encoding}. (CANNOT_DECOMPRESS)"
        raise QueryFailed(271, message) from None
    if len(plain) > bytes_max:
        raise too_large(bytes_max)
    return plain


def too_large(bytes_max: int) -> QueryFailed:
    return QueryFailed(307, f"Code: 307. DB::Exception: the body exceeds {bytes_max} bytes. (TOO_MANY_BYTES)")
