"""The kinds of plot that we draw. Pure: numbers and a look in, a plotly figure out; what they mean is the caller's.

Text in a plotly figure is a dialect of HTML, so every name that comes from data goes through `_plain`.
"""

from collections.abc import Mapping, Sequence
from math import log10
from typing import TYPE_CHECKING, Any

import msgspec

from grafana.charts.look import FONT, UNATTRIBUTED, Look

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

LABEL_CHARS_MAX = 24  # of a name beside a bar; the table beneath has all of it
BINS_PER_DECADE = 30
_STEPS = (1, 2, 5)


class Bin(msgspec.Struct, frozen=True):
    """How many fell between 10^(number/BINS_PER_DECADE) ms and the next: within their objectives, and over one."""

    number: int
    within: int
    over: int

    @property
    def from_ms(self) -> float:
        return float(10 ** (self.number / BINS_PER_DECADE))

    @property
    def to_ms(self) -> float:
        return float(10 ** ((self.number + 1) / BINS_PER_DECADE))


def histogram(
    bins: Sequence[Bin],
    look: Look,
    *,
    colour: str,
    what: str,
    window: tuple[int, int],
    marks: Mapping[str, float] | None = None,
    limits_ms: Sequence[float] = (),
    named: bool = False,
    height_px: int = 44,
    ticks: bool = False,
) -> "Figure":
    """Counts of times on a log axis; what is over an objective stands on the rest in a colour of its own.

    `window` are the numbers of the first and last bin to show, so that rows line up. `marks` are quantiles by name, in
    ms; `named` writes their names beside them. A plain axis of log10(ms): plotly's own would not take bins as they are.
    """
    low, high = window[0] / BINS_PER_DECADE, (window[1] + 1) / BINS_PER_DECADE
    counted = (
        ([(b, b.within) for b in bins if b.within], colour, "within"),
        ([(b, b.over) for b in bins if b.over], look.breach, "over the objective"),
    )
    traces = [
        {
            "type": "bar",
            "name": name,
            "x": [b.number / BINS_PER_DECADE for b, _ in found],
            "y": [n for _, n in found],
            "width": [1 / BINS_PER_DECADE] * len(found),
            "offset": 0,
            # A line of the bar's own colour: one span among thousands still shows.
            "marker": {"color": hue, "line": {"color": hue, "width": 1}},
            "hoverinfo": "text",
            "hovertext": [
                f"{_ms(b.from_ms)} to {_ms(b.to_ms)}<br>{n:,} {what}" + (" over the objective" if b.over == n else "")
                for b, n in found
            ],
        }
        for found, hue, name in counted
        if found
    ]
    lines = [_upright(log10(ms), look.breach, 2, "dash") for ms in limits_ms]
    middle = (low + high) / 2
    notes = [
        _note(log10(ms), f"objective {_short(ms)}", look.breach, "left" if log10(ms) < middle else "right")
        for ms in limits_ms
    ]
    for place, (name, ms) in enumerate((marks or {}).items()):
        lines.append(_upright(log10(ms), look.ink, 1.5, "dot" if place == 0 else "solid"))
        if named:
            notes.append(_note(log10(ms), _plain(name), look.ink, "right" if place == 0 else "left"))
    top = 15 if notes else 4
    return _figure(
        look,
        traces,
        barmode="stack",
        bargap=0,
        height=height_px + (top if notes else 4) + (20 if ticks else 2),
        margin={"l": 0, "r": 0, "t": top, "b": 20 if ticks else 2},
        xaxis=_axis(
            look,
            range=[low, high],
            tickvals=[log10(ms) for ms in _ticks_ms(low, high)],
            ticktext=[_tick(ms) for ms in _ticks_ms(low, high)],
            tickangle=0,
            showticklabels=ticks,
            showgrid=True,
        ),
        yaxis=_axis(look, visible=False, rangemode="tozero"),
        shapes=lines,
        annotations=notes,
    )


def stack(
    groups: Sequence[str], parts: Mapping[str, Sequence[float]], totals: Sequence[str], look: Look, *, height_px: int
) -> "Figure":
    """Bars made of parts in ms, one bar a group, with what `totals` says above it. A part below zero hangs under the
    line.
    """
    traces: list[dict[str, Any]] = [
        {
            "type": "bar",
            "name": _plain(name),
            "x": list(range(len(groups))),
            "y": list(values),
            "marker": {
                "color": look.part(name),
                "line": {"color": look.ground, "width": 1},
                "pattern": {"shape": "/" if name == UNATTRIBUTED else "", "fgcolor": look.soft, "size": 5},
            },
            "hoverinfo": "text",
            "hovertext": [f"{_plain(name)}<br>{value:,.0f} ms" for value in values],
        }
        for name, values in parts.items()
    ]
    heights = [sum(max(values[i], 0) for values in parts.values()) for i in range(len(groups))]
    notes = [
        {"x": i, "y": heights[i], "text": _plain(text), "showarrow": False, "yanchor": "bottom", "yshift": 1}
        for i, text in enumerate(totals)
    ]
    return _figure(
        look,
        traces,
        barmode="relative",
        bargap=0.18,
        height=height_px,
        margin={"l": 62, "r": 0, "t": 18, "b": 26},
        xaxis=_axis(look, tickvals=list(range(len(groups))), ticktext=[_plain(g) for g in groups]),
        yaxis=_axis(
            look,
            showgrid=True,
            zeroline=True,
            zerolinecolor=look.soft,
            nticks=6,
            tickformat=",d",
            ticksuffix=" ms",
            showticksuffix="last",
        ),
        annotations=notes,
    )


def bars(counts: Mapping[str, int], look: Look, *, what: str, breaching: frozenset[str] = frozenset()) -> "Figure":
    """One bar a name, lying, in the order given; names in `breaching` have the colour of what is over."""
    names, total = list(counts), sum(counts.values())
    shares = [f"{n:,}  ({100 * n / total:.1f} %)" if total else f"{n:,}" for n in counts.values()]
    trace = {
        "type": "bar",
        "orientation": "h",
        "y": list(range(len(names))),
        "x": list(counts.values()),
        "width": 0.62,
        "text": shares,
        "textposition": "outside",
        "cliponaxis": False,
        "textfont": {"color": look.ink},
        "marker": {"color": [look.breach if name in breaching else look.plain for name in names]},
        "hoverinfo": "text",
        "hovertext": [f"{_plain(name)}<br>{n:,} {what}" for name, n in counts.items()],
    }
    most = max(counts.values(), default=1)
    return _figure(
        look,
        [trace],
        height=10 + 28 * len(names),
        margin={"l": 8, "r": 4, "t": 4, "b": 4},
        # Room for the number beside the longest bar.
        xaxis=_axis(look, visible=False, range=[0, most * 1.45]),
        yaxis=_axis(
            look,
            tickvals=list(range(len(names))),
            ticktext=[_plain(_cut(name or "(none)")) + "  " for name in names],
            range=[len(names) - 0.5, -0.5],
            automargin=True,
            tickfont={"color": look.ink},
        ),
    )


def _figure(look: Look, traces: list[dict[str, Any]], **layout: Any) -> "Figure":
    from plotly import graph_objects

    return graph_objects.Figure(
        data=traces,
        layout={
            "template": graph_objects.layout.Template(),  # plotly's own would be 7 kB in every figure
            "font": {"family": FONT, "size": 12, "color": look.soft},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "showlegend": False,
            "autosize": True,
            "dragmode": False,  # a finger on a plot scrolls the page
            "hovermode": "closest",
            "hoverlabel": {
                "bgcolor": look.ground,
                "bordercolor": look.line,
                "font": {"family": FONT, "size": 12, "color": look.ink},
            },
            **layout,
        },
    )


def _axis(look: Look, **more: Any) -> dict[str, Any]:
    return {
        "fixedrange": True,
        "showgrid": False,
        "gridcolor": look.line,
        "zeroline": False,
        "showline": False,
        "ticks": "",
        **more,
    }


def _upright(x: float, colour: str, width: float, dash: str) -> dict[str, Any]:
    line = {"color": colour, "width": width, "dash": dash}
    return {"type": "line", "x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1, "line": line}


def _note(x: float, text: str, colour: str, anchor: str) -> dict[str, Any]:
    return {
        "x": x,
        "y": 1,
        "yref": "paper",
        "text": text,
        "showarrow": False,
        "xanchor": anchor,
        "yanchor": "bottom",
        "xshift": -2 if anchor == "right" else 0,
        "font": {"size": 11, "color": colour},
    }


def _ticks_ms(low: float, high: float) -> list[float]:
    found = (step * 10.0**power for power in range(int(low) - 1, int(high) + 2) for step in _STEPS)
    return [ms for ms in found if low <= log10(ms) <= high]


def _tick(ms: float) -> str:
    """The unit stands at each power of ten: between them there is no room for it on a phone."""
    text = _short(ms)
    return text if log10(ms).is_integer() else text.partition(" ")[0]


def _short(ms: float) -> str:
    return f"{ms / 1000:g} s" if ms >= 1000 else f"{ms:g} ms"


def _ms(ms: float) -> str:
    return f"{ms:,.0f} ms" if ms >= 10 else f"{ms:.2g} ms"


def _cut(name: str) -> str:
    return name if len(name) <= LABEL_CHARS_MAX else name[: LABEL_CHARS_MAX - 1] + "…"


def _plain(text: str) -> str:
    """Text that plotly shows as it is: it would make a link or bold type of what looks like HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
