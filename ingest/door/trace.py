"""The spans of one trace, for the maps: who is below whom. Knows no dialect."""

from collections.abc import Iterable, Mapping

from ingest.door.span import Dialect, ForeignSpan


class Trace:
    """Spans in the order of their start. `turns` maps the caller's turns that were numbered before to their number, and
    grows; `homes` is filled by the maps with the turn of every span that they place.
    """

    def __init__(self, spans: Iterable[ForeignSpan], turns: dict[str, int]) -> None:
        self.spans = sorted(spans, key=lambda s: (s.start_us, s.end_us, s.span))
        self.turns = turns
        self.homes: dict[str, int] = {}
        self._by_id: Mapping[str, ForeignSpan] = {s.span: s for s in self.spans}

    def of(self, dialect: Dialect, *names: str) -> list[ForeignSpan]:
        return [s for s in self.spans if s.dialect is dialect and s.name in names]

    def above(self, span: ForeignSpan, name: str) -> ForeignSpan | None:
        """The nearest span of that name and dialect that this one is part of. A circle has no end, so it is cut."""
        seen = {span.span}
        above = self._by_id.get(span.parent)
        while above is not None and above.span not in seen:
            if above.name == name and above.dialect is not Dialect.OTHER:
                return above
            seen.add(above.span)
            above = self._by_id.get(above.parent)
        return None

    def turn_of(self, span: ForeignSpan) -> int:
        """The turn of the span, or of what it is part of; 0 when that is not known."""
        seen: set[str] = set()
        here: ForeignSpan | None = span
        while here is not None and here.span not in seen:
            if here.span in self.homes:
                return self.homes[here.span]
            seen.add(here.span)
            here = self._by_id.get(here.parent)
        return 0

    def within(self, whole: ForeignSpan, *names: str) -> list[ForeignSpan]:
        """The spans of these names that are part of it, nearest enclosing one of its name."""
        return [s for s in self.spans if s.name in names and self.above(s, whole.name) is whole]
