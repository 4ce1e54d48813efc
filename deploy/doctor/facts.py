"""What an examination found, as data: nothing here is good or bad. Asks nothing.

What could not be found out is absent, and `Facts.failed` says why. Times are µs since 1970, UTC.
"""

from msgspec import Struct


class Part(Struct, frozen=True, kw_only=True):
    """A part of the embedded stack. `alive`: its process exists; `answers`: it was asked and did."""

    name: str
    address: str
    version: str
    pid: int | None
    state: str
    alive: bool
    answers: bool
    restarts: int
    since: int
    ending: str
    log: str


class Stack(Struct, frozen=True, kw_only=True):
    pid: int
    started_at: int
    shared: bool
    parts: tuple[Part, ...]


class Partition(Struct, frozen=True, kw_only=True):
    """How far one partition of the calls topic is read. `committed` is absent when nobody has committed yet."""

    partition: int
    end: int
    committed: int | None
    lag: int


class Letters(Struct, frozen=True, kw_only=True):
    """The dead-letter topic. `by_reason` counts the newest `read` of them."""

    count: int
    read: int
    by_reason: dict[str, int]
    newest_at: int | None


class Broker(Struct, frozen=True, kw_only=True):
    """`members` are those of the workers' group; absent where the broker does not tell."""

    address: str
    missing_topics: tuple[str, ...]
    partitions: tuple[Partition, ...]
    members: int | None
    letters: Letters

    @property
    def lag(self) -> int:
        return sum(p.lag for p in self.partitions)


class Incomplete(Struct, frozen=True, kw_only=True):
    """A source of a call that is not complete. `last_at` is its youngest event's time; `missing` are the first ranges
    of numbers that it said and that are not stored, known once it has closed.
    """

    call_id: str
    source: str
    stored: int
    said: int | None
    last_at: int
    missing: tuple[tuple[int, int], ...] = ()


class Store(Struct, frozen=True, kw_only=True):
    """`pending` migrations are not applied; `unfit` says why the schema cannot be used. Counts are of the last 24 h.

    `incomplete` are the newest of them, bounded; `incomplete_count` counts all. What never closes, as what
    comes by the door, is not among them. `lost` are the newest calls that a producer named and of which nothing came.
    """

    address: str
    version: str
    migrations: int
    expected: int
    pending: tuple[str, ...]
    unfit: str
    youngest_at: int | None
    youngest_by_partition: dict[int, int]
    calls: int
    sources: int
    incomplete_count: int
    incomplete: tuple[Incomplete, ...]
    lost_count: int = 0
    lost: tuple[str, ...] = ()


class Disk(Struct, frozen=True):
    free_bytes: int
    total_bytes: int


class Facts(Struct, frozen=True, kw_only=True):
    """`left_behind`: the pid that the file of a killed stack still names; `orphans`: parts outlived it;
    `unready`: the process that holds the folder and says nothing of its parts yet.

    `versions` of what is not installed are empty. `failed` are the checks that could not be made, and why.
    """

    at: int
    state: str
    own_kafka: bool = False
    own_clickhouse: bool = False
    stack: Stack | None = None
    left_behind: int | None = None
    orphans: bool = False
    unready: int | None = None
    versions: dict[str, str]
    disk: Disk | None = None
    broker: Broker | None = None
    store: Store | None = None
    failed: dict[str, str] = {}
