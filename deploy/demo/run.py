"""Runs the demo: a stack, a provider, calls into the log, and patience until the store holds all of it."""

import asyncio
import secrets
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from alerts.slos import Objective, objectives
from deploy.demo.report import Report, report, stored_by_source
from deploy.demo.result import Injected, Result
from deploy.embedded import Stack
from deploy.embedded.child import Child, answers, free_port
from deploy.embedded.stack import OURS
from deploy.errors import DeployError, StackError
from deploy.settings import Settings
from ingest.errors import StoreError
from ingest.query import Client, connect
from runtime.emit import Brokers, DurableLog, Log, kafka_log
from runtime.events import Topic, lead_id
from runtime.graph import library
from runtime.models import Provider, preload
from runtime.run import SOURCE, CallSummary, Run, run_calls, world
from runtime.simulate import FaultKind, person, plan_faults

AGENT = "appointments"
TENANT = "demo"
_STALL_S = 60.0  # a killed worker's partitions are given away after its session of 6 s
_POLL_S = 0.2
_WATCH_S = 0.5
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

    @property
    def virtual(self) -> bool:
        return not self.real_time and self.provider is None


class _Tee:
    """Says everything to a second log as well."""

    def __init__(self, *logs: Log) -> None:
        self._logs = logs

    def append(self, topic: Topic, key: str, value: bytes) -> None:
        for log in self._logs:
            log.append(topic, key, value)


class _Watch:
    """Tells when a child has ended: of a worker, since another can go on; the others end the demo."""

    def __init__(self, stack: Stack, provider: Child | None, say: Callable[[str], None]) -> None:
        self._stack, self._provider, self._say = stack, provider, say
        self._told = False

    def check(self) -> None:
        """Raises StackError with the child's last words."""
        self._stack.check()
        if self._provider is not None and not self._provider.alive:
            raise StackError(f"{self._provider.ending}\nRun the demo again; what was stored is kept")
        worker = self._stack.worker
        if worker is not None and not worker.alive and not self._told:
            self._told = True
            self._say(f"{worker.ending}\nStart `turnlog worker` beside this to go on; waiting {_STALL_S:g} s")


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
        progress = stack.enter_context(_progress(talk))
        task = progress.add_task("starting", total=None)
        parts = stack.enter_context(Stack(settings, lambda step: progress.update(task, description=step)))
        progress.update(task, description="starting the provider")
        provider, own_provider = stack.enter_context(_provider(settings, order))
        log = kafka_log(settings.kafka or Brokers(parts.addresses.kafka))
        stack.callback(log.close)
        client = connect(parts.addresses.clickhouse)
        stack.callback(client.close)
        progress.update(task, description="importing litellm")
        warm.join()
        progress.update(task, description="calls", total=order.calls)
        tenant_key = secrets.token_bytes(32)  # of this run alone: its people are nobody whom another run has rung
        wanted = Run(
            agent=library(AGENT),
            tenant=TENANT,
            campaign=campaign,
            seed=order.seed,
            virtual=order.virtual,
            faults=plan_faults(order.seed, order.calls) if order.faults else {},
            lead=lambda number: lead_id(tenant_key, f"crm-{person(order.seed, number)}"),
        )
        target: Log = log if also is None else _Tee(log, also)
        watch = _Watch(parts, own_provider, lambda words: progress.console.print(words, markup=False, style="red"))
        calls = _calls(wanted, order, provider, target, lambda: progress.advance(task))
        summaries = asyncio.run(_while_alive(calls, watch))
        watch.check()
        _delivered(log)
        sent = {SOURCE: sum(s.said.get(SOURCE, 0) for s in summaries)}
        progress.update(task, description="events stored", total=sent[SOURCE], completed=0)
        found = _arrived(client, campaign, sent, watch, lambda stored: progress.update(task, completed=stored))
        found = msgspec.structs.replace(found, made=len(summaries))
    return Result(
        run=run,
        seed=order.seed,
        clock="virtual" if order.virtual else "real",
        seconds=round(time.monotonic() - began, 1),
        failed_as=wanted.agent.on_failure,
        injected=_injected(wanted, summaries),
        report=found,
    ), objectives()


async def _calls(
    run: Run, order: Order, provider: Provider, log: Log, advance: Callable[[], None]
) -> list[CallSummary]:
    async def ended(_: CallSummary) -> None:
        advance()

    async with world(provider) as ports:
        return await run_calls(run, ports, log, order.calls, concurrency=order.concurrency, ended=ended)


def _delivered(log: DurableLog) -> None:
    lost = log.flush(30.0)
    if lost or log.dropped:
        raise DeployError(
            f"the broker did not take {lost} records in 30 s and {log.dropped} were dropped, so the figures would be "
            "wrong: see its log in the state folder and run the demo again"
        )


def _arrived(client: Client, campaign: str, sent: dict[str, int], watch: _Watch, tell: Callable[[int], None]) -> Report:
    """The report, once every source is complete; or as it stands when nothing has moved for a minute."""
    last, moved = -1, time.monotonic()
    while time.monotonic() - moved < _STALL_S:
        watch.check()
        try:
            stored = stored_by_source(client, campaign)
        except StoreError as error:
            watch.check()
            raise StackError(f"the store does not answer any more: {error}") from error
        now = sum(events for _, _, events in stored.values())
        tell(now)
        whole = all(calls == complete for calls, complete, _ in stored.values())
        if whole and {s: n for s, (_, _, n) in stored.items()} == sent:
            break
        if now != last:
            last, moved = now, time.monotonic()
        time.sleep(_POLL_S)
    return report(client, campaign, sent, objectives())


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
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=talk, transient=True)
