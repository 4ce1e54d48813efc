"""The log on Kafka, by kafka-python: an idempotent producer behind a bounded hand-over. Imported where used.

`KafkaProducer.send` may block on metadata or a full buffer, so no call ever calls it: a call puts a record
into a bounded queue, and one thread of ours hands it on.
"""

import contextlib
import logging
import queue
import threading
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError, MessageSizeTooLargeError

from runtime.emit.brokers import Brokers
from runtime.emit.errors import LogUnreachable
from runtime.emit.probe import why_unreachable
from runtime.events import Topic

QUEUE_RECORDS_MAX = 20_000  # waiting for us or for the broker: kafka-python's own buffer knows no limit
_LINGER_MS = 5
_BATCH_BYTES = 131_072
_BLOCK_MS = 10_000
_END_S = 1.0
_OPTIONS = {
    "client_id": "turnlog-emit",
    "enable_idempotence": True,
    "acks": "all",
    "linger_ms": _LINGER_MS,
    "batch_size": _BATCH_BYTES,
    "compression_type": "gzip",
    "max_block_ms": _BLOCK_MS,
    "bootstrap_timeout_ms": _BLOCK_MS,
}
_log = logging.getLogger(__name__)


class KafkaLog:
    """Appends to the log on these brokers.

    Raises LogUnreachable when none lets us in at the start. Later failures are counted in `dropped` (the queue was
    full) and `failed` (the brokers did not take it), never raised into a call.
    """

    def __init__(self, brokers: Brokers, queue_records_max: int = QUEUE_RECORDS_MAX, **options: Any) -> None:
        try:
            self._options = {**_OPTIONS, **brokers.options(), **options}
            self._producer = KafkaProducer(**self._options)
        except (KafkaError, OSError) as error:
            raise LogUnreachable(why_unreachable(brokers)) from error
        self._queue: queue.Queue[tuple[Topic, str, bytes] | None] = queue.Queue()
        self._records_max = queue_records_max
        self._settled = threading.Condition()  # guards the counts; told of every record that is done
        self._closed = self._spoiled = False
        self.taken = self.delivered = self.dropped = self.failed = 0
        self._thread = threading.Thread(target=self._pump, name="turnlog-emit", daemon=True)
        self._thread.start()

    def append(self, topic: Topic, key: str, value: bytes) -> None:
        with self._settled:
            waiting = self.taken - self.delivered - self.failed
            if self._closed or waiting >= self._records_max:
                self.dropped += 1
            else:
                self._queue.put_nowait((topic, key, value))
                self.taken += 1

    def flush(self, timeout_s: float = 10.0) -> int:
        """Wait until what was taken so far is acknowledged. Returns how many records still are not."""
        with self._settled:
            taken = self.taken
            if not self._closed:
                # Not by the producer's own flush: that returns before its callbacks have counted.
                self._settled.wait_for(lambda: self.delivered + self.failed >= taken, timeout_s)
            return self.taken - self.delivered

    def close(self, timeout_s: float = 10.0) -> int:
        """Deliver what was taken, then stop. Returns the records that could not be delivered."""
        undelivered = self.flush(timeout_s)
        with self._settled:
            if self._closed:
                return undelivered
            self._closed = True
        self._end(self._producer)
        self._queue.put(None)
        self._thread.join(1.0)  # if it hangs in the producer, it ends with the process
        return undelivered

    def _pump(self) -> None:
        while (record := self._queue.get()) is not None:
            topic, key, value = record
            try:
                if self._spoiled and not self._closed:
                    self._renew()
                future = self._producer.send(str(topic), value=value, key=key.encode())
            except (KafkaError, AssertionError, ValueError, RuntimeError) as error:
                self._refused(error)  # ValueError: a key that is no text; RuntimeError: closed while it waited
            else:
                future.add_callback(self._acknowledged)
                future.add_errback(self._failed)

    def _renew(self) -> None:
        """Take another producer. One whose broker forgot it (wiped, or after long silence) refuses all that follows."""
        self._end(self._producer)
        self._producer = KafkaProducer(**self._options)
        self._spoiled = False

    @staticmethod
    def _end(producer: KafkaProducer) -> None:
        try:
            producer.flush(timeout=_END_S)
        except KafkaError:
            # Its close() waits for every batch, and leaves its threads and sockets behind when that fails.
            producer._sender.force_close()
        with contextlib.suppress(KafkaError):
            producer.close(timeout=_END_S)

    def _acknowledged(self, _: Any) -> None:
        with self._settled:
            self.delivered += 1
            self._settled.notify_all()

    def _failed(self, error: BaseException) -> None:
        self._spoiled |= not isinstance(error, MessageSizeTooLargeError)  # which is that record's own fault
        self._refused(error)

    def _refused(self, error: BaseException) -> None:
        with self._settled:
            self.failed += 1
            first = self.failed == 1
            self._settled.notify_all()
        if first:
            _log.warning("the brokers refused a record: %s", type(error).__name__)
