"""Which measurements a whole run has, in which order. Runs none."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bench:
    """`full` are further options of the long run. `broker`: it may be given one of Apache's."""

    name: str
    about: str
    full: tuple[str, ...] = ()
    broker: bool = False
    timeout_s: int = 900


PLAN = (
    Bench("consume", "Fetching and decoding", broker=True),
    Bench("ingest", "From the log into the tables", timeout_s=1_800),
    Bench("emit", "What saying a span costs the thread that says it"),
    Bench("otel", "What an exporter beside ours costs a call"),
    Bench("worker_memory", "Memory of the worker"),
    Bench("freshness", "From the log's word to an answer that has the event", broker=True),
    Bench("disk", "Bytes on disk", broker=True),
    Bench("boards", "How long a board waits", full=("--spans", "50000000"), timeout_s=3_600),
)
