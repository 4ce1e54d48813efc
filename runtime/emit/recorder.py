"""Numbers what one source says about one call, encodes it and hands it to the log."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from runtime.emit.port import Log
from runtime.events import (
    Event,
    EventRefused,
    PersonalDataRefused,
    Reason,
    SourceClosed,
    Topic,
    Unreadable,
    decode,
    encode,
)


@dataclass(frozen=True, slots=True)
class Context:
    """What every event of a call carries. It is tried when made, so that no call starts whose every event would be
    refused: raises PersonalDataRefused, or Unreadable for a name that is too long or no text.
    """

    stream: str
    tenant: str
    campaign: str
    agent: str
    agent_version: str = "0"
    env: str = "development"
    lead: str = ""
    variants: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            decode(encode(SourceClosed(**asdict(self), source="context", seq=0, at=0, v=1, last_seq=0)))
        except PersonalDataRefused as refusal:
            raise PersonalDataRefused("Context", refusal.field) from None
        except UnicodeEncodeError:
            raise Unreadable(Reason.INVALID, "Context: a name is no Unicode text") from None


class Recorder:
    """One source of one call. Content goes to its own topic under a source of its own, `<source>.words`,
    so that the calls topic is complete without it.
    """

    def __init__(self, log: Log, context: Context, source: str) -> None:
        self._log = log
        self.context = context
        self._source = source
        self._next: Counter[str] = Counter()
        self.refused = 0

    @property
    def said(self) -> dict[str, int]:
        """Events handed over so far, by source."""
        return dict(self._next)

    def record(self, event_type: type[Event], at: int, **payload: Any) -> None:
        """Say one event. One that the codec refuses, or that no reader would take (a number out of its range,
        a name too long, a half of a surrogate pair), is replaced, at its own seq, by EventRefused.
        """
        source = f"{self._source}.words" if event_type.CONTENT else self._source
        try:
            value = encode(self._event(event_type, source, at, payload), envelope_tried=True)  # by the Context
            decode(value)
        except PersonalDataRefused as refusal:
            value = self._refusal(event_type, source, at, refusal.field)
        except Unreadable as problem:
            _, _, place = problem.detail.rpartition("$.")
            value = self._refusal(event_type, source, at, place if "$." in problem.detail else "")
        except (UnicodeEncodeError, TypeError, OverflowError):  # no text, no such field, no such number
            value = self._refusal(event_type, source, at, "")
        self._send(source, event_type.CONTENT, value)

    def _refusal(self, event_type: type[Event], source: str, at: int, field: str) -> bytes:
        self.refused += 1
        return encode(self._event(EventRefused, source, at, {"refused": event_type.__name__, "field": field}))

    def close(self, at: int) -> None:
        """Say that nothing follows, for each source that spoke."""
        for source in list(self._next):
            event = self._event(SourceClosed, source, at, {"last_seq": self._next[source]})
            self._send(source, source != self._source, encode(event))

    def _event(self, event_type: type[Event], source: str, at: int, payload: dict[str, Any]) -> Event:
        c = self.context
        return event_type(
            stream=c.stream,
            source=source,
            seq=self._next[source],
            at=at,
            v=1,
            tenant=c.tenant,
            campaign=c.campaign,
            agent=c.agent,
            agent_version=c.agent_version,
            env=c.env,
            lead=c.lead,
            variants=c.variants,
            **payload,
        )

    def _send(self, source: str, content: bool, value: bytes) -> None:
        self._next[source] += 1
        self._log.append(Topic.CONTENT if content else Topic.CALLS, self.context.stream, value)
