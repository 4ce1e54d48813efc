"""The one look of plots and their pages: fonts, and colours for light and dark. Draws nothing.

Most hues are those of Okabe and Ito ("Color Universal Design", 2008); the tests hold them apart for people with any of
the usual kinds of colour blindness. Red is kept for what is over an objective and used for nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from runtime.events import Component

# Fonts that the machine has: a page asks nobody for one.
FONT = "system-ui, sans-serif"
UNATTRIBUTED = "unattributed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Colours by what they are for. `parts` are those of components, `more` of those that a domain named itself."""

    name: str
    ground: str
    ink: str  # text, and marks that must be seen
    soft: str  # text beside the text: at least 4.5 : 1 on the ground
    line: str  # rules and grids
    plain: str  # a bar that means nothing but its length
    breach: str
    parts: Mapping[str, str]
    more: tuple[str, ...]

    def part(self, component: str) -> str:
        """The colour of a component; the same in every plot."""
        known = self.parts.get(component)
        return known or self.more[sum(component.encode()) % len(self.more)]


LIGHT = Look(
    name="light",
    ground="#ffffff",
    ink="#1c2128",
    soft="#59636e",
    line="#dfe3e8",
    plain="#4477aa",
    breach="#c8321f",
    parts={
        Component.TURN: "#4477aa",
        Component.OPENING: "#a9b2bd",
        Component.END_OF_TURN: "#a9b2bd",
        Component.ASR: "#d0a8c4",
        Component.DECISION: "#0067a3",
        Component.TOOL: "#56b4e9",
        Component.RESPONSE: "#009e73",
        Component.TTS: "#e69f00",
        UNATTRIBUTED: "#dde1e6",
    },
    more=("#8c7a00", "#117733", "#882255", "#6a5acd", "#cc79a7"),
)

DARK = Look(
    name="dark",
    ground="#11161c",
    ink="#e8ebef",
    soft="#9ca6b1",
    line="#2a323b",
    plain="#6ea6dc",
    breach="#ff6a50",
    parts={
        Component.TURN: "#6ea6dc",
        Component.OPENING: "#6b7683",
        Component.END_OF_TURN: "#6b7683",
        Component.ASR: "#8d6482",
        Component.DECISION: "#3b8fd6",
        Component.TOOL: "#9bd4f7",
        Component.RESPONSE: "#1fb78c",
        Component.TTS: "#f0b13c",
        UNATTRIBUTED: "#39424c",
    },
    more=("#d6c63a", "#4fb56a", "#c96a97", "#a59bf0", "#e3a3c6"),
)

LOOKS = (LIGHT, DARK)
