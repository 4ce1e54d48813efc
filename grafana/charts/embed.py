"""What a page needs to draw figures without a network: plotly's script, and figures as data. Builds no page.

A page holds an element `data-figure="NAME"` for each figure, loads plotly's script, embeds what `embedded` returns as
JSON in a script element with the id `figures`, and runs `DRAW`. Both looks are embedded: the browser picks.
"""

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from grafana.charts.look import LOOKS, Look

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

PLOTLY_FILE = "plotly.min.js"

DRAW = """
const figures = JSON.parse(document.getElementById("figures").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
function draw() {
  const look = figures[dark.matches ? "dark" : "light"];
  for (const place of document.querySelectorAll("[data-figure]")) {
    const {data, layout} = look[place.dataset.figure];
    Plotly.react(place, data, layout, {displayModeBar: false, responsive: true, scrollZoom: false, doubleClick: false});
  }
}
draw();
dark.addEventListener("change", draw);
"""


def plotly_script() -> str:
    """The whole of plotly.js, 5 MB, as it ships with plotly: pages share one copy beside them, PLOTLY_FILE."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def embedded(figures: Mapping[str, Callable[[Look], "Figure"]]) -> dict[str, dict[str, Any]]:
    """Look → name → figure, as data for JSON."""
    return {look.name: {name: json.loads(figure(look).to_json()) for name, figure in figures.items()} for look in LOOKS}
