"""Runs the demo: a provider, calls into the log, and a report of what of it came to be stored."""

import asyncio
import secrets
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from alerts.slos import Objective, objectives
from deploy.demo.arrival import answered, arrived, delivered
from deploy.demo.ground import Ground, ground
from deploy.demo.pages import with_page
from deploy.demo.report import Incomplete, Report, report, stored_by_call, stored_by_source
from deploy.demo.result import Injected, Result
from deploy.embedded.child import Child, answers, free_port
from deploy.embedded.plan import OURS
from deploy.errors import StackError
from deploy.otlp import Outlet
from deploy.settings import Settings
from ingest.query import Client, connect
from ingest.stream.logs import BrokerUnreachable, backlog
from ingest.stream.worker import GROUP
from runtime.emit import Brokers, Log, kafka_log
from runtime.events import Topic, lead_id
from runtime.graph import library
from runtime.models import Provider, preload
from runtime.run import SOURCE, CallSummary, Ports, Run, run_calls, world
from runtime.simulate import FaultKind, person, plan_faults

AGENT = "appointments"
TENANT = "demo"
_WATCH_S = 0.5
_CLOSE_S = 1.0  # what can be delivered has been waited for by then
# The objective that each fault must breach, and no other.
_BREACHED = {
    FaultKind.SLOW_TTS: "tts_first_byte",
    FaultKind.UNDERRUN: "playout_gap",
    FaultKind.SILENT_AGENT: "agent_disappeared",
}


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked for. `provider` is the base URL of one that declares no times: the clock is then the real one."""

    calls: int = 40
    seed: int = 1
    concurrency: int = 8
    faults: bool = True
    real_time: bool = False
    provider: str | None = None
    pages: bool = True

    @property
    def virtual(self) -> bool:
        return not self.real_time and self.provider is None

    def told(self) -> dict[str, str]:
        """How such a run is made, for a reader; a provider's URL may hold a password, so it is not repeated."""
        options = [f"--calls {self.calls} --seed {self.seed}"]
        options += ["--no-faults"] if not self.faults else []
        options += ["--real-time"] if self.real_time else []
        options += ["--provider URL"] if self.provider is not None else []
        return {
            "command": f"turnlog demo {' '.join(options)}",
            "seed": str(self.seed),
            "clock": "virtual: all figures repeat for this seed" if self.virtual else "real",
            "provider": "simulated" if self.provider is None else "yours",
            "at a time": f"{self.concurrency} calls",
        }


class _Tee:
    """Says everything to a second log as well."""

    def __init__(self, *logs: Log) -> None:
        self._logs = logs

    def append(self, topic: Topic, key: str, value: bytes) -> None:
        for log in self._logs:
            log.append(topic, key, value)

    @property
    def accepts_calls(self) -> bool:
        return all(log.accepts_calls for log in self._logs)


class _Watch:
    """Tells what becomes of the parts under way. Who runs the stack heals it; of the provider nobody else knows."""

    def __init__(self, under: Ground, provider: Child | None, say: Callable[[str], None]) -> None:
        self._under, self._provider, self._say = under, provider, say

    def check(self) -> None:
        """Raises StackError when there is nothing to wait for: the stack was stopped, or the provider has ended."""
        for words in self._under.news():
            self._say(words)
        if self._provider is not None and not self._provider.alive:
            raise StackError(f"{self._provider.ending}\nRun the demo again; what was stored is kept")


def run_demo(
    settings: Settings, order: Order, talk: Console, also: Log | None = None
) -> tuple[Result, tuple[Objective, ...]]:
    """The result, and the objectives it was held against. `also` gets every record that the broker gets.

    Raises DeployError, IngestError, LogUnreachable or TurnlogRuntimeError with what to do.
    """
    began = time.monotonic()
    run = f"{time.time_ns() // 1_000_000:x}"
    campaign = f"demo-{run}"
    warm = threading.Thread(target=preload, daemon=True)
    warm.start()  # it takes seconds; the stack starts meanwhile
    with ExitStack() as stack:
        outlet = stack.enter_context(Outlet(settings))
        progress = stack.enter_context(_progress(talk))
        task = progress.add_task("starting", total=None)
        under = stack.enter_context(
            ground(settings, lambda news: progress.update(task, description=news.partition("\n")[0]))
        )
        progress.update(task, description="starting the provider")
        provider, own_provider = stack.enter_context(_provider(settings, order))
        brokers = settings.kafka or Brokers(under.addresses.kafka)
        log = kafka_log(brokers, settings.state / "spool", beats=True)
        stack.callback(log.close, _CLOSE_S)
        client = connect(under.addresses.clickhouse)
        stack.callback(client.close)
        progress.update(task, description="importing litellm")
        warm.join()
        progress.update(task, description="calls", total=order.calls)
        wanted = _wanted(order, campaign)
        target: Log = log if also is None else _Tee(log, also)

        def say(words: str) -> None:
            progress.console.print(words, markup=False, style="red", soft_wrap=True)

        watch = _Watch(under, own_provider, say)
        around = world(provider, outlet.tracing)
        calls = _calls(wanted, order, around, target, lambda: progress.advance(task))
        summaries = asyncio.run(_while_alive(calls, watch))
        unsent = outlet.close()
        if unsent:
            say(f"turnlog: {unsent:,} spans were not taken by your OTLP endpoint")
        progress.update(task, description="waiting for the broker")
        lost = delivered(log, watch.check)
        if lost:
            waiting = log.counts().spooled.total()
            say(f"the broker did not take {lost:,} records; {waiting:,} of them wait on disk for the next demo")
        sent = {SOURCE: sum(s.said.get(SOURCE, 0) for s in summaries)}
        progress.update(task, description="events stored", total=sent[SOURCE], completed=0)
        arrived(
            lambda: _stored(client, campaign, sent),
            lambda: _backlog(brokers),
            watch.check,
            lambda stored: progress.update(task, completed=stored),
        )
        found = answered(lambda: _report(client, campaign, sent, summaries), watch.check)
        result = Result(
            run=run,
            seed=order.seed,
            clock="virtual" if order.virtual else "real",
            seconds=round(time.monotonic() - began, 1),
            failed_as=wanted.agent.on_failure,
            injected=_injected(wanted, summaries),
            report=found,
        )
        if order.pages:
            progress.update(task, description="writing the pages")
            result = with_page(client, result, objectives(), order.told(), state=settings.state, say=say)
    return result, objectives()


def _wanted(order: Order, campaign: str) -> Run:
    tenant_key = secrets.token_bytes(32)  # of this run alone: its people are nobody whom another run has rung
    return Run(
        agent=library(AGENT),
        tenant=TENANT,
        campaign=campaign,
        seed=order.seed,
        virtual=order.virtual,
        faults=plan_faults(order.seed, order.calls) if order.faults else {},
        lead=lambda number: lead_id(tenant_key, f"crm-{person(order.seed, number)}"),
    )


async def _calls(
    run: Run, order: Order, around: AbstractAsyncContextManager[Ports], log: Log, advance: Callable[[], None]
) -> list[CallSummary]:
    async def ended(_: CallSummary) -> None:
        advance()

    async with around as ports:
        return await run_calls(run, ports, log, order.calls, concurrency=order.concurrency, ended=ended)


def _stored(client: Client, campaign: str, sent: dict[str, int]) -> tuple[int, bool]:
    """Events in the store, and whether they are all."""
    stored = stored_by_source(client, campaign)
    whole = all(calls == complete for calls, complete, _ in stored.values())
    events = {source: n for source, (_, _, n) in stored.items()}
    return sum(events.values()), whole and events == sent


def _backlog(brokers: Brokers) -> int | None:
    try:
        return backlog(brokers, GROUP, Topic.CALLS)
    except BrokerUnreachable:
        return None


def _report(client: Client, campaign: str, sent: dict[str, int], summaries: list[CallSummary]) -> Report:
    found = report(client, campaign, sent, objectives())
    stored = stored_by_call(client, campaign, SOURCE)
    incomplete = (Incomplete(s.call_id, s.number, s.said.get(SOURCE, 0), stored.get(s.call_id, 0)) for s in summaries)
    return msgspec.structs.replace(
        found, made=len(summaries), incomplete=tuple(i for i in incomplete if i.said != i.stored)
    )


async def _while_alive(calls: Coroutine[Any, Any, list[CallSummary]], watch: _Watch) -> list[CallSummary]:
    running = asyncio.ensure_future(calls)
    try:
        while not running.done():
            await asyncio.wait({running}, timeout=_WATCH_S)
            watch.check()
    except StackError:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        raise
    return running.result()


def _injected(run: Run, summaries: list[CallSummary]) -> tuple[Injected, ...]:
    ids = {s.number: s.call_id for s in summaries}
    return tuple(
        Injected(ids[number], number, fault.kind, _BREACHED[fault.kind]) for number, fault in sorted(run.faults.items())
    )


@contextmanager
def _provider(settings: Settings, order: Order) -> Iterator[tuple[Provider, Child | None]]:
    """Yours, or the simulated one in a process of its own: it would share our one interpreter lock otherwise."""
    if order.provider is not None:
        yield Provider("own", order.provider, settings.model_key), None
        return
    port = free_port()
    argv = [*OURS[:-1], "runtime.models.simulated", "--port", str(port), *(["--wait"] if order.real_time else [])]
    child = Child("provider", argv, settings.state / "logs" / "provider.log")
    child.start()
    try:
        child.wait_ready(lambda: answers(port))
        yield Provider("simulated", f"http://127.0.0.1:{port}/v1"), child
    finally:
        child.stop()


def _progress(talk: Console) -> Progress:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=talk, transient=True)
