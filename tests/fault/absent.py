"""More of what may happen: what comes hours late from a producer's disk, and what never comes. As `cases.py`."""

import random
import time
from contextlib import closing
from functools import partial

from prometheus_client import CollectorRegistry

from ingest import query
from ingest.reconcile.judge import LOST_AFTER_S
from ingest.reconcile.meters import ReconcilerMeters
from ingest.reconcile.task import Reconciler
from ingest.stream.intake import Spot
from ingest.stream.logs import backlog
from runtime import events as ev
from runtime.emit import kafka_log
from runtime.events import Topic
from tests.contract.ground import House
from tests.contract.said import SECOND_US, faults
from tests.fault.cases import CASES, Record, case, some

__all__ = ["CASES"]
SENT_S = 30.0


@case(rebuilt=True)
def spool_replayed_late(house: House, r: random.Random) -> list[str]:
    """The tails of some calls, and others whole, lie on the disk of a producer that died while the broker was away."""
    said = some(r)
    whole = set(r.sample(sorted({key for key, _ in said}), 10))
    late = [record for n, record in enumerate(said) if record[0] in whole or n > 2 * len(said) // 3]
    held = {id(record) for record in late}
    spool = house.folder / "spool"
    house.worker(flush=50)
    house.broker.produce([record for record in said if id(record) not in held])
    house.broker.kill()
    log = kafka_log(house.broker.address, spool, answering=False)
    for key, value in late:
        log.append(Topic.CALLS, key, value)
    log.close(0.0)
    assert log.counts().spooled.total() == len(late)
    house.broker.start()
    now = some(r, 10)
    house.broker.produce(now)
    house.read()
    following = kafka_log(house.broker.address, spool)
    assert following.counts().found.total() == len(late)
    assert following.close(SENT_S) == 0
    _meet(house, len(said) + len(now))
    house.read()
    return faults(house.url, said, now)


@case()
def call_lost_whole(house: House, r: random.Random) -> list[str]:
    """Its producer's beats named it. It is said to be lost, once, and no other."""
    said = some(r, 15)
    now_us = time.time_ns() // 1000
    began_us = now_us - (LOST_AFTER_S + r.randrange(60, 900)) * SECOND_US
    gone, producer = ev.new_call_id(began_us), ev.new_call_id(began_us)
    beats = [_beat(producer, seq, began_us + seq * 10 * SECOND_US, {gone: seq, said[0][0]: seq}) for seq in range(3)]
    house.worker()
    house.broker.produce([*said, *beats])
    house.read()
    behind = partial(backlog, house.broker.address, house.broker.group, Topic.CALLS)
    with closing(query.connect(house.url)) as client:
        for look in range(2):  # whoever looks again says nothing more
            log = kafka_log(house.broker.address)
            looking = Reconciler(house.url, log, ReconcilerMeters(CollectorRegistry()), behind)
            looking.act(client, now_us + look * 61 * SECOND_US)
            assert log.close(SENT_S) == 0
            _meet(house, len(said) + len(beats) + 1)
            house.read()
        named = query.rows(client, "SELECT call_id FROM call_completeness WHERE state = 'lost'")
        counted = client.command("SELECT sum(calls_lost) FROM quality_1m")
    records = house.broker.records(Topic.CALLS)
    wrong = [] if [row["call_id"] for row in named] == [gone] and counted == 1 else [f"lost: {named}, {counted}"]
    wrong += [] if len(records) == len(said) + len(beats) + 1 else [f"{len(records)} records in the topic"]
    of_lost = [(record.key.decode(), record.value) for record in records if b'"type":"CallLost"' in record.value]
    return wrong + faults(house.url, said, beats, of_lost)


def _beat(producer: str, seq: int, at: int, calls: dict[str, int]) -> Record:
    event = ev.ProducerBeat(
        stream=producer,
        source="producer",
        seq=seq,
        at=at,
        v=1,
        tenant="acme",
        campaign="spring",
        of="runtime",
        calls=calls,
    )
    return producer, ev.encode(event)


def _meet(house: House, least: int) -> None:
    """Learns where the topic ends when others than the house have written to it."""
    for record in house.broker.records(Topic.CALLS, least):
        spot = Spot(Topic.CALLS.value, record.partition)
        house.broker.ends[spot] = max(house.broker.ends.get(spot, 0), record.offset + 1)
