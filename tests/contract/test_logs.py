"""The topics and the ids of their logs, on both brokers."""

from contextlib import closing

import pytest
from kafka import KafkaAdminClient

from ingest.stream.logs import LogIds, TopicMissing, absent_topics, check_rights, create_topics
from ingest.stream.worker import GROUP
from runtime.events import Topic
from tests.contract.ground import PARTITIONS
from tests.contract.grounds import BROKERS, broker_named


@pytest.fixture(params=BROKERS)
def broker(request):
    with broker_named(request.param, request) as running:
        yield running


def test_a_topic_keeps_its_id_until_it_is_made_anew_and_no_other_has_it(broker):
    with closing(LogIds(broker.address)) as ids:
        first = {topic: ids(topic) for topic in PARTITIONS}
        assert {topic: ids(topic) for topic in PARTITIONS} == first
    assert len(set(first.values())) == len(PARTITIONS)
    broker.wipe()
    with closing(LogIds(broker.address)) as ids:
        assert not {ids(topic) for topic in PARTITIONS} & set(first.values())


def test_a_topic_that_does_not_exist_has_no_id_and_asking_does_not_make_it(broker):
    with closing(LogIds(broker.address)) as ids, pytest.raises(TopicMissing, match="'absent'"):
        ids("absent")
    with closing(KafkaAdminClient(**broker.address.options())) as admin:
        assert "absent" not in admin.list_topics()


def test_a_topic_that_does_not_exist_is_named(broker):
    assert absent_topics(broker.address, [*PARTITIONS, "absent"]) == ["absent"]


def test_topics_that_are_there_are_left_alone_and_the_others_made(broker):
    assert create_topics(broker.address, PARTITIONS) == []
    assert create_topics(broker.address, {Topic.CALLS: 7, "turnlog.more.v1": 2}) == ["turnlog.more.v1"]
    with closing(KafkaAdminClient(**broker.address.options())) as admin:
        found = {t["name"]: len(t["partitions"]) for t in admin.describe_topics([Topic.CALLS, "turnlog.more.v1"])}
        admin.delete_topics(["turnlog.more.v1"])
    assert found == {Topic.CALLS: PARTITIONS[Topic.CALLS], "turnlog.more.v1": 2}


def test_a_broker_without_rights_grants_all_of_them(broker):
    check_rights(
        broker.address, {Topic.CALLS: ["READ", "WRITE"], Topic.DEAD_LETTERS: ["WRITE"], "absent": ["READ"]}, GROUP
    )
