"""Callers, simulated voices and faults: seeded, bounded, and what they claim to be."""

from collections.abc import AsyncIterator

import pytest

from runtime.errors import ProviderFailed
from runtime.simulate import (
    Fault,
    FaultKind,
    FaultyVoice,
    Goal,
    Persona,
    ScriptedCaller,
    SimulatedCalendar,
    draw,
    person,
    plan_faults,
)
from runtime.simulate.leads import AGAIN_MAX, AGAIN_MIN
from runtime.voice import AudioChunk, HangUp, Key, PlayoutLedger, Sentence, Speech, Voice
from runtime.voice.ports import MEANT_US_MIN
from runtime.voice.simulated import SimulatedEars, SimulatedVoice

WORDS = ("Thank you for confirming that.", "What can I do for you today?")


async def sentences(at_us: int = 1_000) -> AsyncIterator[Sentence]:
    for text in WORDS:
        yield Sentence(at_us, text)
        at_us += 150_000


async def audio(voice: Voice, key: Key) -> list[AudioChunk]:
    return [chunk async for chunk in voice.speak(sentences(), key)]


def gaps_ms(chunks: list[AudioChunk]) -> list[float]:
    ledger = PlayoutLedger()
    return [gap.gap_us / 1000 for c in chunks if (gap := ledger.feed(c.at_us, c.duration_us))]


async def test_a_voice_is_quick_and_leaves_no_gap() -> None:
    firsts = []
    for call in range(300):
        chunks = await audio(SimulatedVoice(), Key(1, call, 1))
        firsts.append(chunks[0].at_us - 1_000)
        assert gaps_ms(chunks) == []
        assert [chunk.at_us for chunk in chunks] == sorted(chunk.at_us for chunk in chunks)
        assert " ".join(chunk.text for chunk in chunks if chunk.text) == " ".join(WORDS)
    assert max(firsts) < 1_000_000
    assert 300_000 < sorted(firsts)[150] < 400_000


async def test_chance_comes_from_the_key_alone() -> None:
    one = await audio(SimulatedVoice(), Key(1, 2, 3))
    await audio(SimulatedVoice(), Key(9, 9, 9))
    assert await audio(SimulatedVoice(), Key(1, 2, 3)) == one
    assert await audio(SimulatedVoice(), Key(2, 2, 3)) != one


async def test_ears_give_a_final_transcript() -> None:
    (heard,) = [heard async for heard in SimulatedEars().hear(Speech("Hi.", 1), 50, Key(1, 1, 1))]
    assert heard.final
    assert heard.text == "Hi."
    assert 50 + 80_000 <= heard.at_us <= 50 + 900_000


@pytest.mark.parametrize("call", range(20))
async def test_faults_bend_one_turn_by_what_they_claim(call: int) -> None:
    good = SimulatedVoice()
    key, other = Key(1, call, 1), Key(1, call, 2)
    plain = await audio(good, key)
    for kind in FaultKind:
        assert await audio(FaultyVoice(good, Fault(kind)), other) == await audio(good, other)
    slow = await audio(FaultyVoice(good, Fault(FaultKind.SLOW_TTS)), key)
    assert slow[0].at_us - plain[0].at_us >= 2_000_000
    assert gaps_ms(slow) == []
    silent = await audio(FaultyVoice(good, Fault(FaultKind.SILENT_AGENT)), key)
    assert silent[0].at_us - plain[0].at_us == 30_000_000
    broken = await audio(FaultyVoice(good, Fault(FaultKind.UNDERRUN)), key)
    (gap_ms,) = gaps_ms(broken)
    assert 300 <= gap_ms <= 800
    assert broken[0] == plain[0]


def test_faults_are_planned_by_the_seed() -> None:
    plan = plan_faults(1, 40)
    assert plan == plan_faults(1, 40)
    assert len(plan) == 3
    assert {fault.kind for fault in plan.values()} == set(FaultKind)
    assert all(0 <= call < 40 for call in plan)
    assert len({tuple(plan_faults(seed, 40)) for seed in range(10)}) > 5
    assert len(plan_faults(1, 2)) == 2
    assert plan_faults(1, 0) == {}
    assert {fault.kind for fault in plan_faults(3, 3).values()} == set(FaultKind)


def test_a_caller_answers_what_was_asked() -> None:
    persona = Persona(Goal.BOOK, "Friday", "morning", "cleaning", 6_000_000)
    caller = ScriptedCaller(persona, 1, 1)
    asked = {
        "Am I speaking with the person who left us a message?": ("speaking", "me"),
        "Lovely. What can I do for you today?": ("cleaning",),
        "Which day would suit you?": ("Friday",),
        "Blue.": ("Pardon",),
    }
    for said, expected in asked.items():
        move = caller.reply(1, said, 0)
        assert isinstance(move, Speech)
        assert any(word in move.text for word in expected)
        assert move.duration_us >= MEANT_US_MIN


def test_a_caller_asks_twice_into_silence_and_leaves() -> None:
    caller = ScriptedCaller.of(1, 1)
    for unanswered in (0, 1):
        move = caller.reply(1, "", unanswered)
        assert isinstance(move, Speech)
        assert "there" in move.text
        assert 6_000_000 <= move.after_us <= 7_500_000
        assert move.duration_us >= MEANT_US_MIN
    assert isinstance(caller.reply(1, "", 2), HangUp)


def test_a_caller_has_no_memory() -> None:
    caller = ScriptedCaller.of(1, 1)
    before = caller.reply(2, "Which day would suit you?", 0)
    caller.reply(1, "", 1)
    caller.overlap(1, "Hello")
    assert caller.reply(2, "Which day would suit you?", 0) == before


def test_every_kind_of_person_calls() -> None:
    people = [ScriptedCaller.of(1, call).persona for call in range(200)]
    assert {person.goal for person in people} == set(Goal)
    assert any(person.interrupts for person in people)
    assert any(person.backchannels for person in people)


async def test_the_calendar_knows_one_tool() -> None:
    told = await SimulatedCalendar().ask("book", {}, 100, Key(1, 1, 1))
    assert 40_000 <= told.at_us - 100 <= 700_000
    with pytest.raises(ProviderFailed):
        await SimulatedCalendar().ask("cook", {}, 100, Key(1, 1, 1))


def test_only_who_had_no_time_or_hung_up_is_rung_again_and_some_calls_later() -> None:
    again = 0
    for seed in range(20):
        last: dict[int, int] = {}
        for call in range(60):
            who = person(seed, call)
            if who in last:
                again += 1
                assert draw(seed, last[who]).goal in (Goal.LATER, Goal.HANG_UP)
                assert AGAIN_MIN <= call - last[who] <= AGAIN_MAX
            else:
                assert who == call
            last[who] = call
    assert 60 < again < 300
