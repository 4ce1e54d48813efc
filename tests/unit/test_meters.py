"""Only what is fresh and new is observed, under labels that are known beforehand."""

import time

import pytest

from ingest.effects import Dead
from ingest.projection import Record, project
from ingest.stream.meters import BUCKETS_S, FRESH_US, OTHER, SERIES_MAX, Meters
from runtime import events as ev
from runtime.events import Label, Metric, Reason, Topic

NOW_US = time.time_ns() // 1000
CALL = ev.new_call_id(NOW_US)
TOPIC = Topic.CALLS.value


def items(*ages_us, start=0):
    """A span, a turn and a glitch of each age, at offsets that count from `start`."""
    records = []
    for age_us in ages_us:
        usual = {"stream": CALL, "source": "runtime", "at": NOW_US - age_us, "v": 1, "tenant": "acme", "campaign": "c"}
        for event in (
            ev.SpanEnded(**usual, seq=0, span=1, turn=1, component="tts", model="m", duration_us=250_000),
            ev.TurnEnded(**usual, seq=0, turn=1, outcome=ev.Outcome.ANSWERED),
            ev.GlitchDetected(
                **usual, seq=0, turn=1, detector=ev.Detector.AUDIO, kind=ev.GlitchKind.UNDERRUN, gap_ms=50.0
            ),
            ev.NodeEntered(**usual, seq=0, turn=1, node="hello"),
        ):
            records.append(Record(start + len(records), 0, ev.encode(event)))
    return project(records, Topic.CALLS, judged=False)


def observed(meters):
    value = meters.registry.get_sample_value
    call = {"tenant": "acme", "campaign": "c"}
    return tuple(
        value(name, {**call, **labels}) or 0
        for name, labels in (
            ("turnlog_latency_seconds_count", {"component": "tts", "provider": "", "model": "m"}),
            ("turnlog_turns_total", {"outcome": "answered"}),
            ("turnlog_glitches_total", {"detector": "audio"}),
        )
    )


@pytest.mark.parametrize(("age_us", "times"), [(0, 1), (FRESH_US - 1, 1), (FRESH_US, 0), (FRESH_US * 100, 0)])
def test_only_what_is_younger_than_two_minutes_is_observed(age_us, times):
    assert FRESH_US == 120 * 1_000_000
    meters = Meters()
    meters.stored(TOPIC, items(age_us), frozenset(), -1, NOW_US)
    assert observed(meters) == (times,) * 3


@pytest.mark.parametrize(("beyond", "times"), [(-1, 1), (9, 1), (10, 0), (13, 0)])
def test_only_what_lies_beyond_the_highest_stored_offset_is_observed(beyond, times):
    meters = Meters()
    meters.stored(TOPIC, items(0, start=10)[:1], frozenset(), beyond, NOW_US)
    assert observed(meters)[0] == times


def test_what_was_said_before_is_counted_as_a_duplicate_and_not_observed():
    meters = Meters()
    meters.stored(TOPIC, items(0), frozenset({0, 1, 2}), -1, NOW_US)
    assert observed(meters) == (0, 0, 0)
    assert meters.registry.get_sample_value("turnlog_ingest_duplicates_total", {"topic": TOPIC}) == 3
    assert meters.registry.get_sample_value("turnlog_ingest_records_total", {"topic": TOPIC}) == 4


def test_a_span_that_failed_is_not_observed():
    meters = Meters()
    failed = ev.SpanEnded(
        stream=CALL, source="r", seq=0, at=NOW_US, v=1, tenant="acme", campaign="c", span=1, turn=1, component="tts",
        model="m", duration_us=1, status=ev.SpanStatus.ERROR,
    )  # fmt: skip
    meters.stored(TOPIC, project([Record(0, 0, ev.encode(failed))], Topic.CALLS, judged=False), frozenset(), -1, NOW_US)
    assert observed(meters)[0] == 0


def test_every_series_and_every_label_is_of_the_closed_set():
    meters = Meters()
    meters.stored(TOPIC, items(0), frozenset({3}), -1, NOW_US)
    meters.buried(TOPIC, [Dead(0, 1, Reason.CLOCK, "", b"x")])
    meters.conflicts(TOPIC, 1)
    meters.retried()
    meters.flushed(0.1)
    meters.held(7)
    meters.paused()
    meters.lag(TOPIC, 0, 5)
    meters.youngest(TOPIC, 0, NOW_US)
    families = list(meters.registry.collect())
    elsewhere = (
        "turnlog_emit_",
        "turnlog_door_",
        "turnlog_reconciler_",
    )  # see test_spool, test_door_desk, test_reconcile
    assert {family.name for family in families} == {m for m in Metric if not m.startswith(elsewhere)}
    labels = {name for family in families for sample in family.samples for name in sample.labels}
    assert labels - {"le"} == set(Label) - {Label.TYPE, Label.ROLLUP}, "a producer's and the reconciler's"


def test_lag_is_never_negative():
    meters = Meters()
    meters.lag(TOPIC, 0, -3)
    assert meters.registry.get_sample_value(Metric.LAG, {"topic": TOPIC, "partition": "0"}) == 0


def test_a_released_partition_is_another_workers_to_speak_of():
    meters = Meters()
    for partition in (0, 1):
        meters.lag(TOPIC, partition, 5)
        meters.youngest(TOPIC, partition, NOW_US)
    meters.released(TOPIC, 0)
    meters.released(TOPIC, 0)
    told = meters.registry.get_sample_value
    for name in (Metric.LAG, Metric.YOUNGEST):
        assert told(name, {"topic": TOPIC, "partition": "0"}) is None
        assert told(name, {"topic": TOPIC, "partition": "1"}) is not None


def test_producers_cannot_name_more_series_than_the_limit():
    meters = Meters()
    turns = [
        ev.TurnEnded(
            stream=CALL, source="r", seq=n, at=NOW_US, v=1, tenant="acme", campaign=f"c-{n}", turn=1,
            outcome=ev.Outcome.ANSWERED,
        )
        for n in range(SERIES_MAX + 5)
    ]  # fmt: skip
    told = project([Record(n, 0, ev.encode(turn)) for n, turn in enumerate(turns)], Topic.CALLS, judged=False)
    meters.stored(TOPIC, told, frozenset(), -1, NOW_US)
    other = {"tenant": OTHER, "campaign": OTHER, "outcome": "answered"}
    assert meters.registry.get_sample_value("turnlog_turns_total", other) == 5


def test_the_edges_of_the_buckets_rise():
    assert list(BUCKETS_S) == sorted(set(BUCKETS_S))
