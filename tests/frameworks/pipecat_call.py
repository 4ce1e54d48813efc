"""One call of a real Pipecat pipeline with Pipecat's own tracing, sent over OTLP: no network, no models.

Run by the environment that has Pipecat: `python pipecat_call.py http://127.0.0.1:4318/v1/traces`. Prints what it did.
Ears, model and voice are services of our own under Pipecat's base classes and tracing decorators, with fixed delays;
turn taking, interruption, spans and their figures are Pipecat's.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncGenerator
from typing import Any

from loguru import logger
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    EndFrame,
    Frame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    OutputAudioRawFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.metrics.metrics import LLMTokenUsage
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.llm_service import LLMService
from pipecat.services.settings import LLMSettings, STTSettings, TTSSettings
from pipecat.services.stt_service import STTService
from pipecat.services.tts_service import TTSService
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies, VADUserTurnStartStrategy
from pipecat.utils.time import time_now_iso8601
from pipecat.utils.tracing.service_decorators import traced_llm, traced_stt, traced_tts
from pipecat.utils.tracing.setup import setup_tracing
from pipecat.workers.runner import WorkerRunner

VAD_STOP_S = 0.2  # Pipecat's own default
TRANSCRIPT_S = 0.30  # from the end of speech
TURN_WAIT_S = 0.35  # from the VAD's stop
FIRST_TOKEN_S = 0.25
FIRST_AUDIO_S = 0.15
RATE = 16_000
# What is said, and what becomes of it: answered, cut while the agent speaks, cut while the model thinks, failed.
SAID = ["first thing", "second thing", "never mind", "third thing", "break it", "fourth thing"]
CUT, UNHEARD, FAILED = 1, 2, 4
ANSWERS_S = [0.4, 3.0, 0.4, 0.4]
TURNS = 4  # of Pipecat's: what is not answered is part of the turn that comes of it
INTERRUPTED = 1  # of those turns, from 0
SPEECH_S = 0.5


class Ears(STTService):
    """Hears `SAID`, one after the other, `TRANSCRIPT_S` after the caller stops."""

    def __init__(self) -> None:
        super().__init__(ttfs_p99_latency=0.3, settings=STTSettings(model="ears-1", language=None))
        self.heard = 0

    def can_generate_metrics(self) -> bool:
        return True

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        yield None

    @traced_stt
    async def _traced(self, transcript: str, is_final: bool, language: Any = None) -> None:
        """Where Pipecat's own services hang their tracing."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, VADUserStoppedSpeakingFrame):
            self.create_task(self._answer())

    async def _answer(self) -> None:
        await asyncio.sleep(TRANSCRIPT_S - VAD_STOP_S)
        text = SAID[self.heard]
        self.heard += 1
        self.request_finalize()
        self.confirm_finalize()
        await self.push_frame(TranscriptionFrame(text, "caller", time_now_iso8601()))


class Model(LLMService):
    """Says one sentence after `FIRST_TOKEN_S`."""

    def __init__(self) -> None:
        super().__init__(settings=LLMSettings(model="model-1"))

    def can_generate_metrics(self) -> bool:
        return True

    @traced_llm
    async def _process_context(self, context: LLMContext) -> None:
        await self.start_ttfb_metrics()
        await asyncio.sleep(FIRST_TOKEN_S)
        await self.stop_ttfb_metrics()
        if context.get_messages()[-1]["content"] == SAID[FAILED]:
            raise RuntimeError(f"the provider cannot answer {SAID[FAILED]!r}")  # as they do: the caller, quoted
        for word in ("All", " good", "."):
            await self.push_frame(LLMTextFrame(word))
        await self.start_llm_usage_metrics(LLMTokenUsage(prompt_tokens=7, completion_tokens=3, total_tokens=10))

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        await self.push_frame(LLMFullResponseStartFrame())
        try:
            await self._process_context(frame.context)
        except RuntimeError as error:
            await self.push_error(error_msg=str(error), exception=error)
        finally:
            await self.push_frame(LLMFullResponseEndFrame())


class Voice(TTSService):
    """Speaks for as long as the script says, after `FIRST_AUDIO_S`."""

    def __init__(self) -> None:
        super().__init__(
            push_start_frame=True,
            push_stop_frames=True,
            sample_rate=RATE,
            settings=TTSSettings(model="voice-1", voice="anna", language=None),
        )
        self.spoken = -1  # the greeting comes first

    def can_generate_metrics(self) -> bool:
        return True

    @traced_tts
    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame, None]:
        length_s = 0.3 if self.spoken < 0 else ANSWERS_S[self.spoken]
        self.spoken += 1
        await asyncio.sleep(FIRST_AUDIO_S)
        await self.stop_ttfb_metrics()
        for _ in range(int(length_s / 0.02)):
            yield TTSAudioRawFrame(b"\x01\x00" * (RATE // 50), RATE, 1, context_id=context_id)


class Line(BaseOutputTransport):
    """Takes audio as fast as a telephone does."""

    async def start(self, frame: Any) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        await asyncio.sleep(len(frame.audio) / 2 / frame.sample_rate)
        return True


class Script(FrameProcessor):
    """The caller: speaks when the agent has ended, and cuts in once."""

    def __init__(self) -> None:
        super().__init__()
        self.started, self.stopped = asyncio.Event(), asyncio.Event()
        self.silence_at: list[float] = []
        self.first_audio_at: list[float] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, BotStartedSpeakingFrame):
            self.first_audio_at.append(time.time())
            self.stopped.clear()
            self.started.set()
        elif isinstance(frame, BotStoppedSpeakingFrame):
            self.started.clear()
            self.stopped.set()
        await self.push_frame(frame, direction)

    async def speak(self, seconds: float) -> None:
        await self.push_frame(VADUserStartedSpeakingFrame(start_secs=0.2))
        await asyncio.sleep(seconds)
        self.silence_at.append(time.time())
        await asyncio.sleep(VAD_STOP_S)
        await self.push_frame(VADUserStoppedSpeakingFrame(stop_secs=VAD_STOP_S))

    async def call(self, worker: PipelineWorker) -> None:
        await worker.queue_frame(TTSSpeakFrame("Hello."))
        await asyncio.wait_for(self.stopped.wait(), 5)
        for said in range(len(SAID)):
            await asyncio.sleep(0.1)
            self.started.clear()
            await self.speak(SPEECH_S)
            if said in {UNHEARD, FAILED}:
                self.silence_at.pop()  # no answer to measure
                await asyncio.sleep(TURN_WAIT_S + FIRST_TOKEN_S / 2 if said == UNHEARD else 2 * TURN_WAIT_S)
                continue
            await asyncio.wait_for(self.started.wait(), 5)
            if said == CUT:
                await asyncio.sleep(0.4)
            else:
                await asyncio.wait_for(self.stopped.wait(), 5)
        await worker.queue_frame(EndFrame())


async def main(endpoint: str) -> None:
    logger.remove()
    setup_tracing("pipecat-agent", exporter=OTLPSpanExporter(endpoint))
    script = Script()
    context = LLMContext([{"role": "system", "content": "Be brief."}])
    strategies = UserTurnStrategies(
        start=[VADUserTurnStartStrategy()],
        stop=[SpeechTimeoutUserTurnStopStrategy(user_speech_timeout=TURN_WAIT_S)],
    )
    pair = LLMContextAggregatorPair(context, user_params=LLMUserAggregatorParams(user_turn_strategies=strategies))
    line = Line(TransportParams(audio_out_enabled=True, audio_out_sample_rate=RATE, audio_out_end_silence_secs=0))
    pipeline = Pipeline([script, Ears(), pair.user(), Model(), Voice(), line, pair.assistant()])
    worker = PipelineWorker(
        pipeline,
        params=PipelineParams(enable_metrics=True, enable_usage_metrics=True, audio_out_sample_rate=RATE),
        enable_tracing=True,
        conversation_id="conversation-1",
        additional_span_attributes={"turnlog.campaign": "spring", "turnlog.direction": "inbound"},
    )
    runner = WorkerRunner(handle_sigint=False)

    @worker.event_handler("on_pipeline_started")
    async def _started(*_: Any) -> None:
        asyncio.get_running_loop().create_task(script.call(worker))

    await runner.add_workers(worker)
    await runner.run()
    trace.get_tracer_provider().shutdown()
    waits = [min(at for at in script.first_audio_at if at > silence) - silence for silence in script.silence_at]
    told = {
        "turns": TURNS,
        "interrupted": INTERRUPTED,
        "unanswered": len({UNHEARD, FAILED}),
        "latency_s": waits,
        "end_of_turn_s": VAD_STOP_S + TURN_WAIT_S,
        "asr_s": TRANSCRIPT_S,
        "response_s": FIRST_TOKEN_S,
        "tts_s": FIRST_AUDIO_S,
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
