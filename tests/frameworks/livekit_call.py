"""One call of a real LiveKit AgentSession with LiveKit's own tracing, sent over OTLP: no room, no server.

Run by the environment that has LiveKit: `python livekit_call.py http://127.0.0.1:4318/v1/traces`. Prints what it did.
Ears, model and voice are plugins of our own under LiveKit's base classes, with fixed delays; the line is a pair of
audio streams; turn taking, interruption, tools, spans and their figures are LiveKit's.
"""

import asyncio
import contextlib
import json
import logging
import sys
import time
from typing import Any

from livekit import rtc
from livekit.agents import Agent, AgentSession, LanguageCode, function_tool, utils
from livekit.agents.llm import LLM, ChatChunk, ChoiceDelta, CompletionUsage, FunctionToolCall, LLMStream
from livekit.agents.stt import STT, RecognizeStream, SpeechData, SpeechEvent, SpeechEventType, STTCapabilities
from livekit.agents.telemetry import set_tracer_provider
from livekit.agents.tts import TTS, AudioEmitter, ChunkedStream, TTSCapabilities
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS
from livekit.agents.vad import VAD, VADCapabilities, VADEvent, VADEventType, VADStream
from livekit.agents.voice.io import AudioInput, AudioOutput, AudioOutputCapabilities
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

VAD_STOP_S = 0.2
TRANSCRIPT_S = 0.30  # from the end of speech
ENDPOINTING_S = 0.5  # from the end of speech
FIRST_TOKEN_S = 0.25
FIRST_AUDIO_S = 0.15
TOOL_S = 0.2
RATE = 16_000
SAID = ["first thing", "second thing", "book it"]
ANSWERS_S = [0.6, 3.0, 0.6]
INTERRUPTED = 1
TOOL_TURN = 2


class Caller:
    """What the caller does, told to whoever listens."""

    def __init__(self) -> None:
        self.vad: asyncio.Queue[tuple[VADEventType, float, float]] = asyncio.Queue()
        self.words: asyncio.Queue[str] = asyncio.Queue()
        self.silence_at: list[float] = []
        self._said = 0

    async def speak(self, seconds: float) -> None:
        began = time.time()
        while (spoken := time.time() - began) < seconds:
            kind = VADEventType.START_OF_SPEECH if spoken < 0.05 else VADEventType.INFERENCE_DONE
            self.vad.put_nowait((kind, max(spoken, 0.05), 0.0))
            await asyncio.sleep(0.05)
        ended = time.time()
        self.silence_at.append(ended)
        asyncio.get_running_loop().call_later(TRANSCRIPT_S, self.words.put_nowait, SAID[self._said])
        self._said += 1
        while (silence := time.time() - ended) < VAD_STOP_S:
            self.vad.put_nowait((VADEventType.INFERENCE_DONE, seconds, silence))
            await asyncio.sleep(0.05)
        self.vad.put_nowait((VADEventType.END_OF_SPEECH, seconds, time.time() - ended))


class Activity(VAD):
    def __init__(self, caller: Caller) -> None:
        super().__init__(capabilities=VADCapabilities(update_interval=0.05))
        self.caller = caller

    def stream(self) -> VADStream:
        return ActivityStream(self)


class ActivityStream(VADStream):
    async def _main_task(self) -> None:
        assert isinstance(self._vad, Activity)
        while True:
            kind, speech, silence = await self._vad.caller.vad.get()
            self._event_ch.send_nowait(
                VADEvent(
                    type=kind,
                    samples_index=0,
                    timestamp=time.time(),
                    speech_duration=speech,
                    silence_duration=silence,
                    speaking=kind is not VADEventType.END_OF_SPEECH,
                )
            )


class Ears(STT):
    def __init__(self, caller: Caller) -> None:
        super().__init__(capabilities=STTCapabilities(streaming=True, interim_results=False))
        self.caller = caller

    @property
    def model(self) -> str:
        return "ears-1"

    @property
    def provider(self) -> str:
        return "ears"

    async def _recognize_impl(self, *_: Any, **__: Any) -> SpeechEvent:
        raise NotImplementedError

    def stream(self, *, language: Any = None, conn_options: Any = DEFAULT_API_CONNECT_OPTIONS) -> RecognizeStream:
        return EarsStream(stt=self, conn_options=conn_options)


class EarsStream(RecognizeStream):
    async def _run(self) -> None:
        assert isinstance(self._stt, Ears)
        while True:
            text = await self._stt.caller.words.get()
            self._event_ch.send_nowait(
                SpeechEvent(
                    type=SpeechEventType.FINAL_TRANSCRIPT,
                    alternatives=[SpeechData(text=text, language=LanguageCode("en"))],
                )
            )


class Model(LLM):
    """Says one sentence after `FIRST_TOKEN_S`, or calls the tool when it is asked to book."""

    @property
    def model(self) -> str:
        return "model-1"

    @property
    def provider(self) -> str:
        return "model"

    def chat(
        self, *, chat_ctx: Any, tools: Any = None, conn_options: Any = DEFAULT_API_CONNECT_OPTIONS, **_: Any
    ) -> Any:
        return ModelStream(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)


class ModelStream(LLMStream):
    async def _run(self) -> None:
        await asyncio.sleep(FIRST_TOKEN_S)
        last = self._chat_ctx.items[-1]
        if last.type == "message" and last.role == "user" and last.text_content == "book it":
            call = FunctionToolCall(name="book", arguments='{"day": "monday"}', call_id="call-1")
            self._event_ch.send_nowait(ChatChunk(id="1", delta=ChoiceDelta(role="assistant", tool_calls=[call])))
        else:
            for word in ("All", " good", "."):
                self._event_ch.send_nowait(ChatChunk(id="1", delta=ChoiceDelta(role="assistant", content=word)))
        usage = CompletionUsage(completion_tokens=3, prompt_tokens=7, total_tokens=10)
        self._event_ch.send_nowait(ChatChunk(id="1", usage=usage))


class Voice(TTS):
    """Speaks for as long as the script says, after `FIRST_AUDIO_S`."""

    def __init__(self) -> None:
        super().__init__(capabilities=TTSCapabilities(streaming=False), sample_rate=RATE, num_channels=1)
        self.spoken = -1  # the greeting comes first

    @property
    def model(self) -> str:
        return "voice-1"

    @property
    def provider(self) -> str:
        return "voice"

    def synthesize(self, text: str, *, conn_options: Any = DEFAULT_API_CONNECT_OPTIONS) -> ChunkedStream:
        return VoiceStream(tts=self, input_text=text, conn_options=conn_options)


class VoiceStream(ChunkedStream):
    async def _run(self, output_emitter: AudioEmitter) -> None:
        assert isinstance(self._tts, Voice)
        length_s = 0.5 if self._tts.spoken < 0 else ANSWERS_S[self._tts.spoken]
        self._tts.spoken += 1
        output_emitter.initialize(
            request_id=utils.shortuuid(), sample_rate=RATE, num_channels=1, mime_type="audio/pcm", frame_size_ms=20
        )
        await asyncio.sleep(FIRST_AUDIO_S)
        for _ in range(int(length_s / 0.02)):
            output_emitter.push(b"\x01\x00" * (RATE // 50))
        output_emitter.flush()


class Microphone(AudioInput):
    """Silence in frames of 20 ms: what is said comes by the other way."""

    def __init__(self) -> None:
        super().__init__(label="line")

    async def __anext__(self) -> rtc.AudioFrame:
        await asyncio.sleep(0.02)
        samples = RATE // 50
        return rtc.AudioFrame(b"\0\0" * samples, sample_rate=RATE, num_channels=1, samples_per_channel=samples)


class Speaker(AudioOutput):
    """Plays in real time."""

    def __init__(self) -> None:
        super().__init__(
            label="line", capabilities=AudioOutputCapabilities(pause=False), next_in_chain=None, sample_rate=RATE
        )
        self.first_audio_at: list[float] = []
        self.started, self.stopped = asyncio.Event(), asyncio.Event()
        self._began, self._pushed, self._end = 0.0, 0.0, None

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        if not self._pushed:
            self._began = time.time()
            self.first_audio_at.append(self._began)
            self.on_playback_started(created_at=self._began)
            self.stopped.clear()
            self.started.set()
        self._pushed += frame.duration

    def flush(self) -> None:
        super().flush()
        if self._pushed:
            left = max(0.0, self._began + self._pushed - time.time())
            self._end = asyncio.get_running_loop().call_later(left, self._finish, False)

    def clear_buffer(self) -> None:
        if self._pushed:
            if self._end is not None:
                self._end.cancel()
            self._finish(True)

    def _finish(self, interrupted: bool) -> None:
        played = min(self._pushed, time.time() - self._began)
        self._pushed, self._end = 0.0, None
        self.started.clear()
        self.stopped.set()
        self.on_playback_finished(playback_position=played, interrupted=interrupted, synchronized_transcript=None)


class Booker(Agent):
    def __init__(self) -> None:
        super().__init__(instructions="Be brief.")

    async def on_enter(self) -> None:
        self.session.say("Hello.")

    @function_tool
    async def book(self, day: str) -> str:
        """Book a day."""
        await asyncio.sleep(TOOL_S)
        return f"booked {day}"


async def main(endpoint: str) -> None:
    logging.disable(logging.CRITICAL)
    provider = TracerProvider(resource=Resource({"service.name": "livekit-agent", "turnlog.campaign": "spring"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint)))
    set_tracer_provider(provider)
    caller, speaker = Caller(), Speaker()
    session: AgentSession[None] = AgentSession(
        stt=Ears(caller),
        vad=Activity(caller),
        llm=Model(),
        tts=Voice(),
        turn_handling={
            "turn_detection": "vad",
            "endpointing": {"min_delay": ENDPOINTING_S, "max_delay": ENDPOINTING_S},
            "preemptive_generation": {"enabled": False},
            "interruption": {"min_duration": 0.2, "mode": "vad"},
        },
        aec_warmup_duration=None,
    )
    session.input.audio, session.output.audio = Microphone(), speaker
    await session.start(Booker(), record=False)
    await asyncio.wait_for(speaker.stopped.wait(), 10)
    for turn in range(len(SAID)):
        await asyncio.sleep(0.3)
        speaker.started.clear()
        speaker.stopped.clear()
        await caller.speak(0.6)
        await asyncio.wait_for(speaker.started.wait(), 10)
        if turn == INTERRUPTED:
            await asyncio.sleep(0.4)
        else:
            await asyncio.wait_for(speaker.stopped.wait(), 10)
    await asyncio.sleep(0.2)
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(session.aclose(), 5)
    provider.shutdown()
    told = {
        "turns": len(SAID),
        "interrupted": INTERRUPTED,
        "tool_turn": TOOL_TURN,
        "latency_s": [b - a for a, b in zip(caller.silence_at, speaker.first_audio_at[1:], strict=False)],
        "end_of_turn_s": ENDPOINTING_S,
        "asr_s": TRANSCRIPT_S,
        "response_s": FIRST_TOKEN_S,
        "tts_s": FIRST_AUDIO_S,
        "tool_s": TOOL_S,
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
