"""The voice side of a call: the clock, the ports of ASR and TTS, the playout ledger and a turn's outcome."""

from runtime.voice.clock import Clock, RealClock, VirtualClock
from runtime.voice.outcome import outcomes
from runtime.voice.playout import Gap, PlayoutLedger
from runtime.voice.ports import AudioChunk, Caller, Ears, HangUp, Heard, Key, Move, Sentence, Speech, Voice

__all__ = [
    "AudioChunk",
    "Caller",
    "Clock",
    "Ears",
    "Gap",
    "HangUp",
    "Heard",
    "Key",
    "Move",
    "PlayoutLedger",
    "RealClock",
    "Sentence",
    "Speech",
    "VirtualClock",
    "Voice",
    "outcomes",
]
