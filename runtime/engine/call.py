"""The call itself: who speaks when, from the agent's opening to the end. Knows no port's inside."""

import asyncio
import logging
import traceback
from dataclasses import dataclass

from runtime.engine.desk import Desk
from runtime.engine.speaking import Speaking
from runtime.engine.state import CallState
from runtime.engine.turn import Turn
from runtime.errors import PromptFailed, ProviderFailed
from runtime.events import (
    CallEnded,
    CallStarted,
    Direction,
    DispositionSet,
    EndReason,
    ErrorQuoted,
    SpanStatus,
    Speaker,
)
from runtime.voice.ports import MEANT_US_MIN, HangUp, Move, Speech

TURNS_MAX = 40
QUOTED_CHARS_MAX = 2_000  # of an error's own words

BARGE_IN_US = MEANT_US_MIN  # the agent falls silent once the caller has spoken over it for so long
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Due:
    """What the caller does next, and when. `begun`: it is speaking already."""

    at_us: int
    move: Move
    begun: bool = False


@dataclass(frozen=True, slots=True)
class Ending:
    reason: EndReason
    disposition: str


class Call:
    """One call. `run` raises for nothing that happens in it; the call then ends as failed."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._state = CallState.begin(desk.agent)
        self._speaking: Speaking | None = None
        self._unanswered = 0
        self.turns = 0

    async def run(self, direction: Direction) -> Ending:
        desk = self._desk
        desk.account.say(CallStarted, desk.clock.now_us(), direction=direction)
        failed = Ending(EndReason.FAILED, desk.agent.on_failure)
        why = quoted = ""
        try:
            ending = await self._talk()
        except (ProviderFailed, PromptFailed) as failure:
            # Its words are content: providers quote callers. The error span names the component.
            ending, why = failed, type(failure).__name__
            quoted = failure.quoted if isinstance(failure, ProviderFailed) else str(failure)
        except Exception as error:  # noqa: BLE001  the edge of a call: its bug is not its neighbours'
            ending, why, quoted = failed, type(error).__name__, str(error)
            # Where, and of which type; the message may quote a caller.
            where = traceback.extract_tb(error.__traceback__)[-1]
            _log.error("a call ended by %s at %s:%s", type(error).__name__, where.filename, where.lineno)
        except asyncio.CancelledError:
            await self._close(failed, "cancelled")
            raise
        if quoted:
            desk.account.say(ErrorQuoted, desk.clock.now_us(), turn=self.turns, text=quoted[:QUOTED_CHARS_MAX])
        await self._close(ending, why)
        return ending

    async def _close(self, ending: Ending, why: str) -> None:
        """However a call ends, its log says that it did."""
        desk = self._desk
        if ending.reason is EndReason.FAILED:
            desk.trace.end_open(desk.clock.now_us(), SpanStatus.ERROR, why)
        if self._speaking is not None:
            await self._speaking.aclose()
        now_us = desk.clock.now_us()
        desk.account.close(now_us)
        desk.account.say(DispositionSet, now_us, disposition=ending.disposition)
        desk.account.say(CallEnded, now_us, reason=ending.reason)
        desk.trace.close(now_us, reason=ending.reason, disposition=ending.disposition, why=why)

    async def _talk(self) -> Ending:
        due = await self._agent_turn(None)
        while due is not None:
            if isinstance(due.move, HangUp):
                await self._desk.clock.until(due.at_us)
                return Ending(EndReason.CALLER_HUNG_UP, self._desk.agent.on_hang_up)
            if self.turns == TURNS_MAX:
                return Ending(EndReason.FAILED, self._desk.agent.on_failure)
            self.turns += 1
            await self._caller_speaks(due, due.move)
            due = await self._agent_turn(due.move)
        return Ending(EndReason.AGENT_ENDED, self._state.of(self._desk.agent).disposition)

    async def _caller_speaks(self, due: Due, speech: Speech) -> None:
        clock, account = self._desk.clock, self._desk.account
        began_us = due.at_us
        if not due.begun:
            await clock.until(due.at_us)
            began_us = clock.now_us()
            account.begins(Speaker.CALLER, self.turns, began_us)
        await clock.until(began_us + speech.duration_us)
        account.ends(Speaker.CALLER, clock.now_us())

    async def _agent_turn(self, speech: Speech | None) -> Due | None:
        """The agent's side of a turn; what the caller does then, or none when the agent has ended the call."""
        desk = self._desk
        turn = Turn(desk, self.turns, self._state)
        impatience = desk.caller.reply(self.turns, "", self._unanswered)
        gives_up_us = desk.clock.now_us() + impatience.after_us
        try:
            async with desk.clock.timeout(gives_up_us):
                speaking = await turn.answer(speech)
        except TimeoutError:
            return await self._unheard(turn, Due(desk.clock.now_us(), impatience))
        finally:
            self._state, self._speaking = turn.state, turn.speaking
        self._unanswered = 0
        due = await self._play(speaking)
        self._state = self._state.said(speaking.text)
        if due is not None:
            return due
        if self._state.of(desk.agent).terminal:
            return None
        move = desk.caller.reply(self.turns, speaking.text, 0)
        return Due(desk.clock.now_us() + move.after_us, move)

    async def _unheard(self, turn: Turn, due: Due) -> Due:
        """The caller has waited long enough: whatever was under way is cut here."""
        self._unanswered += 1
        if turn.speaking is not None:
            await turn.speaking.aclose()
        self._desk.trace.end_open(due.at_us, SpanStatus.CANCELLED)
        return due

    async def _play(self, speaking: Speaking) -> Due | None:
        """Play the utterance against what the caller does meanwhile; what that comes to, if it claims the turn."""
        clock, account = self._desk.clock, self._desk.account
        move = self._desk.caller.overlap(self.turns, speaking.text)
        if move is None:
            await speaking.finish()
            return None
        if await self._ends_before(speaking, clock.now_us() + move.after_us):
            return None
        now_us = clock.now_us()
        if isinstance(move, HangUp):
            await speaking.cut()
            return Due(now_us, move)
        if move.duration_us >= MEANT_US_MIN:
            account.begins(Speaker.CALLER, self.turns + 1, now_us)
            if not await self._ends_before(speaking, now_us + BARGE_IN_US):
                await speaking.cut()
            return Due(now_us, move, begun=True)
        # Its length tells a backchannel from a turn. Here it is known at once; a live ear knows it when the speech is
        # over or has lasted MEANT_US_MIN, and says its start then.
        account.begins(Speaker.CALLER, self.turns, now_us)
        over = await self._ends_before(speaking, now_us + move.duration_us)
        await clock.until(now_us + move.duration_us)
        account.ends(Speaker.CALLER, clock.now_us())
        if not over:
            await speaking.finish()
        return None

    async def _ends_before(self, speaking: Speaking, at_us: int) -> bool:
        """Play until then at most; whether the utterance is over."""
        try:
            async with self._desk.clock.timeout(at_us):
                await speaking.finish()
        except TimeoutError:
            return False
        return True
