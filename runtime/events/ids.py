"""Identities: call ids (UUIDv7), the day a call belongs to, and the pseudonym of a lead."""

import hashlib
import hmac
import os
import uuid

_MS_PER_DAY = 86_400_000


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
    if len(stream) != 36 or stream[14] != "7" or stream[19] not in "89ab":
        return False
    try:
        return str(uuid.UUID(stream)) == stream
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
