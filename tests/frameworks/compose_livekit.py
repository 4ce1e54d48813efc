"""Composes traces of LiveKit's older dialects, which no pinned version of it writes any more; nobody recorded these.

`PYTHONPATH=. python tests/frameworks/compose_livekit.py` writes `tests/golden/otlp/livekit-1.2-composed.jsonl` (words
in `lk.*`, as of 1.2 to 1.5) and `livekit-1.6-composed.jsonl` (words in `lk.pii.*`, before `gen_ai.*`). Both tell one
call: a greeting, a turn that is answered after a discarded generation, one that is interrupted, one with a tool.
"""

import json
from pathlib import Path
from typing import Any

from tests.unit.foreign import GOLDEN, request, span

_TOLD = {
    "turns": [["answered", 900_000], ["interrupted", 950_000], ["answered", 1_400_000]],
    # component, turn, status, what it adds to the wait
    "spans": [
        ["tts", 0, "ok", 150_000],
        ["response", 1, "cancelled", None],
        ["asr", 1, "ok", 300_000],
        ["end_of_turn", 1, "ok", 500_000],
        ["response", 1, "ok", 200_000],
        ["tts", 1, "ok", 160_000],
        ["asr", 2, "ok", 300_000],
        ["end_of_turn", 2, "ok", 500_000],
        ["response", 2, "ok", 250_000],
        ["tts", 2, "ok", 170_000],
        ["asr", 3, "ok", 300_000],
        ["end_of_turn", 3, "ok", 500_000],
        ["decision", 3, "ok", 260_000],
        ["tool", 3, "ok", 210_000],
        ["response", 3, "ok", 250_000],
        ["tts", 3, "ok", 150_000],
    ],
    "tools": ["book"],
    "heard": ["first thing", "second thing", "book it"],
    "said": ["Hello.", "All good.", "All go", "Booked."],
}


def composed(pii: str) -> list[tuple[str, dict[str, Any]]]:
    """`pii` is the segment before the names of words."""

    def words(**named: str) -> dict[str, str]:
        return {f"lk.{pii}{name}": text for name, text in named.items()}

    def made(name: str, start: float, end: float, attributes: dict[str, Any] | None = None, **more: Any) -> Any:
        return span(name, start, end, attributes, scope="livekit-agents", **more)

    def delays(latency: float | None = None) -> dict[str, float]:
        both = {"lk.end_of_turn_delay": 0.5, "lk.transcription_delay": 0.3}
        return both if latency is None else {**both, "lk.e2e_latency": latency}

    discarded = [("preemptive_generation_discarded", {"lk.speech_id": "speech_1"})]
    heard, said = "user_transcript", "response.text"
    return [
        made("agent_turn", 100, 900, {"lk.interrupted": False, **words(**{said: "Hello."})}, id=2, parent=1),
        made("tts_node", 110, 400, {"lk.response.ttfb": 0.15, **words(input_text="Hello.")}, id=3, parent=2),
        made("agent_speaking", 270, 890, id=4, parent=2),
        # Answered; a generation that was made ahead is discarded, and looks like any other.
        made("user_turn", 1_000, 2_500, {**delays(), **words(**{heard: "first thing"})}, id=10, parent=1),
        made("user_speaking", 1_000, 2_000, id=11, parent=1),
        made(
            "agent_turn",
            2_100,
            4_000,
            {**delays(0.9), **words(**{said: "All good."})},
            id=12,
            parent=1,
            events=discarded,
        ),
        made("llm_node", 2_110, 2_290, {"lk.response.ttft": 0.1, **words(chat_ctx="{}")}, id=13, parent=12),
        made("llm_node", 2_500, 2_800, {"lk.response.ttft": 0.2, **words(chat_ctx="{}")}, id=14, parent=12),
        made("tts_node", 2_720, 3_500, {"lk.response.ttfb": 0.16}, id=15, parent=12),
        made("agent_speaking", 2_900, 3_990, id=16, parent=12),
        # Interrupted.
        made("user_turn", 4_200, 5_700, {**delays(), **words(**{heard: "second thing"})}, id=20, parent=1),
        made("user_speaking", 4_200, 5_200, id=21, parent=1),
        made(
            "agent_turn",
            5_700,
            7_000,
            {**delays(0.95), "lk.interrupted": True, **words(**{said: "All go"})},
            id=22,
            parent=1,
        ),
        made("llm_node", 5_700, 6_010, {"lk.response.ttft": 0.25}, id=23, parent=22),
        made("tts_node", 5_960, 6_800, {"lk.response.ttfb": 0.17}, id=24, parent=22),
        made("agent_speaking", 6_150, 6_950, id=25, parent=22),
        # A tool.
        made("user_turn", 6_700, 8_200, {**delays(), **words(**{heard: "book it"})}, id=30, parent=1),
        made("user_speaking", 6_700, 7_700, id=31, parent=1),
        made("agent_turn", 8_200, 10_000, {**delays(1.4), **words(**{said: "Booked."})}, id=32, parent=1),
        made(
            *(
                "llm_node",
                8_200,
                8_460,
                {"lk.response.ttft": 0.24, **words(**{"response.function_calls": '[{"name": "book"}]'})},
            ),
            id=33,
            parent=32,
        ),
        made(
            *("function_tool", 8_460, 8_670),
            {
                "lk.function_tool.name": "book",
                **words(**{"function_tool.arguments": "{}", "function_tool.output": "done"}),
            },
            id=34,
            parent=32,
        ),
        made("llm_node", 8_680, 8_960, {"lk.response.ttft": 0.25}, id=35, parent=32),
        made("tts_node", 8_940, 9_700, {"lk.response.ttfb": 0.15}, id=36, parent=32),
        made("agent_speaking", 9_100, 9_990, id=37, parent=32),
        made("agent_session", 0, 10_500, {**words(room_name="room-1"), "lk.job_id": "job-1"}, id=1),
    ]


def main() -> None:
    for name, pii in (("livekit-1.2-composed", ""), ("livekit-1.6-composed", "pii.")):
        first = {"composed": "from what is known of the dialect; not recorded", "injected": _TOLD}
        lines = [first, request(composed(pii), service_name="livekit-agent")]
        Path(GOLDEN / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    main()
