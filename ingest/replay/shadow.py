"""The database beside the live one in which a rebuild works: makes it, swaps tables with it, drops it. Folds nothing.

What a killed rebuild left is recognised by its lease, which its owner renews, and dropped by the next one.
"""

import time
import uuid
from collections.abc import Sequence
from typing import Any

from clickhouse_connect.driver.client import Client

from ingest.replay.errors import NoRoomToRebuild, RebuildRuns
from ingest.store.faults import translated
from ingest.tables import DERIVED, Log

SUFFIX = "__rebuild"
LEASE_S = 60.0  # after this long without a sign its owner is dead
_RENEW_S = 5.0
_ROOM_FACTOR = 1.3  # merges need some of their own
_LEASE = "(run String, phase String, at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')) ENGINE = MergeTree ORDER BY at"


class Shadow:
    """The shadow of one client's database. `name` and `live` are quoted."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.database = f"{client.database or 'default'}{SUFFIX}"
        self.live, self.name = f"`{client.database or 'default'}`", f"`{self.database}`"
        self._run = uuid.uuid4().hex
        self._renewed_s = 0.0
        self._phase = ""

    def begin(self) -> str:
        """Make it, empty. Returns in which phase an earlier one was left, or nothing.

        Raises RebuildRuns or NoRoomToRebuild.
        """
        left = self._left()
        self._do(f"DROP DATABASE IF EXISTS {self.name} SYNC")
        self._check_room()
        self._do(f"CREATE DATABASE {self.name}")
        self._do(f"CREATE TABLE {self.name}.lease {_LEASE}")
        self.phase("folding")
        for table in Log:
            self._do(f"CREATE TABLE {self.name}.{table} AS {self.live}.{table}")
        return left

    def phase(self, phase: str) -> None:
        self._phase, self._renewed_s = phase, 0.0
        self.renew()

    def renew(self) -> None:
        """Say that we live; at most every few seconds. Raises RebuildRuns when somebody took the shadow over."""
        if time.monotonic() - self._renewed_s < _RENEW_S:
            return
        self._renewed_s = time.monotonic()
        with translated("renewing the lease of the rebuild"):
            self._client.command(
                f"INSERT INTO {self.name}.lease (run, phase) SELECT {{run:String}}, {{phase:String}}",
                parameters={"run": self._run, "phase": self._phase},
            )

    def swap(self) -> None:
        """Every derived table changes places with its shadow, one after the other and each at once."""
        for table in DERIVED:
            self._do(f"EXCHANGE TABLES {self.live}.{table} AND {self.name}.{table}")

    def drop(self) -> None:
        self._do(f"DROP DATABASE IF EXISTS {self.name} SYNC")

    def _left(self) -> str:
        there = self._rows(
            "SELECT count() FROM system.tables WHERE database = {database:String} AND name = 'lease'",
            {"database": self.database},
        )
        if not there[0][0]:
            return ""
        lease = self._rows(
            f"SELECT argMax(phase, at), dateDiff('second', max(at), now64(3, 'UTC')) FROM {self.name}.lease"  # noqa: S608
            " HAVING count() > 0",
            {},
        )
        if lease and int(lease[0][1]) < LEASE_S:
            raise RebuildRuns(
                f"another rebuild gave a sign {max(0, int(lease[0][1]))} s ago: wait for it; "
                f"one that was killed is put away {LEASE_S:g} s after its last sign"
            )
        return str(lease[0][0]) if lease else "beginning"

    def _check_room(self) -> None:
        needed = self._rows(
            "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = {database:String}",
            {"database": self._client.database or "default"},
        )
        free = self._rows("SELECT sum(free_space) FROM system.disks", {})
        wanted = int(needed[0][0] * _ROOM_FACTOR)
        if int(free[0][0]) < wanted:
            raise NoRoomToRebuild(
                f"a rebuild needs about {wanted / 2**20:,.0f} MiB beside what is stored, and the store's disk has "
                f"{int(free[0][0]) / 2**20:,.0f} MiB: make room, then try again"
            )

    def _rows(self, sql: str, asked: dict[str, str]) -> Sequence[Sequence[Any]]:
        with translated("looking at the shadow of the rebuild"):
            return self._client.query(sql, parameters=asked).result_rows

    def _do(self, sql: str) -> None:
        with translated("preparing the rebuild"):
            self._client.command(sql)
