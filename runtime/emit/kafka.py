"""The log on Kafka, by kafka-python: an idempotent producer behind a bounded hand-over. Imported where used.

`KafkaProducer.send` may block on metadata or a full buffer, so no call ever calls it: a call puts a record
into a bounded queue, and one thread of ours hands it on.
"""

import logging
import queue
import threading
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError

from runtime.emit.errors import LogUnreachable
from runtime.events import Topic

QUEUE_RECORDS_MAX = 20_000
_LINGER_MS = 5
_BATCH_BYTES = 131_072
_BLOCK_MS = 10_000
_log = logging.getLogger(__name__)


class KafkaLog:
    """Appends to the brokers at `servers` ("host:port,host:port").

    Raises LogUnreachable when none answers at the start. Later failures are counted in `dropped` (the queue was
    full) and `failed` (the brokers did not take it), never raised into a call.
    """

    def __init__(self, servers: str, queue_records_max: int = QUEUE_RECORDS_MAX, **options: Any) -> None:
        try:
            self._producer = KafkaProducer(
                bootstrap_servers=servers.split(","),
                client_id="turnlog-emit",
                enable_idempotence=True,
                acks="all",
                linger_ms=_LINGER_MS,
                batch_size=_BATCH_BYTES,
                compression_type="gzip",
                max_block_ms=_BLOCK_MS,
                bootstrap_timeout_ms=_BLOCK_MS,
                **options,
            )
        except KafkaError as error:
            raise LogUnreachable(servers, type(error).__name__) from error
        self._queue: queue.Queue[tuple[Topic, str, bytes] | None] = queue.Queue(queue_records_max)
        self._lock = threading.Lock()
        self.taken = self.delivered = self.dropped = self.failed = 0
        self._thread = threading.Thread(target=self._pump, name="turnlog-emit", daemon=True)
        self._thread.start()

    def append(self, topic: Topic, key: str, value: bytes) -> None:
        try:
            self._queue.put_nowait((topic, key, value))
        except queue.Full:
            self.dropped += 1
        else:
            self.taken += 1

    def flush(self, timeout_s: float = 10.0) -> int:
        """Wait until what was taken so far is acknowledged. Returns how many records still are not."""
        settled = threading.Event()
        threading.Thread(target=self._settle, args=(settled,), daemon=True).start()
        settled.wait(timeout_s)
        return self.taken - self.delivered

    def close(self, timeout_s: float = 10.0) -> int:
        """Deliver what was taken, then stop. Returns the records that could not be delivered."""
        undelivered = self.flush(timeout_s)
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join(1.0)
        self._producer.close(timeout=1)
        return undelivered

    def _settle(self, settled: threading.Event) -> None:
        self._queue.join()
        try:
            self._producer.flush()
        except (KafkaError, AssertionError):
            _log.warning("the brokers did not acknowledge what was sent")
        settled.set()

    def _pump(self) -> None:
        while (record := self._queue.get()) is not None:
            topic, key, value = record
            try:
                future = self._producer.send(str(topic), value=value, key=key.encode())
                future.add_callback(self._acknowledged)
                future.add_errback(self._refused)
            except (KafkaError, AssertionError) as error:
                self._refused(error)
            finally:
                self._queue.task_done()
        self._queue.task_done()

    def _acknowledged(self, _: Any) -> None:
        with self._lock:
            self.delivered += 1

    def _refused(self, error: BaseException) -> None:
        with self._lock:
            self.failed += 1
            first = self.failed == 1
        if first:
            _log.warning("the brokers refused a record: %s", type(error).__name__)
