"""Keeps a worker's knowledge of who is to be forgotten: from the store and the control topic before anything is read,
and every few seconds after. Applies it to each batch; removes nothing that is stored.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

from ingest.erased import Erasures
from ingest.errors import IngestError
from ingest.query import Client
from ingest.store.erasing import known_erasures
from ingest.stream.intake import Projected, Spot
from ingest.stream.logs import TopicMissing
from ingest.stream.tail import tail
from runtime.emit import Brokers
from runtime.events import Event, Topic, Unreadable, decode_many

REFRESH_S = 2.0
_log = logging.getLogger(__name__)


class Forgetting:
    """Call `begin` before the first batch, and run `refresh` beside the intake."""

    def __init__(self, client: Client, brokers: Brokers | None = None) -> None:
        self._client, self._brokers = client, brokers
        self._erasures = Erasures()

    def begin(self) -> None:
        """Blocks. The log may know of more than the store, which may be new; and the store of more than a log that was
        wiped. Raises IngestError.
        """
        self._erasures = known_erasures(self._client)
        if self._brokers is not None:
            self._erasures.learn(said_of_erasures(self._brokers))

    async def refresh(self) -> None:
        """For ever. Another worker may be the one that reads the control topic."""
        while True:
            await asyncio.sleep(REFRESH_S)
            try:
                known = await asyncio.to_thread(known_erasures, self._client)
            except IngestError as error:
                _log.warning("cannot ask who was erased since: %s", error)
                continue
            self._erasures.calls |= known.calls
            for who, until_us in known.leads.items():
                self._erasures.leads[who] = max(until_us, self._erasures.leads.get(who, 0))

    def amend(self, spot: Spot, batch: Sequence[Projected]) -> Sequence[Projected]:
        """As the intake wants it."""
        return self._erasures.applied(spot.topic, batch)


def said_of_erasures(brokers: Brokers) -> list[Event]:
    """Every event that the control topic keeps. It is compacted, and small. Raises BrokerUnreachable, or
    RightMissing: a topic that our login may not see is not one that names nobody.
    """
    found: list[Event] = []
    with tail(brokers) as opened, suppress(TopicMissing):  # a worker says itself that its topics are missing
        starts = {Spot(Topic.CONTROL, number): begin for number, (begin, _) in opened.spans(Topic.CONTROL).items()}
        for _, batch in opened.read_out(starts):
            found += [e for e in decode_many([kept.value or b"" for kept in batch]) if not isinstance(e, Unreadable)]
    return found
