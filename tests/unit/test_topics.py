"""How long a topic keeps what, and that words are gone from the broker within seven days."""

from datetime import timedelta

import pytest

from ingest.stream.topics import RETENTION_MS, configs_of, kept_at_most
from runtime.events import Topic

DAY = timedelta(days=1)


def test_every_topic_has_a_retention():
    assert set(RETENTION_MS) == set(Topic)


@pytest.mark.parametrize("topic", [Topic.CONTENT, Topic.DEAD_CONTENT])
def test_no_copy_of_words_outlives_seven_days_whatever_a_segment_holds(topic):
    kept = kept_at_most(topic)
    assert 6 * DAY <= kept <= 7 * DAY
    configs = configs_of(topic)
    assert timedelta(milliseconds=int(configs["retention.ms"]) + int(configs["segment.ms"])) == kept


@pytest.mark.parametrize(("topic", "days"), [(Topic.CALLS, 14), (Topic.OUTCOMES, 14), (Topic.DEAD_LETTERS, 30)])
def test_what_is_read_again_is_kept_for_as_long_as_it_may_be_wanted(topic, days):
    assert configs_of(topic)["retention.ms"] == str(days * 86_400_000)
    assert kept_at_most(topic) <= (days + 1) * DAY


def test_control_is_compacted_and_kept_for_good():
    assert configs_of(Topic.CONTROL)["cleanup.policy"] == "compact"
    assert kept_at_most(Topic.CONTROL) is None


@pytest.mark.parametrize("topic", [*Topic, "turnlog.more.v1"])
def test_every_record_bears_the_time_of_its_arrival(topic):
    assert configs_of(topic)["message.timestamp.type"] == "LogAppendTime"
