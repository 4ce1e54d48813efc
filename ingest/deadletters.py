"""Reads the dead letters and sends their bytes again. Judges no record; reads bytes only where it is asked to.

A letter is known by its key, `topic/partition/offset@log`. One that was buried twice is one letter.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from ingest.erased import Erasures
from ingest.stream.intake import Spot
from ingest.stream.letters import CONTENT_BYTES_MAX, LETTERS_PER_FLUSH_MAX, DeadLetter, LettersLost
from ingest.stream.logs import TopicMissing
from ingest.stream.tail import Tail
from runtime.emit import DurableLog
from runtime.events import Event, Topic, Unreadable, decode

_FLUSH_TIMEOUT_S = 30.0
Fate = Literal["ready", "bytes gone", "cut", "other bytes", "erased"]


class Letter(Struct, frozen=True):
    """A dead letter under its key."""

    key: str
    letter: DeadLetter


class Count(Struct, frozen=True):
    topic: str
    reason: str
    letters: int
    latest: int  # µs since 1970


class Again(Struct, frozen=True):
    """What becomes of a letter that is to be sent again. `invalid`: nobody can read it yet, so it comes back."""

    key: str
    fate: Fate
    invalid: bool = False


def letters(tail: Tail, *, reason: str = "", since_us: int = 0) -> list[Letter]:
    """All letters that are kept, by key the first, in the order of their burial. Raises BrokerUnreachable or
    RightMissing.
    """
    found: dict[str, Letter] = {}
    for key, value in _records(tail, Topic.DEAD_LETTERS):
        try:
            letter = msgspec.json.decode(value, type=DeadLetter)
        except msgspec.DecodeError:
            continue  # not ours: nobody else's record becomes a letter
        if (not reason or letter.reason == reason) and letter.at >= since_us:
            found.setdefault(key, Letter(key, letter))
    return sorted(found.values(), key=lambda one: _place(one.letter))


def _place(letter: DeadLetter) -> tuple[int, str, str, int, int]:
    """What one flush buries has one time: after it by offset, as a number, which a key is not."""
    return letter.at, letter.topic, letter.log, letter.partition, letter.offset


def counted(found: Iterable[Letter]) -> list[Count]:
    """By topic and reason, the most first."""
    counts: dict[tuple[str, str], list[int]] = {}
    for one in found:
        counts.setdefault((one.letter.topic, one.letter.reason), []).append(one.letter.at)
    rows = [Count(topic, reason, len(at), max(at)) for (topic, reason), at in counts.items()]
    return sorted(rows, key=lambda c: (-c.letters, c.topic, c.reason))


def content(tail: Tail, keys: Iterable[str]) -> dict[str, bytes]:
    """The bytes of these letters, as far as they are kept."""
    wanted = set(keys)
    return {key: value for key, value in _records(tail, Topic.DEAD_CONTENT) if key in wanted}


def judged(found: Sequence[Letter], held: dict[str, bytes], erasures: Erasures) -> list[Again]:
    """Which of the letters can be sent again, and which of those nobody could read."""
    return [_judged(one, held.get(one.key), erasures) for one in found]


def is_erased(value: bytes, erasures: Erasures) -> bool:
    """Whether the bytes are of a lead who was forgotten or of such a lead's call, as far as they can be read. Where no
    tenant can be read, whoever has the call's id or the lead's pseudonym is meant.
    """
    event = _event(value)
    if event is not None:
        return erasures.covers(event) or (event.tenant, event.stream) in erasures.calls
    return any(f'"{known}"'.encode() in value for _, known in (*erasures.leads, *erasures.calls))


def send_again(log: DurableLog, found: Sequence[Letter], held: dict[str, bytes]) -> int:
    """Sends the bytes to where they came from, under the key that keeps a call's order. Raises LettersLost."""
    for start in range(0, len(found), LETTERS_PER_FLUSH_MAX):
        dropped, part = log.dropped, found[start : start + LETTERS_PER_FLUSH_MAX]
        for one in part:
            value = held[one.key]
            topic = Topic(one.letter.topic)
            log.append(topic, _key(topic, value) or one.key, value)
        if log.flush(_FLUSH_TIMEOUT_S) or log.dropped > dropped:
            raise LettersLost(
                f"the broker did not take all of {len(part)} letters: see that it runs, then send them again; "
                "what arrives twice counts once"
            )
    return len(found)


def _judged(one: Letter, value: bytes | None, erasures: Erasures) -> Again:
    if value is None:
        return Again(one.key, "bytes gone")
    if one.letter.size > CONTENT_BYTES_MAX or len(value) != one.letter.size:
        return Again(one.key, "cut")
    if hashlib.sha256(value).hexdigest() != one.letter.sha256:
        return Again(one.key, "other bytes")
    if is_erased(value, erasures):
        return Again(one.key, "erased")
    return Again(one.key, "ready", invalid=_event(value) is None)


def _key(topic: Topic, value: bytes) -> str:
    """As a producer keys it: what is said of a lead by the lead, everything else by its stream."""
    try:
        head = msgspec.json.decode(value, type=_Head)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    by_lead = topic in (Topic.OUTCOMES, Topic.CONTROL)
    return (head.lead or head.stream) if by_lead else head.stream


class _Head(Struct):
    stream: str = ""
    lead: str = ""


def _event(value: bytes) -> Event | None:
    try:
        return decode(value)
    except Unreadable:
        return None


def _records(tail: Tail, topic: Topic) -> Iterator[tuple[str, bytes]]:
    try:
        spans = tail.spans(topic)
    except TopicMissing:
        return
    for _, batch in tail.read_out({Spot(topic, number): begin for number, (begin, _) in spans.items()}):
        yield from ((kept.key.decode(errors="replace"), kept.value) for kept in batch if kept.value is not None)
