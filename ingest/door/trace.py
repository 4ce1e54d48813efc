"""The spans of one trace, for the maps: who is below whom. Knows no dialect."""

from collections.abc import Iterable, Iterator, Mapping

from ingest.door.limits import ANCESTORS_MAX
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
        self._parts = self._sorted_into_wholes()

    def of(self, dialect: Dialect, *names: str) -> list[ForeignSpan]:
        return [s for s in self.spans if s.dialect is dialect and s.name in names]

    def turn_of(self, span: ForeignSpan) -> int:
        """The turn of the span, or of what it is part of; 0 when that is not known."""
        return next((self.homes[s.span] for s in (span, *self._above(span)) if s.span in self.homes), 0)

    def within(self, whole: ForeignSpan, name: str) -> list[ForeignSpan]:
        """The spans of that name that are part of it; `whole` is the nearest above them of its own name."""
        return self._parts.get((whole.span, name), [])

    def _above(self, span: ForeignSpan) -> Iterator[ForeignSpan]:
        """What it is part of, from the nearest. A circle has no end, so it is cut, and so is a tower."""
        above = self._by_id.get(span.parent)
        for _ in range(ANCESTORS_MAX):
            if above is None or above is span:
                return
            yield above
            above = self._by_id.get(above.parent)

    def _sorted_into_wholes(self) -> dict[tuple[str, str], list[ForeignSpan]]:
        parts: dict[tuple[str, str], list[ForeignSpan]] = {}
        for span in self.spans:
            if not span.name:
                continue
            seen: set[str] = set()
            for above in self._above(span):
                if above.name and above.name not in seen and above.dialect is not Dialect.OTHER:
                    seen.add(above.name)
                    parts.setdefault((above.span, span.name), []).append(span)
        return parts
