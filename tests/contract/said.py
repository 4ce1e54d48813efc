"""Whole calls as a producer says them, and how the tables differ from what was said. Knows no broker."""

import random
import time
from collections import Counter, defaultdict
from contextlib import closing

import numpy as np

from ingest import query
from ingest.sketch import ALPHA
from ingest.tables import RAW
from runtime import events as ev
from runtime.emit import Context, MemoryLog, Recorder, say

SECOND_US = 1_000_000
WORDS = "what nobody but the words' own table may hold"
COMPONENTS = ("asr", "response", "tts")


def calls(count, seed=0, skew_us=lambda _: 0):
    """(key, value) pairs of whole calls, two sources each, interleaved as live calls are. `skew_us` is how far ahead
    the clock is of whoever makes the n-th call.
    """
    r, true_us = random.Random(seed), time.time_ns() // 1000
    spoken = []
    for number in range(count):
        log, now_us = MemoryLog(), true_us + skew_us(number)
        context = Context(ev.new_call_id(now_us), "acme", r.choice(["spring", "autumn"]), "booker", variants={"a": "b"})
        runtime, audio = Recorder(log, context, "runtime"), Recorder(log, context, "audio")
        at = now_us - r.randrange(180) * SECOND_US
        runtime.record(ev.CallStarted, at, direction=ev.Direction.INBOUND)
        for turn in range(r.randint(1, 3)):
            for component in COMPONENTS:
                latency_us = int(r.lognormvariate(12, 1))
                runtime.record(
                    ev.SpanEnded, at, span=turn + 1, turn=turn, component=component, model="m", duration_us=latency_us
                )
            runtime.record(ev.TurnEnded, at, turn=turn, outcome=r.choice(list(ev.Outcome)), latency_us=latency_us)
            detector, kind = r.choice(list(ev.Detector)), r.choice(list(ev.GlitchKind))
            audio.record(ev.GlitchDetected, at, turn=turn, detector=detector, kind=kind, gap_ms=41.5)
            if r.random() < 0.1:
                runtime.record(ev.LoopDetected, at, turn=turn, node="greet", repeats=3)
        runtime.record(ev.CallEnded, at, reason=ev.EndReason.AGENT_ENDED)
        runtime.close(at)
        audio.close(at)
        spoken.append(log.records(ev.Topic.CALLS))
    produced = []
    while spoken:
        one = r.choice(spoken)
        produced.append(one.pop(0))
        spoken = [s for s in spoken if s]
    return produced


def others(count, seed=0):
    """(key, value) pairs by topic, of what is said beside calls: words, what is known of leads, and control."""
    r, now_us = random.Random(seed), time.time_ns() // 1000
    log = MemoryLog()
    for n in range(count):
        words = Recorder(log, Context(ev.new_call_id(now_us), "acme", "spring", "booker", lead=f"l-{n}"), "runtime")
        for turn in range(r.randint(1, 4)):
            words.record(ev.WordsHeard, now_us, turn=turn, text=f"{WORDS} {turn}")
        words.close(now_us)
        at, who = (
            now_us - r.randrange(60) * 86_400 * SECOND_US,
            {"source": "desk", "lead": f"l-{n}", "campaign": "spring"},
        )
        say(log, "acme", f"complaint {seed} {n}", ev.ComplaintFiled, at=at, channel="phone", **who)
        say(log, "acme", f"consent {seed} {n}", ev.ConsentRevoked, at=at, purpose="marketing", **who)
        who["lead"] = f"gone-{n}"  # nobody else's: what is stored of an erased lead is not what was said
        say(log, "acme", f"erasure {seed} {n}", ev.LeadErased, at=at, **who)
    return {topic: log.records(topic) for topic in (ev.Topic.CONTENT, ev.Topic.OUTCOMES, ev.Topic.CONTROL)}


def other_faults(url, said):
    """How the rows of the other topics differ from `said`, by topic; empty when they do not."""
    found = []
    with closing(query.connect(url)) as client:
        for topic, records in said.items():
            kept = firsts(records)
            stored = query.rows(client, f"SELECT stream, source, seq, payload FROM {RAW[topic]} FINAL")
            there = {(r["stream"], r["source"], r["seq"]): r["payload"].encode() for r in stored}
            if there != kept:
                found.append(
                    f"{topic}: {len(kept)} were said, {len(there)} stored, {len(there.items() & kept.items())} the same"
                )
    return found


def identity(event):
    return event.stream, event.source, event.seq


def firsts(*produced):
    """The first delivery of every event, by identity."""
    kept = {}
    for records in produced:
        for _, value in records:
            kept.setdefault(identity(ev.decode(value)), value)
    return kept


def faults(url, *produced):
    """How the tables differ from what was produced; empty when they do not. No rollup is judged by another."""
    with closing(query.connect(url)) as client:
        return _faults(client, firsts(*produced))


def _faults(client, kept):
    events = [ev.decode(value) for value in kept.values()]
    said = []
    stored = query.rows(client, "SELECT stream, source, seq, payload FROM events")
    found = {(r["stream"], r["source"], r["seq"]): r["payload"].encode() for r in stored}
    if found != kept:
        said.append(f"{len(kept)} events were said, {len(found)} stored, {len(found.items() & kept.items())} the same")
    incomplete = client.command("SELECT count() FROM sources WHERE NOT complete")
    if incomplete:
        said.append(f"{incomplete} sources are not complete")
    for view, event_type in (("turns", ev.TurnEnded), ("spans", ev.SpanEnded), ("glitches", ev.GlitchDetected)):
        true, there = sum(type(e) is event_type for e in events), client.command(f"SELECT count() FROM {view}")
        if there != true:
            said.append(f"{there} {view}, not {true}")
    of_call = Counter(e.stream for e in events if type(e) is not ev.ProducerBeat)  # whose stream is the producer
    derived = {r["call_id"]: r["events"] for r in query.rows(client, "SELECT call_id, events FROM calls")}
    if derived != of_call:
        said.append(
            f"{len(derived)} calls are derived of {len(of_call)}, {len(derived.items() & of_call.items())} right"
        )
    return said + _rollup_faults(client, events) + _variation_faults(client, events) + _quality_faults(client, events)


def _rollup_faults(client, events):
    latencies = defaultdict(list)
    for e in events:
        if isinstance(e, ev.SpanEnded):
            latencies[e.at // 60_000_000 * 60, e.campaign, e.component].append(e.latency_us)
    said = []
    rows = query.rows(client, "SELECT toUnixTimestamp(minute) AS at, * FROM latency_1m")
    found = {(r["at"], r["campaign"], r["component"]): r for r in rows}
    for key in latencies.keys() | found.keys():
        true, row = latencies[key], found.get(key)
        if row is None or row["n"] != len(true):
            said.append(f"{key} counts {row and row['n']}, not {len(true)}")
            continue
        for q, column in ((0.5, "p50_us"), (0.9, "p90_us")):
            expected = np.quantile(true, q, method="lower")
            if abs(row[column] - expected) > ALPHA * expected * 1.0001:
                said.append(f"{key}: {column} is {row[column]}, numpy says {expected}")
    return said


def _variation_faults(client, events):
    latencies = defaultdict(list)
    for e in events:
        if isinstance(e, ev.SpanEnded):
            for arm in e.variants.items():
                latencies[e.at // 60_000_000 * 60, e.campaign, *arm, e.component].append(e.latency_us)
    names = ("at", "campaign", "experiment", "variation", "component")
    rows = query.rows(client, "SELECT toUnixTimestamp(minute) AS at, * FROM latency_by_variation_1m")
    found = {tuple(r[name] for name in names): (r["n"], r["p90_us"]) for r in rows}
    if found.keys() != latencies.keys():
        return [f"latency_by_variation_1m has {len(found)} rows, not {len(latencies)}"]
    said = []
    for key, true in latencies.items():
        n, p90_us = found[key]
        expected = np.quantile(true, 0.9, method="lower")
        if n != len(true) or abs(p90_us - expected) > ALPHA * expected * 1.0001:
            said.append(f"{key}: {n} spans, P90 {p90_us}; they are {len(true)} with {expected}")
    return said


def _quality_faults(client, events):
    """Counted without looking at how ingest counts: by type and field, as JSON says them."""
    true = Counter()
    for e in events:
        minute = e.at // 60_000_000 * 60, e.campaign
        match type(e).__name__:
            case "CallStarted":
                true[(*minute, "calls_started")] += 1
            case "CallEnded":
                true[(*minute, "calls_ended")] += 1
            case "TurnEnded":
                true[(*minute, "turns")] += 1
                if str(e.outcome) in ("disappeared", "interrupted"):
                    true[(*minute, str(e.outcome))] += 1
            case "GlitchDetected":
                what = "dead_air" if str(e.kind) == "dead_air" else f"underruns_{e.detector}"
                true[(*minute, what)] += 1
            case "LoopDetected":
                true[(*minute, "loops")] += 1
            case "CallLost":
                true[(*minute, "calls_lost")] += 1
    found = Counter()
    for row in query.rows(client, "SELECT toUnixTimestamp(minute) AS at, * FROM quality_1m"):
        row.pop("minute")
        row.pop("tenant")
        minute = row.pop("at"), row.pop("campaign")
        found.update({(*minute, what): n for what, n in row.items() if n})
    return [f"{key}: quality_1m says {found[key]}, not {true[key]}" for key in true | found if found[key] != true[key]]
