"""How long the last copy of a record is kept: what a broker says, and what it does not."""

from datetime import timedelta

import pytest

from ingest.stream import retained
from runtime.emit import Brokers

TOPIC = "turnlog.content.v1"
WHOLE = {"max.message.bytes": "1048588", "cleanup.policy": "delete", "retention.ms": "1000", "segment.ms": "500"}


@pytest.mark.parametrize(
    ("said", "kept", "why"),
    [
        (WHOLE, timedelta(milliseconds=1_500), ""),
        ({**WHOLE, "retention.ms": "-1"}, None, "keeps it for good"),
        ({**WHOLE, "cleanup.policy": "compact"}, None, "compacted"),
        ({"retention.ms": "1000"}, None, "memory"),  # the embedded broker says what it was told
        ({}, None, "right to describe"),  # a refusal, of which the client says nothing
    ],
)
def test_what_is_said_of_the_last_copy(monkeypatch, said, kept, why):
    class Admin:
        def __init__(self, **_):
            pass

        def describe_configs(self, *_, **__):
            return {"topic": {TOPIC: {name: {"value": value} for name, value in said.items()}}}

        def close(self):
            pass

    monkeypatch.setattr(retained, "KafkaAdminClient", Admin)
    found, words = retained.kept_until(Brokers("127.0.0.1:1"), TOPIC)
    assert found == kept
    assert why in words
