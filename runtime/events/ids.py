"""Identities: call ids (UUIDv7), the day a call belongs to, and the pseudonym of a lead."""

import hashlib
import hmac
import os
import uuid

_MS_PER_DAY = 86_400_000
_FACTS = uuid.UUID("6f0b5f7e-43a5-5f0e-9d1c-6c1b6d3f2a10")  # the namespace of `stream_of`; never changes

# Sources that take what others send: their numbers are no count, so nobody can know whether all is there.
UNCOUNTED = frozenset({"door"})
PRODUCER = "producer"  # the source of a producer's own stream, which is no call; migrations name it too


def new_call_id(now_us: int) -> str:
    """A fresh UUIDv7 (RFC 9562) whose first 48 bits are `now_us` in milliseconds."""
    raw = (now_us // 1000).to_bytes(6, "big") + os.urandom(10)
    bits = int.from_bytes(raw, "big")
    bits = bits & ~(0xF << 76) | (7 << 76)
    bits = bits & ~(0x3 << 62) | (2 << 62)
    return str(uuid.UUID(int=bits))


def is_call_id(stream: str) -> bool:
    """True for the canonical lower-case text of a UUIDv7, the only spelling that the log accepts.

    Another spelling of the same number would be another stream to a reader that compares text and
    the same one to a store that compares UUIDs, so it is refused rather than repaired.
    """
    return _is_uuid(stream, "7")


def is_fact_id(stream: str) -> bool:
    """True for the canonical text of a UUIDv5: the stream of what is neither a call nor a producer."""
    return _is_uuid(stream, "5")


def stream_of(tenant: str, key: str) -> str:
    """The stream of a fact outside calls: the UUIDv5 of the caller's idempotency key, apart for each tenant."""
    return str(uuid.uuid5(_FACTS, f"{len(tenant)}:{tenant}{key}"))


def _is_uuid(text: str, version: str) -> bool:
    if len(text) != 36 or text[14] != version or text[19] not in "89ab":
        return False
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def day_of_call(call_id: str) -> int:
    """Days since 1970-01-01 (UTC) of the call's UUIDv7: a redelivery meets its original on this day."""
    return int(call_id[:8] + call_id[9:13], 16) // _MS_PER_DAY


def lead_id(tenant_key: bytes, person: str) -> str:
    """The pseudonym of a lead: HMAC-SHA256 of a CRM id or number under the tenant's key, 32 hex digits.

    Made at the edge, so that the number itself never reaches the log.
    """
    return hmac.new(tenant_key, person.encode(), hashlib.sha256).hexdigest()[:32]
