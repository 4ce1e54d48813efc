"""The words of foreign spans as content. Pure; with words unwanted there are none here to tell."""

from collections.abc import Iterator

from ingest.door.attributes import ERRORS
from ingest.door.span import Dialect, ForeignSpan
from ingest.door.told import Told
from ingest.door.trace import Trace
from runtime.events import ArgumentsGiven, DataGiven, ErrorQuoted, Event, WordsHeard, WordsSaid

_HEARD = frozenset({"transcript", "lk.user_transcript", "lk.pii.user_transcript"})
# What the agent said stands on the model's span in Pipecat, and on the reply in LiveKit.
_SAID = frozenset({("llm", "output"), ("agent_turn", "lk.response.text"), ("agent_turn", "lk.pii.response.text")})
_ARGUMENTS = frozenset({"lk.function_tool.arguments", "lk.pii.function_tool.arguments"})


def content(trace: Trace) -> Iterator[Told]:
    """Every attribute that may hold words: as what was heard or said, as arguments, as an error, else by its name."""
    for span in trace.spans:
        turn = trace.turn_of(span)
        for place, (attribute, text) in enumerate(span.words):
            event, payload = _event(span, attribute, text)
            at = span.start_us if event is WordsHeard else span.end_us
            yield Told(event, at, f"{span.span}:words:{place}:{attribute}", {"turn": turn, **payload})


def _event(span: ForeignSpan, attribute: str, text: str) -> tuple[type[Event], dict[str, str]]:
    if span.dialect is not Dialect.OTHER:
        if attribute in _HEARD:
            return WordsHeard, {"text": text}
        if (span.name, attribute) in _SAID:
            return WordsSaid, {"text": text}
    if attribute in _ARGUMENTS:
        return ArgumentsGiven, {"tool": span.text("lk.function_tool.name"), "arguments": text}
    if attribute in ERRORS:
        return ErrorQuoted, {"component": span.name, "text": text}
    return DataGiven, {"field": attribute, "value": text}
