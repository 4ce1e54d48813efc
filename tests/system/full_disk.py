"""A producer on a disk that fills, as a program of its own: `test_producer.py` runs it on a small disk that it mounts.

Arguments: the folder that the disk is mounted on. Ends with an assertion's traceback, or in silence.
"""

import sys
from pathlib import Path

import pytest

from runtime.emit import SpoolUnusable
from runtime.emit.folder import SpoolFolder
from runtime.emit.kafka import KafkaLog
from runtime.emit.spool import Room
from runtime.events import Loss, Topic
from tests.contract.ground import until
from tests.contract.kafka_broker import Embedded, embedded_broker

ROOM = Room(segment_bytes=100_000, slots=4, slot_bytes=50_000)


class Producer:
    def __init__(self, broker: Embedded, spool: Path) -> None:
        self.log = KafkaLog(broker.address, spool=SpoolFolder(spool, facts=ROOM))
        self.said = 0

    def say(self, kind: str) -> None:
        value = b'{"type":"%s","pad":"%s","n":%d}' % (kind.encode(), b"x" * 400, self.said)
        self.log.append(Topic.CALLS, "call-1", value)
        self.said += 1

    def dropped(self) -> int:
        return self.log.counts().dropped["NodeEntered", Loss.NO_ROOM]


def main(disk: Path) -> None:
    with pytest.raises(SpoolUnusable, match=r"No space left on device.*with room on its disk"):
        SpoolFolder(disk / "spool")  # whose default reserve is larger than this disk
    with embedded_broker() as broker:
        producer = Producer(broker, disk / "spool")
        log = producer.log
        broker.kill()
        while producer.dropped() < 100:
            for _ in range(100):
                producer.say("NodeEntered")
            log.flush(0.02)
        assert log.accepts_calls, "the reserve is whole"
        protected = 20
        while log.accepts_calls:
            producer.say("DispositionSet")
            protected += 1
            log.flush(0.02)
        assert protected > 100
        for _ in range(20):  # of the calls that run
            producer.say("DispositionSet")
        broker.start()
        until(lambda: log.accepts_calls, "there is room again")
        dropped = producer.dropped()
        assert log.close(60.0) == dropped
        counts = log.counts()
        assert counts.dropped == {("NodeEntered", Loss.NO_ROOM): dropped}, counts.dropped
        assert counts.delivered["DispositionSet"] == protected, counts.delivered
        values = dict.fromkeys(r.value for r in broker.records(Topic.CALLS, counts.delivered.total()))
        numbers = [int(value.rpartition(b":")[2][:-1]) for value in values]
        assert len(numbers) == producer.said - dropped
        assert numbers == sorted(numbers)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
