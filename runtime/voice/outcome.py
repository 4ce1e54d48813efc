"""What became of each turn of the caller, folded from speech alone; the driver and every reader of the log
use this one fold, so that they cannot disagree. Reads no spans and no clock.
"""

from collections.abc import Iterable

from runtime.events import CallEnded, Event, Outcome, Speaker, SpeechEnded, SpeechStarted
from runtime.voice.ports import MEANT_US_MIN

AUDIO_US_MIN = 100_000  # less of the agent than this is no answer

Verdict = tuple[int, Outcome]


class OutcomeFold:
    """Takes speech in the order of time and gives each turn's outcome as soon as nothing can change it.

    Audio of the agent counts from the end of the turn's last caller speech. Turns are the caller's, from 1.
    """

    def __init__(self) -> None:
        self._turn: int | None = None  # the turn that still waits for its outcome
        self._last_end_us = 0
        self._longest_us = 0
        self._audio_us = 0
        self._agent_since_us: int | None = None
        self._caller_since_us: int | None = None
        self._caller_over_agent = False
        self._given = 0  # the latest turn that has its outcome

    def started(self, speaker: Speaker, at_us: int) -> list[Verdict]:
        """Someone begins to speak."""
        if speaker is Speaker.AGENT:
            self._agent_since_us = at_us
            return []
        self._caller_since_us = at_us
        self._caller_over_agent = self._agent_since_us is not None
        # Frozen here: what the agent says from now on is not heard before the caller spoke again.
        self._audio_us = self._heard_us(at_us)
        if self._agent_since_us is not None:
            self._agent_since_us = at_us
        return []

    def ended(self, speaker: Speaker, turn: int, at_us: int, duration_us: int) -> list[Verdict]:
        """Someone falls silent; `duration_us` is the length of that speech."""
        if speaker is Speaker.CALLER:
            return self._caller_ended(turn, at_us, duration_us)
        if self._caller_since_us is None:
            self._audio_us = self._heard_us(at_us)
        self._agent_since_us = None
        return self._answered_if_safe()

    def closed(self, at_us: int) -> list[Verdict]:
        """The call is over: a turn that was not answered by now never will be."""
        if self._caller_since_us is None:
            self._audio_us = self._heard_us(at_us)
        outcome = Outcome.ANSWERED if self._audio_us >= AUDIO_US_MIN else Outcome.HUNG_UP
        return self._give(outcome)

    def _caller_ended(self, turn: int, at_us: int, duration_us: int) -> list[Verdict]:
        self._caller_since_us = None
        meant = duration_us >= MEANT_US_MIN
        if self._turn is None or self._turn == turn:
            if self._turn == turn and self._audio_us >= AUDIO_US_MIN and not meant:
                self._resume_agent(at_us)  # a backchannel over or after the answer
                return self._answered_if_safe()
            return self._open(turn, at_us, duration_us)
        if self._audio_us < AUDIO_US_MIN:
            both_meant = meant and self._longest_us >= MEANT_US_MIN
            verdict = self._give(Outcome.DISAPPEARED if both_meant else Outcome.CONTINUED)
        else:
            verdict = self._give(Outcome.INTERRUPTED if meant and self._caller_over_agent else Outcome.ANSWERED)
        return verdict + self._open(turn, at_us, duration_us)

    def _open(self, turn: int, at_us: int, duration_us: int) -> list[Verdict]:
        if turn <= self._given:
            return []  # a backchannel into the opening, or into a turn that has its outcome
        self._longest_us = max(self._longest_us if self._turn == turn else 0, duration_us)
        self._turn = turn
        self._last_end_us = at_us
        self._audio_us = 0
        return []

    def _heard_us(self, now_us: int) -> int:
        if self._agent_since_us is None:
            return self._audio_us
        return self._audio_us + max(0, now_us - max(self._agent_since_us, self._last_end_us))

    def _resume_agent(self, at_us: int) -> None:
        if self._agent_since_us is not None:
            self._agent_since_us = at_us

    def _answered_if_safe(self) -> list[Verdict]:
        waiting = self._turn is not None and self._caller_since_us is None and self._agent_since_us is None
        return self._give(Outcome.ANSWERED) if waiting and self._audio_us >= AUDIO_US_MIN else []

    def _give(self, outcome: Outcome) -> list[Verdict]:
        turn, self._turn = self._turn, None
        if turn is None:
            return []
        self._given = turn
        return [(turn, outcome)]


def outcomes(events: Iterable[Event]) -> dict[int, Outcome]:
    """The outcome of every caller turn of one call whose outcome is certain, from its events in order."""
    fold = OutcomeFold()
    known: dict[int, Outcome] = {}
    for event in events:
        match event:
            case SpeechStarted():
                known.update(fold.started(event.speaker, event.at))
            case SpeechEnded():
                known.update(fold.ended(event.speaker, event.turn, event.at, event.duration_us))
            case CallEnded():
                known.update(fold.closed(event.at))
    return known
