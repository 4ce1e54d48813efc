"""Who asked to be forgotten, and what that leaves of an event. Pure: reads no store and no log.

An erasure covers what was said before it: whole calls by the time in their id, facts by their own `at`. A call that is
made to the same lead later is another one, with a consent of its own.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec

from ingest.effects import Dead, Item, Skipped
from runtime.events import Event, LeadErased, Topic, is_call_id

Lead: TypeAlias = tuple[str, str]  # tenant, pseudonym
Call: TypeAlias = tuple[str, str]  # tenant, call id

# What an encoder of JSON writes as it is, so that a pseudonym is found in bytes by any program.
_PSEUDONYM = re.compile(r"[A-Za-z0-9_.:@+=-]{1,64}")
NOTHING = '"lead":""'


def is_pseudonym(text: str) -> bool:
    return _PSEUDONYM.fullmatch(text) is not None


def pattern_of(lead: str) -> str:
    """The lead as a field of an event's JSON, for Python's `re` and for ClickHouse's RE2 alike."""
    return rf'"lead"\s*:\s*"{re.escape(lead)}"'


def began_us(stream: str, at: int) -> int:
    """When a call began, by its id; of a fact, when it happened."""
    return int(stream[:8] + stream[9:13], 16) * 1000 if is_call_id(stream) else at


@dataclass(slots=True)
class Erasures:
    """Leads, each with the moment (µs) up to which it is erased, and the calls that are known to be theirs."""

    leads: dict[Lead, int] = field(default_factory=dict)
    calls: set[Call] = field(default_factory=set)

    def learn(self, events: Iterable[Event]) -> None:
        """What the control topic says of erasures; the latest of a lead counts."""
        for event in events:
            if isinstance(event, LeadErased) and event.lead:
                who = (event.tenant, event.lead)
                self.leads[who] = max(self.leads.get(who, 0), event.at)

    def covers(self, event: Event) -> bool:
        """Whether the event is about a lead who was forgotten after it."""
        if not event.lead or isinstance(event, LeadErased):
            return False
        until_us = self.leads.get((event.tenant, event.lead), -1)
        return began_us(event.stream, event.at) <= until_us

    def applied(self, topic: str, batch: Sequence[Item | Dead | Skipped]) -> list[Item | Dead | Skipped]:
        """The batch as it may be kept: no words of who is forgotten, and nothing that names them.

        The answer for a record is the same whenever it is asked, once its erasure is known.
        """
        if topic == Topic.CONTROL:
            self.learn(i.row.event for i in batch if isinstance(i, Item))
        if not self.leads and not self.calls:
            return list(batch)
        return [self._applied(topic, one) if isinstance(one, Item) else one for one in batch]

    def _applied(self, topic: str, item: Item) -> Item | Skipped:
        event: Event = item.row.event
        covered = self.covers(event)
        if topic == Topic.CONTENT and (covered or (event.tenant, event.stream) in self.calls):
            return Skipped(item.offset, item.size)
        if not covered:
            return item
        row = msgspec.structs.replace(
            item.row, event=msgspec.structs.replace(event, lead=""), payload=blanked(item.row.payload, event.lead)
        )
        return msgspec.structs.replace(item, row=row)


def blanked(payload: bytes, lead: str) -> bytes:
    """The record's bytes without the lead, and otherwise as they were said. `store.erasing` does the same in SQL."""
    return re.sub(pattern_of(lead).encode(), NOTHING.encode(), payload)
