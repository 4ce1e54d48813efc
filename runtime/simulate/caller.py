"""A caller who follows a script: answers what the agent asked, from the agent's words alone.

It is told neither the agent's graph nor its node, so it can be put before any agent that speaks English.
"""

import re
from dataclasses import dataclass

from runtime.simulate.persona import Goal, Persona, draw
from runtime.voice.ports import HangUp, Key, Move, Speech

WORD_US = 330_000
SPEECH_US_MIN = 480_000  # a meant speech stays clear of a backchannel
TURNS_MAX = 12
UNANSWERED_MAX = 2  # then it hangs up

_ASKS_WHO = re.compile(r"am i speaking|is this|are you the person", re.IGNORECASE)
_ASKS_WHAT = re.compile(r"can i do|can we help|may i help|an appointment with us", re.IGNORECASE)
_ASKS_WHEN = re.compile(r"which day|suit you|what time|in the morning or", re.IGNORECASE)
_LEAVES = re.compile(r"goodbye|sorry for the trouble", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ScriptedCaller:
    """Has no memory: chance comes from the turn, so it answers alike whenever it is asked."""

    persona: Persona
    seed: int
    call: int

    @staticmethod
    def of(seed: int, call: int) -> "ScriptedCaller":
        return ScriptedCaller(draw(seed, call), seed, call)

    def overlap(self, turn: int, begun: str) -> Move | None:
        if turn < 1:
            return None
        chance = Key(self.seed, self.call, turn).chance("overlap")
        if self.persona.goal is Goal.HANG_UP and turn == 2 and chance.random() < 0.5:
            return HangUp(chance.randint(600_000, 1_400_000))
        if self.persona.interrupts and self.persona.goal is Goal.BOOK and turn == 2 and not _LEAVES.search(begun):
            return self._speech(f"Sorry, {self.persona.day} {self.persona.time} is fine.", turn, "interrupt")
        if self.persona.backchannels and chance.random() < 0.6:
            return Speech("Mm-hm.", chance.randint(180_000, 360_000), chance.randint(500_000, 1_500_000))
        return None

    def reply(self, turn: int, said: str, unanswered: int) -> Move:
        if not said:
            return self._unheard(turn, unanswered)
        if turn >= TURNS_MAX or (self.persona.goal is Goal.HANG_UP and turn >= 2):
            return HangUp(Key(self.seed, self.call, turn).chance("leave").randint(400_000, 1_200_000))
        return self._speech(self._words(turn, said), turn, "reply")

    def _unheard(self, turn: int, unanswered: int) -> Move:
        wait_us = self.persona.patience_us
        if unanswered >= UNANSWERED_MAX:
            return HangUp(wait_us)
        speech = self._speech("Hello? Are you there?", turn, "unheard")
        return Speech(speech.text, speech.duration_us, wait_us)

    def _speech(self, text: str, turn: int, part: str) -> Speech:
        chance = Key(self.seed, self.call, turn).chance(part)
        duration_us = int(len(text.split()) * WORD_US * chance.uniform(0.85, 1.2))
        return Speech(text, max(SPEECH_US_MIN, duration_us), chance.randint(350_000, 1_400_000))

    def _words(self, turn: int, said: str) -> str:
        pick = Key(self.seed, self.call, turn).chance("words").choice
        persona = self.persona
        # The last question counts: an agent thanks first and asks then.
        if _ASKS_WHEN.search(said):
            return self._refusal(turn) or pick(
                (f"{persona.day} in the {persona.time} please.", f"Let's say {persona.day} {persona.time}.")
            )
        if _ASKS_WHAT.search(said):
            return self._refusal(turn) or pick(
                (f"I'd like to book a {persona.reason}.", f"I need an appointment for a {persona.reason}.")
            )
        if _ASKS_WHO.search(said):
            if persona.goal is Goal.WRONG_NUMBER:
                return pick(("No, you have the wrong number.", "There is nobody by that name here."))
            return pick(("Yes, speaking.", "Yes, that's me.", "This is me, yes."))
        return "Pardon? Could you say that again?"

    def _refusal(self, turn: int) -> str:
        pick = Key(self.seed, self.call, turn).chance("refusal").choice
        match self.persona.goal:
            case Goal.OPT_OUT:
                return pick(("Please stop calling me.", "Take me off your list, please."))
            case Goal.NOT_INTERESTED:
                return pick(("I'm not interested, thanks.", "There's no need, thank you."))
            case Goal.LATER:
                return pick(("This is a bad time, sorry.", "Can you call me later?"))
            case _:
                return ""
