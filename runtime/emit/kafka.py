"""Carries records to Kafka by kafka-python's idempotent producer. Imported where used; knows no spool.

`KafkaProducer.send` may block on metadata or a full buffer, and so may its constructor: a thread of ours calls both.
kafka-python has one batch of a partition under way at a time. When one fails, the producer is stopped before its next
batch of that partition can leave, and another takes its place: so nothing is appended behind a record that failed.
"""

import contextlib
import logging
import queue
import threading
from collections.abc import Sequence
from typing import Any

from kafka import KafkaProducer
from kafka.errors import InvalidRecordError, InvalidTimestampError, KafkaError, MessageSizeTooLargeError

from runtime.emit.brokers import Brokers
from runtime.emit.courier import Delivered, Lost, Refused, Report
from runtime.emit.errors import LogUnreachable
from runtime.emit.folder import SpoolFolder
from runtime.emit.handover import QUEUE_RECORDS_MAX, Handover
from runtime.emit.outbox import Sent
from runtime.emit.probe import why_unreachable

RETRY_S_MIN, RETRY_S_MAX = 0.25, 8.0
_LINGER_MS = 5
_BATCH_BYTES = 131_072
_BLOCK_MS = 10_000
# After this a batch fails and another producer takes its place. kafka-python asks a broker that forgot its producers
# with the same number again until then (`UnknownProducerIdError … appears to be retention-based`).
_DELIVERY_MS = 20_000
_RECONNECT_MS_MAX = 2_000
_END_S = 1.0
_OPTIONS = {
    "client_id": "turnlog-emit",
    "enable_idempotence": True,
    "acks": "all",
    "linger_ms": _LINGER_MS,
    "batch_size": _BATCH_BYTES,
    "compression_type": "gzip",
    "max_block_ms": _BLOCK_MS,
    "request_timeout_ms": _BLOCK_MS,
    "delivery_timeout_ms": _DELIVERY_MS,
    "reconnect_backoff_max_ms": _RECONNECT_MS_MAX,
    "bootstrap_timeout_ms": _BLOCK_MS,
}
_OWN_FAULT = (MessageSizeTooLargeError, InvalidRecordError, InvalidTimestampError)  # of that record, on any broker
_log = logging.getLogger(__name__)


class KafkaLog(Handover):
    """The log on these brokers. Raises LogUnreachable when none lets us in now; with `answering=False` it waits for one
    and keeps what comes meanwhile. Later failures are counted, never raised into a call.
    """

    def __init__(
        self,
        brokers: Brokers,
        queue_records_max: int = QUEUE_RECORDS_MAX,
        *,
        spool: SpoolFolder | None = None,
        beats: bool = False,
        answering: bool = True,
        **options: Any,
    ) -> None:
        producer = None
        if answering:
            try:
                producer = KafkaProducer(**{**_OPTIONS, **brokers.options(), **options})
            except (KafkaError, OSError) as error:
                raise LogUnreachable(why_unreachable(brokers)) from error
        super().__init__(
            lambda report: KafkaCourier(brokers, report, producer, options),
            spool,
            queue_records_max=queue_records_max,
            beats=beats,
        )


class KafkaCourier:
    """One thread, and one producer at a time: the generation counts them."""

    def __init__(
        self, brokers: Brokers, report: Report, producer: KafkaProducer | None, options: dict[str, Any]
    ) -> None:
        self._brokers, self._report, self._more = brokers, report, options
        self._producer = producer
        self._made_for = 0
        self._generation = 0
        self._broken = -1  # the generation whose producer gave up
        self._guard = threading.Lock()  # of `_broken`
        self._inbox: queue.SimpleQueue[tuple[int, int, Sequence[Sent]] | None] = queue.SimpleQueue()
        self._ending = threading.Event()
        self._pause_s = RETRY_S_MIN
        self._told: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="turnlog-emit-kafka", daemon=True)
        self._thread.start()

    def send(self, lane: int, sent: Sequence[Sent]) -> None:
        self._inbox.put((self._generation, lane, sent))

    def renew(self) -> None:
        self._generation += 1

    def close(self) -> None:
        self._ending.set()
        self._inbox.put(None)
        self._thread.join(_END_S)  # if it hangs in the producer, it ends with the process

    def _run(self) -> None:
        while (batch := self._inbox.get()) is not None and not self._ending.is_set():
            generation, lane, sent = batch
            if generation <= self._broken:
                continue  # it will be sent again
            for number, record in sent:
                producer = self._current(generation)
                if producer is None:
                    break
                self._hand_on(producer, generation, lane, Sent(number, record))
        if self._producer is not None:
            _end(self._producer)

    def _hand_on(self, producer: KafkaProducer, generation: int, lane: int, sent: Sent) -> None:
        number, (topic, key, value) = sent
        try:
            future = producer.send(str(topic), value=value, key=key.encode())
        except (*_OWN_FAULT, UnicodeEncodeError, AssertionError):
            self._report(Refused(lane, number))
        except Exception as error:  # noqa: BLE001  the edge to a client: closed while it waited, waited too long, …
            self._gave_up(producer, generation, error)
        else:
            future.add_callback(self._delivered, lane, number)
            future.add_errback(self._failed, producer, generation, lane, number)

    def _current(self, generation: int) -> KafkaProducer | None:
        """The producer of this generation, made when it is wanted; none when it gave up, or we end."""
        if self._producer is not None and self._made_for < generation:
            _end(self._producer)
            self._producer = None
            self._pause()
        while generation > self._broken and not self._ending.is_set():
            if self._producer is not None:
                return self._producer
            try:
                self._producer = KafkaProducer(**{**_OPTIONS, **self._brokers.options(), **self._more})
                self._made_for = generation
            except Exception as error:  # noqa: BLE001  the same edge: this thread must outlive it
                self._tell(error)
                self._pause()
        return None

    def _pause(self) -> None:
        self._ending.wait(self._pause_s)
        self._pause_s = min(2 * self._pause_s, RETRY_S_MAX)

    def _delivered(self, lane: int, number: int, _: Any) -> None:
        self._pause_s = RETRY_S_MIN
        self._report(Delivered(lane, number))

    def _failed(self, producer: KafkaProducer, generation: int, lane: int, number: int, error: BaseException) -> None:
        """Called by the producer's own thread, before it sends anything more."""
        if isinstance(error, _OWN_FAULT):
            self._report(Refused(lane, number))
        else:
            self._gave_up(producer, generation, error)

    def _gave_up(self, producer: KafkaProducer, generation: int, error: BaseException) -> None:
        with self._guard:
            if generation <= self._broken:
                return
            self._broken = generation
        producer._sender.force_close()
        self._tell(error)
        self._report(Lost())

    def _tell(self, error: BaseException) -> None:
        """Once a kind: a broker that stays away would fill the log with it. A message may quote; the name does not."""
        if (name := type(error).__name__) not in self._told:
            self._told.add(name)
            _log.warning("the brokers do not take records now (%s); they wait", name)


def _end(producer: KafkaProducer) -> None:
    try:
        producer.flush(timeout=_END_S)
    except KafkaError:
        # Its close() waits for every batch, and leaves its threads and sockets behind when that fails.
        producer._sender.force_close()
    with contextlib.suppress(KafkaError):
        producer.close(timeout=_END_S)
