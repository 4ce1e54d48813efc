"""What a simulated model answers: keyword rules over what the request itself offers; knows no agent of ours.

A tool fires by the phrases in "quotes" of its own description, as a human author would read them; the longest
phrase wins, so `not interested` beats `interested`. A spoken answer is one of the sentences that the prompt
gives in quotes, chosen by the seed.
"""

import json
import random
import re
from typing import Any

_QUOTED = re.compile(r'"([^"]{2,400})"')
_OTHERWISE = re.compile(r"\botherwise\b", re.IGNORECASE)
_WORD = re.compile(r"[a-z0-9']+")
WORDS_PER_CHUNK = 2
GENERIC = "Thank you, I have noted that. Is there anything else?"


def choose(tools: list[dict[str, Any]], words: str, chance: random.Random) -> tuple[str, str]:
    """The tool that fires on the caller's last words, and its arguments as JSON text. `tools` is not empty."""
    said = _plain(words)
    best, longest, fallback = None, 0, None
    for tool in (t["function"] for t in tools):
        description = str(tool.get("description", ""))
        if _OTHERWISE.search(description):
            fallback = fallback or tool
        for phrase in _QUOTED.findall(description):
            if len(phrase) > longest and f" {_plain(phrase).strip()} " in said:
                best, longest = tool, len(phrase)
    fired = best or fallback or tools[0]["function"]
    return str(fired["name"]), json.dumps(_arguments(fired.get("parameters") or {}, words, chance))


def answer(prompt: str, chance: random.Random) -> str:
    """What is said, given the instructions."""
    offered = [phrase for phrase in _QUOTED.findall(prompt) if len(phrase.split()) > 3]
    return chance.choice(offered) if offered else GENERIC


def pieces(text: str) -> list[str]:
    """The text in the chunks in which it is streamed; they join to the text."""
    words = re.findall(r"\s*\S+", text)
    return ["".join(words[i : i + WORDS_PER_CHUNK]) for i in range(0, len(words), WORDS_PER_CHUNK)]


def _arguments(schema: dict[str, Any], words: str, chance: random.Random) -> dict[str, Any]:
    filled: dict[str, Any] = {}
    for name, about in (schema.get("properties") or {}).items():
        if about.get("enum"):
            found = [v for v in about["enum"] if _plain(str(v)) in _plain(words)]
            filled[name] = found[0] if found else chance.choice(about["enum"])
        elif about.get("type") == "integer":
            digits = re.search(r"\d{1,4}", words)
            filled[name] = int(digits[0]) if digits else 1
        else:
            filled[name] = words[:200]
    return filled


def _plain(text: str) -> str:
    return f" {' '.join(_WORD.findall(text.lower()))} "
