"""Marked spans among the load, and when each reader had them. Judges no delay."""

import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field

from clickhouse_connect.driver.client import Client

from bench.ground import STALL_S
from ingest.query import connect, rows
from runtime import events as ev

CALLS = 8  # so that several partitions have some
NAME = "marker"
POLL_PAUSE_S = 0.005
_VIEW = """SELECT component, max(seq) + 1 AS n FROM spans
           WHERE tenant = {tenant:String} AND day >= today() - 1 AND call_id IN {calls:Array(String)}
           GROUP BY component"""
_ROLLUP = """SELECT component, sum(n) AS n FROM latency_1m
             WHERE minute >= now() - INTERVAL 1 HOUR AND tenant = {tenant:String} AND campaign = {campaign:String}
             GROUP BY component"""


@dataclass
class Markers:
    """Seconds of one clock, by a marker's number. Those of one call are numbered on, and come in order."""

    tenant: str
    streams: list[str] = field(default_factory=lambda: [ev.new_call_id(time.time_ns() // 1000) for _ in range(CALLS)])
    acknowledged: dict[int, float] = field(default_factory=dict)
    consumed: dict[int, float] = field(default_factory=dict)
    in_view: dict[int, float] = field(default_factory=dict)
    in_rollup: dict[int, float] = field(default_factory=dict)
    polls_s: list[float] = field(default_factory=list)

    def record(self, number: int) -> tuple[bytes, bytes]:
        """Key and value. The component names the call, so that a rollup tells them apart."""
        which, seq = number % CALLS, number // CALLS
        event = ev.SpanEnded(
            stream=self.streams[which],
            source="runtime",
            seq=seq,
            at=time.time_ns() // 1000,
            v=1,
            tenant=self.tenant,
            campaign=NAME,
            span=seq + 1,
            turn=0,
            component=f"{NAME} {which}",
            duration_us=1,
        )
        return self.streams[which].encode(), ev.encode(event)

    def note_consumed(self, value: bytes) -> None:
        """What a plain consumer was given just now, if it is one of these."""
        if f'"{NAME} '.encode() not in value:
            return
        event = ev.decode(value)
        if isinstance(event, ev.SpanEnded) and event.tenant == self.tenant:
            self.consumed[event.seq * CALLS + self.streams.index(event.stream)] = time.monotonic()

    def delays_ms(self, had: dict[int, float]) -> list[float]:
        """From the acknowledgement, of every marker. What a reader had before it, took no time."""
        return [max(0.0, had[number] - at) * 1e3 for number, at in self.acknowledged.items()]


class Reader(threading.Thread):
    """Asks the view and the rollup again and again, until it has had as many markers as `wanted` says at last."""

    def __init__(self, url: str, markers: Markers, wanted: Callable[[], int | None]) -> None:
        super().__init__(daemon=True)
        self._url, self._markers, self._wanted = url, markers, wanted
        self.stalled = False

    def run(self) -> None:
        had, moved = 0, time.monotonic()
        with closing(connect(self._url)) as client:
            while self._wanted() is None or had < 2 * (self._wanted() or 0):
                self._look(client)
                now = len(self._markers.in_view) + len(self._markers.in_rollup)
                if now != had:
                    had, moved = now, time.monotonic()
                elif time.monotonic() - moved > STALL_S:
                    self.stalled = True
                    return
                time.sleep(POLL_PAUSE_S)

    def _look(self, client: Client) -> None:
        asked = {"tenant": self._markers.tenant, "calls": self._markers.streams, "campaign": NAME}
        for sql, had in ((_VIEW, self._markers.in_view), (_ROLLUP, self._markers.in_rollup)):
            began = time.monotonic()
            answer = rows(client, sql, asked)
            now = time.monotonic()
            self._markers.polls_s.append(now - began)
            for row in answer:
                which = int(str(row["component"]).removeprefix(NAME))
                for seq in range(int(row["n"])):
                    had.setdefault(seq * CALLS + which, now)
