"""The call's account of itself: says speech, turns and glitches to the recorder. Measures nothing."""

from typing import Any

from runtime.emit import Recorder
from runtime.events import (
    Detector,
    Event,
    GlitchDetected,
    GlitchKind,
    Outcome,
    Speaker,
    SpeechEnded,
    SpeechStarted,
    TurnEnded,
)
from runtime.voice.outcome import OutcomeFold, Verdict
from runtime.voice.playout import Gap


class Account:
    """Events are said in the order of their time, with one exception: a glitch is known when it is over and
    bears the time of its beginning. A turn's end is said once its outcome is certain, which for an interrupted or
    an unanswered turn is the end of the caller's next speech.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._fold = OutcomeFold()
        self._since_us: dict[Speaker, tuple[int, int]] = {}  # speaker → (turn, start)
        self._answers: dict[int, tuple[int, int]] = {}  # turn → (latency, unattributed)
        self.outcomes: dict[int, Outcome] = {}
        self.latencies_us: dict[int, int] = {}
        self.gaps_ms: list[float] = []

    def say(self, event_type: type[Event], at_us: int, **payload: Any) -> None:
        self._recorder.record(event_type, at=at_us, **payload)

    def begins(self, speaker: Speaker, turn: int, at_us: int) -> None:
        self._since_us[speaker] = (turn, at_us)
        self.say(SpeechStarted, at_us, speaker=speaker, turn=turn)
        self._verdicts(self._fold.started(speaker, at_us), at_us)

    def ends(self, speaker: Speaker, at_us: int) -> None:
        """Falls silent; nothing when it was not speaking."""
        if speaker not in self._since_us:
            return
        turn, since_us = self._since_us.pop(speaker)
        duration_us = max(0, at_us - since_us)
        self.say(SpeechEnded, at_us, speaker=speaker, turn=turn, duration_us=duration_us)
        self._verdicts(self._fold.ended(speaker, turn, at_us, duration_us), at_us)

    def answers(self, turn: int, latency_us: int, unattributed_us: int) -> None:
        """The agent's first audio of a turn is heard."""
        self._answers[turn] = (latency_us, unattributed_us)
        self.latencies_us[turn] = latency_us

    def glitch(self, turn: int, gap: Gap) -> None:
        gap_ms = gap.gap_us / 1000
        self.gaps_ms.append(gap_ms)
        self.say(
            GlitchDetected, gap.at_us, turn=turn, detector=Detector.PLAYOUT, kind=GlitchKind.UNDERRUN, gap_ms=gap_ms
        )

    def close(self, at_us: int) -> None:
        """Nobody will speak any more: the last turn gets its outcome."""
        for speaker in tuple(self._since_us):
            self.ends(speaker, at_us)
        self._verdicts(self._fold.closed(at_us), at_us)

    def _verdicts(self, verdicts: list[Verdict], at_us: int) -> None:
        for turn, outcome in verdicts:
            self.outcomes[turn] = outcome
            latency_us, unattributed_us = self._answers.get(turn, (None, None))
            self.say(
                TurnEnded, at_us, turn=turn, outcome=outcome, latency_us=latency_us, unattributed_us=unattributed_us
            )
