"""The look of plots: readable, told apart by people with colour blindness, and text that stays text."""

import re
from importlib.resources import files
from itertools import combinations

import numpy as np
import pytest

from grafana.charts import DARK, LIGHT, LOOKS, Bin, Look, bars, embedded, histogram, plotly_script, stack
from grafana.charts.figures import BINS_PER_DECADE, LABEL_CHARS_MAX
from grafana.charts.look import UNATTRIBUTED
from runtime.events import Component

TEXT_CONTRAST_MIN = 4.5  # WCAG 2.2, 1.4.3
APART_MIN = 15.0  # CIE 1976 ΔE; 2.3 is just noticeable side by side
WAIT = (Component.END_OF_TURN, Component.DECISION, Component.TOOL, Component.RESPONSE, Component.TTS)

# Machado, Oliveira and Fernandes, "A Physiologically-based Model for Simulation of Color Vision Deficiency", 2009:
# complete protanopia, deuteranopia and tritanopia, on linear RGB.
SIGHT = {
    "usual": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: look.name)
def test_text_stands_out_from_its_ground(look: Look) -> None:
    for colour in (look.ink, look.soft, look.breach):
        assert _contrast(colour, look.ground) >= TEXT_CONTRAST_MIN, colour


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("look", LOOKS, ids=lambda look: look.name)
def test_parts_of_a_wait_and_breaches_are_told_apart_whatever_one_sees(look: Look, sight: str) -> None:
    colours = {part: look.part(part) for part in (*WAIT, UNATTRIBUTED)} | {"breach": look.breach}
    seen = {name: _lab(_seen(colour, sight)) for name, colour in colours.items()}
    apart = {(a, b): float(np.linalg.norm(seen[a] - seen[b])) for a, b in combinations(seen, 2)}
    assert min(apart.values()) >= APART_MIN, min(apart.items(), key=lambda item: item[1])


def test_a_component_has_one_colour_on_all_pages() -> None:
    light, _, dark = (files("grafana.call") / "page.css").read_text().partition("@media (prefers-color-scheme: dark)")
    for style, look in ((light, LIGHT), (dark, DARK)):
        shown = dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", style))
        wanted = {part: look.part(part) for part in Component if part != Component.TURN} | {"bad": look.breach}
        assert {name: shown.get(name) for name in wanted} == wanted


def test_a_component_of_another_domain_has_a_colour_and_keeps_it() -> None:
    assert LIGHT.part("retrieval") in LIGHT.more
    assert LIGHT.part("retrieval") == LIGHT.part("retrieval")
    assert DARK.more.index(DARK.part("retrieval")) == LIGHT.more.index(LIGHT.part("retrieval"))


def test_a_bin_of_which_a_part_is_over_is_drawn_in_two_colours_at_its_place() -> None:
    figure = histogram(
        [Bin(59, 5, 0), Bin(60, 3, 2)], LIGHT, colour="#123456", what="spans", window=(40, 80), limits_ms=(110.0,)
    )
    within, over = figure.data
    assert (list(within.y), list(over.y)) == ([5, 3], [2])
    assert within.x[1] == over.x[0] == 60 / BINS_PER_DECADE
    assert over.marker.color == LIGHT.breach
    assert list(figure.layout.xaxis.range) == [40 / BINS_PER_DECADE, 81 / BINS_PER_DECADE]
    assert [10**shape.x0 for shape in figure.layout.shapes] == [pytest.approx(110.0)]
    assert "over the objective" in over.hovertext[0]
    assert "over the objective" not in within.hovertext[1]


def test_bins_are_of_one_width_and_meet() -> None:
    assert Bin(60, 0, 0).to_ms == Bin(61, 0, 0).from_ms
    assert Bin(60, 0, 0).from_ms == pytest.approx(10 ** (60 / BINS_PER_DECADE))


def test_what_is_unattributed_may_be_less_than_nothing() -> None:
    figure = stack(["1"], {"decision": [100.0], UNATTRIBUTED: [-20.0]}, ["80"], LIGHT, height_px=200)
    assert figure.layout.barmode == "relative"
    assert [list(trace.y) for trace in figure.data] == [[100.0], [-20.0]]
    assert figure.layout.annotations[0].y == 100.0


def test_a_long_name_is_cut_beside_its_bar_and_whole_when_pointed_at() -> None:
    name = "x" * 128
    figure = bars({name: 1, name + "y": 2}, LIGHT, what="calls")
    assert [len(text.strip()) for text in figure.layout.yaxis.ticktext] == [LABEL_CHARS_MAX, LABEL_CHARS_MAX]
    assert list(figure.layout.yaxis.tickvals) == [0, 1]  # two bars, though their labels are the same
    assert name in figure.data[0].hovertext[0]


def test_what_looks_like_markup_is_text() -> None:
    figure = bars({"<b>&": 1}, LIGHT, what="calls")
    assert figure.layout.yaxis.ticktext[0].strip() == "&lt;b&gt;&amp;"
    assert figure.data[0].hovertext[0].startswith("&lt;b&gt;&amp;<br>")


def test_both_looks_of_a_figure_are_data_without_a_template() -> None:
    both = embedded({"one": lambda look: bars({"a": 1}, look, what="calls")})
    assert both.keys() == {"light", "dark"}
    assert both["light"]["one"]["data"][0]["marker"]["color"] == [LIGHT.plain]
    assert both["dark"]["one"]["data"][0]["marker"]["color"] == [DARK.plain]
    assert len(str(both)) < 4_000


def test_the_script_ships_with_plotly() -> None:
    script = plotly_script()
    assert "plotly.js" in script[:200]
    assert len(script) > 1_000_000


def _linear(colour: str) -> np.ndarray:
    s = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4)


def _contrast(one: str, other: str) -> float:
    weights = np.array([0.2126, 0.7152, 0.0722])
    low, high = sorted(float(weights @ _linear(colour)) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def _seen(colour: str, sight: str) -> np.ndarray:
    return np.clip(np.asarray(SIGHT[sight]) @ _linear(colour), 0, 1)


def _lab(linear: np.ndarray) -> np.ndarray:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    t = to_xyz @ linear / np.array([0.9505, 1.0, 1.089])
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])
